package event

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestCowrie(t *testing.T) {
	const common = `"src_ip":"2001:db8::1","src_port":5555,"dst_ip":"192.0.2.1","dst_port":22,"session":"01J","protocol":"ssh","sensor":"pot","message":"…","timestamp":"2026-01-02T03:04:05.000000Z"`
	for _, tt := range []struct {
		kind   Kind
		values []Field
		want   string // empty for no counterpart
	}{
		{ConnectionOpen, nil, `{"eventid":"cowrie.session.connect",` + common + `}`},
		{ClientVersion, []Field{F("client_version", "SSH-2.0-Go")}, `{"eventid":"cowrie.client.version","version":"SSH-2.0-Go",` + common + `}`},
		{
			ClientKexInit, []Field{F("hassh", "0a"), F("kex_algorithms", "a,b"), F("ciphers", "c"), F("macs", "d"), F("compression", "none")},
			`{"eventid":"cowrie.client.kex","hassh":"0a","hasshAlgorithms":"a,b;c;d;none","kexAlgs":["a","b"],"keyAlgs":[],"encCS":["c"],"macCS":["d"],"compCS":["none"],"langCS":[],` + common + `}`,
		},
		{
			AuthAttempt, []Field{F("user", "root"), F("method", "password"), F("password", "\u009b<&>"), F("accepted", true)},
			`{"eventid":"cowrie.login.success","username":"root","password":"\u009b<&>",` + common + `}`,
		},
		{
			AuthAttempt, []Field{F("user", "root"), F("method", "password"), F("password", "x"), F("accepted", false)},
			`{"eventid":"cowrie.login.failed","username":"root","password":"x",` + common + `}`,
		},
		{
			AuthAttempt, []Field{F("user", "root"), F("method", "publickey"), F("key_type", "ssh-rsa"), F("fingerprint", "SHA256:x"), F("key_state", "offered"), F("accepted", true)},
			`{"eventid":"cowrie.client.fingerprint","username":"root","fingerprint":"SHA256:x","key":"","type":"ssh-rsa",` + common + `}`,
		},
		{
			AuthAttempt, []Field{F("user", "root"), F("method", "publickey"), F("key_state", "verified"), F("accepted", true)},
			`{"eventid":"cowrie.login.success","password":"","username":"root","fingerprint":"","key":"","type":"",` + common + `}`,
		},
		{AuthAttempt, []Field{F("user", "root"), F("method", "none"), F("accepted", false)}, ""},
		{ChannelRequest, []Field{F("request", "pty-req"), F("columns", uint32(80)), F("rows", uint32(24))}, `{"eventid":"cowrie.client.size","width":80,"height":24,` + common + `}`},
		{ChannelRequest, []Field{F("request", "x")}, ""},
		{ExecStart, []Field{F("command", "id")}, `{"eventid":"cowrie.command.input","input":"id",` + common + `}`},
		{
			TransferFile, []Field{F("direction", "upload"), F("path", "/tmp/x"), F("sha256", "ab"), F("artifact", "ab")},
			`{"eventid":"cowrie.session.file_upload","filename":"/tmp/x","outfile":"ab","shasum":"ab",` + common + `}`,
		},
		{TransferFile, []Field{F("direction", "download"), F("path", "/etc/passwd")}, ""},
		{
			ForwardRequest, []Field{F("forward_type", "direct-tcpip"), F("destination", "mail.example"), F("destination_port", uint32(25)), F("originator", "203.0.113.9")},
			`{"eventid":"cowrie.direct-tcpip.request","dst_ip":"mail.example","dst_port":25,"src_ip":"2001:db8::1","src_port":5555,"session":"01J","protocol":"ssh","sensor":"pot","message":"…","timestamp":"2026-01-02T03:04:05.000000Z"}`,
		},
		{ConnectionEnd, []Field{F("duration_ms", int64(1500))}, `{"eventid":"cowrie.session.closed","duration":1.5,` + common + `}`},
		{PoolWarm, nil, ""},
	} {
		ev := testEvent(tt.values...)
		ev.Definition = Define(tt.kind)
		r, err := ParseRecord(ev.AppendJSON(nil))
		if err != nil {
			t.Fatal(err)
		}
		got := string(r.AppendCowrie(nil, "pot"))
		if i := strings.Index(got, `"message":"`); i > 0 { // in our words
			j := strings.Index(got[i+11:], `"`)
			got = got[:i+11] + "…" + got[i+11+j:]
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s %v:\n%s", tt.kind, tt.values, diff)
		}
		if got != "" && !json.Valid([]byte(got)) {
			t.Errorf("%s: no JSON", tt.kind)
		}
	}
}

// The table speaks of kinds and fields that there are.
func TestCowrieTableIsSound(t *testing.T) {
	for _, m := range Cowrie {
		d := Define(m.Kind)
		if d == nil {
			t.Errorf("%s is not in the Catalog", m.Kind)
			continue
		}
		names := []string{}
		for _, f := range m.Fields {
			names = append(names, f.Ours)
		}
		for _, condition := range strings.Fields(m.Only) {
			name, _, _ := strings.Cut(condition, "=")
			names = append(names, name)
		}
		for _, name := range names {
			if !d.has(name) {
				t.Errorf("%s has no field %s", m.Kind, name)
			}
		}
	}
}

func TestCounter(t *testing.T) {
	var c Counter
	broken := &failing{}
	e := New(&c, broken)
	e.Emit(AuthAttempt, F("accepted", true))
	e.Emit(AuthAttempt, F("accepted", false))
	e.Emit(SessionLease, F("wait_ms", int64(3)))
	e.Emit(SessionLease, F("wait_ms", int64(60000)))
	e.Emit(PoolWarm, F("duration_ms", int64(700)))
	e.Emit(EventsOmit, F("omitted", 41))
	broken.err = errors.New("disk full")
	e.Emit(ConnectionOpen)
	n := c.Counts()
	if n.Kinds[AuthAttempt] != 2 || n.Accepted != 1 || n.Omitted != 41 || n.Kinds[ConnectionOpen] != 1 || e.Lost() != 1 {
		t.Errorf("counts %+v, %d lost", n, e.Lost())
	}
	if n.Waits.Count != 2 || n.Waits.Buckets[1] != 1 || n.Waits.Sum.Milliseconds() != 60003 || n.Makes.Buckets[6] != 1 {
		t.Errorf("waits %+v, makes %+v", n.Waits, n.Makes)
	}
	n.Kinds[AuthAttempt] = 9
	if c.Counts().Kinds[AuthAttempt] != 2 {
		t.Error("the counts can be changed from outside")
	}
}
