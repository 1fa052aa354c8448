//go:build vm

// Package limits tests that the walls around a target hold, on a kernel that
// enforces them: in a virtual machine with all controllers of cgroup v2, where the
// package was installed. See docs/development.md.
package limits

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
)

// patience bounds every wait: the machine may have an emulated processor.
const patience = 5 * time.Minute

// settings make targets smaller than usual, so that their limits are reached soon.
// packaging/vm/install has patience with everything.
const settings = `pool: {sticky: off}
ssh: {max_sessions: 20}
target: {disk: 64MiB, memory: 128MiB, pids: 64}
recording: {max_bytes: 8MiB}
`

const (
	dropIn  = "/etc/sandtrap/conf.d/90-vm.yaml"
	address = "127.0.0.1:2222"
	// podGroup is the cgroup above those of all containers.
	podGroup = "/sys/fs/cgroup/sandtrap.slice/sandtrap-podman.service"
	pods     = "unix:///run/sandtrap-pods/podman.sock"
	// storeData is where the store is mounted.
	storeData = "/var/lib/pods/data"
)

func TestMain(m *testing.M) {
	if err := start(); err != nil {
		fmt.Fprintln(os.Stderr, "start the appliance:", err)
		os.Exit(1)
	}
	status := m.Run()
	// Tests of other packages may follow.
	_ = os.Remove(dropIn)
	_ = exec.Command("systemctl", "reload-or-restart", "sandtrap-store.service", "sandtrap.service").Run()
	os.Exit(status)
}

func start() error {
	if err := os.WriteFile(dropIn, []byte(settings), 0o644); err != nil {
		return err
	}
	for _, args := range [][]string{
		{"daemon-reload"}, {"stop", "sandtrap.socket", "sandtrap.service"}, {"reload-or-restart", "sandtrap-store.service"},
		{"enable", "--now", "sandtrap.socket"}, {"start", "sandtrap.service"},
	} {
		if out, err := exec.Command("systemctl", args...).CombinedOutput(); err != nil {
			return fmt.Errorf("systemctl %s: %w\n%s", strings.Join(args, " "), err, out)
		}
	}
	return nil
}

func must(t testing.TB, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

// eventually tries until f succeeds or patience ends.
func eventually(t testing.TB, f func() error) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
		time.Sleep(500 * time.Millisecond)
	}
}

var sources atomic.Uint32

func init() { sources.Store(rand.Uint32()) }

// visitor is somebody who has logged in.
type visitor struct {
	*ssh.Client
	t testing.TB
}

// logIn logs in from an address that nobody came from yet.
func logIn(t testing.TB) *visitor {
	t.Helper()
	v, err := logInErr(t)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func logInErr(t testing.TB) (*visitor, error) {
	n := sources.Add(1)
	from := net.IPv4(127, byte(16+n>>16%200), byte(n>>8), byte(n))
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: from}, Timeout: patience}
	raw, err := d.DialContext(context.Background(), "tcp", address)
	if err != nil {
		return nil, err
	}
	_ = raw.SetDeadline(time.Now().Add(patience))
	conn, channels, requests, err := ssh.NewClientConn(raw, address, &ssh.ClientConfig{
		User: "root", Auth: []ssh.AuthMethod{ssh.Password("hunter2")}, HostKeyCallback: ssh.InsecureIgnoreHostKey(),
	})
	if err != nil {
		raw.Close()
		return nil, err
	}
	_ = raw.SetDeadline(time.Time{})
	v := &visitor{ssh.NewClient(conn, channels, requests), t}
	t.Cleanup(func() { v.Close() })
	return v, nil
}

// run runs a command and returns what it wrote; how it ended is in the error.
func (v *visitor) run(command string) (string, error) {
	s, err := v.NewSession()
	if err != nil {
		return "", err
	}
	defer s.Close()
	out, err := s.CombinedOutput(command)
	return string(out), err
}

