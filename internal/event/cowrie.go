package event

import (
	"encoding/json"
	"strconv"
	"strings"
	"time"
)

// CowrieMapping says which of Cowrie's events stands for one of ours. The names are
// those of Cowrie's output event code reference.
type CowrieMapping struct {
	Kind    Kind
	Only    string // "field=value" that must hold, several separated by spaces; empty for all
	ID      string // eventid
	Message string
	Fields  []CowrieField
}

// CowrieField renames one field.
type CowrieField struct {
	Ours, Theirs string
	As           cowrieForm
}

// cowrieForm is what becomes of a value.
type cowrieForm int

const (
	asIs      cowrieForm = iota
	asList               // names separated by commas become an array
	asSeconds            // milliseconds become seconds
)

// Cowrie lists the mappings. Of those that fit an event the first counts. An event
// without one has no counterpart and is left out.
var Cowrie = []CowrieMapping{
	{ConnectionOpen, "", "cowrie.session.connect", "New connection", nil},
	{ClientVersion, "", "cowrie.client.version", "Remote SSH version", []CowrieField{{"client_version", "version", asIs}}},
	{ClientKexInit, "", "cowrie.client.kex", "SSH client hassh fingerprint", []CowrieField{
		{"hassh", "hassh", asIs}, {"kex_algorithms", "kexAlgs", asList}, {"host_key_algorithms", "keyAlgs", asList}, {"ciphers", "encCS", asList},
		{"macs", "macCS", asList}, {"compression", "compCS", asList}, {"languages", "langCS", asList},
	}},
	{AuthAttempt, "method=publickey accepted=true key_state=verified", "cowrie.login.success", "public key login succeeded", cowrieKey},
	{AuthAttempt, "method=publickey", "cowrie.client.fingerprint", "public key login attempt", cowrieKey},
	{AuthAttempt, "method=none accepted=false", "", "", nil},
	{AuthAttempt, "accepted=true", "cowrie.login.success", "login attempt succeeded", cowriePassword},
	{AuthAttempt, "", "cowrie.login.failed", "login attempt failed", cowriePassword},
	{ChannelRequest, "request=pty-req", "cowrie.client.size", "Terminal size", cowrieSize},
	{ChannelRequest, "request=window-change", "cowrie.client.size", "Terminal size", cowrieSize},
	{ChannelRequest, "request=env", "cowrie.client.var", "Environment variable", []CowrieField{{"name", "name", asIs}, {"value", "value", asIs}}},
	{ExecStart, "", "cowrie.command.input", "CMD", []CowrieField{{"command", "input", asIs}}},
	{CommandInput, "", "cowrie.command.input", "CMD", []CowrieField{{"command", "input", asIs}}},
	{TransferFile, "direction=upload", "cowrie.session.file_upload", "File uploaded", []CowrieField{
		{"path", "filename", asIs}, {"artifact", "outfile", asIs}, {"sha256", "shasum", asIs},
	}},
	{ForwardRequest, "forward_type=direct-tcpip", "cowrie.direct-tcpip.request", "direct-tcp connection request", cowrieDestination},
	{ForwardClose, "forward_type=direct-tcpip", "cowrie.direct-tcpip.data", "direct-tcp forward closed, see its recording", cowrieDestination},
	{ChannelClose, "", "cowrie.log.closed", "Closing TTY log", []CowrieField{
		{"recording", "ttylog", asIs}, {"output_bytes", "size", asIs}, {"duration_ms", "duration", asSeconds},
	}},
	{ConnectionEnd, "", "cowrie.session.closed", "Connection lost", []CowrieField{{"duration_ms", "duration", asSeconds}}},
}

var (
	cowrieKey         = []CowrieField{{"user", "username", asIs}, {"fingerprint", "fingerprint", asIs}, {"public_key", "key", asIs}, {"key_type", "type", asIs}}
	cowriePassword    = []CowrieField{{"user", "username", asIs}, {"password", "password", asIs}}
	cowrieSize        = []CowrieField{{"columns", "width", asIs}, {"rows", "height", asIs}}
	cowrieDestination = []CowrieField{{"destination", "dst_ip", asIs}, {"destination_port", "dst_port", asIs}}
)

// fits reports whether a mapping is for a record.
func (m *CowrieMapping) fits(r *Record) bool {
	if m.Kind != r.Kind {
		return false
	}
	for _, condition := range strings.Fields(m.Only) {
		name, value, _ := strings.Cut(condition, "=")
		if r.Field(name) != value {
			return false
		}
	}
	return true
}

// AppendCowrie appends the record as one JSON object with Cowrie's names, without a
// newline. It appends nothing where Cowrie knows nothing like it. sensor names this
// honeypot. src_ip is always where the client connects from.
func (r *Record) AppendCowrie(b []byte, sensor string) []byte {
	for i := range Cowrie {
		m := &Cowrie[i]
		if !m.fits(r) {
			continue
		}
		if m.ID == "" {
			return b
		}
		b = append(b, `{"eventid":`...)
		b = strconv.AppendQuote(b, m.ID) // ours, of plain letters
		for _, f := range m.Fields {
			b = m.appendField(b, r, f)
		}
		for _, name := range []string{"src_ip", "src_port", "dst_ip", "dst_port"} {
			if !m.gives(name) {
				b = r.appendRenamed(b, name, name, asIs)
			}
		}
		b = appendMember(b, "session", r.Session)
		b = appendMember(b, "protocol", "ssh")
		b = appendMember(b, "sensor", sensor)
		b = appendMember(b, "message", m.Message)
		b = appendMember(b, "timestamp", r.Time.UTC().Format("2006-01-02T15:04:05.000000Z"))
		return append(b, '}')
	}
	return b
}

// gives reports whether a mapping has a field of that name.
func (m *CowrieMapping) gives(name string) bool {
	for _, f := range m.Fields {
		if f.Theirs == name {
			return true
		}
	}
	return false
}

func (m *CowrieMapping) appendField(b []byte, r *Record, f CowrieField) []byte {
	b = r.appendRenamed(b, f.Ours, f.Theirs, f.As)
	if m.Kind == ClientKexInit && f.Ours == "hassh" {
		text := strings.Join([]string{r.Field("kex_algorithms"), r.Field("ciphers"), r.Field("macs"), r.Field("compression")}, ";")
		b = appendMember(b, "hasshAlgorithms", text)
	}
	return b
}

// appendRenamed appends a field under another name, if the record has it.
func (r *Record) appendRenamed(b []byte, ours, theirs string, as cowrieForm) []byte {
	for _, f := range r.Fields {
		if f.Name != ours {
			continue
		}
		switch text, isText := f.Value.(string); {
		case as == asList && isText:
			return appendMember(b, theirs, strings.Split(text, ","))
		case as == asSeconds:
			if n, ok := f.Value.(json.Number); ok {
				ms, _ := n.Int64()
				return appendMember(b, theirs, (time.Duration(ms) * time.Millisecond).Seconds())
			}
		}
		return appendMember(b, theirs, f.Value)
	}
	return b
}
