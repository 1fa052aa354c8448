//go:build integration

package pool

import (
	"path/filepath"
	"testing"

	"github.com/sandtrap/sandtrap/internal/layer"
	"github.com/sandtrap/sandtrap/internal/target"
)

// TestPasswd: the helper for layers and Podman tell the same of a container that nobody
// has touched, and without the helper Podman is asked.
func TestPasswd(t *testing.T) {
	s := open(t, nil)
	s.untilWarm(1)
	id := s.warmIDs()[0]
	want, err := s.client.ReadFile(t.Context(), id, "/etc/passwd", target.MaxPasswd)
	if err != nil || len(want) == 0 {
		t.Fatalf("ReadFile = %d bytes, %v", len(want), err)
	}
	own, err := s.client.Layer(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := layer.Passwd(t.Context(), layers, own, target.MaxPasswd); err != nil || string(got) != string(want) {
		t.Errorf("the helper says %q, %v; Podman %q", got, err, want)
	}
	for _, socket := range []string{layers, filepath.Join(t.TempDir(), "none")} {
		if got, err := Real(s.client, helper, socket).Passwd(t.Context(), id); err != nil || string(got) != string(want) {
			t.Errorf("Passwd by %s = %q, %v", socket, got, err)
		}
	}
}
