package event

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/coreos/go-systemd/v22/journal"
)

// JSONLines appends events to events-YYYY-MM-DD.jsonl (UTC) in one directory. It
// is the record that journald's rate limits cannot thin out.
type JSONLines struct {
	dir  *os.Root
	day  string
	file *os.File
	buf  []byte
	torn bool // the last write ended inside a line
}

// NewJSONLines opens dir, which must exist, and makes today's file, so that an
// unwritable disk shows before anybody logs in.
func NewJSONLines(dir string) (*JSONLines, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("open event directory: %w", err)
	}
	j := &JSONLines{dir: root}
	if err := j.rotate(time.Now()); err != nil {
		return nil, errors.Join(err, root.Close())
	}
	return j, nil
}

func (j *JSONLines) rotate(now time.Time) error {
	day := now.UTC().Format(time.DateOnly)
	if j.file != nil && day == j.day {
		return nil
	}
	f, err := j.dir.OpenFile("events-"+day+".jsonl", os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o640)
	if err != nil {
		return fmt.Errorf("open event file: %w", err)
	}
	if j.file != nil {
		err = j.file.Close()
	}
	j.day, j.file = day, f
	return err
}

// Write appends one line with a single write(2). A line that a full disk cut
// short is ended before the next one, so that it spoils only itself.
func (j *JSONLines) Write(e *Event) error {
	if err := j.rotate(e.Time); err != nil {
		return err
	}
	j.buf = j.buf[:0]
	if j.torn {
		j.buf = append(j.buf, '\n')
	}
	j.buf = append(e.AppendJSON(j.buf), '\n')
	n, err := j.file.Write(j.buf)
	if err != nil {
		j.torn = j.torn || n > 0
		return fmt.Errorf("write event: %w", err)
	}
	j.torn = false
	return nil
}

// Close flushes the file to disk and closes it.
func (j *JSONLines) Close() error {
	return errors.Join(j.file.Sync(), j.file.Close(), j.dir.Close())
}

// Writer prints events to w, one a line: as JSON, or as text for people.
type Writer struct {
	W    io.Writer
	JSON bool
}

func (w Writer) Write(e *Event) error {
	line := e.Time.UTC().Format(time.RFC3339) + " " + string(e.Kind) + ": " + e.Line()
	if w.JSON {
		line = string(e.AppendJSON(nil))
	}
	_, err := io.WriteString(w.W, line+"\n")
	return err
}

// Close does nothing: w is not ours.
func (Writer) Close() error { return nil }

// Journal sends events to systemd-journald as native fields: MESSAGE,
// MESSAGE_ID, PRIORITY, SANDTRAP_EVENT, SANDTRAP_SEQ, SANDTRAP_SESSION,
// SANDTRAP_SRC_IP and so on, and one SANDTRAP_ field for each of the kind's own.
// See systemd.journal-fields(7).
type Journal struct{}

// maxJournalValue bounds one field; the event file has the whole value.
const maxJournalValue = 64 << 10

func (Journal) Write(e *Event) error {
	if err := journal.Send(e.Line(), journal.Priority(e.Severity), JournalFields(e)); err != nil {
		return fmt.Errorf("send event to the journal: %w", err)
	}
	return nil
}

// Close does nothing: the journal's socket belongs to the process.
func (Journal) Close() error { return nil }

// JournalFields are the native fields of an event beside MESSAGE and PRIORITY.
func JournalFields(e *Event) map[string]string {
	fields := map[string]string{
		"MESSAGE_ID":        e.MessageID,
		"SYSLOG_IDENTIFIER": "sandtrap",
		"SANDTRAP_EVENT":    string(e.Kind),
		"SANDTRAP_SEQ":      fmt.Sprint(e.Seq),
	}
	for _, f := range append(e.identityFields(), e.Values...) {
		value, ok := f.Value.(string)
		if !ok {
			raw, _ := json.Marshal(f.Value)
			value = string(raw)
		}
		if len(value) > maxJournalValue {
			value = value[:maxJournalValue]
		}
		fields["SANDTRAP_"+strings.ToUpper(f.Name)] = value
	}
	return fields
}
