package event

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

type failing struct{ err error }

func (f *failing) Write(*Event) error { return f.err }
func (f *failing) Close() error       { return f.err }

func TestCatalogIsSound(t *testing.T) {
	reserved := map[string]bool{"time": true, "seq": true, "event": true, "severity": true, "message": true,
		"session": true, "src_ip": true, "src_port": true, "dst_ip": true, "dst_port": true}
	ids, kinds := map[string]bool{}, map[Kind]bool{}
	id := regexp.MustCompile(`^[0-9a-f]{32}$`)
	name := regexp.MustCompile(`^[a-z][a-z0-9_]*$`)
	kind := regexp.MustCompile(`^[a-z]+\.[a-z]+$`)
	for _, d := range Catalog {
		if !id.MatchString(d.MessageID) || ids[d.MessageID] {
			t.Errorf("%s: MESSAGE_ID %q is malformed or taken", d.Kind, d.MessageID)
		}
		if !kind.MatchString(string(d.Kind)) || kinds[d.Kind] || d.Text == "" {
			t.Errorf("%s: malformed or listed twice", d.Kind)
		}
		ids[d.MessageID], kinds[d.Kind] = true, true
		for _, f := range d.Fields {
			// journald drops a field whose name it does not like, and an identity
			// field must never be shadowed.
			if !name.MatchString(f) || reserved[f] || strings.HasSuffix(f, "_base64") {
				t.Errorf("%s: field name %q is not allowed", d.Kind, f)
			}
		}
	}
}

func testEvent(values ...Field) *Event {
	return &Event{
		Time: time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC), Seq: 7, Definition: Define(AuthAttempt), Values: values,
		Identity: Identity{Session: "01J", Source: netip.MustParseAddrPort("[2001:db8::1]:5555"), Local: netip.MustParseAddrPort("192.0.2.1:22")},
	}
}

