package handover

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/sandtrap/sandtrap/internal/frame"
	"github.com/sandtrap/sandtrap/internal/testhelper"
)

// roleEnv makes this test binary the first process of a container.
const roleEnv = "HANDOVER_TEST_ROLE"

func TestMain(m *testing.M) {
	if role := os.Getenv(roleEnv); role != "" {
		playInit(role)
	}
	goleak.VerifyTestMain(m)
}

// playInit offers what its role says, and never returns.
func playInit(role string) {
	kind := syscall.SOCK_STREAM
	switch role {
	case "nothing":
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	case "pipe":
		r, _, _ := os.Pipe()
		_ = syscall.Dup3(int(r.Fd()), frame.Descriptor, syscall.O_CLOEXEC)
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	case "datagrams":
		kind = syscall.SOCK_DGRAM
	case "late":
		time.Sleep(50 * time.Millisecond)
	}
	pair, err := syscall.Socketpair(syscall.AF_UNIX, kind|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		os.Exit(1)
	}
	_ = syscall.Dup3(pair[1], frame.Descriptor, syscall.O_CLOEXEC)
	_, _ = syscall.Write(pair[0], []byte("hello"))
	_, _ = io.Copy(io.Discard, os.Stdin)
	os.Exit(0)
}

var id = strings.Repeat("0123456789abcdef", 4)

// site is a server with one container.
type site struct {
	socket, pidfile string
	init            *exec.Cmd
}

// How long servers wait for a stream: one that comes, and one that never does.
const (
	patient   = 5 * time.Second
	impatient = 300 * time.Millisecond
)

// serve starts a server, and a container whose first process plays a role.
func serve(t *testing.T, role string, patience time.Duration) *site {
	t.Helper()
	dir := t.TempDir()
	s := &site{pidfile: filepath.Join(dir, "overlay-containers", id, "userdata", "pidfile")}
	s.socket = testhelper.Serve(t, (&Server{RunRoot: dir, Patience: patience}).Answer)
	if role != "" {
		s.start(t, role)
	}
	return s
}

func (s *site) start(t *testing.T, role string) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root to make namespaces")
	}
	s.init = exec.Command("/proc/self/exe")
	s.init.Env = []string{roleEnv + "=" + role}
	s.init.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID}
	if _, err := s.init.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := s.init.Start(); err != nil {
		t.Skip("cannot make namespaces here: ", err)
	}
	t.Cleanup(func() {
		_ = s.init.Process.Kill()
		_ = s.init.Wait()
	})
	s.note(t, strconv.Itoa(s.init.Process.Pid))
}

// note writes the pidfile as the OCI runtime does.
func (s *site) note(t *testing.T, pid string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(s.pidfile), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(s.pidfile, []byte(pid), 0o600); err != nil {
		t.Fatal(err)
	}
}

func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

func openFiles(t *testing.T) int {
	t.Helper()
	all, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(all)
}

func TestTake(t *testing.T) {
	for _, role := range []string{"stream", "late"} {
		s := serve(t, role, patient)
		for range 3 {
			stream, err := Take(within(t, 5*time.Second), s.socket, id)
			if err != nil {
				t.Fatal(err)
			}
			if stream.LocalAddr().Network() != "unix" {
				t.Errorf("%s: %s", role, stream.LocalAddr().Network())
			}
			stream.Close()
		}
		stream, err := Take(within(t, 5*time.Second), s.socket, id)
		if err != nil {
			t.Fatal(err)
		}
		got := make([]byte, 5)
		if _, err := io.ReadFull(stream, got); err != nil || string(got) != "hello" {
			t.Errorf("%s: %q, %v", role, got, err)
		}
		stream.Close()
	}
}

// TestContainerComesLater than the question.
func TestContainerComesLater(t *testing.T) {
	s := serve(t, "", patient)
	taken := make(chan error)
	go func() {
		stream, err := Take(within(t, 5*time.Second), s.socket, id)
		if err == nil {
			err = stream.Close()
		}
		taken <- err
	}()
	time.Sleep(20 * time.Millisecond)
	s.start(t, "stream")
	if err := <-taken; err != nil {
		t.Error(err)
	}
}

