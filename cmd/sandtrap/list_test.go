package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sandtrap/sandtrap/internal/evidence"
	"github.com/sandtrap/sandtrap/internal/record"
)

// march31 is when the sessions of these tests start.
var march31 = time.Date(2026, 3, 31, 12, 0, 0, 0, time.UTC)

// sample ids of sessions, oldest first.
const (
	idClosed = "01KN1W7MG00000000000000001"
	idOpen   = "01KN1W7MG00000000000000002"
)

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// addSession makes a session with the recordings that make writes.
func addSession(t testing.TB, state, id string, s evidence.Session, channels ...func(*record.Recorder)) {
	t.Helper()
	store, err := evidence.Open(state)
	ok(t, err)
	defer store.Close()
	d, err := store.Create(id, s.Start)
	ok(t, err)
	defer d.Close()
	for i, write := range channels {
		r, err := record.Create(record.Options{Dir: d.Root(), Name: fmt.Sprintf("channel-%d", i), Start: s.Start})
		ok(t, err)
		write(r)
		if i < len(s.Channels) {
			s.Channels[i].Recording, err = r.Close()
			ok(t, err)
		}
	}
	ok(t, d.Save(s))
}

// sampleState is a state directory with a closed and an open session, and a
// configuration file that names it.
func sampleState(t testing.TB) (state, configPath string) {
	t.Helper()
	state = t.TempDir()
	end := march31.Add(62 * time.Second)
	addSession(t, state, idClosed, evidence.Session{
		State: evidence.StateClosed, Start: march31, End: &end, EndReason: "client closed",
		Source: evidence.Endpoint{IP: "203.0.113.9", Port: 40122}, Origin: &evidence.Origin{Country: "NL", ASN: 64500, Organisation: "Example\x1b B.V.", Lists: []string{"scanners", "all"}},
		Local:         evidence.Endpoint{IP: "192.0.2.1", Port: 22},
		ClientVersion: "SSH-2.0-Go\x1b[2J",
		Login:         evidence.Login{User: "ro\not", Method: "password", Password: "123\xff456"},
		Attempts: []evidence.Attempt{
			{Time: march31, User: "root", Method: "publickey", Fingerprint: "SHA256:abc"},
			{User: "ro\not", Method: "password", Password: "123\xff456", Accepted: true},
		},
		AttemptsOmitted: 3,
		Target:          evidence.Target{Name: "debian", Container: "c0ffee", ContainerName: "x", Image: "localhost/debian", ImageDigest: "sha256:ab", Account: "root"},
		Channels: []evidence.Channel{
			{ID: 0, Kind: "exec", Command: "echo \x1b]0;evil\a; uname -a"},
			{ID: 1, Kind: "shell", Terminal: "xterm", Size: record.Size{Columns: 80, Rows: 24}},
		},
	}, func(r *record.Recorder) {
		ok(t, r.Input([]byte("ls\x03\rexit\n\x1b[A")))
		ok(t, r.Output([]byte("one\x1b]0;evil\a\x1b[1m ")))
		ok(t, r.Stderr([]byte("two\n")))
		ok(t, r.Exit(3))
	}, func(r *record.Recorder) { ok(t, r.Output(bytes.Repeat([]byte("shell "), 1000))) })
	addSession(t, state, idOpen, evidence.Session{
		State: evidence.StateOpen, Start: march31.Add(time.Hour), Source: evidence.Endpoint{IP: "2001:db8::1"},
		Login: evidence.Login{User: "root", Method: "publickey", Fingerprint: "SHA256:abc"},
	}, func(r *record.Recorder) { ok(t, r.Output([]byte("live"))) })
	configPath = filepath.Join(t.TempDir(), "sandtrap.yaml")
	ok(t, os.WriteFile(configPath, []byte("state_dir: "+state+"\n"), 0o600))
	return state, configPath
}

// sandtrap runs a command line as main does.
func sandtrap(configPath string, args ...string) (code int, out, diagnostics string) {
	var stdout, stderr bytes.Buffer
	code = run(append([]string{"--config", configPath}, args...), &stdout, &stderr)
	return code, stdout.String(), stderr.String()
}

