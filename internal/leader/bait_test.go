package leader

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/sandtrap/sandtrap/internal/frame"
)

func TestPlantBait(t *testing.T) {
	root := t.TempDir()
	write(t, filepath.Join(root, "etc/passwd"), "x")
	write(t, filepath.Join(root, "home/x/there"), "theirs")
	old := time.Date(2024, 5, 6, 7, 8, 9, 0, time.UTC)
	if err := os.Chtimes(filepath.Join(root, "etc/passwd"), old, old); err != nil {
		t.Fatal(err)
	}
	a := account{home: "/home/x", uid: uint32(os.Getuid()), gid: uint32(os.Getgid())}
	for name, want := range map[string]bool{"": false, "..": false, ".": false, "../y": false, "there": false, "new.sh": true} {
		if got := plantBait(root, a, name, "#!/bin/sh\n"); got != want {
			t.Errorf("%q: planted %t, want %t", name, got, want)
		}
	}
	if plantBait(root, account{home: "/nowhere"}, "x", "y") {
		t.Error("planted in a home that does not exist")
	}
	path := filepath.Join(root, "home/x/new.sh")
	st, err := os.Stat(path)
	if err != nil || st.Mode() != 0o700 || !st.ModTime().Equal(old) {
		t.Errorf("%v %v, %v", st.Mode(), st.ModTime(), err)
	}
	for name, want := range map[string]string{"new.sh": "#!/bin/sh\n", "there": "theirs"} {
		if text, err := os.ReadFile(filepath.Join(root, "home/x", name)); err != nil || string(text) != want {
			t.Errorf("%s holds %q, %v", name, text, err)
		}
	}
}

// BenchmarkPlantBait is what a bait adds to a login.
func BenchmarkPlantBait(b *testing.B) {
	root := b.TempDir()
	if err := os.MkdirAll(filepath.Join(root, "home/x"), 0o755); err != nil {
		b.Fatal(err)
	}
	a := account{home: "/home/x", uid: uint32(os.Getuid()), gid: uint32(os.Getgid())}
	content := string(make([]byte, 600))
	for b.Loop() {
		if !plantBait(root, a, "x.sh", content) {
			b.Fatal("not planted")
		}
		_ = os.Remove(filepath.Join(root, "home/x/x.sh"))
	}
}

// TestLoginWithBait: the answer to a login tells whether the bait is there.
func TestLoginWithBait(t *testing.T) {
	for name, want := range map[string]bool{"": false, "x/y": false, "x.sh": true} {
		p := run(t)
		if err := os.MkdirAll(p.root+p.root, 0o755); err != nil { // the account's home, below the tests' root
			t.Fatal(err)
		}
		l := p.greet(t)
		a, err := l.Login(t.Context(), frame.LoginMessage{User: "tester", Policy: frame.PolicyExisting, BaitName: name, Bait: "x"})
		if err != nil || a.Baited != want {
			t.Errorf("%q: %+v, %v", name, a, err)
		}
	}
}
