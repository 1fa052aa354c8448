package evidence

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestUsages(t *testing.T) {
	state := t.TempDir()
	store, err := Open(state)
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	start := time.Date(2026, 3, 31, 12, 0, 0, 0, time.UTC)
	ids := []string{"01KN1W7MG00000000000000001", "01KN1W7MG00000000000000002", "01KN1W7MG00000000000000003"}
	for i, id := range ids {
		dir, err := store.Create(id, start)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(state, dir.Path(), "channel-0.raw"), make([]byte, 1000*(i+1)), 0o600); err != nil {
			t.Fatal(err)
		}
		if i < 2 { // the third is what a crash leaves: it cannot be read
			if err := dir.Save(Session{State: []State{StateOpen, StateClosed}[i], Start: start}); err != nil {
				t.Fatal(err)
			}
		}
		dir.Close()
	}
	if _, err := store.Pin(ids[1]); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/etc/passwd", filepath.Join(state, "sessions/2026/03/31", ids[0], "link")); err != nil {
		t.Fatal(err)
	}
	all, err := store.Usages(t.Context())
	if err != nil || len(all) != 3 {
		t.Fatalf("%v, %+v", err, all)
	}
	for i, want := range []Usage{{Open: true, Bytes: 3000}, {Pinned: true, Bytes: 2000}, {Open: true, Bytes: 1000}} {
		got := all[i]
		if got.ID != ids[2-i] || got.Open != want.Open || got.Pinned != want.Pinned || got.Bytes < want.Bytes || got.Bytes > want.Bytes+1500 {
			t.Errorf("got %+v, want %+v", got, want)
		}
		if got.Start.Year() != 2026 || !strings.HasSuffix(got.Dir, got.ID) {
			t.Errorf("got %+v", got)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := store.Usages(ctx); err == nil {
		t.Error("no error although it was interrupted")
	}
}

func TestArtifactUsages(t *testing.T) {
	state := t.TempDir()
	store, err := Open(state)
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	hash := strings.Repeat("ab", 32)
	bring := func() {
		t.Helper()
		a, err := store.NewArtifact()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := a.Write([]byte("content")); err != nil {
			t.Fatal(err)
		}
		if err := a.Commit(hash, 7); err != nil {
			t.Fatal(err)
		}
	}
	bring()
	old := time.Now().Add(-time.Hour)
	if err := os.Chtimes(filepath.Join(state, ArtifactPath(hash)), old, old); err != nil {
		t.Fatal(err)
	}
	bring() // again: it is as new as that
	all, err := store.ArtifactUsages(t.Context())
	if err != nil || len(all) != 1 || all[0].SHA256 != hash || all[0].Bytes != 7 || time.Since(all[0].Brought) > time.Minute {
		t.Fatalf("%v, %+v", err, all)
	}
}

func TestArtifactsOfASession(t *testing.T) {
	root, err := os.OpenRoot(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	a, b, c := strings.Repeat("a", 64), strings.Repeat("b", 64), strings.Repeat("c", 64)
	s := Session{Channels: []Channel{{Transfers: []Transfer{{Artifact: b}, {Artifact: a}, {Artifact: "../x"}, {}}}, {Transfers: []Transfer{{Artifact: a}}}}}
	if got, err := Artifacts(root, s); err != nil || !slices.Equal(got, []string{a, b}) {
		t.Errorf("got %q, %v", got, err)
	}
	if err := root.WriteFile(CaptureFile, []byte("{\"sha256\":\""+c+"\"}\n{\"sha256\":\""+a+"\"}\n{\"kind\":\"process\"}\nno entry\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := Artifacts(root, s); err != nil || !slices.Equal(got, []string{a, b, c}) {
		t.Errorf("got %q, %v", got, err)
	}
}
