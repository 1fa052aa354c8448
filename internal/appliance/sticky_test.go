//go:build appliance

package appliance

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/sandtrap/sandtrap/internal/evidence"
)

// sessionOf runs a command from a source and returns the session it was.
func sessionOf(t *testing.T, source, command, want string) evidence.Session {
	t.Helper()
	r := finish(t, sshFrom(source, "root@127.0.0.1", command), nil)
	if r.stdout != want {
		t.Errorf("%s from %s: %+v, want %q", command, source, r, want)
	}
	s := lastSession(t)
	if s.Source.IP != source {
		t.Fatalf("the last session is from %s, want %s", s.Source.IP, source)
	}
	return s
}

const look = "cat /root/left 2>/dev/null || echo nothing"

// Who comes back finds what they left; nobody else does. The container bears the
// name of the session that had it last, and says whose it was.
func TestSourceReturns(t *testing.T) {
	source := freshSource()
	first := sessionOf(t, source, "echo mine >/root/left; nohup sleep 1000 >/dev/null 2>&1 & echo", "\n")
	other := sessionOf(t, freshSource(), look, "nothing\n")
	second := sessionOf(t, source, look+"; pgrep -x sleep | wc -l", "mine\n0\n")
	if second.Target.Container != first.Target.Container || other.Target.Container == first.Target.Container {
		t.Errorf("containers: first %.12s, another source %.12s, back again %.12s", first.Target.Container, other.Target.Container, second.Target.Container)
	}
	if second.Target.PreviousSession != first.ID || first.Target.PreviousSession != "" || other.Target.PreviousSession != "" {
		t.Errorf("previous sessions: %q, %q, %q", first.Target.PreviousSession, other.Target.PreviousSession, second.Target.PreviousSession)
	}
	if got := podman(t, "inspect", "--format", "{{.Name}} {{.State.Status}}", first.Target.Container); got != second.ID+" exited" {
		t.Errorf("the container is %s, want %s exited", got, second.ID)
	}
	if got := podman(t, "inspect", "--format", "{{.ID}}", second.ID); got != first.Target.Container {
		t.Errorf("by the session's name Podman finds %s", got)
	}
	third := sessionOf(t, source, look, "mine\n")
	if third.Target.PreviousSession != second.ID {
		t.Errorf("the third session follows %q, want %s", third.Target.PreviousSession, second.ID)
	}
	settles(t)
}

// Two sessions of one source at once have two targets.
func TestSourceReturnsTooEarly(t *testing.T) {
	source := freshSource()
	c := dial(t, source, "root")
	if _, err := run(c, "echo mine >/root/left"); err != nil {
		t.Fatal(err)
	}
	r := finish(t, sshFrom(source, "root@127.0.0.1", look), nil)
	if r.stdout != "nothing\n" {
		t.Errorf("beside the first session: %+v", r)
	}
	if out, err := run(c, look); err != nil || out != "mine\n" {
		t.Errorf("the first session: %q, %v", out, err)
	}
	_ = c.Close()
	settles(t)
}

// Coming back at once must not be slower for want of the session before being
// over.
func TestSourceReturnsAtOnce(t *testing.T) {
	source := freshSource()
	for i := range 6 {
		began := time.Now()
		r := finish(t, sshFrom(source, "root@127.0.0.1", "echo line >>/root/left; wc -l </root/left"), nil)
		if r.stdout != fmt.Sprint(i+1, "\n") {
			t.Errorf("time %d: %+v", i, r)
		}
		if took := time.Since(began); took > 15*time.Second {
			t.Errorf("time %d took %s", i, took)
		}
	}
}

// TestSourceReturnsSooner: a client may connect again within a millisecond, long before
// the evidence of its session is complete.
func TestSourceReturnsSooner(t *testing.T) {
	source := freshSource()
	for i := range 10 {
		c := dial(t, source, "root")
		out, err := run(c, "echo line >>/root/left; wc -l </root/left")
		_ = c.Close()
		if err != nil || out != fmt.Sprint(i+1, "\n") {
			t.Errorf("time %d: %q, %v", i, out, err)
		}
	}
	settles(t)
}

