package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sandtrap/sandtrap/internal/evidence"
	"github.com/sandtrap/sandtrap/internal/index"
	"github.com/sandtrap/sandtrap/internal/record"
)

func TestShowText(t *testing.T) {
	state, _ := sampleState(t)
	store, err := evidence.OpenReadOnly(state)
	ok(t, err)
	defer store.Close()
	show := func(id string) string {
		var out, diagnostics bytes.Buffer
		ok(t, runShow(t.Context(), store, showOptions{format: formatText, id: id, now: march31.Add(2 * time.Hour)}, &out, &diagnostics))
		if diagnostics.Len() > 0 {
			t.Errorf("diagnostics: %s", diagnostics.String())
		}
		return strings.ReplaceAll(out.String(), state, "STATE")
	}
	want := `
Session     01KN1W7MG00000000000000001
State       closed (client closed)
Start       2026-03-31 12:00:00 UTC
End         2026-03-31 12:01:02 UTC
Duration    1m02s
Source      203.0.113.9 port 40122
Origin      NL, AS64500, "Example\x1b B.V.", listed in scanners all
Local       192.0.2.1 port 22
Client      "SSH-2.0-Go\x1b[2J"
Login       "ro\not" password "123\xff456"
Attempts    5
  12:00:00 "root" publickey SHA256:abc
  "ro\not" password "123\xff456" accepted
  and 3 more
Target      debian, account root
Container   c0ffee x
Image       localhost/debian
            sha256:ab
Directory   STATE/sessions/2026/03/31/01KN1W7MG00000000000000001
Channels    2
  0 exec "echo \x1b]0;evil\a; uname -a", exit status 3
    input 12 B, output 17 B, errors 4 B
`[1:]
	got := show(idClosed)
	if diff := cmp.Diff(want, got[:min(len(got), len(want))]); diff != "" {
		t.Errorf("show (-want +got):\n%s", diff)
	}
	for _, part := range []string{"    channel-0.raw ", "  1 shell, terminal \"xterm\" 80x24\n    input 0 B, output 5.9 KiB, errors 0 B\n"} {
		if !strings.Contains(got, part) {
			t.Errorf("show lacks %q:\n%s", part, got)
		}
	}
	if live := show("-1"); !strings.Contains(live, "State       open\n") || !strings.Contains(live, "  0 shell\n    input 0 B, output 4 B") {
		t.Errorf("live session:\n%s", live)
	}
}

func TestShowForwards(t *testing.T) {
	one := evidence.Forward{
		ID: 3, Kind: "direct-tcpip", Destination: "a\x1b[2J", DestinationPort: 80, Originator: "1.2.3.4", OriginatorPort: 5, EndReason: "client closed",
		Recording: record.Summary{Raw: "forward-3.raw", RawBytes: 100, InputBytes: 18},
	}
	s := evidence.Session{Forwards: []evidence.Forward{one}}
	want := `Forwards    1
  3 direct-tcpip "a\x1b[2J" port 80, from "1.2.3.4" port 5, ended by client closed
    input 18 B, forward-3.raw 100 B
`
	if text := describe(s, "", march31); !strings.HasSuffix(text, want) {
		t.Errorf("show:\n%s", text)
	}
	if words := listed(s); words != "(1) a\x1b[2J port 80" { // the table escapes it
		t.Errorf("list: %q", words)
	}
	for range shownForwards + 1 {
		s.Forwards = append(s.Forwards, one)
	}
	if text := describe(s, "", march31); !strings.Contains(text, "Forwards    52\n") || !strings.HasSuffix(text, "  and 2 more\n") {
		t.Errorf("show:\n%s", text)
	}
	s.Channels = []evidence.Channel{{Kind: "shell"}}
	if words := listed(s); words != "shell" {
		t.Errorf("list: %q", words)
	}
}

func TestShowManyAttempts(t *testing.T) {
	s := evidence.Session{Attempts: make([]evidence.Attempt, shownAttempts+2), AttemptsOmitted: 5}
	text := describe(s, "", march31)
	if !strings.Contains(text, "Attempts    27\n") || !strings.Contains(text, "  and 7 more\n") {
		t.Errorf("show:\n%s", text)
	}
}

func TestShowCommand(t *testing.T) {
	_, path := sampleState(t)
	code, out, _ := sandtrap(path, "show", "--format", "json", strings.ToLower(idClosed))
	var got struct {
		evidence.Session
		Directory string
	}
	if err := json.Unmarshal([]byte(out), &got); err != nil || code != exitOK || got.ID != idClosed || !strings.HasSuffix(got.Directory, idClosed) {
		t.Errorf("show = %d, %v\n%s", code, err, out)
	}
	if strings.ContainsAny(out, "\x1b\x07") {
		t.Errorf("show printed a control character:\n%q", out)
	}
	for _, tt := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"-1"}, exitOK, idOpen},
		{[]string{"-2"}, exitOK, idClosed},
		{[]string{"-12"}, exitNotFound, "sandtrap: find session -12: no such session\n"},
		{[]string{"ZZZZ"}, exitNotFound, "no such session"},
		{[]string{"01KN"}, exitError, "more than one session: " + idOpen + ", " + idClosed},
		{[]string{"01K"}, exitError, "at least 4 characters"},
		{nil, exitUsage, "want one session id"},
		{[]string{"a", "b"}, exitUsage, "got 2"},
		{[]string{"-1", "b"}, exitUsage, "got 2"},
		{[]string{"-1", "--format", "table"}, exitUsage, "want text or json"},
		{[]string{"-1234567890"}, exitUsage, "not a number of sessions"},
		{[]string{"--back-1=x"}, exitUsage, "not a number of sessions"},
	} {
		code, out, diagnostics := sandtrap(path, append([]string{"show"}, tt.args...)...)
		if code != tt.code || !strings.Contains(out+diagnostics, tt.want) {
			t.Errorf("show %q = %d\n%s%s", tt.args, code, out, diagnostics)
		}
	}
}

func TestByteWords(t *testing.T) {
	for n, want := range map[int64]string{0: "0 B", 1023: "1023 B", 1536: "1.5 KiB", 5 << 20: "5.0 MiB", 1 << 60: "1048576.0 TiB"} {
		if got := byteWords(n); got != want {
			t.Errorf("byteWords(%d) = %s, want %s", n, got, want)
		}
	}
}

// listed is what a list says of a session's channels.
func listed(s evidence.Session) string {
	e := index.Summarise("", s, nil)
	return channelWords(&e)
}
