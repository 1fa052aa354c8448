//go:build appliance

package appliance

import (
	"bytes"
	"context"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"
	xssh "golang.org/x/crypto/ssh"
)

// dial logs in with the SSH library, which shows what ssh(1) hides: exit signals
// and the order of things. The connection ends with the test at the latest.
func dial(t *testing.T, source, user string) *xssh.Client {
	t.Helper()
	c, err := dialErr(source, user, patience)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// dialErr is dial for places where a failure is to be expected. Everything that
// happens on the connection until the login has to happen within the timeout.
func dialErr(source, user string, timeout time.Duration) (*xssh.Client, error) {
	raw, err := dialTCP(source, timeout)
	if err != nil {
		return nil, err
	}
	if err := raw.SetDeadline(time.Now().Add(timeout)); err != nil {
		return nil, err
	}
	conn, channels, requests, err := xssh.NewClientConn(raw, address, &xssh.ClientConfig{
		User: user, Auth: []xssh.AuthMethod{xssh.Password(password)}, HostKeyCallback: xssh.InsecureIgnoreHostKey(),
	})
	if err != nil {
		_ = raw.Close()
		return nil, err
	}
	if err := raw.SetDeadline(time.Time{}); err != nil {
		return nil, err
	}
	return xssh.NewClient(conn, channels, requests), nil
}

func dialTCP(source string, timeout time.Duration) (net.Conn, error) {
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(source)}, Timeout: timeout}
	return d.DialContext(context.Background(), "tcp", address)
}

// run runs a command on a connection that is open.
func run(c *xssh.Client, command string) (string, error) {
	s, err := c.NewSession()
	if err != nil {
		return "", err
	}
	defer s.Close()
	out, err := s.Output(command)
	return string(out), err
}

// background is a command that writes while the test does something else.
type background struct {
	client  *xssh.Client
	session *xssh.Session
	stdin   io.WriteCloser
	out     *collector
	done    chan error // how it ended, once
}

func startCommand(t *testing.T, c *xssh.Client, command string) *background {
	t.Helper()
	s, err := c.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	b := &background{client: c, session: s, out: &collector{}, done: make(chan error, 1)}
	s.Stdout = b.out
	if b.stdin, err = s.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := s.Start(command); err != nil {
		t.Fatal(err)
	}
	go func() { b.done <- s.Wait() }()
	return b
}

// end waits for the command's end.
func (b *background) end(t *testing.T) error {
	t.Helper()
	select {
	case err := <-b.done:
		return err
	case <-time.After(patience):
		t.Fatalf("a command does not end; it wrote %q", b.out.String())
		return nil
	}
}

// collector is a buffer that one goroutine fills and another looks at.
type collector struct {
	mu  sync.Mutex
	all bytes.Buffer
}

func (c *collector) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.all.Write(p)
}

func (c *collector) String() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.all.String()
}

// has is a condition for eventually.
func (c *collector) has(want string) func() error {
	return func() error {
		if got := c.String(); !strings.Contains(got, want) {
			return missing{want, got}
		}
		return nil
	}
}

type missing struct{ want, got string }

func (m missing) Error() string { return m.want + " is missing in:\n" + m.got }

// terminal is ssh(1) with a real terminal before it.
type terminal struct {
	file *os.File
	out  *collector
	wait func() error
}

func openTerminal(t *testing.T, source string, args ...string) *terminal {
	t.Helper()
	return openTerminalWith(t, sshFrom(source, append([]string{"-tt"}, args...)...))
}

func openTerminalWith(t *testing.T, c *exec.Cmd) *terminal {
	t.Helper()
	file, err := pty.StartWithSize(c, &pty.Winsize{Cols: 100, Rows: 30})
	if err != nil {
		t.Fatal(err)
	}
	term := &terminal{file: file, out: &collector{}}
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		buffer := make([]byte, 4096)
		for {
			n, err := file.Read(buffer)
			_, _ = term.out.Write(buffer[:n])
			if err != nil {
				return
			}
		}
	}()
	term.wait = sync.OnceValue(func() error {
		timer := time.AfterFunc(2*patience, func() { _ = c.Process.Kill() })
		defer timer.Stop()
		err := c.Wait()
		<-drained
		_ = file.Close()
		return err
	})
	t.Cleanup(func() {
		_ = c.Process.Kill() // it may have ended
		_ = term.wait()
	})
	return term
}

func (term *terminal) enter(t *testing.T, text string) {
	t.Helper()
	if _, err := term.file.WriteString(text); err != nil {
		t.Fatal(err)
	}
}

// tryPassword tries to log in with one on a connection, and leaves.
func tryPassword(raw net.Conn, typed string) {
	conn, channels, requests, err := xssh.NewClientConn(raw, address, &xssh.ClientConfig{
		User: "root", Auth: []xssh.AuthMethod{xssh.Password(typed)}, HostKeyCallback: xssh.InsecureIgnoreHostKey(),
	})
	if err == nil {
		_ = xssh.NewClient(conn, channels, requests).Close()
	}
}

// suspend stops a process until the test is over.
func suspend(t *testing.T, p *os.Process) {
	t.Helper()
	if err := p.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Signal(syscall.SIGCONT) })
}
