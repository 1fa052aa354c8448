//go:build vm

package limits

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

const gib = 1 << 30

// storeDropIn is read after the settings of all these tests.
const storeDropIn = "/etc/sandtrap/conf.d/91-store.yaml"

// TestStoreGrows: the store is enlarged while a target runs in it, and its bounds
// stay. Where there is no room for that, everything stays as it was, the machine's disk
// included.
func TestStoreGrows(t *testing.T) {
	t.Cleanup(func() { _ = os.Remove(storeDropIn) })
	v := logIn(t)
	v.does("echo kept >/root/kept")
	size, disk := storeSize(t), free(t, "/var/lib/pods")
	before := total(t, storeData)

	if out, err := wantStore(t, size+disk+4*gib); err == nil {
		t.Errorf("the store grew beyond the disk: %s", out)
	}
	if got := storeSize(t); got != size {
		t.Errorf("the store's file has %d bytes after that, and had %d", got, size)
	}
	if got := free(t, "/var/lib/pods"); got < disk-256<<20 {
		t.Errorf("the machine has %d bytes free after that, and had %d", got, disk)
	}

	if out, err := wantStore(t, size+gib); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if got := storeSize(t); got != size+gib {
		t.Errorf("the store's file has %d bytes, want %d", got, size+gib)
	}
	if got := total(t, storeData); got < before+gib*9/10 {
		t.Errorf("the store has %d bytes, and had %d", got, before)
	}
	if got := v.does("cat /root/kept"); got != "kept" {
		t.Errorf("the target's file is %q", got)
	}
	if out, err := v.run("dd if=/dev/zero of=/root/big bs=1M count=200"); err == nil || !strings.Contains(out, "No space left on device") {
		t.Errorf("the target's bound is gone: %v\n%s", err, out)
	}
	logIn(t).does("true")

	if out, err := wantStore(t, size); err != nil || storeSize(t) != size+gib { // it never shrinks
		t.Errorf("%v: %s", err, out)
	}
}

// wantStore sets podman.store_size and has the store's service look at it.
func wantStore(t *testing.T, size uint64) (string, error) {
	t.Helper()
	write(t, storeDropIn, fmt.Sprintf("podman: {store_size: %dGiB}\n", size/gib))
	out, err := exec.Command("systemctl", "reload", "sandtrap-store.service").CombinedOutput()
	return string(out), err
}

func storeSize(t *testing.T) uint64 {
	t.Helper()
	info, err := os.Stat("/var/lib/pods/store.xfs")
	if err != nil {
		t.Fatal(err)
	}
	return uint64(info.Size())
}

func total(t *testing.T, path string) uint64 { s := statfs(t, path); return s.Blocks * uint64(s.Bsize) }

func free(t *testing.T, path string) uint64 { s := statfs(t, path); return s.Bavail * uint64(s.Bsize) }

func statfs(t *testing.T, path string) unix.Statfs_t {
	t.Helper()
	var s unix.Statfs_t
	if err := unix.Statfs(path, &s); err != nil {
		t.Fatal(err)
	}
	return s
}
