package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/sandtrap/sandtrap/internal/evidence"
	"github.com/sandtrap/sandtrap/internal/term"
	"github.com/sandtrap/sandtrap/internal/transcript"
)

// maxPlainText bounds how much of a channel without a terminal a transcript shows, in
// bytes of its rows: what is longer is no dialogue but a file on its way.
const maxPlainText = 64 << 10

// transcriptRow is one row in the JSON form.
type transcriptRow struct {
	Channel int           `json:"channel"`
	Time    *time.Time    `json:"time,omitempty"` // when what was entered in it was
	Picture bool          `json:"picture,omitempty"`
	Text    evidence.Text `json:"text"`
}

// rowWriter writes rows in one of the formats.
type rowWriter interface {
	channel(c evidence.Channel) error
	row(c evidence.Channel, r transcript.Row) error
	remark(text string) error
	end() error
}

// showTranscript writes what the terminals of a session showed.
func showTranscript(s evidence.Session, dir string, o showOptions, out, diagnostics io.Writer) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return fmt.Errorf("open session %s: %w", s.ID, err)
	}
	defer root.Close()
	buffered := bufio.NewWriterSize(out, 64<<10)
	var w rowWriter = &textRows{w: buffered, zone: o.now.Location()}
	if o.format == formatJSON {
		w = &jsonRows{list: jsonList{w: buffered}}
	}
	for _, c := range s.Channels {
		if err := transcribe(root, c, w); err != nil {
			if errors.Is(err, errWrite) {
				return err
			}
			fmt.Fprintf(diagnostics, "sandtrap: channel %d: %s\n", c.ID, term.Printable(err.Error()))
		}
	}
	return errors.Join(w.end(), buffered.Flush())
}

// errWrite marks an error of the output, as opposed to one of a recording.
var errWrite = errors.New("write transcript")

// transcribe writes what one channel's terminal showed.
func transcribe(root *os.Root, c evidence.Channel, w rowWriter) error {
	err := w.channel(c)
	switch {
	case err != nil:
		return fmt.Errorf("%w: %w", errWrite, err)
	case c.Recording.Raw == "":
		return nil
	case c.Kind == "subsystem" && c.Terminal == "":
		return w.remark("packets of a subsystem; --files shows what was transferred")
	}
	terminal := c.HasTerminal()
	columns, rows := c.Size.Cells()
	tracker := transcript.New(transcript.Options{Columns: columns, Rows: rows, Plain: !terminal})
	left := int64(maxPlainText)
	tracker.Rows(func(r transcript.Row) {
		if !terminal {
			if left < 0 {
				return
			}
			r.Text = r.Text[:min(int64(len(r.Text)), left)]
			left -= int64(len(r.Text)) + 1
		}
		if failed := w.row(c, r); err == nil && failed != nil {
			err = fmt.Errorf("%w: %w", errWrite, failed)
		}
	})
	followed := evidence.Follow(root, c.Recording.Raw, tracker, func(transcript.Line) {})
	if err == nil && left < 0 {
		err = w.remark("the rest is in the recording")
	}
	return errors.Join(err, followed)
}

// textRows is the form for people: a column of times, then what was shown. Nothing in
// it steers a terminal.
type textRows struct {
	w    *bufio.Writer
	zone *time.Location
	any  bool
}

func (t *textRows) channel(c evidence.Channel) error {
	if t.any {
		fmt.Fprintln(t.w)
	}
	t.any = true
	fmt.Fprintf(t.w, "Channel %s", channelHeading(c))
	if !c.Start.IsZero() {
		fmt.Fprintf(t.w, ", %s", c.Start.In(t.zone).Format("2006-01-02 15:04:05 MST"))
	}
	return t.w.WriteByte('\n')
}

func (t *textRows) row(_ evidence.Channel, r transcript.Row) error {
	at := strings.Repeat(" ", len(time.TimeOnly))
	if !r.Time.IsZero() {
		at = r.Time.In(t.zone).Format(time.TimeOnly)
	}
	mark := " "
	if r.Picture {
		mark = "|"
	}
	_, err := fmt.Fprintln(t.w, strings.TrimRight(at+" "+mark+" "+term.Printable(r.Text), " "))
	return err
}

func (t *textRows) remark(text string) error {
	_, err := fmt.Fprintf(t.w, "%*s(%s)\n", len(time.TimeOnly)+3, "", text)
	return err
}

func (t *textRows) end() error { return nil }

// jsonRows is an array of rows.
type jsonRows struct{ list jsonList }

func (j *jsonRows) channel(evidence.Channel) error { return nil }
func (j *jsonRows) remark(string) error            { return nil }
func (j *jsonRows) end() error                     { return j.list.end() }

func (j *jsonRows) row(c evidence.Channel, r transcript.Row) error {
	row := transcriptRow{Channel: c.ID, Picture: r.Picture, Text: evidence.Text(r.Text)}
	if !r.Time.IsZero() {
		at := r.Time.UTC()
		row.Time = &at
	}
	return j.list.add(row)
}

// jsonList writes an array whose elements need not all be in memory.
type jsonList struct {
	w   io.Writer
	any bool
}

func (l *jsonList) add(element any) error {
	b, err := json.Marshal(element)
	if err != nil {
		return fmt.Errorf("encode JSON: %w", err)
	}
	separator := "[\n  "
	if l.any {
		separator = ",\n  "
	}
	l.any = true
	_, err = fmt.Fprintf(l.w, "%s%s", separator, term.Document(b))
	return err
}

func (l *jsonList) end() error {
	text := "\n]\n"
	if !l.any {
		text = "[]\n"
	}
	_, err := io.WriteString(l.w, text)
	return err
}
