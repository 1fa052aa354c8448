package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sandtrap/sandtrap/internal/evidence"
)

const someHash = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

// filteredState is a state directory in which one session brought a file.
func filteredState(t *testing.T) (state, path string) {
	t.Helper()
	state, path = sampleState(t)
	addSession(t, state, "01KN1W7MG00000000000000003", evidence.Session{
		State: evidence.StateClosed, Start: march31, End: &march31, Source: evidence.Endpoint{IP: "203.0.113.70"},
		Channels: []evidence.Channel{{Kind: "shell", Commands: []evidence.Command{{Text: "wget x\x1b[2J"}},
			Transfers: []evidence.Transfer{{SHA256: someHash, Artifact: someHash, Name: "evil\x1b]0;x", Time: march31}}}},
	})
	dir := filepath.Join(state, "artifacts", "sha256", "01")
	ok(t, os.MkdirAll(dir, 0o750))
	ok(t, os.WriteFile(filepath.Join(dir, someHash), []byte("content"), 0o640))
	return state, path
}

// TestFilterFlags: each flag reaches the filter, with an index and without.
func TestFilterFlags(t *testing.T) {
	const third = "01KN1W7MG00000000000000003"
	_, path := filteredState(t)
	for _, step := range []string{"without", "with"} {
		for _, tt := range []struct {
			args string
			want string
		}{
			{"--source 203.0.113.9", idClosed}, {"--source ::ffff:203.0.113.9", idClosed}, {"--source 203.0.113.64/26", third}, {"--source 2001:db8::1 --source 203.0.113.70/32", idOpen + " " + third},
			{"--user root", idClosed + " " + idOpen}, {"--user=", ""}, {"--password 1", ""}, {"--key SHA256:abc", idClosed + " " + idOpen},
			{"--command wget", third}, {"--command uname --user root", idClosed}, {"--command uname --live", ""}, {"--artifact 0123456789ABCDEF", third},
			{"--target debian", idClosed}, {"--min-duration 1m --max-duration 90s", idClosed}, {"--live", idOpen}, {"--until 2026-03-31T12:30:00Z", idClosed + " " + third},
		} {
			code, out, diagnostics := sandtrap(path, append([]string{"list", "-q"}, strings.Fields(tt.args)...)...)
			if got := strings.Join(strings.Fields(out), " "); code != exitOK || !sameWords(got, tt.want) || diagnostics != "" {
				t.Errorf("%s the index: %s = %d %q, want %q\n%s", step, tt.args, code, got, tt.want, diagnostics)
			}
		}
		code, out, _ := sandtrap(path, "list", "--format=json", "--command", "wget")
		var sessions []evidence.Session
		if err := json.Unmarshal([]byte(out), &sessions); err != nil || code != exitOK || len(sessions) != 1 || strings.Contains(out, "\x1b") {
			t.Errorf("%s the index: json = %d, %v\n%s", step, code, err, out)
		}
		if step == "without" {
			if code, out, diagnostics := sandtrap(path, "index", "rebuild"); code != exitOK || out != "2 sessions\n" || diagnostics != "" {
				t.Errorf("rebuild = %d, %q, %q", code, out, diagnostics)
			}
		}
	}
	for _, args := range []string{"--source here", "--source 192.0.2.0/33", "--artifact xyz", "--min-duration=-1s", "--until soon"} {
		if code, _, _ := sandtrap(path, append([]string{"list"}, strings.Fields(args)...)...); code != exitUsage {
			t.Errorf("list %s = %d", args, code)
		}
	}
}

func sameWords(a, b string) bool {
	words := func(s string) map[string]bool {
		m := map[string]bool{}
		for _, w := range strings.Fields(s) {
			m[w] = true
		}
		return m
	}
	x, y := words(a), words(b)
	for w := range y {
		if !x[w] {
			return false
		}
	}
	return len(x) == len(y)
}

// TestBadIndex: who asks is told, and answered.
func TestBadIndex(t *testing.T) {
	state, path := filteredState(t)
	ok(t, os.Mkdir(filepath.Join(state, "index"), 0o750))
	ok(t, os.WriteFile(filepath.Join(state, "index", "sessions"), []byte("sandtrap index 0\nsomething"), 0o640))
	code, out, diagnostics := sandtrap(path, "list", "-q")
	if code != exitOK || strings.Count(out, "\n") != 3 || !strings.HasPrefix(diagnostics, "sandtrap: index cannot be used: another version of sandtrap made it: read 2 sessions") {
		t.Errorf("list = %d\n%s%s", code, out, diagnostics)
	}
}

