package seal

import (
	"bytes"
	"context"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// mount mounts a file system for a test, which is skipped where that is not allowed.
func mount(t *testing.T, options, what string, dir string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	if out, err := exec.Command("mount", append(strings.Fields(options), what, dir)...).CombinedOutput(); err != nil {
		t.Skipf("cannot mount: %v, %s", err, out)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
}

// ext4 makes a file system in a file.
func ext4(t *testing.T, image, size string) {
	t.Helper()
	for _, c := range [][]string{{"truncate", "-s", size, image}, {"mkfs.ext4", "-q", "-F", image}} {
		if out, err := exec.Command(c[0], c[1:]...).CombinedOutput(); err != nil {
			t.Skipf("cannot make a file system: %v, %s", err, out)
		}
	}
}

func noise(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(rand.Uint32())
	}
	return b
}

// TestFullDisk: a file system without room for compressed copies loses nothing, and the
// session is sealed when there is room.
func TestFullDisk(t *testing.T) {
	dir := t.TempDir()
	mount(t, "-t tmpfs -o size=16m", "none", dir)
	y := newYard(t, dir)
	y.session(1)
	y.sealAll()
	y.sessionOf(2, noise(600<<10))
	ballast := filepath.Join(dir, "ballast")
	f, err := os.Create(ballast)
	must(t, err)
	for err == nil {
		_, err = f.Write(make([]byte, 4096))
	}
	f.Close()
	for range 3 {
		if y.sealer.sealAll(context.Background()) {
			t.Fatal("a full disk was large enough")
		}
	}
	if !strings.Contains(y.events.String(), "no space left") {
		t.Errorf("events: %s", &y.events)
	}
	for _, name := range []string{"channel-0.raw", "channel-1.raw", "session.json"} {
		if _, err := os.Stat(y.pathOf(newID(2), name)); err != nil {
			t.Error(err)
		}
	}
	y.close()
	must(t, os.Remove(ballast))
	y.open()
	y.sealAll()
	y.clean(2)
}

// TestFailingDevice: a device that does not take writes any more. What is on it
// afterwards is sealed by the next start, on what is left of it.
func TestFailingDevice(t *testing.T) {
	outside, dir := t.TempDir(), t.TempDir()
	mount(t, "-t tmpfs -o size=12m", "none", outside)
	image, ballast := filepath.Join(outside, "image"), filepath.Join(outside, "ballast")
	ext4(t, image, "40m")
	mount(t, "-o loop", image, dir)
	y := newYard(t, dir)
	y.session(1)
	y.sealAll()
	y.sessionOf(2, noise(1<<20))
	unix.Sync()
	f, err := os.Create(ballast) // now the device has no blocks that it does not have yet
	must(t, err)
	for err == nil {
		_, err = f.Write(make([]byte, 4096))
	}
	f.Close()
	for range 2 {
		if y.sealer.sealAll(context.Background()) {
			t.Fatal("the device did not fail")
		}
	}
	if !strings.Contains(y.events.String(), "session.fail") {
		t.Errorf("events: %s", &y.events)
	}
	t.Logf("%s", &y.events)
	y.close()
	must(t, os.Remove(ballast))
	must(t, unix.Unmount(dir, 0))
	mount(t, "-o loop", image, dir)
	y.open()
	y.sealAll()
	y.clean(2)
}

// TestPowerCut: the device is copied behind every step, as it is then, and the copy is
// what the machine finds when it comes back.
func TestPowerCut(t *testing.T) {
	outside, dir := t.TempDir(), t.TempDir()
	image := filepath.Join(outside, "image")
	ext4(t, image, "12m")
	mount(t, "-o loop", image, dir)
	y := newYard(t, dir)
	y.session(1)
	y.sealAll()
	unix.Sync()
	y.session(2)
	unix.Sync() // its recordings were closed
	var cuts [][]byte
	y.sealer.step = func(string) error {
		cuts = append(cuts, read(t, image))
		return nil
	}
	y.sealAll()
	if len(cuts) != 13 {
		t.Errorf("%d steps", len(cuts))
	}
	for i, cut := range cuts {
		if i > 0 && bytes.Equal(cut, cuts[i-1]) {
			continue
		}
		copied := filepath.Join(outside, "copy")
		must(t, os.WriteFile(copied, cut, 0o600))
		func() {
			dir := t.TempDir()
			mount(t, "-o loop", copied, dir)
			defer func() { must(t, unix.Unmount(dir, 0)) }()
			other := &yard{TB: t, dir: dir, key: y.key}
			other.open()
			defer other.close()
			other.sealAll()
			other.clean(2)
			other.marked(newID(2))
		}()
	}
}
