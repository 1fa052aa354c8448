package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/sandtrap/sandtrap/internal/evidence"
	"github.com/sandtrap/sandtrap/internal/term"
)

// captureFile lists what was found in the target at the end, one JSON object a line.
const captureFile = "capture.jsonl"

// maxCaptureLine bounds a line of it, in bytes.
const maxCaptureLine = 1 << 20

// sessionFile is one file in the JSON form: one that was transferred, or that the target
// had at the end.
type sessionFile struct {
	Channel *int `json:"channel,omitempty"`
	*evidence.Transfer
	Captured json.RawMessage `json:"captured,omitempty"`
}

// captured is what the text form tells of a line of captureFile.
type captured struct {
	Kind   string        `json:"kind"`
	Where  string        `json:"where"`
	Path   evidence.Text `json:"path"`
	Change string        `json:"change"`
	SHA256 string        `json:"sha256"`
	Size   int64         `json:"size"`
	Type   string        `json:"type"`
	Reason string        `json:"reason"`
}

// fileWriter writes files in one of the formats.
type fileWriter interface {
	transfer(channel int, t evidence.Transfer) error
	captured(c captured, line []byte) error
	omitted(channel, n int) error
	end() error
}

// showFiles writes which files came and went, and which the target had at the end.
func showFiles(s evidence.Session, dir string, o showOptions, out, diagnostics io.Writer) error {
	buffered := bufio.NewWriterSize(out, 64<<10)
	var w fileWriter = &textFiles{w: buffered, zone: o.now.Location()}
	if o.format == formatJSON {
		w = &jsonFiles{list: jsonList{w: buffered}}
	}
	for _, c := range s.Channels {
		for _, t := range c.Transfers {
			if err := w.transfer(c.ID, t); err != nil {
				return err
			}
		}
		if c.TransfersOmitted > 0 {
			if err := w.omitted(c.ID, c.TransfersOmitted); err != nil {
				return err
			}
		}
	}
	if err := readCapture(dir, w, diagnostics); err != nil {
		return err
	}
	return errors.Join(w.end(), buffered.Flush())
}

// readCapture reads captureFile, if there is one. Lines that it cannot read are named.
func readCapture(dir string, w fileWriter, diagnostics io.Writer) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return fmt.Errorf("open session directory: %w", err)
	}
	defer root.Close()
	st, err := root.Lstat(captureFile)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("read captured files: %w", err)
	case !st.Mode().IsRegular():
		return fmt.Errorf("read captured files: %s is no regular file", captureFile)
	}
	f, err := root.Open(captureFile)
	if err != nil {
		return fmt.Errorf("read captured files: %w", err)
	}
	defer f.Close()
	sc := bufio.NewScanner(f)
	sc.Buffer(nil, maxCaptureLine)
	for n := 1; sc.Scan(); n++ {
		var c captured
		if err := json.Unmarshal(sc.Bytes(), &c); err != nil {
			fmt.Fprintf(diagnostics, "sandtrap: skip line %d of %s: %s\n", n, captureFile, term.Printable(err.Error()))
			continue
		}
		if c.Path == "" || c.SHA256 == "" && c.Kind != "file" {
			continue // a process, a socket, a directory
		}
		if err := w.captured(c, sc.Bytes()); err != nil {
			return err
		}
	}
	if err := sc.Err(); err != nil {
		return fmt.Errorf("read captured files: %w", err)
	}
	return nil
}

// textFiles is the form for people.
type textFiles struct {
	w    io.Writer
	zone *time.Location
	any  bool
}

const fileLine = "%-8s  %-8s  %10s  %-64s  %s\n"

func (t *textFiles) line(at, what, size, sha256, name string) error {
	if !t.any {
		t.any = true
		fmt.Fprintf(t.w, fileLine, "TIME", "WHAT", "SIZE", "SHA-256", "NAME")
	}
	_, err := fmt.Fprintf(t.w, fileLine, at, term.Clip(what, 8), size, term.Clip(sha256, 64), name)
	return err
}

func (t *textFiles) transfer(_ int, f evidence.Transfer) error {
	at := "-"
	if !f.Time.IsZero() {
		at = f.Time.In(t.zone).Format(time.TimeOnly)
	}
	hash, name := f.SHA256, term.Safe(string(f.Name))
	if f.Artifact != "" && f.Artifact != f.SHA256 {
		hash, name = f.Artifact, name+" (in part)"
	}
	if hash == "" {
		hash = "-"
	}
	return t.line(at, f.Direction, byteWords(f.Size), hash, name)
}

func (t *textFiles) captured(c captured, _ []byte) error {
	what := c.Change
	if what == "" {
		what = c.Where
	}
	hash, name := c.SHA256, term.Safe(string(c.Path))
	if hash == "" {
		hash = "-"
	}
	if c.Type != "" {
		name += " " + term.Safe(c.Type)
	}
	if c.Reason != "" {
		name += " (" + term.Safe(c.Reason) + ")"
	}
	return t.line("-", what, byteWords(c.Size), hash, name)
}

func (t *textFiles) omitted(channel, n int) error {
	_, err := fmt.Fprintf(t.w, "and %d more in channel %d\n", n, channel)
	return err
}

func (t *textFiles) end() error { return nil }

// jsonFiles is an array.
type jsonFiles struct{ list jsonList }

func (j *jsonFiles) transfer(channel int, f evidence.Transfer) error {
	return j.list.add(sessionFile{Channel: &channel, Transfer: &f})
}

func (j *jsonFiles) captured(_ captured, line []byte) error {
	return j.list.add(sessionFile{Captured: line})
}

func (j *jsonFiles) omitted(int, int) error { return nil }
func (j *jsonFiles) end() error             { return j.list.end() }
