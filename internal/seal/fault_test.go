package seal

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// killedEnv makes this program the victim of TestKill.
const killedEnv = "SEAL_KILLED"

// TestVictim seals or removes in a directory until it kills itself, behind the step that
// it is told.
func TestVictim(t *testing.T) {
	dir, left, _ := strings.Cut(os.Getenv(killedEnv), " ")
	if dir == "" {
		t.Skip("only for TestKill")
	}
	steps, _ := strconv.Atoi(left)
	y := newYard(t, dir)
	y.sealer.step = func(string) error {
		if steps--; steps < 0 {
			return syscall.Kill(os.Getpid(), syscall.SIGKILL)
		}
		return nil
	}
	if id := os.Getenv("SEAL_REMOVE"); id != "" {
		must(t, y.sealer.Remove(id, "test"))
		return
	}
	y.sealAll()
}

// killed runs the victim, and reports whether it got to its end.
func killed(t *testing.T, dir string, step int, remove string) (ended bool) {
	t.Helper()
	c := exec.Command(os.Args[0], "-test.run=^TestVictim$")
	c.Env = append(os.Environ(), fmt.Sprintf("%s=%s %d", killedEnv, dir, step), "SEAL_REMOVE="+remove)
	out, err := c.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && (!errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL) {
		t.Fatalf("%v\n%s", err, out)
	}
	return err == nil
}

// TestKill: a process that is killed behind any step leaves what the next one ends.
func TestKill(t *testing.T) {
	y := newYard(t, t.TempDir())
	step := 0
	for ; ; step++ {
		y.session(step + 1)
		y.close()
		ended := killed(t, y.dir, step, "")
		y.open()
		if sealed := y.store.Sealed(strings.TrimPrefix(y.pathOf(newID(step+1)), y.dir+"/")); !ended && sealed && step < 10 {
			t.Errorf("step %d: nothing was left to do", step)
		}
		y.sealAll()
		y.clean(step + 1)
		y.marked(newID(step + 1))
		if ended {
			break
		}
	}
	if step != 13 {
		t.Errorf("%d steps", step)
	}
	sealed := step + 1
	for step := 0; ; step++ {
		sealed--
		y.close()
		ended := killed(t, y.dir, step, newID(step+1))
		y.open()
		y.clean(sealed)
		if _, err := os.Stat(y.pathOf(newID(step + 1))); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("a session was not removed: %v", err)
		}
		if ended {
			if step != 2 {
				t.Errorf("%d steps", step)
			}
			break
		}
	}
	left, _ := os.ReadDir(filepath.Join(y.dir, trashDir))
	if len(left) > 0 {
		t.Errorf("left in the trash: %v", left)
	}
}

// TestErrors: an error at any step, then at every try, and in the end it works.
func TestErrors(t *testing.T) {
	for _, failure := range []error{syscall.ENOSPC, syscall.EIO} {
		y := newYard(t, t.TempDir())
		y.session(1)
		for step := 0; ; step++ {
			left := step
			y.sealer.step = func(string) error {
				if left--; left < 0 {
					return failure
				}
				return nil
			}
			if y.sealer.sealAll(context.Background()) {
				break
			}
		}
		if strings.Count(y.events.String(), "session.fail") != 1 || strings.Count(y.events.String(), "session.seal") > 1 {
			t.Errorf("events: %s", &y.events)
		}
		y.clean(1)
	}
}

