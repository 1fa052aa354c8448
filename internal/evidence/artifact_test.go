package evidence

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func sumOf(content string) string {
	sum := sha256.Sum256([]byte(content))
	return hex.EncodeToString(sum[:])
}

// put makes an artifact with some content that goes beyond what is kept.
func put(t *testing.T, s *Store, content, beyond string) *Artifact {
	t.Helper()
	a, err := s.NewArtifact()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.Write([]byte(content + beyond)); err != nil {
		t.Fatal(err)
	}
	return a
}

func TestArtifacts(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	sum := sumOf("content")
	path := filepath.Join(dir, "artifacts", "sha256", sum[:2], sum)
	if path != filepath.Join(dir, ArtifactPath(sum)) {
		t.Errorf("path %s", ArtifactPath(sum))
	}
	kept := func() string {
		t.Helper()
		p, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return string(p)
	}
	a := put(t, s, "content", "torn")
	p := make([]byte, 3)
	if n, err := a.ReadAt(p, 2); n != 3 || err != nil || string(p) != "nte" {
		t.Errorf("read %q, %v", p[:n], err)
	}
	if err := a.Commit(sum, 7); err != nil || kept() != "content" {
		t.Fatalf("%v, %q", err, kept())
	}
	st, err := os.Stat(path)
	if err != nil || st.Mode().Perm() != 0o640 {
		t.Errorf("mode %v, %v", st.Mode(), err)
	}
	if err := s.SyncArtifact(sum); err != nil {
		t.Error(err)
	}
	// The same content again leaves the file alone, unless it is not whole.
	if err := put(t, s, "content", "").Commit(sum, 7); err != nil {
		t.Error(err)
	}
	if again, err := os.Stat(path); err != nil || !os.SameFile(st, again) {
		t.Errorf("the artifact was replaced: %v", err)
	}
	if err := os.Truncate(path, 3); err != nil {
		t.Fatal(err)
	}
	if err := put(t, s, "content", "").Commit(sum, 7); err != nil || kept() != "content" {
		t.Errorf("%v, %q", err, kept())
	}
	put(t, s, "other", "").Discard()
	for _, bad := range []string{"", "../../x", strings.ToUpper(sum), sum[1:]} {
		if err := put(t, s, "x", "").Commit(bad, 1); err == nil {
			t.Errorf("%q was taken for a hash", bad)
		}
	}
	if temps, err := os.ReadDir(filepath.Join(dir, "artifacts", "tmp")); err != nil || len(temps) != 0 {
		t.Errorf("left: %v, %v", temps, err)
	}
	if err := s.SyncArtifact(sumOf("missing")); err == nil {
		t.Error("an artifact that is not there is on disk")
	}
}

// TestUnfinishedArtifacts: what a crash left is gone after the next start, what
// was kept is not.
func TestUnfinishedArtifacts(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	put(t, s, "unfinished", "")
	sum := sumOf("kept")
	if err := put(t, s, "kept", "").Commit(sum, 4); err != nil {
		t.Fatal(err)
	}
	s.Close()
	if s, err = Open(dir); err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := s.Recover(time.Now()); err != nil {
		t.Error(err)
	}
	if temps, err := os.ReadDir(filepath.Join(dir, "artifacts", "tmp")); err != nil || len(temps) != 0 {
		t.Errorf("left: %v, %v", temps, err)
	}
	if _, err := os.Stat(filepath.Join(dir, ArtifactPath(sum))); err != nil {
		t.Error(err)
	}
}

// TestArtifactsStayBelow: a link in the place of a directory leads nowhere.
func TestArtifactsStayBelow(t *testing.T) {
	dir, outside := t.TempDir(), t.TempDir()
	s, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	sum := sumOf("content")
	if err := os.Symlink(outside, filepath.Join(dir, "artifacts", "sha256", sum[:2])); err != nil {
		t.Fatal(err)
	}
	if err := put(t, s, "content", "").Commit(sum, 7); err == nil {
		t.Error("an artifact was put outside")
	}
	if names, _ := os.ReadDir(outside); len(names) != 0 {
		t.Errorf("outside: %v", names)
	}
}
