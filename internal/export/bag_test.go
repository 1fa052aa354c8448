package export

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var march31 = time.Date(2026, 3, 31, 12, 0, 0, 0, time.UTC)

// shell runs a script where the bag was unpacked.
func shell(t *testing.T, dir, script string) (string, error) {
	t.Helper()
	cmd := exec.Command("sh", "-ec", script)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// With tar and sha256sum a bag is opened and checked.
func TestBagWithStockTools(t *testing.T) {
	dir := t.TempDir()
	f, err := os.Create(filepath.Join(dir, "bag.tar.zst"))
	if err != nil {
		t.Fatal(err)
	}
	bag, err := NewBag(f, "sandtrap-x", march31)
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{"sessions/2026/session.json": "{}", "../../escape": "here", "artifacts/a": "again"} {
		for range 2 {
			if err := bag.Add(name, int64(len(content)), march31, strings.NewReader(content+"grown meanwhile")); err != nil {
				t.Fatal(err)
			}
		}
	}
	if !bag.Has("artifacts/a") || bag.Has("artifacts/b") {
		t.Error("Has is wrong")
	}
	if err := bag.Close(Info{"External-Identifier", "x\nInjected: y"}); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	out, err := shell(t, dir, `zstd -dcq bag.tar.zst | tar -x && cd sandtrap-x && sha256sum -c --strict manifest-sha256.txt && sha256sum -c --strict tagmanifest-sha256.txt && cat bagit.txt bag-info.txt && find . -type f | sort`)
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, want := range []string{"data/sessions/2026/session.json: OK", "data/escape: OK", "manifest-sha256.txt: OK", "BagIt-Version: 1.0\n",
		"\nExternal-Identifier: x Injected: y\n", "Bagging-Date: 2026-03-31", "Payload-Oxum: 11.3", "./tagmanifest-sha256.txt"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is missing in\n%s", want, out)
		}
	}
	if out, err := shell(t, dir, `cd sandtrap-x && echo x >> data/artifacts/a && sha256sum -c manifest-sha256.txt`); err == nil {
		t.Errorf("a changed file is not found:\n%s", out)
	}
}

func TestShrunk(t *testing.T) {
	bag, err := NewBag(io.Discard, "x", march31)
	if err != nil {
		t.Fatal(err)
	}
	if err := bag.Add("a", 10, march31, strings.NewReader("short")); !errors.Is(err, ErrShrunk) {
		t.Errorf("got %v", err)
	}
	if err := bag.Close(); !errors.Is(err, ErrShrunk) {
		t.Errorf("Close: got %v", err)
	}
}

type brokenWriter struct{ left int }

func (w *brokenWriter) Write(p []byte) (int, error) {
	if w.left -= len(p); w.left < 0 {
		return 0, errors.New("disk is full")
	}
	return len(p), nil
}

func TestBrokenWriter(t *testing.T) {
	bag, err := NewBag(&brokenWriter{left: 100}, "x", march31)
	if err != nil {
		t.Fatal(err)
	}
	noise := make([]byte, 1<<20)
	for i := range noise {
		noise[i] = byte(i * i >> 3)
	}
	_ = bag.Add("a", int64(len(noise)), march31, bytes.NewReader(noise))
	if bag.Close() == nil {
		t.Error("no error")
	}
}

func TestEncodeName(t *testing.T) {
	if got := encodeName("100%\r\n"); got != "100%25%0D%0A" {
		t.Errorf("got %q", got)
	}
}
