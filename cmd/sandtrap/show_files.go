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

// sessionFile is one file in the JSON form: one that was transferred, or that the target
// had at the end.
type sessionFile struct {
	Channel *int `json:"channel,omitempty"`
	*evidence.Transfer
	Captured json.RawMessage `json:"captured,omitempty"`
}

// fileWriter writes files in one of the formats.
type fileWriter interface {
	transfer(channel int, t evidence.Transfer) error
	captured(e *evidence.CaptureEntry, line []byte) error
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

// readCapture tells what was captured. Lines that it cannot read are named.
func readCapture(dir string, w fileWriter, diagnostics io.Writer) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return fmt.Errorf("open session directory: %w", err)
	}
	defer root.Close()
	var failed error
	err = evidence.ReadCapture(root, func(e *evidence.CaptureEntry, line []byte) bool {
		if e.Path == "" || e.SHA256 == "" && e.Kind != "file" {
			return true // a process, a socket, a directory
		}
		failed = w.captured(e, line)
		return failed == nil
	}, func(n int, err error) {
		fmt.Fprintf(diagnostics, "sandtrap: skip line %d of %s: %s\n", n, evidence.CaptureFile, term.Printable(err.Error()))
	})
	return errors.Join(failed, err)
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

func (t *textFiles) captured(c *evidence.CaptureEntry, _ []byte) error {
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
	size := "-"
	if c.Size != nil {
		size = byteWords(*c.Size)
	}
	return t.line("-", what, size, hash, name)
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

func (j *jsonFiles) captured(_ *evidence.CaptureEntry, line []byte) error {
	return j.list.add(sessionFile{Captured: line})
}

func (j *jsonFiles) omitted(int, int) error { return nil }
func (j *jsonFiles) end() error             { return j.list.end() }