func TestListTable(t *testing.T) {
	state, _ := sampleState(t)
	store, err := evidence.OpenReadOnly(state)
	ok(t, err)
	defer store.Close()
	var out, diagnostics bytes.Buffer
	o := listOptions{tableFlags: tableFlags{format: formatTable}, now: march31.Add(26 * time.Hour)}
	ok(t, runList(t.Context(), store, o, &out, &diagnostics))
	want := `
ID                          START                DURATION  SOURCE       USER    CHANNELS                                     STATE
01KN1W7MG00000000000000001  2026-03-31 12:00:00  1m02s     203.0.113.9  ro\not  (1 more) exec: echo \x1b]0;evil\a; uname -a  closed
01KN1W7MG00000000000000002  2026-03-31 13:00:00  1d01h     2001:db8::1  root    -                                            open
`[1:]
	if diff := cmp.Diff(want, out.String()); diff != "" || diagnostics.Len() > 0 {
		t.Errorf("%s\ntable (-want +got):\n%s", diagnostics.String(), diff)
	}
}

func TestListFlags(t *testing.T) {
	state, path := sampleState(t)
	ok(t, os.Mkdir(filepath.Join(state, "sessions", "odd\x1b"), 0o700))
	for _, tt := range []struct {
		args []string
		want string
	}{
		{[]string{"ls", "-q"}, idClosed + "\n" + idOpen + "\n"},
		{[]string{"list", "-qr"}, idOpen + "\n" + idClosed + "\n"},
		{[]string{"list", "-q", "-n1"}, idOpen + "\n"},
		{[]string{"list", "-q", "--since", "2026-03-31T12:30:00Z"}, idOpen + "\n"},
		{[]string{"list", "-q", "--since", "2026-04-02"}, ""},
	} {
		code, out, diagnostics := sandtrap(path, tt.args...)
		if code != exitOK || out != tt.want || !strings.HasPrefix(diagnostics, `sandtrap: skip "sessions/odd\x1b"`) {
			t.Errorf("%q = %d\n%s%s", tt.args, code, out, diagnostics)
		}
	}
	code, out, _ := sandtrap(path, "list", "--format", "json")
	var sessions []evidence.Session
	if err := json.Unmarshal([]byte(out), &sessions); err != nil || code != exitOK || len(sessions) != 2 || sessions[0].Login.Password != "123\xff456" {
		t.Errorf("json = %d, %v\n%s", code, err, out)
	}
	for _, args := range [][]string{{"--format", "xml"}, {"--since", "soon"}, {"-n-1"}, {"extra"}} {
		if code, _, _ := sandtrap(path, append([]string{"list"}, args...)...); code != exitUsage {
			t.Errorf("list %q = %d", args, code)
		}
	}
}

func TestListWithoutSessions(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sandtrap.yaml")
	ok(t, os.WriteFile(path, []byte("state_dir: "+filepath.Join(t.TempDir(), "none")+"\n"), 0o600))
	if code, out, _ := sandtrap(path, "list", "--format=json"); code != exitOK || out != "[]\n" {
		t.Errorf("list = %d, %q", code, out)
	}
	ok(t, os.WriteFile(path, []byte("state_dirs: x\n"), 0o600))
	if code, _, diagnostics := sandtrap(path, "list"); code != exitError || !strings.Contains(diagnostics, "unknown key") {
		t.Errorf("list with a wrong configuration = %d, %q", code, diagnostics)
	}
}

func TestParseSince(t *testing.T) {
	now := time.Date(2026, 3, 31, 15, 30, 0, 0, time.FixedZone("east", 2*3600))
	at := func(day, hour, minute int) time.Time {
		return time.Date(2026, 3, day, hour, minute, 0, 0, now.Location())
	}
	for s, want := range map[string]time.Time{
		"": {}, "today": at(31, 0, 0), "yesterday": at(30, 0, 0), "7d": at(24, 15, 30), "90m": at(31, 14, 0),
		"2026-03-01": at(1, 0, 0), "2026-03-01 10:20": at(1, 10, 20), "2026-03-01 10:20:00": at(1, 10, 20), "2026-03-01T10:20:00Z": at(1, 12, 20),
	} {
		if got, err := parseSince(s, now); err != nil || !got.Equal(want) {
			t.Errorf("parseSince(%q) = %v, %v, want %v", s, got, err, want)
		}
	}
	for _, s := range []string{"soon", "-1h", "-1d", "99999999d", "1"} {
		if got, err := parseSince(s, now); err == nil {
			t.Errorf("parseSince(%q) = %v", s, got)
		}
	}
}

func TestLasted(t *testing.T) {
	for d, want := range map[time.Duration]string{
		-time.Second: "0.0s", 1260 * time.Millisecond: "1.2s", 61 * time.Second: "1m01s", 90 * time.Minute: "1h30m", 50 * time.Hour: "2d02h",
	} {
		if got := lasted(march31, nil, march31.Add(d)); got != want {
			t.Errorf("lasted %v = %s, want %s", d, got, want)
		}
	}
}