func TestNothingToTake(t *testing.T) {
	own := strconv.Itoa(os.Getpid())
	for name, tt := range map[string]struct {
		role, pid string
		want      string
	}{
		"no container":       {"", "", "offers no stream"},
		"no descriptor":      {"nothing", "", "offers no stream"},
		"a pipe":             {"pipe", "", "offers no stream"},
		"datagrams":          {"datagrams", "", "offers no stream"},
		"an ordinary one":    {"", own, "has ended"},
		"half a pidfile":     {"", "", "offers no stream"},
		"no process":         {"", "4194304", "has ended"},
		"not a number":       {"", "1\n2", "offers no stream"},
		"the machine's init": {"", "1", "offers no stream"},
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, tt.role, impatient)
			if tt.pid != "" || name == "half a pidfile" {
				s.note(t, tt.pid)
			}
			before := openFiles(t)
			stream, err := Take(within(t, 5*time.Second), s.socket, id)
			if err == nil || stream != nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Take = %v, %v", stream, err)
			}
			for end := time.Now().Add(time.Second); openFiles(t) > before && time.Now().Before(end); time.Sleep(time.Millisecond) {
			}
			if after := openFiles(t); after > before {
				t.Errorf("%d descriptors are open, before %d", after, before)
			}
		})
	}
}

// TestEndsWhileWaiting: nobody waits for what has ended.
func TestEndsWhileWaiting(t *testing.T) {
	s := serve(t, "nothing", patient)
	reaped := make(chan struct{})
	time.AfterFunc(50*time.Millisecond, func() {
		defer close(reaped)
		_ = s.init.Process.Kill()
		_ = s.init.Wait()
	})
	if _, err := Take(within(t, 5*time.Second), s.socket, id); err == nil || !strings.Contains(err.Error(), "has ended") {
		t.Errorf("Take = %v", err)
	}
	<-reaped
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Take(ctx, s.socket, id); !errors.Is(err, context.Canceled) {
		t.Errorf("Take after the end = %v", err)
	}
	if _, err := Take(within(t, 20*time.Millisecond), serve(t, "", impatient).socket, id); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Take = %v", err)
	}
}

func TestBadRequests(t *testing.T) {
	s := serve(t, "stream", patient)
	for _, bad := range []string{"", "../" + id[3:], strings.ToUpper(id), id[1:], id + "0"} {
		if _, err := Take(t.Context(), s.socket, bad); err == nil || !strings.Contains(err.Error(), "not an id") {
			t.Errorf("Take of %q = %v", bad, err)
		}
	}
	for _, request := range []string{strings.Repeat("/", 65), strings.ToUpper(id) + "\n", id[:63] + ".\n"} {
		c, err := net.Dial("unix", s.socket)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = c.Write([]byte(request))
		answer, err := io.ReadAll(c)
		if err != nil || string(answer) != "not an id\n" {
			t.Errorf("%q: %q, %v", request, answer, err)
		}
		c.Close()
	}
	silent, err := net.Dial("unix", s.socket)
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	stream, err := Take(within(t, 5*time.Second), s.socket, id)
	if err != nil {
		t.Fatal("beside a silent client: ", err)
	}
	stream.Close()
}

// TestLyingServer: what comes in place of a stream is closed.
func TestLyingServer(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	for name, tt := range map[string]struct {
		text   []byte
		rights []byte
		want   string
	}{
		"nothing":    {nil, nil, "no answer"},
		"no stream":  {[]byte{0}, nil, "no descriptor"},
		"a pipe":     {[]byte{0}, unix.UnixRights(int(r.Fd())), "no stream"},
		"two":        {[]byte{0}, unix.UnixRights(int(r.Fd()), int(w.Fd())), "no descriptor"},
		"many":       {[]byte{0}, unix.UnixRights(0, 1, 2, 0, 1, 2, 0, 1, 2), "no descriptor"},
		"refused":    {[]byte("no\n"), unix.UnixRights(int(r.Fd())), `says "no"`},
		"much text":  {[]byte(strings.Repeat("x", 1<<16)), nil, "says"},
		"escape seq": {[]byte("\x1b[2J\n"), nil, `says "\x1b[2J"`},
	} {
		t.Run(name, func(t *testing.T) {
			socket := filepath.Join(t.TempDir(), "s")
			l, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket})
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			served := make(chan struct{})
			go func() {
				defer close(served)
				c, err := l.AcceptUnix()
				if err != nil {
					return
				}
				defer c.Close()
				_, _ = io.ReadFull(c, make([]byte, len(id)+1))
				if tt.text != nil {
					_, _, _ = c.WriteMsgUnix(tt.text, tt.rights, nil)
				}
			}()
			before := openFiles(t)
			stream, err := Take(within(t, 5*time.Second), socket, id)
			<-served
			if err == nil || stream != nil || !strings.Contains(err.Error(), tt.want) || len(err.Error()) > 2000 {
				t.Errorf("Take = %v, %v", stream, err)
			}
			if after := openFiles(t); after > before {
				t.Errorf("%d descriptors are open, before %d", after, before)
			}
		})
	}
}
