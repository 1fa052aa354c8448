//go:build vm

package quota

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sandtrap/sandtrap/internal/testhelper"
)

const share = 8 << 20

// store mounts an XFS file system that gives each project a share.
func store(t *testing.T, options string) string {
	t.Helper()
	dir := t.TempDir()
	file, at := filepath.Join(dir, "xfs"), filepath.Join(dir, "at")
	if err := os.Mkdir(at, 0o755); err != nil {
		t.Fatal(err)
	}
	command(t, "truncate", "-s", "512M", file)
	command(t, "mkfs.xfs", "-q", file)
	command(t, "mount", "-o", "loop,"+options, file, at)
	t.Cleanup(func() { _ = exec.Command("umount", "-R", at).Run() })
	if strings.Contains(options, "prjquota") {
		command(t, "xfs_quota", "-x", "-c", "limit -p -d bhard=8m ihard=100", at)
	}
	return at
}

func command(t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
}

// newLayer makes a layer's directories as Podman's storage does.
func newLayer(t *testing.T, layers string) string {
	t.Helper()
	dir := filepath.Join(layers, layer)
	for _, below := range []string{"diff", "work/work"} {
		if err := os.MkdirAll(filepath.Join(dir, below), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestALayerIsBounded(t *testing.T) {
	layers := store(t, "prjquota")
	dir := newLayer(t, layers)
	socket := testhelper.Serve(t, (&Server{Layers: layers}).Answer)
	for range 2 { // a container may be started again
		if err := Bound(t.Context(), socket, layer); err != nil {
			t.Fatal(err)
		}
	}
	for _, below := range []string{"diff", "work/work"} {
		file := filepath.Join(dir, below, "big")
		if err := os.WriteFile(file, make([]byte, 2*share), 0o600); !errors.Is(err, unix.ENOSPC) {
			t.Errorf("%s: more than the share was written: %v", below, err)
		}
		if err := os.Remove(file); err != nil {
			t.Error(err)
		}
	}
	// What comes from the place where copies are made is of the same project.
	from, to := filepath.Join(dir, "work", "work", "x"), filepath.Join(dir, "diff", "x")
	if err := os.WriteFile(from, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(from, to); err != nil {
		t.Error(err)
	}
	if err := os.WriteFile(filepath.Join(layers, "other"), make([]byte, 2*share), 0o600); err != nil {
		t.Errorf("outside of layers: %v", err)
	}
}

func TestLayersThatAreNone(t *testing.T) {
	for name, prepare := range map[string]func(t *testing.T, dir string){
		"not there": func(t *testing.T, dir string) { _ = os.RemoveAll(dir) },
		"a link": func(t *testing.T, dir string) {
			_ = os.Rename(dir, dir+".real")
			_ = os.Symlink(dir+".real", dir)
		},
		"a file": func(t *testing.T, dir string) {
			_ = os.RemoveAll(dir)
			_ = os.WriteFile(dir, nil, 0o600)
		},
		"a file system":          func(t *testing.T, dir string) { command(t, "mount", "-t", "tmpfs", "tmpfs", dir) },
		"a file system below it": func(t *testing.T, dir string) { command(t, "mount", "-t", "tmpfs", "tmpfs", dir+"/diff") },
		"full": func(t *testing.T, dir string) {
			for i := range maxEntries + 1 {
				_ = os.Mkdir(filepath.Join(dir, "diff", string(rune('A'+i))), 0o700)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			layers := store(t, "prjquota")
			prepare(t, newLayer(t, layers))
			socket := testhelper.Serve(t, (&Server{Layers: layers}).Answer)
			if err := Bound(t.Context(), socket, layer); err == nil {
				t.Error("no error")
			}
		})
	}
}

func TestAStoreWithoutQuotas(t *testing.T) {
	layers := store(t, "noquota")
	newLayer(t, layers)
	socket := testhelper.Serve(t, (&Server{Layers: layers}).Answer)
	if err := Bound(t.Context(), socket, layer); err == nil || !strings.Contains(err.Error(), errNoLimits.Error()) {
		t.Errorf("Bound = %v", err)
	}
}

// TestALinkBelow is not followed: only directories are looked into.
func TestALinkBelow(t *testing.T) {
	layers := store(t, "prjquota")
	dir := newLayer(t, layers)
	elsewhere := filepath.Join(layers, "elsewhere")
	if err := os.Mkdir(elsewhere, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(elsewhere, filepath.Join(dir, "diff", "link")); err != nil {
		t.Fatal(err)
	}
	socket := testhelper.Serve(t, (&Server{Layers: layers}).Answer)
	if err := Bound(t.Context(), socket, layer); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(elsewhere, "big"), make([]byte, 2*share), 0o600); err != nil {
		t.Errorf("what the link names has become part of the project: %v", err)
	}
}
