package evidence

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// CaptureFile is the name, in a session's directory, of what was captured of its
// target: CaptureEntry objects, one a line, see docs/capture.md.
const CaptureFile = "capture.jsonl"

// CaptureEntry is one line of CaptureFile. What does not apply is left out.
type CaptureEntry struct {
	Kind      string     `json:"kind"`             // file, directory, link, fifo, socket, device, process, net, unknown
	Where     string     `json:"where"`            // layer, tmpfs or process
	Change    string     `json:"change,omitempty"` // in the layer: added, changed or deleted
	Path      Text       `json:"path"`
	Link      Text       `json:"link,omitempty"`           // where a symbolic link points
	Size      *int64     `json:"size,omitempty"`           // bytes
	Mode      string     `json:"mode,omitempty"`           // permissions, octal
	UID       *uint32    `json:"uid,omitempty"`            // in the target, as all ids
	GID       *uint32    `json:"gid,omitempty"`            //
	Links     uint32     `json:"links,omitempty"`          // names that the file has, when they are several
	Modified  *time.Time `json:"mtime,omitempty"`          // as the file says, which anybody can set
	Altered   *time.Time `json:"ctime,omitempty"`          // when name, content, owner or mode last changed
	Type      string     `json:"type,omitempty"`           // MIME type by content
	SHA256    string     `json:"sha256,omitempty"`         // of what was captured: the artifact's name
	Captured  int64      `json:"captured_bytes,omitempty"` // the artifact's size
	Complete  *bool      `json:"complete,omitempty"`       // whether the artifact is the file
	Reason    string     `json:"reason,omitempty"`         // one of our words: why not, or what is particular
	PID       uint32     `json:"pid,omitempty"`
	PPID      uint32     `json:"ppid,omitempty"`
	Start     *time.Time `json:"start,omitempty"`   // of a process
	Arguments []Text     `json:"command,omitempty"` // of a process
	Line      Text       `json:"line,omitempty"`    // of a file in /proc/net
}

// Capture is the summary of CaptureFile in session.json.
type Capture struct {
	File      string `json:"file,omitempty"`  // CaptureFile, unless nothing could be written
	Volatile  string `json:"volatile"`        // complete, or why not
	Layer     string `json:"layer"`           // complete, or why not
	Processes int    `json:"processes"`       //
	Files     int    `json:"files"`           // regular files told
	Added     int    `json:"added"`           // names in the layer
	Changed   int    `json:"changed"`         //
	Deleted   int    `json:"deleted"`         //
	Artifacts int    `json:"artifacts"`       // files of which content was kept
	Captured  int64  `json:"captured_bytes"`  // content that was kept
	Earlier   int    `json:"earlier"`         // names in the layer that have not changed since the session began, which are not told
	Omitted   int    `json:"omitted"`         // what is known of and not told
	Duration  int64  `json:"duration_ms"`     //
	Error     string `json:"error,omitempty"` // why the file is not whole
}

// CreateCapture makes CaptureFile.
func (d *Dir) CreateCapture() (*os.File, error) {
	f, err := d.root.OpenFile(CaptureFile, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o640)
	if err != nil {
		return nil, fmt.Errorf("make %s: %w", CaptureFile, err)
	}
	return f, nil
}

// Bounds of what is read of a CaptureFile, in bytes.
const (
	maxCapture     = 256 << 20
	maxCaptureLine = 1 << 20
)

// ReadCapture calls visit with the entries of the CaptureFile in a session's directory,
// and with their lines, until it returns false. None is no error. Lines that are no
// entries go to bad, which may be nil, with their number.
func ReadCapture(root *os.Root, visit func(e *CaptureEntry, line []byte) bool, bad func(n int, err error)) error {
	f, err := OpenRegular(root, CaptureFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read %s: %w", CaptureFile, err)
	}
	defer f.Close()
	if err := readCapture(f, visit, bad); err != nil {
		return fmt.Errorf("read %s: %w", CaptureFile, err)
	}
	return nil
}

func readCapture(r io.Reader, visit func(*CaptureEntry, []byte) bool, bad func(int, error)) error {
	limited := &io.LimitedReader{R: r, N: maxCapture}
	lines := bufio.NewScanner(limited)
	lines.Buffer(nil, maxCaptureLine)
	for n := 1; lines.Scan(); n++ {
		var e CaptureEntry
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			if bad != nil {
				bad(n, err)
			}
			continue
		}
		if !visit(&e, lines.Bytes()) {
			return nil
		}
	}
	if err := lines.Err(); err != nil {
		return err
	}
	if limited.N == 0 {
		return fmt.Errorf("more than %d bytes", maxCapture)
	}
	return nil
}

// ArtifactsOf returns the hashes of what the session in a directory below the state
// directory brought or left, each once.
func (s *Store) ArtifactsOf(dir string) ([]string, error) {
	d, err := s.openDir(dir)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	session, err := load(d.root, d.id)
	if err != nil {
		return nil, fmt.Errorf("read session %s: %w", d.id, err)
	}
	return Artifacts(d.root, session)
}

// Artifacts returns the hashes of what a session brought or left, each once. root is its
// directory.
func Artifacts(root *os.Root, s Session) ([]string, error) {
	var hashes []string
	add := func(hash string) {
		if IsHash(hash) {
			hashes = append(hashes, hash)
		}
	}
	for _, c := range s.Channels {
		for _, t := range c.Transfers {
			add(t.Artifact)
		}
	}
	err := ReadCapture(root, func(e *CaptureEntry, _ []byte) bool {
		add(e.SHA256)
		return true
	}, nil)
	slices.Sort(hashes)
	return slices.Compact(hashes), err
}

// fewArtifacts is up to how many are brought to the disk one by one.
const fewArtifacts = 16

// SyncArtifacts waits until artifacts and their names are on disk.
func (s *Store) SyncArtifacts(sha256 []string) error {
	if len(sha256) <= fewArtifacts {
		var err error
		for _, one := range sha256 {
			err = errors.Join(err, s.SyncArtifact(one))
		}
		return err
	}
	d, err := s.root.Open(path.Dir(hashesDir))
	if err != nil {
		return fmt.Errorf("sync artifacts: %w", err)
	}
	defer d.Close()
	if err := unix.Syncfs(int(d.Fd())); err != nil {
		return fmt.Errorf("sync artifacts: %w", err)
	}
	return nil
}
