package event

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/coreos/go-systemd/v22/journal"
)

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
