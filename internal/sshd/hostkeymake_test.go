package sshd

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// printsOf are the fingerprints of the keys in dir.
func printsOf(t *testing.T, dir string, types ...string) []string {
	t.Helper()
	keys, made, err := HostKeys("", dir, types)
	if err != nil || made {
		t.Fatalf("made %v, %v", made, err)
	}
	return prints(keys)
}

func TestMakeHostKeys(t *testing.T) {
	parent := t.TempDir()
	dir, none := filepath.Join(parent, "hostkeys"), filepath.Join(parent, "none")
	if err := os.Mkdir(dir, 0o700); err != nil { // as tmpfiles.d(5) makes it
		t.Fatal(err)
	}
	made, moved, err := MakeHostKeys(dir, none)
	if err != nil || !cmp.Equal(made, KeyTypes) || len(moved) > 0 {
		t.Fatalf("made %q, moved %q, %v", made, moved, err)
	}
	first := printsOf(t, dir, KeyTypes...)
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("directory: %v, %v", info.Mode(), err)
	}
	made, moved, err = MakeHostKeys(dir, none)
	if err != nil || len(made)+len(moved) > 0 || !cmp.Equal(printsOf(t, dir, KeyTypes...), first) {
		t.Errorf("the second time made %q, moved %q, %v", made, moved, err)
	}
	if left, _ := os.ReadDir(parent); len(left) != 1 {
		t.Errorf("left beside the directory: %v", left)
	}
}

func TestTakeOverHostKeys(t *testing.T) {
	old, dir := keyDir(t, "ed25519", "rsa"), filepath.Join(t.TempDir(), "hostkeys")
	before := printsOf(t, old, "ed25519", "rsa")
	copied, err := os.ReadFile(filepath.Join(old, keyFile("rsa")))
	if err != nil {
		t.Fatal(err)
	}
	made, moved, err := MakeHostKeys(dir, old)
	if err != nil || !cmp.Equal(made, []string{"ecdsa"}) || !cmp.Equal(moved, []string{"rsa", "ed25519"}) {
		t.Fatalf("made %q, moved %q, %v", made, moved, err)
	}
	if got := printsOf(t, dir, "ed25519", "rsa"); !cmp.Equal(got, before) {
		t.Errorf("keys are %q, were %q", got, before)
	}
	if left, _ := os.ReadDir(old); len(left) > 0 {
		t.Errorf("old keys stay: %v", left)
	}
	// A crash before the old keys were removed.
	if err := os.WriteFile(filepath.Join(old, keyFile("rsa")), copied, 0o600); err != nil {
		t.Fatal(err)
	}
	if made, moved, err = MakeHostKeys(dir, old); err != nil || len(made)+len(moved) > 0 {
		t.Fatalf("made %q, moved %q, %v", made, moved, err)
	}
	if left, _ := os.ReadDir(old); len(left) > 0 {
		t.Errorf("old keys stay: %v", left)
	}
}

// Who has taken over the old server's account plants what it likes. It gets nothing
// read, nothing replaced, and no new keys made in silence.
func TestTakeOverNothingHostile(t *testing.T) {
	secret := keyDir(t, "ed25519")
	elsewhere := filepath.Join(secret, keyFile("ed25519"))
	for name, plant := range map[string]func(path string) error{
		"a link to a key of another": func(path string) error { return os.Symlink(elsewhere, path) },
		"a FIFO":                     func(path string) error { return syscall.Mkfifo(path, 0o600) },
		"a large file":               func(path string) error { return os.WriteFile(path, make([]byte, maxHostKey+1), 0o600) },
		"no key":                     func(path string) error { return os.WriteFile(path, []byte("root:x:0:0"), 0o600) },
		"a directory":                func(path string) error { return os.Mkdir(path, 0o700) },
	} {
		old, dir := t.TempDir(), filepath.Join(t.TempDir(), "hostkeys")
		path := filepath.Join(old, keyFile("ed25519"))
		if err := plant(path); err != nil {
			t.Fatal(err)
		}
		if made, moved, err := MakeHostKeys(dir, old); err == nil || len(made)+len(moved) > 0 || hasKeys(dir) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: made %q, moved %q, %v", name, made, moved, err)
		}
	}
	link := filepath.Join(t.TempDir(), "old")
	if err := os.Symlink(secret, link); err != nil {
		t.Fatal(err)
	}
	if _, moved, err := MakeHostKeys(filepath.Join(t.TempDir(), "hostkeys"), link); err == nil || len(moved) > 0 {
		t.Errorf("a link to a directory: moved %q, %v", moved, err)
	}
	if !hasKeys(secret) {
		t.Error("a key that was linked to is gone")
	}
	// Keys of ours stay, and so do others that are in the old place.
	old, dir := keyDir(t, "ed25519"), keyDir(t, "ed25519")
	before := printsOf(t, dir, "ed25519")
	if made, moved, err := MakeHostKeys(dir, old); err != nil || len(made)+len(moved) > 0 || !cmp.Equal(printsOf(t, dir, "ed25519"), before) || !hasKeys(old) {
		t.Errorf("keys in both places: made %q, moved %q, %v", made, moved, err)
	}
}
