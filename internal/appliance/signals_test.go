//go:build appliance

package appliance

import (
	"errors"
	"fmt"
	"testing"
	"time"

	xssh "golang.org/x/crypto/ssh"
)

// How a command ended arrives as it was: a status, or a signal.
func TestExitsAreExact(t *testing.T) {
	c := dial(t, freshSource(), "root")
	for command, want := range map[string]struct {
		status int
		signal string
	}{
		"exit 0":                      {0, ""},
		"exit 143":                    {143, ""}, // which is not death by SIGTERM
		"exit 255":                    {255, ""},
		"kill -TERM $$":               {0, "TERM"},
		"kill -KILL $$":               {0, "KILL"},
		"kill -HUP $$":                {0, "HUP"},
		"kill -USR1 $$":               {0, "USR1"},
		"kill -SEGV $$":               {0, "SEGV"},
		"exec sleep 0":                {0, ""},
		"sh -c 'kill -9 $$'; exit $?": {137, ""}, // the login shell tells of its child
		"exec nonesuch":               {127, ""},
		"exec /etc/passwd":            {126, ""},
		"(sleep 1; exit 9)":           {9, ""},
		"sleep 2 & exit 8":            {8, ""}, // when the pipe is closed, see sshd(8)
	} {
		s, err := c.NewSession()
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan error, 1)
		go func() { done <- s.Run(command) }()
		select {
		case err = <-done:
		case <-time.After(patience):
			err = errors.New("does not end")
		}
		var exit *xssh.ExitError
		switch {
		case want.status == 0 && want.signal == "":
			if err != nil {
				t.Errorf("%s: %v", command, err)
			}
		case !errors.As(err, &exit):
			t.Errorf("%s: %v, want an exit", command, err)
		case exit.Signal() != want.signal || want.signal == "" && exit.ExitStatus() != want.status:
			t.Errorf("%s: status %d, signal %q, want %+v", command, exit.ExitStatus(), exit.Signal(), want)
		}
	}
	if r := ssh(t, "root", "kill -TERM $$"); r.status != 255 {
		t.Errorf("ssh(1) ends with %d after a signal", r.status)
	}
}

// Signals that a client sends arrive, RFC 4254 section 6.9. For root they do not, as
// with sshd: internal/conformance.
func TestSignalsArrive(t *testing.T) {
	c := dial(t, freshSource(), "debian")
	for _, name := range []xssh.Signal{"HUP", "INT", "QUIT", "TERM", "USR1", "USR2", "ALRM"} {
		b := startCommand(t, c, fmt.Sprintf("trap 'echo caught %[1]s; exit 3' %[1]s; echo ready; while :; do sleep 0.05; done", name))
		if err := eventually(b.out.has("ready")); err != nil {
			t.Fatal(err)
		}
		if err := b.session.Signal(name); err != nil {
			t.Fatal(err)
		}
		var exit *xssh.ExitError
		if err := b.end(t); !errors.As(err, &exit) || exit.ExitStatus() != 3 {
			t.Errorf("%s: %v", name, err)
		}
		if want := fmt.Sprintf("ready\ncaught %s\n", name); b.out.String() != want {
			t.Errorf("%s: %q", name, b.out.String())
		}
	}
	b := startCommand(t, c, "echo ready; sleep 1000")
	if err := eventually(b.out.has("ready")); err != nil {
		t.Fatal(err)
	}
	if err := b.session.Signal("KILL"); err != nil {
		t.Fatal(err)
	}
	var exit *xssh.ExitError
	if err := b.end(t); !errors.As(err, &exit) || exit.Signal() != "KILL" {
		t.Errorf("KILL: %v", err)
	}
}

// A client that closes its channel hangs up: the program does not run on.
func TestClosedChannelHangsUp(t *testing.T) {
	c := dial(t, freshSource(), "root")
	b := startCommand(t, c, "echo $$ >/tmp/pid; trap 'echo >/tmp/hung-up; exit' HUP PIPE TERM; while :; do echo ready; sleep 0.05; done")
	if err := eventually(b.out.has("ready")); err != nil {
		t.Fatal(err)
	}
	_ = b.session.Close()
	err := eventually(func() error {
		out, err := run(c, "ls /tmp/hung-up; kill -0 $(cat /tmp/pid) || echo gone")
		if err != nil || out != "/tmp/hung-up\ngone\n" {
			return fmt.Errorf("%q, %w", out, err)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}
