package event

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// timeFormat is RFC 3339 in UTC with fixed nanoseconds, so that lines sort.
const timeFormat = "2006-01-02T15:04:05.000000000Z"

// AppendJSON appends the event as one JSON object without a newline: time, seq,
// event, severity, message, the identity, then the kind's own fields. Bytes of a
// value that are not UTF-8 appear as U+FFFD and the exact value follows in
// base64 under the same name with "_base64": nothing is lost.
func (e *Event) AppendJSON(b []byte) []byte {
	b = append(b, `{"time":"`...)
	b = e.Time.UTC().AppendFormat(b, timeFormat)
	b = append(b, `","seq":`...)
	b = strconv.AppendUint(b, e.Seq, 10)
	b = appendMember(b, "event", string(e.Kind))
	b = appendMember(b, "severity", e.Severity.String())
	b = appendMember(b, "message", e.Text)
	for _, f := range e.identityFields() {
		b = appendMember(b, f.Name, f.Value)
	}
	for _, f := range e.Values {
		b = appendMember(b, f.Name, f.Value)
		if s, ok := f.Value.(string); ok && !utf8.ValidString(s) {
			b = appendMember(b, f.Name+"_base64", []byte(s))
		}
	}
	return append(b, '}')
}

func appendMember(b []byte, name string, value any) []byte {
	b = append(b, ',', '"')
	b = append(b, name...) // names are our constants: lower case and underscores
	b = append(b, '"', ':')
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(value); err != nil { // only NaN and Inf could
		return append(b, "null"...)
	}
	return appendHarmless(b, bytes.TrimSuffix(buf.Bytes(), []byte("\n")))
}

// appendHarmless appends JSON, with an escape for each character that encoding/json
// leaves and that is not printable: DEL, C1 controls (of which one begins sequences like
// ESC [ does), controls of direction, what cannot be seen. People read events with cat(1).
func appendHarmless(b, p []byte) []byte {
	for _, r := range string(p) {
		if r < 0x7f || unicode.IsPrint(r) {
			b = utf8.AppendRune(b, r)
			continue
		}
		for _, unit := range utf16.AppendRune(nil, r) {
			b = fmt.Appendf(b, `\u%04x`, unit)
		}
	}
	return b
}

func (e *Event) identityFields() []Field {
	var fs []Field
	if e.Session != "" {
		fs = append(fs, F("session", e.Session))
	}
	if e.Source.IsValid() {
		fs = append(fs, F("src_ip", e.Source.Addr().String()), F("src_port", int(e.Source.Port())))
	}
	if e.Local.IsValid() {
		fs = append(fs, F("dst_ip", e.Local.Addr().String()), F("dst_port", int(e.Local.Port())))
	}
	return fs
}

// Line is the event for people: one line, hostile values quoted and cut.
func (e *Event) Line() string {
	var b strings.Builder
	b.WriteString(e.Text)
	for _, f := range append(e.identityFields(), e.Values...) {
		b.WriteString(" " + f.Name + "=" + lineValue(f.Value))
	}
	return b.String()
}

// maxLineValue keeps one hostile value from filling a screen; the full value is
// in the event's own field.
const maxLineValue = 256

func lineValue(v any) string {
	s, ok := v.(string)
	if !ok {
		raw, _ := json.Marshal(v)
		return string(raw)
	}
	cut := ""
	if len(s) > maxLineValue {
		s, cut = s[:maxLineValue], "..."
	}
	if s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return r <= ' ' || r == '"' || r == '=' || r == '\\' || r >= 0x7f
	}) {
		return s + cut
	}
	return strconv.QuoteToASCII(s) + cut
}

// String is the syslog keyword of the severity, in lower case.
func (s Severity) String() string {
	switch s {
	case Critical:
		return "critical"
	case Error:
		return "error"
	case Warning:
		return "warning"
	case Notice:
		return "notice"
	default:
		return "info"
	}
}
