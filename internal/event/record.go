package event

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// maxFields bounds the fields of a record that is read; an event has a dozen.
const maxFields = 64

// Record is an event as it was read back. All of it may be hostile.
type Record struct {
	Time     time.Time
	Kind     Kind
	Severity string
	Message  string
	Session  string // empty for an event of the service itself
	// Fields are the identity's and the kind's own, in the order in which they were
	// written. A value is a string with the exact bytes, a bool or a json.Number.
	Fields []Field
	// Line is the record as JSON. It is valid until the next one is read.
	Line []byte
}

// Field returns the value of a field as text, empty where there is none.
func (r *Record) Field(name string) string {
	for _, f := range r.Fields {
		if f.Name == name {
			return fmt.Sprint(f.Value)
		}
	}
	return ""
}

// ParseRecord reads one line of an event file.
func ParseRecord(line []byte) (*Record, error) {
	r := &Record{Line: line}
	d := json.NewDecoder(bytes.NewReader(line))
	d.UseNumber()
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return nil, errLine
	}
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return nil, errLine
		}
		value, err := d.Token()
		if err != nil {
			return nil, errLine
		}
		if _, nested := value.(json.Delim); nested || value == nil || len(r.Fields) >= maxFields {
			return nil, errLine
		}
		if !r.take(name.(string), value) {
			return nil, errLine
		}
	}
	if _, err := d.Token(); err != nil || d.More() || r.Time.IsZero() || r.Kind == "" {
		return nil, errLine
	}
	if rest := line[d.InputOffset():]; len(bytes.TrimSpace(rest)) > 0 {
		return nil, errLine
	}
	return r, nil
}

// take takes one member of the object. It returns false for one that cannot be.
func (r *Record) take(name string, value any) bool {
	text, isText := value.(string)
	switch name {
	case "time":
		t, err := time.Parse(time.RFC3339Nano, text)
		r.Time = t
		return err == nil
	case "seq":
		_, ok := value.(json.Number)
		return ok
	case "event":
		r.Kind = Kind(text)
		return isText
	case "severity":
		r.Severity = text
		return isText
	case "message":
		r.Message = text
		return isText
	case "session":
		r.Session = text
	}
	if of, ok := strings.CutSuffix(name, "_base64"); ok && isText && len(r.Fields) > 0 && r.Fields[len(r.Fields)-1].Name == of {
		exact, err := base64.StdEncoding.DecodeString(text)
		r.Fields[len(r.Fields)-1].Value = string(exact)
		return err == nil
	}
	r.Fields = append(r.Fields, Field{name, value})
	return true
}

// Text is the record for people: one line, hostile values quoted and cut. The time is
// shown in a zone.
func (r *Record) Text(zone *time.Location) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s: %s", r.Time.In(zone).Format(time.RFC3339), lineWord(string(r.Kind)), lineWord(r.Message))
	for _, f := range r.Fields {
		b.WriteString(" " + lineWord(f.Name) + "=" + lineValue(f.Value))
	}
	return b.String()
}

// lineWord shows what is ours unless somebody has changed the file.
func lineWord(s string) string {
	if strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r >= 0x7f }) {
		return lineValue(s)
	}
	return s
}
