package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sandtrap/sandtrap/internal/evidence"
)

// gcState is a state directory with two sessions that have ended, and an artifact.
func gcState(t *testing.T) string {
	t.Helper()
	state := t.TempDir()
	end := march31.Add(time.Minute)
	for _, id := range []string{idClosed, idOpen} {
		addSession(t, state, id, evidence.Session{State: evidence.StateClosed, Start: march31, End: &end})
	}
	addArtifact(t, state)
	return state
}

func TestGC(t *testing.T) {
	h := launchIn(t, gcState(t), "retention: {sessions_count: 1, artifacts_age: 1h}", nil)
	h.wait("server.start", 1)
	h.wait("session.seal", 2)
	old := march31
	ok(t, os.Chtimes(filepath.Join(h.state, evidence.ArtifactPath(strings.Repeat("a", 64))), old, old))
	if code, out, _ := h.verb("gc", "--dry-run"); code != exitOK || !strings.Contains(out, "would be removed: 1 of 2 sessions") || !strings.Contains(out, "1 of 1 artifacts") {
		t.Errorf("gc --dry-run %d:\n%s", code, out)
	}
	code, out, diagnostics := h.verb("gc")
	if code != exitOK || !strings.Contains(out, idClosed+" ") || !strings.Contains(out, "removed: 1 of 2 sessions") || !strings.Contains(out, "1 of 1 artifacts") {
		t.Errorf("gc %d:\n%s%s", code, out, diagnostics)
	}
	h.wait("session.remove", 1)
	h.wait("artifact.remove", 1)
	if code, out, _ := h.verb("list", "-q"); code != exitOK || out != idOpen+"\n" {
		t.Errorf("list %d: %q", code, out)
	}
	code, out, _ = h.verb("gc", "--format", "json")
	var r struct {
		Sessions []any          `json:"sessions"`
		All      map[string]int `json:"all_sessions"`
	}
	if err := json.Unmarshal([]byte(out), &r); code != exitOK || err != nil || len(r.Sessions) != 0 || r.All["count"] != 1 {
		t.Errorf("gc --format json %d: %v\n%s", code, err, out)
	}
}

// TestGCReload: bounds count that were changed while the service runs.
func TestGCReload(t *testing.T) {
	h := launchIn(t, gcState(t), "", nil)
	h.wait("server.start", 1)
	h.wait("session.seal", 2)
	if code, out, _ := h.verb("gc"); code != exitOK || !strings.Contains(out, "removed: 0 of 2 sessions") {
		t.Errorf("gc without bounds %d:\n%s", code, out)
	}
	ok(t, os.WriteFile(h.config, []byte(settings(h.state, h.address, h.podman.Socket, "retention: {sessions_count: 1}")), 0o600))
	if code, out, diagnostics := h.verb("reload"); code != exitOK || !strings.Contains(out, "applied: retention.sessions_count") {
		t.Errorf("reload %d: %s%s", code, out, diagnostics)
	}
	if code, out, _ := h.verb("gc"); code != exitOK || !strings.Contains(out, "removed: 1 of 2 sessions") {
		t.Errorf("gc %d:\n%s", code, out)
	}
}

func TestGCWithoutService(t *testing.T) {
	path := writeConfig(t, "sandtrap.yaml", "state_dir: "+gcState(t)+"\ncontrol: {socket: "+filepath.Join(t.TempDir(), "none")+"}\nretention: {sessions_age: 1h}\n")
	if code, out, _ := sandtrap(path, "gc", "--dry-run"); code != exitOK || !strings.Contains(out, "would be removed: 2 of 2 sessions") {
		t.Errorf("gc --dry-run %d:\n%s", code, out)
	}
	if code, _, _ := sandtrap(path, "gc"); code != exitUnreachable {
		t.Errorf("gc %d", code)
	}
	if code, _, _ := sandtrap(path, "gc", "--format", "xml"); code != exitUsage {
		t.Errorf("gc --format xml %d", code)
	}
}
