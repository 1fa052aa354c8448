package index

import (
	"context"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"

	"github.com/sandtrap/sandtrap/internal/evidence"
)

// TestGroup: an index that root made with any umask belongs to the owner of the state
// directory, and members of its group read it while it is kept. They change nothing.
func TestGroup(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root to be somebody else")
	}
	const owner, group, member = 54321, 54322, 54323
	state := t.TempDir()
	ok(t, os.Chmod(filepath.Dir(state), 0o755))
	store := openStore(t, state)
	fill(t, store, rand.New(rand.NewPCG(1, 5)), 10)
	ok(t, filepath.Walk(state, func(path string, _ os.FileInfo, err error) error {
		if err == nil {
			err = os.Lchown(path, owner, group)
		}
		return err
	}))
	ok(t, os.Chmod(state, 0o750))
	old := syscall.Umask(0o077)
	_, _, err := Rebuild(context.Background(), store, nil)
	syscall.Umask(old)
	ok(t, err)
	for name, mode := range map[string]os.FileMode{"": 0o750, fileName: 0o640} {
		st, err := os.Stat(filepath.Join(state, directory, name))
		ok(t, err)
		if of := st.Sys().(*syscall.Stat_t); of.Uid != owner || of.Gid != group || st.Mode().Perm() != mode {
			t.Errorf("%q: owner %d, group %d, mode %v", name, of.Uid, of.Gid, st.Mode())
		}
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		for _, call := range [][4]uintptr{{syscall.SYS_SETGROUPS, 0, 0, 0}, {syscall.SYS_SETRESGID, group, group, group}, {syscall.SYS_SETRESUID, member, member, member}} {
			if _, _, errno := syscall.RawSyscall(call[0], call[1], call[2], call[3]); errno != 0 {
				t.Errorf("become somebody else: %v", errno)
				return
			}
		}
		theirs, err := evidence.OpenReadOnly(state)
		if err != nil {
			t.Error(err)
			return
		}
		defer theirs.Close()
		q, err := Query(context.Background(), theirs, Filter{}, Options{})
		if err != nil || q.Index != nil || q.Read != 0 || len(q.Entries) != 10 || len(q.Problems) != 0 {
			t.Errorf("as a member of the group: %d sessions, %d read, %v, %v, %v", len(q.Entries), q.Read, q.Index, q.Problems, err)
		}
		if _, _, err := Rebuild(context.Background(), theirs, nil); err == nil {
			t.Error("a member of the group has written the index")
		}
	}()
	<-done
}
