//go:build appliance || vm

package escape

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// patience bounds every wait. A machine without acceleration is some twenty times
// slower than others.
const patience = 5 * time.Minute

const (
	stateDir  = "/var/lib/sandtrap"
	podmanURL = "unix:///run/sandtrap-pods/podman.sock"
)

// TestMain starts SandTrap, where that has not happened, before the tests. Inside,
// the same binary makes the attempts.
func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) == programName {
		play(os.Args[1:])
	}
	if err := start(); err != nil {
		fmt.Fprintln(os.Stderr, "start SandTrap:", err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

func start() error {
	if out, err := output("systemctl", "enable", "--now", "sandtrap.socket"); err != nil {
		return fmt.Errorf("%s: %w", out, err)
	}
	if err := os.MkdirAll(filepath.Dir(askpassPath()), 0o755); err != nil {
		return err
	}
	script := "#!/bin/sh\necho attempts\n"
	if err := os.WriteFile(askpassPath(), []byte(script), 0o755); err != nil {
		return err
	}
	// The first start makes the image of the target.
	return eventually(4*patience, func() error {
		state, _ := output("systemctl", "is-active", "sandtrap.service")
		if state != "active" {
			return errors.New("sandtrap.service is " + state)
		}
		return nil
	})
}

// askpassPath is in the directory of what these tests need themselves.
func askpassPath() string { return filepath.Join(os.TempDir(), "escape", "askpass") }

// eventually tries until f succeeds or the time is over.
func eventually(limit time.Duration, f func() error) error {
	deadline := time.Now().Add(limit)
	for {
		err := f()
		if err == nil || time.Now().After(deadline) {
			return err
		}
		time.Sleep(100 * time.Millisecond)
	}
}

func output(name string, args ...string) (string, error) {
	out, err := exec.Command(name, args...).CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

// session is one connection of ssh(1), on which programs can be run.
type session struct {
	user, source, control string
	master                *exec.Cmd
	record                record
	gone                  bool   // its container is not to be kept
	group                 string // the directory of its control group, once it is known
}

// record is what of session.json(sandtrap) concerns this suite.
type record struct {
	ID     string `json:"id"`
	State  string `json:"state"`
	Source struct {
		IP string `json:"ip"`
	} `json:"source"`
	Target struct {
		Container string `json:"container"`
	} `json:"target"`
	Channels []struct {
		Recording struct {
			Raw  string `json:"raw"`
			Cast string `json:"cast"`
		} `json:"recording"`
	} `json:"channels"`
	directory string
}

// login connects from an address that nobody came from yet, and waits for the
// session's evidence, where it says which container it has.
func login(t *testing.T, user string) *session {
	t.Helper()
	n := rand.Uint32()
	s := &session{user: user, source: fmt.Sprintf("127.%d.%d.%d", 224+n>>16%24, byte(n>>8), 1+byte(n)%250)}
	// Below a directory that was there before: what is new in /tmp would count.
	s.control = filepath.Join(filepath.Dir(askpassPath()), fmt.Sprintf("control-%x", n))
	s.master = s.ssh("-M", "-N")
	if err := s.master.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.logout)
	if err := eventually(patience, func() error { _, err := os.Stat(s.control); return err }); err != nil {
		t.Fatal(err)
	}
	if got := s.run(t, nil, "echo in"); got != "in\n" {
		t.Fatalf("%s is not let in: %q", user, got)
	}
	if err := eventually(patience, s.find); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *session) ssh(args ...string) *exec.Cmd {
	c := exec.Command("ssh", append(append([]string{"-p", "2222", "-b", s.source, "-S", s.control, "-F", "none", "-o", "StrictHostKeyChecking=no",
		"-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR", "-o", "ConnectTimeout=300"}, args...), s.user+"@127.0.0.1")...)
	c.Env = append(os.Environ(), "SSH_ASKPASS="+askpassPath(), "SSH_ASKPASS_REQUIRE=force", "LANG=C.UTF-8", "TERM=xterm")
	return c
}

func (s *session) command(command string) *exec.Cmd {
	c := s.ssh()
	c.Args = append(c.Args, command)
	return c
}

// run runs a command and returns what it prints, on both streams.
func (s *session) run(t *testing.T, stdin io.Reader, command string) string {
	t.Helper()
	c := s.command(command)
	var out bytes.Buffer
	c.Stdin, c.Stdout, c.Stderr = stdin, &out, &out
	timer := time.AfterFunc(patience, func() { _ = c.Process.Kill() })
	defer timer.Stop()
	_ = c.Run() // what it printed says more
	return out.String()
}

// logout ends the connection, as often as it is called.
func (s *session) logout() {
	_ = s.master.Process.Kill()
	_ = s.master.Wait()
}

// find reads the session's evidence.
func (s *session) find() error {
	files, err := filepath.Glob(filepath.Join(stateDir, "sessions/*/*/*/*/session.json"))
	if err != nil {
		return err
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil || !strings.Contains(string(text), s.source) {
			continue
		}
		r := record{directory: filepath.Dir(file)}
		if err := json.Unmarshal(text, &r); err != nil {
			return err
		}
		if r.Source.IP == s.source && r.Target.Container != "" {
			s.record = r
			return nil
		}
	}
	return errors.New("no session from " + s.source + " has a target")
}

// upload puts this very program into the target.
func (s *session) upload(t *testing.T) {
	t.Helper()
	self, err := os.Open("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	defer self.Close()
	if got := s.run(t, self, "mkdir -m 755 /tmp/x && cat >/tmp/x/"+programName+" && chmod 755 /tmp/x/"+programName+" && echo there"); got != "there\n" {
		t.Fatalf("upload: %q", got)
	}
}

// conversation is a program inside that answers lines.
type conversation struct {
	in  io.WriteCloser
	out *bufio.Scanner
}

// converse starts the program in a mode and tells it the facts.
func converse(t *testing.T, c *exec.Cmd, f facts) *conversation {
	t.Helper()
	var err error
	talk := &conversation{}
	if talk.in, err = c.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	c.Stderr = os.Stderr
	talk.out = bufio.NewScanner(out)
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = c.Process.Kill()
		_ = c.Wait()
	})
	text, err := json.Marshal(f)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := talk.in.Write(append(text, '\n')); err != nil {
		t.Fatal(err)
	}
	return talk
}

// ask says a line and waits for the answer. What does not answer in time ends the
// test, since Scan cannot be cut short.
func (c *conversation) ask(line string) (string, error) {
	if _, err := io.WriteString(c.in, line+"\n"); err != nil {
		return "", err
	}
	return c.hear()
}

func (c *conversation) hear() (string, error) {
	answer := make(chan string, 1)
	go func() { // ends with the conversation
		defer close(answer)
		if c.out.Scan() {
			answer <- c.out.Text()
		}
	}()
	select {
	case a, ok := <-answer:
		if !ok {
			return "", errors.New("the program inside has ended")
		}
		return a, nil
	case <-time.After(patience):
		return "", errors.New("no answer")
	}
}