// TestSourceReturnsToPipes: a target whose lists of accounts are no files is not started
// again, for Podman would hang; one with other accounts is.
func TestSourceReturnsToPipes(t *testing.T) {
	for _, tt := range []struct{ name, leave, want string }{
		{"an account", "echo eve:x:0:0::/root:/bin/bash >>/etc/passwd", "mine\n"},
		{"a pipe", "rm /etc/passwd; mkfifo /etc/passwd", "nothing\n"},
		{"a pipe of groups", "rm /etc/group; mkfifo /etc/group", "nothing\n"},
		{"a pipe by a link", "mkfifo /tmp/passwd; ln -sf /tmp/passwd /etc/passwd", "nothing\n"},
		{"a directory with pipes", "mkdir /tmp/etc; mkfifo /tmp/etc/passwd; cp -a /etc /tmp/old; rm -rf /etc; ln -s /tmp/etc /etc", "nothing\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			source := freshSource()
			r := finish(t, sshFrom(source, "root@127.0.0.1", "echo mine >/root/left; ("+tt.leave+") 2>&1"), nil)
			if r.status != 0 || r.stdout != "" {
				t.Fatalf("leaving %s: %+v", tt.name, r)
			}
			began := time.Now()
			sessionOf(t, source, look, tt.want)
			t.Logf("coming back took %s", time.Since(began))
		})
	}
	settles(t)
}

func TestStickySettings(t *testing.T) {
	t.Run("off", func(t *testing.T) {
		configure(t, "pool:\n  sticky: \"off\"\n")
		source := freshSource()
		sessionOf(t, source, "echo mine >/root/left", "")
		sessionOf(t, source, look, "nothing\n")
	})
	t.Run("by credential, over a restart and within the window", func(t *testing.T) {
		configure(t, "pool:\n  sticky: source-and-credential\n  sticky_window: 8s\n")
		source := freshSource()
		sessionOf(t, source, "echo mine >/root/left", "")
		c := sshFrom(source, "root@127.0.0.1", look)
		c.Env = append(c.Env, "ASKPASS_PASSWORD=another")
		if r := finish(t, c, nil); r.stdout != "nothing\n" {
			t.Errorf("another credential: %+v", r)
		}
		must(t, "systemctl", "restart", "sandtrap.service")
		sessionOf(t, source, look, "mine\n")
		err := eventually(func() error {
			time.Sleep(9 * time.Second) // each try begins the window again
			if r := finish(t, sshFrom(source, "root@127.0.0.1", look), nil); r.stdout != "nothing\n" {
				return fmt.Errorf("after the window: %+v", r)
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	})
}

// The oldest containers go when there are too many, but for those that somebody
// pinned. Their records stay.
func TestRetention(t *testing.T) {
	configure(t, "pool:\n  retain: 3\n  sticky: \"off\"\n")
	var sessions []evidence.Session
	for i := range 6 {
		s := sessionOf(t, freshSource(), "head -c 100000 /dev/zero >/root/file; echo $HOME", "/root\n")
		sessions = append(sessions, s)
		if i == 1 {
			must(t, "sandtrap", "pin", s.ID)
		}
	}
	t.Cleanup(func() { _, _ = output("sandtrap", "unpin", sessions[1].ID) })
	kept := func(want ...int) func() error {
		return func() error {
			var got []int
			all := containers(t)
			for i, s := range sessions {
				if c, ok := all[s.ID]; ok && c.State == "exited" && c.ID == s.Target.Container {
					got = append(got, i)
				}
			}
			if fmt.Sprint(got) != fmt.Sprint(want) {
				return fmt.Errorf("kept are %v, want %v", got, want)
			}
			return nil
		}
	}
	if err := eventually(kept(1, 3, 4, 5)); err != nil {
		t.Error(err)
	}
	must(t, "sandtrap", "unpin", sessions[1].ID)
	must(t, "systemctl", "restart", "sandtrap.service")
	if err := eventually(kept(3, 4, 5)); err != nil {
		t.Error(err)
	}
	if out := must(t, "sandtrap", "show", sessions[0].ID); !strings.Contains(out, sessions[0].ID) {
		t.Errorf("the record of a session whose container is gone: %s", out)
	}
	configure(t, "pool:\n  retain: 3\n  retain_age: 1s\n  sticky: \"off\"\n")
	err := eventually(func() error {
		for name := range containers(t) {
			if !strings.HasPrefix(name, "warm-") {
				return errors.New(name + " is still there")
			}
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}
