package main

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"unicode"

	"github.com/sandtrap/sandtrap/internal/evidence"
	"github.com/sandtrap/sandtrap/internal/record"
)

// hostile is what must never reach a terminal as it is: queries, clipboard, titles, lines
// that look like ours, directions, eight-bit controls and what is not UTF-8.
const hostile = "a\x1b]52;c;ZQ==\a\x1b[6n\x1b[?1049h\x00\r\nID  START\u009b21t\u009d0;t\u009c\x9b6n\x7f\u202eb\u2066\ufeff\U000e0041\xff"

// harmless fails for output that a terminal would act on.
func harmless(t *testing.T, what, text string) {
	t.Helper()
	for _, line := range strings.Split(text, "\n") {
		if strings.HasPrefix(line, "ID  START") {
			t.Errorf("%s: a line of the attacker's: %q", what, line)
		}
		for _, r := range line {
			if r != utf8Replacement && !unicode.IsPrint(r) {
				t.Errorf("%s: %U in %q", what, r, line)
				return
			}
		}
	}
}

const utf8Replacement = '\ufffd'

// Every text of a session, those that are ours while all is well too: whoever takes over
// the SSH server writes what they like, and root reads it.
func hostileSession() evidence.Session {
	text, word := evidence.Text(hostile+strings.Repeat("../", 2000)), hostile
	status := 3
	return evidence.Session{
		State: evidence.State("closed" + word), Start: march31, EndReason: word, ClientVersion: text, HASSH: word,
		Source: evidence.Endpoint{IP: word}, Origin: &evidence.Origin{Country: word, Organisation: text, Lists: []string{word}}, Local: evidence.Endpoint{IP: word},
		Login:    evidence.Login{User: text, Method: word, Password: text, PublicKey: word},
		Attempts: []evidence.Attempt{{User: text, Method: word, Password: text, Fingerprint: word, Reason: word}},
		Target:   evidence.Target{Name: word, Container: word, ContainerName: word, Image: word, ImageDigest: word, Account: word, PreviousSession: word},
		Channels: []evidence.Channel{{
			Kind: word, Command: text, Terminal: text, Env: []evidence.Text{text},
			Recording: record.Summary{Raw: word, Cast: word, ExitStatus: &status, ExitSignal: word},
			Transfers: []evidence.Transfer{
				{Direction: word, Name: text, Mode: word, Reason: word, Artifact: "../../../etc/" + word},
				{Direction: word, Name: text, SHA256: word},
			},
		}},
		Forwards: []evidence.Forward{{Kind: word, Destination: text, Originator: text, EndReason: word, Recording: record.Summary{Raw: word}}},
	}
}

func TestNothingHostileIsPrinted(t *testing.T) {
	state, config := sampleState(t)
	const id = "01KN1W7MG0000000000000000Z"
	addSession(t, state, id, hostileSession())
	day := filepath.Join(state, "sessions/2026/03/31")
	for _, name := range []string{"x\x1b]0;t\a\u009b6n\u202e", "y\nID  START"} {
		if err := os.Mkdir(filepath.Join(day, name), 0o750); err != nil {
			t.Fatal(err)
		}
	}
	broken := filepath.Join(day, "01KN1W7MG0000000000000000Y")
	ok(t, os.Mkdir(broken, 0o750))
	ok(t, os.WriteFile(filepath.Join(broken, "session.json"), []byte(`{"version":1,"id":"`+"\u009b6n\u202e"+`","state":"\u001b[6n"}`), 0o640))
	for _, args := range [][]string{
		{"list"}, {"list", "--format", "json"}, {"list", "--quiet"}, {"show", id}, {"show", "--format", "json", id},
		{"show", hostile}, {"replay", id}, {"replay", hostile}, {"replay", "--channel", "7", id}, {"list", "--since", hostile}, {"list", "--" + hostile}, {hostile},
		{"show", "01KN1W7MG0000000000000000Y"},
	} {
		_, out, diagnostics := sandtrap(config, args...)
		harmless(t, strings.Join(args, " ")+", output", out)
		harmless(t, strings.Join(args, " ")+", errors", diagnostics)
	}
	raw, err := os.ReadFile(filepath.Join(day, id, "session.json"))
	ok(t, err)
	harmless(t, "session.json", string(raw))
}

// A session that points elsewhere is not followed.
func TestRecordingsElsewhere(t *testing.T) {
	state, config := sampleState(t)
	const id = "01KN1W7MG0000000000000000Z"
	secret := filepath.Join(t.TempDir(), "secret")
	ok(t, os.WriteFile(secret, []byte("secret"), 0o600))
	for _, raw := range []string{secret, "../../../../../../../../../" + secret, "link", "fifo", ".", "../" + id + "/session.json"} {
		ok(t, os.RemoveAll(filepath.Join(state, "sessions/2026/03/31", id)))
		addSession(t, state, id, evidence.Session{State: evidence.StateClosed, Start: march31, Channels: []evidence.Channel{{Kind: "shell", Recording: record.Summary{Raw: raw}}}})
		dir := filepath.Join(state, "sessions/2026/03/31", id)
		ok(t, os.Symlink(secret, filepath.Join(dir, "link")))
		ok(t, syscall.Mkfifo(filepath.Join(dir, "fifo"), 0o600))
		if code, out, errs := sandtrap(config, "replay", id); code == 0 || strings.Contains(out, "secret") || out != "" || errs == "" {
			t.Errorf("%s: status %d, %q, %q", raw, code, out, errs)
		}
	}
}