func TestArtifacts(t *testing.T) {
	_, path := filteredState(t)
	code, out, _ := sandtrap(path, "artifacts")
	if lines := strings.Split(out, "\n"); code != exitOK || len(lines) != 3 || !strings.HasPrefix(lines[1], someHash) || !strings.HasSuffix(lines[1], `1         7 B   evil\x1b]0;x`) {
		t.Errorf("artifacts = %d\n%s", code, out)
	}
	code, out, _ = sandtrap(path, "artifacts", "--format=json", "--artifact", "01")
	var list []artifact
	if err := json.Unmarshal([]byte(out), &list); err != nil || code != exitOK || len(list) != 1 || list[0].Sessions != 1 || *list[0].Size != 7 || !list[0].First.Equal(march31) {
		t.Errorf("artifacts = %d, %v\n%s", code, err, out)
	}
	if code, out, _ := sandtrap(path, "artifacts", "--artifact", "02", "--format=json"); code != exitOK || out != "[]\n" {
		t.Errorf("none = %d %q", code, out)
	}
	for _, bad := range []string{"--format=xml", "--lines=-1", "--source=x"} {
		if code, _, _ := sandtrap(path, "artifacts", bad); code != exitUsage {
			t.Errorf("artifacts %s = %d", bad, code)
		}
	}
}

func TestStats(t *testing.T) {
	state, path := filteredState(t)
	ok(t, os.Mkdir(filepath.Join(state, "events"), 0o750))
	ok(t, os.WriteFile(filepath.Join(state, "events", "events-2026-03-31.jsonl"), []byte(
		`{"time":"2026-03-31T12:00:00Z","seq":1,"event":"connection.open","src_ip":"203.0.113.9"}`+"\n"+
			`{"time":"2026-03-31T12:00:00Z","seq":2,"event":"auth.attempt","user":"ro\u001b[2Jot","password":"","accepted":false}`+"\n"), 0o640))
	code, out, diagnostics := sandtrap(path, "stats")
	for _, want := range []string{"Connections  1\nAttempts     1\nLogins       0\nSessions     3\n", "ATTEMPTS  USER\n1         ro\\x1b[2Jot\n", "PASSWORD\n1         \"\"\n", "COMMAND\n1         echo", `wget x\x1b[2J`} {
		if !strings.Contains(out, want) {
			t.Errorf("stats lacks %q:\n%s", want, out)
		}
	}
	if code != exitOK || diagnostics != "" || strings.Contains(out, "\x1b") {
		t.Errorf("stats = %d, %q\n%s", code, diagnostics, out)
	}
	code, out, _ = sandtrap(path, "stats", "--format=json", "--since", "2026-03-31T11:00:00Z", "-n1")
	var document struct {
		Attempts int64
		Users    struct {
			Total int64
			Exact bool
			Most  []struct {
				Value evidence.Text
				Count int64
			}
		}
	}
	if err := json.Unmarshal([]byte(out), &document); err != nil || code != exitOK || document.Attempts != 1 || !document.Users.Exact || document.Users.Most[0].Value != "ro\x1b[2Jot" || document.Users.Most[0].Count != 1 {
		t.Errorf("stats = %d, %v\n%s", code, err, out)
	}
	for _, bad := range []string{"--format=xml", "--lines=-1", "--since=x"} {
		if code, _, _ := sandtrap(path, "stats", bad); code != exitUsage {
			t.Errorf("stats %s = %d", bad, code)
		}
	}
}

// TestCompletionOfIDs: the shell is offered sessions, the newest first, as far as they fit.
func TestCompletionOfIDs(t *testing.T) {
	_, path := filteredState(t)
	for args, want := range map[string]string{
		"show 01":                         "01KN1W7MG00000000000000003 01KN1W7MG00000000000000002 01KN1W7MG00000000000000001 ",
		"show 01kn1w7mg00000000000000003": "01kn1w7mg00000000000000003 ", // as it was typed
		"replay 02":                       "",
		"show " + idClosed + " 0":         "",
		"pin " + idClosed + " " + idOpen[:25] + "2": idOpen + " ",
	} {
		code, out, _ := sandtrap(path, append([]string{"__complete"}, strings.Fields(args)...)...)
		var got string
		for line := range strings.Lines(out) {
			if !strings.HasPrefix(line, ":") {
				id, _, _ := strings.Cut(line, "\t")
				got += id + " "
			}
		}
		if code != exitOK || got != want || strings.Contains(out, "\x1b") || !strings.Contains(out, ":36\n") {
			t.Errorf("%s = %d %q, want %q\n%s", args, code, got, want, out)
		}
	}
}
