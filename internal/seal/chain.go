package seal

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/hiddeco/sshsig"
	"github.com/oklog/ulid/v2"
	"golang.org/x/crypto/ssh"
	"golang.org/x/sys/unix"

	"github.com/sandtrap/sandtrap/internal/evidence"
)

// chainFile is the chain's, below the state directory. It is only ever appended to.
const chainFile = "chain"

// maxLine bounds one entry, in bytes.
const maxLine = 4 << 10

// Action says what an entry of the chain is about.
type Action string

// The actions.
const (
	ActionSeal           Action = "seal"            // a session got its seal
	ActionRemove         Action = "remove"          // a session was removed on purpose
	ActionRemoveArtifact Action = "remove-artifact" // an artifact was
)

// Entry is one line of the chain.
type Entry struct {
	Version  int       `json:"version"`
	Sequence int64     `json:"sequence"` // the number of the line, from 1
	Time     time.Time `json:"time"`
	Action   Action    `json:"action"`
	Session  string    `json:"session,omitempty"`
	// SHA256 is the hash of the session's SHA256SUMS, or the artifact's.
	SHA256 string `json:"sha256"`
	Reason string `json:"reason,omitempty"` // of a removal, one of our words
	// Previous is the hash of the line before with its newline; empty in the first.
	Previous string `json:"previous,omitempty"`
	// Signature is in SSHSIG form without armour, and signs the line as it is without
	// this field and the newline.
	Signature string `json:"signature,omitempty"`
}

// signatureField is how the field begins in a line. No text in JSON can hold it.
const signatureField = `,"signature":"`

// errEntry means that a line is no entry.
var errEntry = errors.New("not an entry of the chain")

// line is an entry as it is written.
func (e Entry) line(key ssh.Signer) ([]byte, error) {
	e.Signature = ""
	body, err := json.Marshal(e)
	if err != nil {
		return nil, err
	}
	s, err := sign(key, body)
	if err != nil {
		return nil, err
	}
	line := append(body[:len(body)-1], signatureField...)
	line = base64.StdEncoding.AppendEncode(line, s.Marshal())
	line = append(line, "\"}\n"...)
	if len(line) > maxLine {
		return nil, fmt.Errorf("an entry of %d bytes is too long", len(line))
	}
	return line, nil
}

// parseEntry reads one line with its newline.
func parseEntry(line []byte) (Entry, error) {
	text, ended := bytes.CutSuffix(line, []byte("\n"))
	if !ended {
		return Entry{}, fmt.Errorf("%w: it ends in its midst", errEntry)
	}
	var e Entry
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&e); err != nil {
		return Entry{}, fmt.Errorf("%w: %s", errEntry, err)
	}
	id, err := ulid.ParseStrict(e.Session)
	session := err == nil && id.String() == e.Session
	switch {
	case e.Version != version:
		return Entry{}, fmt.Errorf("%w: version %d", errEntry, e.Version)
	case !evidence.IsHash(e.SHA256), e.Previous != "" && !evidence.IsHash(e.Previous),
		(e.Action == ActionSeal || e.Action == ActionRemove) != session, e.Action == ActionRemoveArtifact && e.Session != "":
		return Entry{}, fmt.Errorf("%w: impossible values", errEntry)
	case e.Action != ActionSeal && e.Action != ActionRemove && e.Action != ActionRemoveArtifact:
		return Entry{}, fmt.Errorf("%w: unknown action %q", errEntry, e.Action)
	}
	return e, nil
}

// signed returns what the signature of a line is about, and the signature.
func signed(line []byte) (body []byte, s *sshsig.Signature, err error) {
	at := bytes.LastIndex(line, []byte(signatureField))
	text, ended := bytes.CutSuffix(line, []byte("\"}\n"))
	if at < 0 || !ended || at+len(signatureField) > len(text) {
		return nil, nil, fmt.Errorf("%w: it is not signed", errEntry)
	}
	blob, err := base64.StdEncoding.DecodeString(string(text[at+len(signatureField):]))
	if err != nil {
		return nil, nil, fmt.Errorf("%w: signature: %w", errEntry, err)
	}
	if s, err = parseSignature(blob); err != nil {
		return nil, nil, fmt.Errorf("%w: signature: %w", errEntry, err)
	}
	return append(bytes.Clone(line[:at]), '}'), s, nil
}

// chain is the chain open for writing. Its user serialises the calls; other processes
// are kept out of append by a lock on the file.
type chain struct {
	file     *os.File
	size     int64
	sequence int64  // of the last line
	last     string // its hash
	// sealed is the last entry of ActionSeal, and ended the last of all, if it can be read.
	sealed, ended Entry
}

// openChain opens the chain and takes off the torn line that a crash has left.
func openChain(root *os.Root) (*chain, error) {
	f, err := root.OpenFile(chainFile, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o640)
	if err != nil {
		return nil, fmt.Errorf("open chain: %w", err)
	}
	c := &chain{file: f}
	if err := c.locked(c.catchUp); err != nil {
		f.Close()
		return nil, fmt.Errorf("open chain: %w", err)
	}
	if err := evidence.SyncDir(root, "."); err != nil {
		f.Close()
		return nil, fmt.Errorf("open chain: %w", err)
	}
	return c, nil
}

