//go:build appliance

// Package appliance tests the installed package as its users meet it: inside a
// machine where only "apt install" has happened, with systemd, rootless Podman
// and the real OpenSSH client. It runs as root in the disposable system; see
// docs/development.md.
package appliance

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sandtrap/sandtrap/internal/evidence"
)

const (
	address   = "127.0.0.1:2222"
	password  = "correct horse"
	podmanURL = "unix:///run/sandtrap-pods/podman.sock"
	stateDir  = "/var/lib/sandtrap"
	// patience bounds every wait for something that happens soon.
	patience = 60 * time.Second
)

// TestMain starts the appliance with the one command that a user types, having
// looked that nothing had started before. In a container the same binary plays
// a session leader, see fakeleader_test.go.
func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) == fakeLeader {
		playLeader(os.Args[1:])
	}
	if err := start(); err != nil {
		fmt.Fprintln(os.Stderr, "start the appliance:", err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

func start() error {
	if os.Getenv("APPLIANCE_REBOOTED") == "" {
		for _, unit := range []string{"sandtrap.socket", "sandtrap.service", "sandtrap-podman.socket", "sandtrap-podman.service", "sandtrap-handover.socket", "sandtrap-handover.service", "sandtrap-filter.socket", "sandtrap-filter.service"} {
			if state, _ := output("systemctl", "is-active", unit); state != "inactive" {
				return fmt.Errorf("%s is %s before it was enabled", unit, state)
			}
		}
		if out, err := output("systemctl", "enable", "--now", "sandtrap.socket"); err != nil {
			return fmt.Errorf("%s: %w", out, err)
		}
	}
	if err := askpass(); err != nil {
		return err
	}
	return eventually(func() error {
		state, _ := output("systemctl", "is-active", "sandtrap.service")
		if state != "active" {
			return errors.New("sandtrap.service is " + state)
		}
		return nil
	})
}

// askpass is the program that types the password for ssh(1), SSH_ASKPASS.
func askpass() error {
	script := "#!/bin/sh\nprintf '%s\\n' \"${ASKPASS_PASSWORD-" + password + "}\"\n"
	return os.WriteFile(askpassPath(), []byte(script), 0o755)
}

func askpassPath() string { return filepath.Join(os.TempDir(), "askpass") }

// eventually tries until f succeeds or patience ends.
func eventually(f func() error) error { return eventuallyWithin(patience, f) }

func eventuallyWithin(longest time.Duration, f func() error) error {
	deadline := time.Now().Add(longest)
	for {
		err := f()
		if err == nil || time.Now().After(deadline) {
			return err
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func output(name string, args ...string) (string, error) {
	out, err := exec.Command(name, args...).CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

func must(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := output(name, args...)
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return out
}

func podman(t *testing.T, args ...string) string {
	t.Helper()
	return must(t, "podman", append([]string{"--url", podmanURL}, args...)...)
}

// sshResult is what an OpenSSH client printed and ended with.
type sshResult struct {
	stdout, stderr string
	status         int
}

var sources atomic.Uint32

func init() { sources.Store(rand.Uint32()) }

// freshSource is an address of this machine that no session came from yet: who
// comes from a known one is given the target of the time before.
func freshSource() string {
	n := sources.Add(1)
	return fmt.Sprintf("127.%d.%d.%d", 16+n>>16%200, byte(n>>8), byte(n))
}

// sshFrom is ssh(1) from a source address with a password typed for it.
func sshFrom(source string, args ...string) *exec.Cmd {
	return withPassword(exec.Command("ssh", append(append([]string{"-p", "2222", "-b", source}, sshOptions...), args...)...))
}

var sshOptions = []string{"-F", "none", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null",
	"-o", "LogLevel=ERROR", "-o", "ConnectTimeout=30"}

// sshCommand is sshFrom a source that was not there before.
func sshCommand(args ...string) *exec.Cmd { return sshFrom(freshSource(), args...) }

func withPassword(c *exec.Cmd) *exec.Cmd {
	c.Env = append(os.Environ(), "SSH_ASKPASS="+askpassPath(), "SSH_ASKPASS_REQUIRE=force", "LANG=C.UTF-8", "TERM=xterm-256color")
	return c
}

func finish(t *testing.T, c *exec.Cmd, stdin io.Reader) sshResult {
	t.Helper()
	var stdout, stderr bytes.Buffer
	c.Stdin, c.Stdout, c.Stderr = stdin, &stdout, &stderr
	timer := time.AfterFunc(2*patience, func() { _ = c.Process.Kill() })
	defer timer.Stop()
	err := c.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return sshResult{stdout.String(), stderr.String(), c.ProcessState.ExitCode()}
}

// ssh runs a command as user and waits for its end.
func ssh(t *testing.T, user, command string) sshResult {
	t.Helper()
	return finish(t, sshCommand(user+"@127.0.0.1", command), nil)
}

// lastSession returns the newest session once its evidence is sealed.
func lastSession(t *testing.T) evidence.Session {
	t.Helper()
	var s evidence.Session
	read := func(id string) error {
		out, err := output("sandtrap", "show", "--format", "json", "--", id)
		if err != nil {
			return errors.New(out)
		}
		s = evidence.Session{}
		return json.Unmarshal([]byte(out), &s)
	}
	err := eventually(func() error {
		if err := read("-1"); err != nil {
			return err
		}
		if _, err := os.Stat(filepath.Join(directory(s), evidence.SealFile)); err != nil {
			return errors.New("session is not sealed yet")
		}
		return read(s.ID) // it was written once more before it was sealed
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// configure applies a drop-in configuration for one test.
func configure(t *testing.T, yaml string) {
	t.Helper()
	tryConfigure(t, yaml)
	must(t, "systemctl", "restart", "sandtrap.service")
}

// tryConfigure writes a drop-in for one test, after which the service is started
// without it.
func tryConfigure(t *testing.T, yaml string) {
	t.Helper()
	path := "/etc/sandtrap/conf.d/99-test.yaml"
	if err := os.WriteFile(path, []byte(yaml), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = os.Remove(path)
		must(t, "systemctl", "restart", "sandtrap.service")
	})
}

// converse sends bytes and returns what comes back until the server closes.
func converse(t *testing.T, send string) string {
	t.Helper()
	c, err := net.DialTimeout("tcp", address, patience)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(c, send); err != nil {
		t.Fatal(err)
	}
	answer, _ := io.ReadAll(c) // a reset is an ordinary end here
	return string(answer)
}
