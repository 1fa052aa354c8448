package attach

import (
	"bytes"
	"errors"
	"net"
	"os"
	"sync"
	"syscall"
	"testing"

	openpty "github.com/creack/pty"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/sandtrap/sandtrap/internal/frame"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fake is a leader in the same process. It answers pings and logins, and opens
// channels; what else it does is up to on.
type fake struct {
	t     *testing.T
	link  peer
	front *net.UnixConn
	on    func(f frame.Frame) error // may be nil; gets a copy of the payload, with mu held
	runs  sync.WaitGroup

	mu       sync.Mutex // guards all below
	account  frame.AccountMessage
	programs map[uint16]*program
	deaf     bool // nobody is there
	refuses  bool // says no to everything
	mute     bool // does not answer Open
}

var someAccount = frame.AccountMessage{Name: "root", Home: "/root", Shell: "/bin/bash"}

func newFake(t *testing.T, on func(*fake, frame.Frame) error) *fake {
	front, leader := socketPair(t)
	s := &fake{t: t, front: front, link: peer{UnixConn: leader}, account: someAccount, programs: map[uint16]*program{}}
	if on != nil {
		s.on = func(f frame.Frame) error { return on(s, f) }
	}
	t.Cleanup(func() {
		s.front.Close()
		s.link.Close()
		s.runs.Wait()
		for _, p := range s.programs {
			p.end()
		}
	})
	return s
}

// socketPair returns both ends of a stream.
func socketPair(t testing.TB) (front, leader *net.UnixConn) {
	t.Helper()
	pair, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	var ends [2]*net.UnixConn
	for i, fd := range pair {
		file := os.NewFile(uintptr(fd), "")
		c, err := net.FileConn(file)
		file.Close()
		if err != nil {
			t.Fatal(err)
		}
		ends[i] = c.(*net.UnixConn)
	}
	return ends[0], ends[1]
}

// peer is a leader's end that frames are sent from.
type peer struct {
	*net.UnixConn
	turn sync.Mutex
}

func (p *peer) Send(f frame.Frame, files ...*os.File) error {
	header, err := f.Header()
	if err != nil {
		return err
	}
	var rights []byte
	if len(files) > 0 {
		var fds []int
		for _, f := range files {
			fds = append(fds, int(f.Fd()))
		}
		rights = unix.UnixRights(fds...)
	}
	p.turn.Lock()
	defer p.turn.Unlock()
	_, _, err = p.WriteMsgUnix(append(header[:], f.Payload...), rights, nil)
	return err
}

// program is the program's side of its streams: the slave three times for one with
// a terminal.
type program struct{ in, out, err *os.File }

// begin makes a program's streams and returns the front end's side of them.
func begin(pty bool) (p *program, theirs []*os.File, err error) {
	if pty {
		master, slave, err := openpty.Open()
		if err != nil {
			return nil, nil, err
		}
		return &program{slave, slave, slave}, []*os.File{master}, nil
	}
	var ends [6]*os.File
	for i := 0; i < 6; i += 2 {
		if ends[i], ends[i+1], err = os.Pipe(); err != nil {
			return nil, nil, err
		}
	}
	return &program{ends[0], ends[3], ends[5]}, []*os.File{ends[1], ends[2], ends[4]}, nil
}

func (p *program) end() {
	p.in.Close()
	p.out.Close()
	p.err.Close()
}

// open starts the program that a frame asks for.
func (s *fake) open(f frame.Frame) error {
	var m frame.OpenMessage
	if err := m.Decode(f.Payload); err != nil {
		return err
	}
	p, theirs, err := begin(m.PTY)
	if err != nil {
		return err
	}
	defer func() {
		for _, f := range theirs {
			f.Close()
		}
	}()
	s.programs[f.Channel] = p
	return s.link.Send(frame.Frame{Type: frame.Opened, Channel: f.Channel}, theirs...)
}

// program is the one on a channel.
func (s *fake) program(channel uint16) *program {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.programs[channel]
}

// serve says hello and hands on what comes, until it ends.
func (p *peer) serve(handle func(frame.Frame) error) {
	hello := frame.HelloMessage{Version: frame.Version}
	if p.Send(frame.Frame{Type: frame.Hello, Payload: hello.Encode()}) == nil {
		_ = frame.FromFront(p).Serve(handle)
	}
	_ = p.Close()
}

// dial starts the fake and returns the front end's end of its stream.
func (s *fake) dial() *net.UnixConn {
	if !s.deaf {
		s.runs.Go(func() { s.link.serve(s.handle) })
	}
	return s.front
}

func (s *fake) handle(f frame.Frame) error {
	f.Payload = bytes.Clone(f.Payload)
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.refuses && (f.Type == frame.Login || f.Type == frame.Open):
		return s.link.Send(frame.Frame{Type: frame.Failed, Channel: f.Channel, Payload: []byte("no \x1b[2J")})
	case f.Type == frame.Ping:
		return s.link.Send(frame.Frame{Type: frame.Pong})
	case f.Type == frame.Login:
		return s.link.Send(frame.Frame{Type: frame.Account, Payload: s.account.Encode()})
	case f.Type == frame.Open && !s.mute:
		if err := s.open(f); err != nil {
			return err
		}
	}
	if s.on != nil {
		return s.on(f)
	}
	return nil
}

// say sends frames, as many as the front end takes: it may hang up in between.
func (s *fake) say(frames ...frame.Frame) {
	s.t.Helper()
	for _, f := range frames {
		err := s.link.Send(f)
		if errors.Is(err, net.ErrClosed) || errors.Is(err, unix.EPIPE) || errors.Is(err, unix.ECONNRESET) {
			return
		}
		if err != nil {
			s.t.Error(err)
		}
	}
}

func exit(channel uint16, m frame.ExitMessage) frame.Frame {
	return frame.Frame{Type: frame.Exit, Channel: channel, Payload: m.Encode()}
}

func opened(channel uint16) frame.Frame { return frame.Frame{Type: frame.Opened, Channel: channel} }

// connect returns a front end of s that the test's end closes.
func (s *fake) connect() *Leader {
	s.t.Helper()
	l, err := Connect(s.t.Context(), s.dial())
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = l.Close() })
	return l
}

// heard waits until the leader has handled all that was sent.
func (s *fake) heard(l *Leader) {
	s.t.Helper()
	if err := l.Ping(s.t.Context()); err != nil {
		s.t.Error(err)
	}
	s.mu.Lock() // what it keeps is its own
	defer s.mu.Unlock()
}

func (s *fake) start(l *Leader) Stream { return s.startOn(l, false) }

func (s *fake) startOn(l *Leader, pty bool) Stream {
	s.t.Helper()
	c, err := l.Start(s.t.Context(), Program{Path: "/bin/cat", Argv: []string{"cat"}, PTY: pty})
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = c.Close() })
	return c
}

// collect gathers what Copy hands on. Each output is one goroutine's.
type collect struct{ stdout, stderr bytes.Buffer }

func (c *collect) copy(s Stream) error {
	return s.Copy(
		func(p []byte) error { c.stdout.Write(p); return nil },
		func(p []byte) error { c.stderr.Write(p); return nil })
}

var errTest = errors.New("test error")
