package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/sandtrap/sandtrap/internal/hint"
	"github.com/sandtrap/sandtrap/internal/seal"
	"github.com/sandtrap/sandtrap/internal/testpodman"
)

// served is a state directory in which a service has sealed one session.
func served(t *testing.T) (h *honeypot, id string) {
	t.Helper()
	h = launch(t, "", func(s *testpodman.Service) { s.Run = shout })
	h.wait("server.start", 1)
	if _, _, err := h.exec("tr a-z A-Z", "hello"); err == nil {
		t.Error("exit status 0")
	}
	id = h.wait("session.seal", 1)[0]["session"].(string)
	h.signals <- syscall.SIGTERM
	if err := h.end(); err != nil {
		t.Fatal(err)
	}
	return h, id
}

func TestVerifyVerb(t *testing.T) {
	if _, err := os.Stat(allowedSigners); err == nil {
		t.Skip("SandTrap is installed here")
	}
	h, id := served(t)
	for _, args := range [][]string{{"--all"}, {"--all", "--strict"}, {id}, {"-1"}, {strings.ToLower(id)}} {
		code, out, diagnostics := sandtrap(h.config, append([]string{"verify"}, args...)...)
		if code != exitOK || out != "1 sessions: 1 sealed, 0 open; 1 entries in the chain; 0 failures, 0 notices\n" || diagnostics != "" {
			t.Errorf("verify %v: status %d: %s%s", args, code, out, diagnostics)
		}
	}
	sealed := h.wait("session.seal", 1)[0]
	head := "1:" + sealed["chain_sha256"].(string)
	if code, out, diagnostics := sandtrap(h.config, "verify", "--all", "--head", head); code != exitOK {
		t.Errorf("status %d: %s%s", code, out, diagnostics)
	}
	if code, out, _ := sandtrap(h.config, "verify", "--all", "--head", "2"+head[1:]); code != exitUnverified || !strings.HasPrefix(out, "failure: chain: it ends with line 1") {
		t.Errorf("status %d: %s", code, out)
	}
	if code, out, _ := sandtrap(h.config, "replay", id); code != exitOK || !strings.Contains(out, "HELLO") {
		t.Errorf("replay: status %d: %s", code, out)
	}
	for want, args := range map[int][][]string{
		exitUsage:    {{}, {"--all", id}, {"--all", "--format", "x"}, {"--all", "--head", "x"}},
		exitNotFound: {{"ZZZZZZ"}, {"01BX5ZZKBKACTAV9WEVGEMMVRZ"}},
		exitError:    {{"ab"}, {"--all", "--allowed-signers", filepath.Join(h.state, "none")}},
	} {
		for _, a := range args {
			if code, out, diagnostics := sandtrap(h.config, append([]string{"verify"}, a...)...); code != want {
				t.Errorf("verify %v: status %d, want %d: %s%s", a, code, want, out, diagnostics)
			}
		}
	}
	casts, _ := filepath.Glob(filepath.Join(h.state, "sessions/*/*/*", id, "channel-0.cast"))
	if len(casts) != 1 {
		t.Fatalf("casts %v", casts)
	}
	if err := os.WriteFile(casts[0], []byte("forged\x1b[m"), 0o600); err != nil {
		t.Fatal(err)
	}
	code, out, diagnostics := sandtrap(h.config, "verify", id)
	if code != exitUnverified || !strings.HasPrefix(out, "failure: "+id+" channel-0.cast: it was altered\n") || diagnostics != "sandtrap: verification failed: 1 failures\n" {
		t.Errorf("status %d: %s%s", code, out, diagnostics)
	}
	code, out, _ = sandtrap(h.config, "verify", "--all", "--format", "json")
	var found struct {
		Summary  seal.Summary
		Findings []seal.Finding
	}
	if err := json.Unmarshal([]byte(out), &found); err != nil || code != exitUnverified || found.Summary.Failures != 1 || len(found.Findings) != 1 || found.Findings[0].File != "channel-0.cast" {
		t.Errorf("status %d, %v: %s", code, err, out)
	}
}

// TestVerifySafely: names of files are anybody's.
func TestVerifySafely(t *testing.T) {
	h, id := served(t)
	dirs, _ := filepath.Glob(filepath.Join(h.state, "sessions/*/*/*", id))
	if err := os.WriteFile(filepath.Join(dirs[0], "x\x1b]0;x\a\ny"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, format := range []string{"text", "json"} {
		_, out, _ := sandtrap(h.config, "verify", "--allowed-signers", filepath.Join(h.state, seal.AllowedSigners), "--format", format, "--all")
		if strings.ContainsAny(out, "\x1b\a") || !strings.Contains(out, "it was added after the session was sealed") {
			t.Errorf("%q", out)
		}
	}
}

func TestVerifyShowsProgress(t *testing.T) {
	var b bytes.Buffer
	p := newProgress(&b)
	p.at(1)
	p.clear()
	if b.Len() > 0 {
		t.Errorf("at once: %q", &b)
	}
	p.last = p.last.Add(-progressEvery)
	p.at(2)
	p.clear()
	p.clear()
	if b.String() != "\r2 sessions\r\x1b[K" {
		t.Errorf("%q", &b)
	}
	nobody := newProgress(nil)
	nobody.last = nobody.last.Add(-progressEvery)
	nobody.at(1)
}

func TestSealKeyVerb(t *testing.T) {
	dir := t.TempDir()
	key, signers := filepath.Join(dir, "sealkey"), filepath.Join(dir, "allowed_signers")
	args := []string{"sealkey", "--directory", key, "--allowed-signers", signers}
	for i, want := range []string{"made a key that seals evidence in " + key + "; " + signers + " has its public half\n", "", "again"} {
		if want == "again" {
			args, want = append(args, "--rotate"), "made a key that seals evidence in "+key+"; "+signers+" has its public half\n"
		}
		var out, errs bytes.Buffer
		if code := run(args, &out, &errs); code != exitOK || out.String() != want {
			t.Errorf("%d: status %d: %s%s", i, code, &out, &errs)
		}
	}
	if b, err := os.ReadFile(signers); err != nil || bytes.Count(b, []byte("\n")) != 2 {
		t.Errorf("%s, %v", b, err)
	}
}

// TestSecondService: one state directory, one service.
func TestSecondService(t *testing.T) {
	h := launch(t, "", nil)
	h.wait("server.start", 1)
	err := runServe(context.Background(), &globals{configPath: h.config, out: io.Discard, err: io.Discard}, make(chan os.Signal))
	if err == nil || err.Error() != "lock state directory: another service uses the state directory "+h.state || !strings.HasPrefix(hint.Of(err), "is sandtrap.service running?") {
		t.Errorf("%v; hint %q", err, hint.Of(err))
	}
}