func TestJSONKeepsHostileBytes(t *testing.T) {
	password := "a\xff\x00\"\n\x1b[2J<>"
	line := testEvent(F("password", password), F("accepted", true)).AppendJSON(nil)
	if bytes.ContainsAny(line, "\n\x1b\x00") || !utf8.Valid(line) {
		t.Fatalf("line is not safe: %q", line)
	}
	var got map[string]any
	if err := json.Unmarshal(line, &got); err != nil {
		t.Fatal(err)
	}
	var exact struct {
		Password []byte `json:"password_base64"`
	}
	if err := json.Unmarshal(line, &exact); err != nil {
		t.Fatal(err)
	}
	if string(exact.Password) != password {
		t.Errorf("exact value = %q, want %q", exact.Password, password)
	}
	want := map[string]any{"time": "2026-01-02T03:04:05.000000006Z", "seq": 7.0, "event": "auth.attempt", "severity": "notice",
		"message": "Authentication attempt", "session": "01J", "src_ip": "2001:db8::1", "src_port": 5555.0, "dst_ip": "192.0.2.1", "dst_port": 22.0,
		"accepted": true, "password": strings.ToValidUTF8(password, "�"), "password_base64": got["password_base64"]}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// Whoever reads event files with cat(1) must not be steered by what is in them, and
// whoever decodes them gets what it was.
func TestJSONSteersNoTerminal(t *testing.T) {
	hostile := "\x1b]52;c;x\a\r\n\u009b31m\x7f\u202e\u2066\u2028\ufeff\u061c\u200b\U000e0041日\""
	e := &Event{Definition: &Definition{Kind: "x"}, Values: []Field{F("command", hostile), F("env", []string{hostile})}}
	line := e.AppendJSON(nil)
	for _, r := range string(line) {
		if r != '日' && (r < ' ' || r > '~') {
			t.Errorf("%U is in %q", r, line)
		}
	}
	var back struct {
		Command string   `json:"command"`
		Env     []string `json:"env"`
	}
	if err := json.Unmarshal(line, &back); err != nil || back.Command != hostile || back.Env[0] != hostile {
		t.Errorf("%+v, %v", back, err)
	}
}

func TestLineIsOneSafeLine(t *testing.T) {
	line := testEvent(F("user", "root"), F("password", "x y\n\x1b]0;t\a\u202e"), F("reason", strings.Repeat("a", 9999))).Line()
	if strings.ContainsAny(line, "\n\x1b\a") || strings.Contains(line, "\u202e") {
		t.Errorf("unsafe line %q", line)
	}
	if !strings.Contains(line, "user=root ") || len(line) > 800 {
		t.Errorf("line = %q", line)
	}
}

func TestJournalFields(t *testing.T) {
	got := JournalFields(testEvent(F("user", "r\nSANDTRAP_SESSION=fake"), F("accepted", false)))
	want := map[string]string{"MESSAGE_ID": Define(AuthAttempt).MessageID, "SYSLOG_IDENTIFIER": "sandtrap", "SANDTRAP_EVENT": "auth.attempt",
		"SANDTRAP_SEQ": "7", "SANDTRAP_SESSION": "01J", "SANDTRAP_SRC_IP": "2001:db8::1", "SANDTRAP_SRC_PORT": "5555", "SANDTRAP_DST_IP": "192.0.2.1",
		"SANDTRAP_DST_PORT": "22", "SANDTRAP_USER": "r\nSANDTRAP_SESSION=fake", "SANDTRAP_ACCEPTED": "false"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestEmitterNumbersAndBinds(t *testing.T) {
	var out bytes.Buffer
	e := New(Writer{W: &out, JSON: true})
	e.Emit(ServerStart)
	e.Bind(Identity{Session: "S"}).Emit(ExecStart, F("channel", 1), F("command", "id"))
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(lines) != 2 || !strings.Contains(lines[0], `"seq":1`) || !strings.Contains(lines[1], `"seq":2,"event":"exec.start"`) || !strings.Contains(lines[1], `"session":"S"`) {
		t.Errorf("lines = %q", lines)
	}
	if e.Err() != nil {
		t.Error(e.Err())
	}
}

func TestErrReportsTheLatestFailure(t *testing.T) {
	sink := &failing{err: errors.New("disk full")}
	e := New(sink)
	e.Emit(ServerStart)
	if e.Err() == nil {
		t.Fatal("lost event went unnoticed")
	}
	sink.err = nil
	e.Emit(ServerStart)
	if e.Err() != nil {
		t.Errorf("error stays after recovery: %v", e.Err())
	}
	e.Emit("no.such")
	if e.Err() == nil {
		t.Error("unknown kind went unnoticed")
	}
	e.Emit(ServerStart, F("nonsense", 1))
	if e.Err() == nil {
		t.Error("unknown field went unnoticed")
	}
}

func TestJSONLinesRotatesByDay(t *testing.T) {
	dir := t.TempDir()
	j, err := NewJSONLines(dir, FileLimits{})
	if err != nil {
		t.Fatal(err)
	}
	ev := testEvent()
	for _, day := range []int{2, 2, 3} {
		ev.Time = time.Date(2026, 1, day, 23, 0, 0, 0, time.UTC)
		if err := j.Write(ev); err != nil {
			t.Fatal(err)
		}
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	for day, want := range map[string]int{"2026-01-02": 2, "2026-01-03": 1} {
		raw, err := os.ReadFile(filepath.Join(dir, "events-"+day+".jsonl"))
		if err != nil || bytes.Count(raw, []byte("\n")) != want {
			t.Errorf("%s: %d lines, want %d (%v)", day, bytes.Count(raw, []byte("\n")), want, err)
		}
	}
}

func TestJSONLinesEndsATornLine(t *testing.T) {
	dir := t.TempDir()
	j, err := NewJSONLines(dir, FileLimits{})
	if err != nil {
		t.Fatal(err)
	}
	j.torn = true
	if err := j.Write(testEvent()); err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(filepath.Join(dir, "events-2026-01-02.jsonl"))
	if err != nil || !bytes.HasPrefix(raw, []byte("\n{")) || j.torn {
		t.Errorf("after a torn line: %q, %v", raw, err)
	}
	if _, err := NewJSONLines(filepath.Join(dir, "missing"), FileLimits{}); err == nil {
		t.Error("a missing directory went unnoticed")
	}
	j.file.Close()
	if err := j.Write(&Event{Time: time.Now(), Definition: Define(ServerStart)}); err == nil {
		t.Error("a failed write went unnoticed")
	}
}

func TestWriterText(t *testing.T) {
	var out bytes.Buffer
	if err := (Writer{W: &out}).Write(testEvent(F("user", "root"))); err != nil {
		t.Fatal(err)
	}
	if want := "2026-01-02T03:04:05Z auth.attempt: Authentication attempt session=01J"; !strings.HasPrefix(out.String(), want) {
		t.Errorf("text = %q, want prefix %q", out.String(), want)
	}
}