func (c *chain) locked(do func() error) error {
	if err := unix.Flock(int(c.file.Fd()), unix.LOCK_EX); err != nil {
		return err
	}
	return errors.Join(do(), unix.Flock(int(c.file.Fd()), unix.LOCK_UN))
}

// sealLine finds the lines that are about seals without reading all of each.
var sealLine = []byte(`"action":"seal"`)

// catchUp reads what was appended since.
func (c *chain) catchUp() error {
	st, err := c.file.Stat()
	if err != nil || st.Size() == c.size {
		return err
	}
	var last, sealed []byte
	end, err := eachLine(io.NewSectionReader(c.file, c.size, st.Size()-c.size), func(line []byte) bool {
		c.sequence++
		last = append(last[:0], line...)
		if bytes.Contains(line, sealLine) {
			sealed = append(sealed[:0], line...)
		}
		return true
	})
	if err != nil {
		return err
	}
	c.size += end
	if last != nil {
		c.last = hashOf(last)
		c.ended, _ = parseEntry(last) // damage stays where it is, and verify tells of it
	}
	if e, err := parseEntry(sealed); err == nil {
		c.sealed = e
	}
	switch torn := st.Size() - c.size; {
	case torn == 0:
		return nil
	case torn > maxLine: // no entry that a crash has cut off: it stays, as damage that verify tells of
		if _, err := c.file.WriteString("\n"); err != nil {
			return err
		}
		return c.catchUp()
	}
	return errors.Join(c.file.Truncate(c.size), c.file.Sync())
}

// append writes an entry, to which make is asked to add what is not the chain's own. It
// is on disk when append returns. On error there is no such entry, unless the disk
// cannot even be told to take half of it back; the next append does then.
func (c *chain) append(key ssh.Signer, make func(at position) (Entry, error)) (e Entry, hash string, err error) {
	err = c.locked(func() error {
		if err := c.catchUp(); err != nil {
			return err
		}
		e, err = make(position{c.sequence + 1, c.last, c.sealed})
		if err != nil {
			return err
		}
		e.Version, e.Sequence, e.Previous = version, c.sequence+1, c.last
		line, err := e.line(key)
		if err != nil {
			return err
		}
		if _, err = c.file.Write(line); err == nil {
			err = c.file.Sync()
		}
		if err != nil {
			return errors.Join(err, c.file.Truncate(c.size))
		}
		hash = hashOf(line)
		c.size, c.sequence, c.last, c.ended = c.size+int64(len(line)), e.Sequence, hash, e
		if e.Action == ActionSeal {
			c.sealed = e
		}
		return nil
	})
	if err != nil {
		return Entry{}, "", fmt.Errorf("append to the chain: %w", err)
	}
	return e, hash, nil
}

// position is where in the chain an entry will be.
type position struct {
	sequence int64
	previous string // hash of the line before
	sealed   Entry  // the last seal before; zero for none
}

// found is an entry and its hash.
type found struct {
	entry Entry
	hash  string // empty where there is no entry
}

// find returns the latest entry about each of some sessions. It reads all of the chain.
func (c *chain) find(sessions ...string) (map[string]found, error) {
	wanted := make(map[string]bool, len(sessions))
	for _, id := range sessions {
		wanted[id] = true
	}
	all := make(map[string]found)
	_, err := eachLine(io.NewSectionReader(c.file, 0, c.size), func(line []byte) bool {
		_, rest, _ := bytes.Cut(line, []byte(`"session":"`))
		if id, _, _ := bytes.Cut(rest, []byte(`"`)); wanted[string(id)] {
			if e, err := parseEntry(line); err == nil && wanted[e.Session] {
				all[e.Session] = found{e, hashOf(line)}
			}
		}
		return true
	})
	return all, err
}

func (c *chain) close() error { return c.file.Close() }

// eachLine calls visit with every whole line, until it returns false, and returns where
// the last of them ends. Of one that is longer than maxLine the beginning is shown. The
// line is valid until visit returns.
func eachLine(r io.Reader, visit func(line []byte) bool) (end int64, err error) {
	b := bufio.NewReaderSize(r, maxLine)
	for {
		line, err := b.ReadSlice('\n')
		size := int64(len(line))
		if errors.Is(err, bufio.ErrBufferFull) {
			line = bytes.Clone(line)
			for errors.Is(err, bufio.ErrBufferFull) {
				var rest []byte
				rest, err = b.ReadSlice('\n')
				size += int64(len(rest))
			}
		}
		switch {
		case err == io.EOF:
			return end, nil // what follows is torn
		case err != nil:
			return end, err
		}
		end += size
		if !visit(line) {
			return end, nil
		}
	}
}
