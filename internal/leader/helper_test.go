package leader

import (
	"bytes"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/sandtrap/sandtrap/internal/attach"
	"github.com/sandtrap/sandtrap/internal/frame"
)

// roleEnv makes this test binary the leader's: "worker" or "container".
const roleEnv = "LEADER_TEST_ROLE"

func TestMain(m *testing.M) {
	// Where whoever runs the tests ignores hang-ups, programs would too.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT)
	if len(os.Args) == 2 && os.Args[1] == "-R" { // as the listener starts the worker
		os.Exit(Main())
	}
	if len(os.Args) > 1 && os.Args[1] == rcOption { // as the worker starts a program after an rc file
		os.Exit(Main())
	}
	switch role, root, _ := strings.Cut(os.Getenv(roleEnv), ":"); role {
	case "worker":
		os.Exit(testWorker(root))
	case "container":
		os.Exit(testContainer())
	}
	goleak.VerifyTestMain(m)
}

// testWorker is the worker, with root in place of "/" for what it writes, behind
// process 1's part of the conversation.
func testWorker(root string) int {
	if greet(link, time.Minute) != nil {
		return 10
	}
	w := &worker{title: newTitle(os.Args), gate: -1, root: root}
	return w.process()
}

// process is a worker in a process of its own.
type process struct {
	*exec.Cmd
	root   string
	stream *net.UnixConn // the front end's end
	gone   chan struct{} // closed when it has ended
}

// newStream returns both ends of a stream.
func newStream(t testing.TB) (front *net.UnixConn, leader *os.File) {
	t.Helper()
	pair, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	return unixConn(t, pair[0]), os.NewFile(uintptr(pair[1]), "leader")
}

// unixConn takes a descriptor over.
func unixConn(t testing.TB, fd int) *net.UnixConn {
	t.Helper()
	file := os.NewFile(uintptr(fd), "front end")
	defer file.Close()
	c, err := net.FileConn(file)
	if err != nil {
		t.Fatal(err)
	}
	return c.(*net.UnixConn)
}

// run starts a worker with its own /etc, in which the tests' account is "tester".
func run(t testing.TB) *process {
	t.Helper()
	p := &process{root: newRoot(t), gone: make(chan struct{})}
	front, leader := newStream(t)
	p.stream = front
	p.Cmd = exec.Command(os.Args[0], strings.Repeat("x", 100)) // room for a title
	p.Env = append(os.Environ(), roleEnv+"=worker:"+p.root)
	p.ExtraFiles, p.Stderr = []*os.File{leader}, os.Stderr // at link
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	leader.Close()
	go func() {
		defer close(p.gone)
		_ = p.Wait()
	}()
	t.Cleanup(func() {
		p.stream.Close()
		select {
		case <-p.gone:
		case <-time.After(10 * time.Second):
			t.Error("the worker does not end")
			_ = p.Process.Kill()
			<-p.gone
		}
	})
	return p
}

func newRoot(t testing.TB) string {
	t.Helper()
	root := t.TempDir()
	id := strconv.Itoa(os.Getuid())
	group := strconv.Itoa(os.Getgid())
	for name, text := range map[string]string{
		"etc/passwd":       "tester:x:" + id + ":" + group + "::" + root + ":/bin/sh\nlocked:x:99:99::/:/usr/sbin/nologin\n",
		"etc/group":        "root:x:0:\n",
		"etc/motd":         "Have a nice day.\n",
		"run/utmp":         "",
		"var/log/wtmp":     "",
		"var/log/lastlog":  "",
		"etc/skel/.bashrc": "# rc\n",
	} {
		write(t, filepath.Join(root, name), text)
	}
	return root
}

func write(t testing.TB, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// connect is a front end that has logged in as the tests' account.
func (p *process) connect(t testing.TB) *attach.Leader {
	t.Helper()
	l := p.greet(t)
	if _, err := l.Login(t.Context(), frame.LoginMessage{User: "tester", Policy: frame.PolicyExisting, Source: "192.0.2.7"}); err != nil {
		t.Fatal(err)
	}
	return l
}

func (p *process) greet(t testing.TB) *attach.Leader {
	t.Helper()
	return connect(t, p.stream)
}

// connect is the front end of a leader that has answered.
func connect(t testing.TB, stream *net.UnixConn) *attach.Leader {
	t.Helper()
	l, err := attach.Connect(t.Context(), stream)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		l.Close()
		<-l.Done()
	})
	return l
}

// loggedIn starts a worker and logs in.
func loggedIn(t testing.TB) *attach.Leader {
	t.Helper()
	return run(t).connect(t)
}

// shell is a program that runs a command as sshd would.
func shell(command string) attach.Program {
	return attach.Program{Path: "/bin/sh", Argv: []string{"sh", "-c", command}, Env: []string{"PATH=/usr/bin:/bin", "HOME=/"}, Dir: "/"}
}

func terminal(command string) attach.Program {
	p := shell(command)
	p.PTY, p.Size = true, attach.Size{Columns: 80, Rows: 24}
	return p
}

// result is all that a program leaves behind.
type result struct {
	stdout, stderr string
	exit           attach.Exit
}

// start starts a program, which must work.
func start(t testing.TB, l *attach.Leader, p attach.Program) attach.Stream {
	t.Helper()
	s, err := l.Start(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// collect reads a program's output and waits for its end.
func collect(t testing.TB, s attach.Stream) result {
	t.Helper()
	var r result
	var stdout, stderr bytes.Buffer
	keep := func(b *bytes.Buffer) func([]byte) error {
		return func(p []byte) error {
			_, err := b.Write(p)
			return err
		}
	}
	if err := s.Copy(keep(&stdout), keep(&stderr)); err != nil {
		t.Fatal(err)
	}
	exit, err := s.Wait(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	r.stdout, r.stderr, r.exit = stdout.String(), stderr.String(), exit
	return r
}

// output runs a command to its end.
func output(t testing.TB, l *attach.Leader, p attach.Program) result {
	t.Helper()
	s := start(t, l, p)
	_ = s.CloseWrite() // an error when it has ended already
	return collect(t, s)
}