// TestTornChain: the entry that a crash has cut off is made anew; other damage stays
// and is told of, and the chain goes on.
func TestTornChain(t *testing.T) {
	y := newYard(t, t.TempDir())
	y.session(1)
	y.session(2)
	y.sealAll()
	chain := filepath.Join(y.dir, chainFile)
	whole := read(t, chain)
	must(t, os.WriteFile(chain, append(slices.Clone(whole), whole[:100]...), 0o640))
	y.clean(2) // as a verb sees it while a line is being written
	y.restart()
	y.session(3)
	y.sealAll()
	y.clean(3)
	b := read(t, chain)
	b = append(b, "{}\n"...)
	must(t, os.WriteFile(chain, b, 0o640))
	y.restart()
	y.session(4)
	y.sealAll()
	found, _ := y.verify(VerifyOptions{})
	y.has(found, "failure chain  chain: line 4: not an entry")
	must(t, os.WriteFile(chain, append(read(t, chain), strings.Repeat("x", 5*maxLine)...), 0o640))
	y.restart()
	y.session(5)
	y.sealAll()
	found, sum := y.verify(VerifyOptions{})
	y.has(found, "failure chain  chain: line 4: not an entry", "failure chain  chain: line 6: not an entry")
	if sum.Sealed != 5 || sum.Entries != 7 {
		t.Errorf("%+v", sum)
	}
}

// TestRemove: what is removed on purpose is not missed.
func TestRemove(t *testing.T) {
	y := newYard(t, t.TempDir())
	for n := range 3 {
		y.session(n + 1)
	}
	if err := y.sealer.Remove(newID(1), "age"); !errors.Is(err, ErrNotSealed) {
		t.Errorf("not sealed: %v", err)
	}
	y.sealAll()
	must(t, y.sealer.Remove(newID(2), "age"))
	if found, sum := y.verify(VerifyOptions{}); len(found) != 0 || sum.Removed != 1 || sum.Sealed != 2 {
		t.Errorf("%q %+v", found, sum)
	}
	if err := y.sealer.Remove(newID(2), "age"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("removed twice: %v", err)
	}
	if err := y.sealer.Remove("../../x", "age"); err == nil {
		t.Error("a path was taken for an id")
	}
	artifact := hashOf([]byte("artifact 3"))
	must(t, y.sealer.RemoveArtifact(artifact, "age"))
	found, sum := y.verify(VerifyOptions{})
	y.has(found, "notice artifact-removed 3 artifacts/sha256/")
	if sum.Failures != 0 {
		t.Errorf("%+v", sum)
	}
	if err := y.sealer.RemoveArtifact(artifact, "age"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("removed twice: %v", err)
	}
	if err := y.sealer.RemoveArtifact("../x", "age"); err == nil {
		t.Error("a path was taken for a hash")
	}
	// A session that is put back is found, as is one that was never sealed here.
	must(t, os.CopyFS(y.pathOf(newID(2)), os.DirFS(y.pathOf(newID(1)))))
	must(t, os.CopyFS(y.pathOf(newID(7)), os.DirFS(y.pathOf(newID(1)))))
	found, _ = y.verify(VerifyOptions{IDs: []string{newID(2)}})
	if !slices.ContainsFunc(found, func(f string) bool {
		return strings.HasPrefix(f, "failure chain 2 : the chain says that the session was removed")
	}) {
		t.Errorf("found %q", found)
	}
	if err := y.sealer.Remove(newID(7), "age"); !errors.Is(err, ErrNotSealed) {
		t.Errorf("foreign: %v", err)
	}
	if n := strings.Count(y.events.String(), `"event":"session.remove"`); n != 1 || !strings.Contains(y.events.String(), `"event":"artifact.remove"`) {
		t.Errorf("events: %s", &y.events)
	}
}

// TestTwoProcesses: entries of two at once do not get into each other's way.
func TestTwoProcesses(t *testing.T) {
	y := newYard(t, t.TempDir())
	for n := range 20 {
		y.session(n + 1)
	}
	y.sealAll()
	other := &yard{TB: t, dir: y.dir, key: y.key}
	other.open()
	defer other.close()
	done := make(chan error)
	for i, s := range []*Sealer{y.sealer, other.sealer} {
		go func() {
			var errs []error
			for n := range 10 {
				errs = append(errs, s.Remove(newID(2*n+i+1), "age"))
			}
			done <- errors.Join(errs...)
		}()
	}
	must(t, errors.Join(<-done, <-done))
	if found, sum := y.verify(VerifyOptions{}); len(found) != 0 || sum.Removed != 20 || sum.Entries != 40 {
		t.Errorf("%q %+v", found, sum)
	}
}
