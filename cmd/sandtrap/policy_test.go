package main

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sandtrap/sandtrap/internal/config"
	"github.com/sandtrap/sandtrap/internal/evidence"
)

const tryThree = `auth:
  mode: rules
  rules:
    - {name: no, action: deny, users: [root], passwords: [root]}
    - {name: third, action: after-tries, min_tries: 3, max_tries: 3}
  honeytokens:
    - {name: wiki, password: stolen}
`

// in tries to log in.
func (h *honeypot) in(user, password string) bool {
	client, err := h.login(user, password)
	if err == nil {
		client.Close()
	}
	return err == nil
}

// TestRulesOutliveTheService: what a source has found it finds again after a restart,
// and after a reload in which the rules change.
func TestRulesOutliveTheService(t *testing.T) {
	h := launch(t, tryThree, nil)
	h.wait("server.start", 1)
	for _, tt := range []struct {
		password string
		want     bool
	}{{"root", false}, {"a", false}, {"stolen", true}, {"a", false}, {"b", false}, {"stolen", true}} {
		if got := h.in("root", tt.password); got != tt.want {
			t.Errorf("%s: let in %t, want %t", tt.password, got, tt.want)
		}
	}
	attempts := h.wait("auth.attempt", 12)
	for _, e := range attempts {
		if want := map[any]any{"root": "no", "a": "third", "b": "third", "stolen": "third", nil: nil}[e["password"]]; e["rule"] != want {
			t.Errorf("attempt by rule %v, want %v: %v", e["rule"], want, e)
		}
	}
	found := h.wait("honeytoken.use", 2)
	if found[0]["honeytoken"] != "wiki" || found[0]["severity"] != "critical" || found[0]["session"] == nil || found[0]["src_ip"] != "127.0.0.1" {
		t.Errorf("event %v", found[0])
	}
	h.signals <- syscall.SIGTERM
	if err := h.end(); err != nil {
		t.Fatal(err)
	}
	store, err := evidence.OpenReadOnly(h.state)
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	s, _, err := store.Find(found[0]["session"].(string))
	if err != nil || s.Attempts[len(s.Attempts)-1].Honeytoken != "wiki" || s.Attempts[len(s.Attempts)-1].Rule != "third" {
		t.Errorf("session %+v, %v", s, err)
	}
	again := launchIn(t, h.state, strings.Replace(tryThree, "max_tries: 3", "max_tries: 60", 1), nil)
	again.wait("server.start", 1)
	if !again.in("root", "stolen") || again.in("root", "c") {
		t.Error("what the source has found is forgotten, or another credential does")
	}
}

func TestReloadOfRules(t *testing.T) {
	h := launch(t, "auth: {mode: deny-all}\n", nil)
	h.wait("server.start", 1)
	if h.in("root", "x") {
		t.Error("deny-all lets in")
	}
	rewrite := func(more string) {
		if err := os.WriteFile(h.config, []byte(settings(h.state, h.address, h.podman.Socket, more)), 0o600); err != nil {
			t.Fatal(err)
		}
		h.signals <- syscall.SIGHUP
	}
	rewrite("auth:\n  mode: rules\n  rules: [{action: allow, users: [root]}]\n  honeytokens: [{name: w, password: x}]\n")
	if e := h.wait("server.reload", 1)[0]; e["applied"] != "auth.honeytokens auth.mode auth.rules" || e["restart_needed"] != "" {
		t.Errorf("event %v", e)
	}
	client, err := h.login("root", "x") // goes on through what follows
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	h.wait("honeytoken.use", 1)
	rewrite("auth:\n  mode: rules\n  rules:\n  - {action: allow}\n  - {action: deny, users: [root]}\n")
	h.says(": auth.rules[1]: never decides about passwords")
	if h.in("other", "x") || !h.in("root", "y") {
		t.Error("a bad file has changed the policy")
	}
	rewrite("auth: {mode: rules, rules: [{action: allow, users: [other]}]}\n")
	h.wait("server.reload", 2)
	if !h.in("other", "x") || h.in("root", "y") {
		t.Error("the new rules do not decide")
	}
	if _, _, err := client.SendRequest("x", true, nil); err != nil {
		t.Errorf("a session has ended: %v", err)
	}
}

// TestImport compares what is printed with the golden file, and loads that.
func TestImport(t *testing.T) {
	out, diagnostics, err := runConfigCommand(t, "/none", "import-cowrie-userdb", "../../internal/userdb/testdata/every.txt")
	if err != nil {
		t.Fatal(err)
	}
	golden, err := os.ReadFile("testdata/userdb.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(golden), out); diff != "" {
		t.Errorf("rules (-want +got):\n%s", diff)
	}
	if !strings.Contains(diagnostics, "every.txt:16: has fewer than three fields") {
		t.Errorf("diagnostics: %s", diagnostics)
	}
	path := writeConfig(t, "sandtrap.yaml", out)
	if loaded, err := config.Load(config.LoadOptions{Path: path}); err != nil || loaded.Config.Auth.Mode != config.AuthRules {
		t.Errorf("what was printed is no configuration: %v", err)
	}
	dir := t.TempDir()
	for content, want := range map[string]string{"# nothing\n": "says nothing", "root:x:/(?=a)/\n": "line 1: "} {
		file := filepath.Join(dir, "userdb.txt")
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, _, err := runConfigCommand(t, "/none", "import-cowrie-userdb", file); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", content, err)
		}
	}
	if _, _, err := runConfigCommand(t, "/none", "import-cowrie-userdb", filepath.Join(dir, "none")); err == nil {
		t.Error("a missing file was read")
	}
}

func TestReadBanner(t *testing.T) {
	path := filepath.Join(t.TempDir(), "issue")
	for _, tt := range []struct {
		size int
		ok   bool
	}{{0, true}, {maxBanner, true}, {maxBanner + 1, false}} {
		if err := os.WriteFile(path, make([]byte, tt.size), 0o600); err != nil {
			t.Fatal(err)
		}
		if text, err := readBanner(path); (err == nil) != tt.ok || err == nil && len(text) != tt.size {
			t.Errorf("%d bytes: %d, %v", tt.size, len(text), err)
		}
	}
	if text, err := readBanner(config.BannerNone); text != "" || err != nil {
		t.Errorf("none: %q, %v", text, err)
	}
	if _, err := readBanner(path + "x"); err == nil {
		t.Error("a missing file was read")
	}
}
