//go:build appliance

package appliance

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sandtrap/sandtrap/internal/evidence"
)

// Sessions go on while Podman's API service restarts: what they say arrives once
// and in order, in both directions.
func TestSessionsOutlivePodman(t *testing.T) {
	const sessions, numbers = 20, 400
	var all []*background
	for range sessions {
		c := dial(t, freshSource(), "root")
		all = append(all, startCommand(t, c, fmt.Sprintf("for i in $(seq %d); do echo $i; sleep 0.02; done", numbers)))
	}
	for _, b := range all {
		if err := eventually(b.out.has("\n10\n")); err != nil {
			t.Fatal(err)
		}
	}
	term := openTerminal(t, freshSource(), "root@127.0.0.1")
	if err := eventually(term.out.has("# ")); err != nil {
		t.Fatal(err)
	}
	up := startUpload(t)
	must(t, "systemctl", "restart", "sandtrap-podman.service")
	term.enter(t, "echo typed $((40+2)) during; exit 3\n")
	var want strings.Builder
	for i := range numbers {
		fmt.Fprintln(&want, i+1)
	}
	for i, b := range all {
		if err := b.end(t); err != nil {
			t.Errorf("session %d ended with %v", i, err)
		}
		if got := b.out.String(); got != want.String() {
			t.Errorf("session %d: of 1 to %d came %s", i, numbers, shorten(got))
		}
		_ = b.client.Close()
	}
	if err := term.wait(); err == nil || err.Error() != "exit status 3" || !strings.Contains(term.out.String(), "typed 42 during") {
		t.Errorf("the shell ended with %v and showed %s", err, term.out.String())
	}
	up.check(t)
	settles(t)
}

func shorten(s string) string {
	if len(s) > 400 {
		return fmt.Sprintf("%q ... %q, %d bytes", s[:200], s[len(s)-200:], len(s))
	}
	return fmt.Sprintf("%q", s)
}

// upload is a command that reads what is written to it slowly.
type upload struct {
	*background
	sum string
}

func startUpload(t *testing.T) *upload {
	t.Helper()
	data := make([]byte, 4<<20)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(data)
	u := &upload{startCommand(t, dial(t, freshSource(), "root"), "sha256sum"), fmt.Sprintf("%x", sha256.Sum256(data))}
	go func() {
		_, _ = io.Copy(u.stdin, &slowly{bytes.NewReader(data)}) // the hash tells
		_ = u.stdin.Close()
	}()
	return u
}

// slowly hands out what it has in some seconds.
type slowly struct{ io.Reader }

func (r *slowly) Read(p []byte) (int, error) {
	time.Sleep(10 * time.Millisecond)
	return r.Reader.Read(p[:min(len(p), 10_000)])
}

func (u *upload) check(t *testing.T) {
	t.Helper()
	defer u.client.Close()
	if err := u.end(t); err != nil || !strings.HasPrefix(u.out.String(), u.sum) {
		t.Errorf("the upload ended with %v and has hash %s, want %s", err, u.out.String(), u.sum)
	}
}

// TestEverythingOfPodmanIsKilled: when Podman, the monitors and all containers are
// killed at once, sessions end, and the next ones are served without anybody's doing.
func TestEverythingOfPodmanIsKilled(t *testing.T) {
	lost := startCommand(t, dial(t, freshSource(), "root"), "echo here; sleep 600")
	if err := eventually(lost.out.has("here\n")); err != nil {
		t.Fatal(err)
	}
	must(t, "systemctl", "kill", "--kill-whom=all", "--signal=KILL", "sandtrap-podman.service")
	if err := lost.end(t); err == nil {
		t.Error("a session outlived its container")
	}
	if err := eventually(func() error {
		c, err := dialErr(freshSource(), "root", patience)
		if err != nil {
			return err
		}
		defer c.Close()
		out, err := run(c, "echo again")
		if err == nil && out != "again\n" {
			err = errors.New(out)
		}
		return err
	}); err != nil {
		t.Error(err)
	}
	settles(t)
}

// Sessions of images without a leader end with Podman's service, in good order.
func TestPodmanRestartEndsSessionsWithoutLeader(t *testing.T) {
	configure(t, "target:\n  image: "+plainImage(t, `CMD ["sleep", "infinity"]`)+"\n")
	c := sshCommand("root@127.0.0.1", "sleep 4000")
	stderr := &collector{}
	c.Stderr = stderr
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	id := waitLive(t, "sleep 4000")
	must(t, "systemctl", "restart", "sandtrap-podman.service")
	if err := c.Wait(); err == nil || tells(stderr.String()) {
		t.Errorf("the client ended with %v and said %q", err, stderr.String())
	}
	if s := lastSession(t); s.ID != id || s.State != evidence.StateClosed {
		t.Errorf("after the restart the newest session is %s, %s, want %s closed", s.ID, s.State, id)
	}
	if got := podman(t, "inspect", "--format", "{{.State.Status}}", id); got != "exited" {
		t.Errorf("its container is %s", got)
	}
	if r := ssh(t, "root", "echo in"); r.stdout != "in\n" {
		t.Errorf("after a restart: %+v", r)
	}
	settles(t)
}

// Whoever ends the processes that look like sshd has ended their connection, and
// nobody else's.
func TestKilledLeaders(t *testing.T) {
	other := startCommand(t, dial(t, freshSource(), "root"), "read line; echo got $line")
	var wg sync.WaitGroup
	for _, command := range []string{"kill -9 $PPID", "pkill -9 sshd", "pkill sshd", "kill -9 -1", "kill $(cat /run/sshd.pid); kill -9 $PPID"} {
		c := dial(t, freshSource(), "root")
		startCommand(t, c, "trap '' HUP TERM PIPE; sleep 0.5; "+command+"; exec sleep 5000")
		began := time.Now()
		wg.Go(func() {
			timer := time.AfterFunc(5*time.Second, func() {
				t.Errorf("%s: the connection is still there", command)
				_ = c.Close()
			})
			_ = c.Wait() // for the end of the connection
			timer.Stop()
			t.Logf("%s: over after %s", command, time.Since(began))
		})
	}
	wg.Wait()
	if _, err := fmt.Fprintln(other.stdin, "a line"); err != nil {
		t.Fatal(err)
	}
	if err := other.end(t); err != nil || other.out.String() != "got a line\n" {
		t.Errorf("the other session ended with %v: %q", err, other.out.String())
	}
	_ = other.client.Close()
	settles(t)
}