// does is run for what has to work.
func (v *visitor) does(command string) string {
	v.t.Helper()
	out, err := v.run(command)
	if err != nil {
		v.t.Fatalf("%s: %v\n%s", command, err, out)
	}
	return strings.TrimSpace(out)
}

// begins runs a command that nobody waits for.
func (v *visitor) begins(command string) error {
	s, err := v.NewSession()
	if err != nil {
		return err
	}
	s.Stdout, s.Stderr = io.Discard, io.Discard
	return s.Start(command)
}

// group is the cgroup of the visitor's target.
func (v *visitor) group() string {
	v.t.Helper()
	v.does("true")
	session := ""
	eventually(v.t, func() error {
		for _, line := range strings.Split(must(v.t, "podman", "--url", pods, "ps", "--no-trunc", "--format", "{{.ID}} {{.Names}}"), "\n") {
			id, name, _ := strings.Cut(line, " ")
			if session = id; name != "" && !strings.HasPrefix(name, "warm-") && v.owns(name) {
				return nil
			}
		}
		return errors.New("no container bears the session's name")
	})
	return filepath.Join(podGroup, session)
}

// owns reports whether a session is the visitor's, by its source address.
func (v *visitor) owns(session string) bool {
	ip, _, _ := net.SplitHostPort(v.LocalAddr().String())
	out, err := exec.Command("sandtrap", "show", "--format", "json", session).Output()
	return err == nil && strings.Contains(string(out), `"`+ip+`"`)
}

// read is a file of a cgroup.
func read(t testing.TB, group, file string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(group, file))
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(text))
}

// count is a value in a file of a cgroup that holds "name value" lines, or one value.
func count(t testing.TB, group, file, name string) int64 {
	t.Helper()
	for _, line := range strings.Split(read(t, group, file), "\n") {
		key, value, ok := strings.Cut(line, " ")
		if !ok {
			value = key
		} else if key != name {
			continue
		}
		n, err := strconv.ParseInt(value, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	t.Fatalf("%s/%s has no %s", group, file, name)
	return 0
}

// echo is a running session with a terminal, whose answers are timed.
type echo struct {
	in  io.Writer
	out chan byte
}

// listen opens a terminal that runs cat(1), as the echo of a typing person: the line
// discipline of the target's terminal answers.
func (v *visitor) listen() *echo {
	v.t.Helper()
	s, err := v.NewSession()
	if err != nil {
		v.t.Fatal(err)
	}
	if err := s.RequestPty("vt100", 24, 80, ssh.TerminalModes{}); err != nil {
		v.t.Fatal(err)
	}
	in, err := s.StdinPipe()
	if err != nil {
		v.t.Fatal(err)
	}
	out, err := s.StdoutPipe()
	if err != nil {
		v.t.Fatal(err)
	}
	if err := s.Start("echo ready; cat >/dev/null"); err != nil {
		v.t.Fatal(err)
	}
	e := &echo{in: in, out: make(chan byte, 1024)}
	go func() {
		defer close(e.out)
		p := make([]byte, 1)
		for {
			if _, err := out.Read(p); err != nil {
				return
			}
			e.out <- p[0]
		}
	}()
	for got := ""; !strings.HasSuffix(got, "ready\r\n"); {
		b, ok := <-e.out
		if !ok {
			v.t.Fatalf("the terminal ends after %q", got)
		}
		got += string(b)
	}
	return e
}

// measure types n characters, one after the other, and returns the median and the
// longest time to their echo.
func (e *echo) measure(t testing.TB, n int) (median, longest time.Duration) {
	t.Helper()
	var times []time.Duration
	for range n {
		began := time.Now()
		if _, err := e.in.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		select {
		case b, ok := <-e.out:
			if !ok || b != 'x' {
				t.Fatalf("the echo is %q, %v", b, ok)
			}
		case <-time.After(patience):
			t.Fatal("no echo")
		}
		times = append(times, time.Since(began))
		time.Sleep(20 * time.Millisecond)
	}
	slices.Sort(times)
	return times[n/2], times[n-1]
}
