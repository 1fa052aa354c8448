package attach

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/sandtrap/sandtrap/internal/frame"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fake is a leader in the same process. It answers pings and logins, and opens
// channels; what else it does is up to on.
type fake struct {
	t    *testing.T
	link *frame.Link
	on   func(f frame.Frame) error // may be nil; gets a copy of the payload, with mu held
	runs sync.WaitGroup

	mu      sync.Mutex // guards all below
	account frame.AccountMessage
	deaf    bool // streams connect and nobody is there
	refuses bool // says no to everything
	mute    bool // does not answer Open
	stream  net.Conn
	dials   int
}

var someAccount = frame.AccountMessage{Name: "root", Home: "/root", Shell: "/bin/bash"}

func newFake(t *testing.T, on func(*fake, frame.Frame) error) *fake {
	s := &fake{t: t, link: frame.NewLink(), account: someAccount}
	if on != nil {
		s.on = func(f frame.Frame) error { return on(s, f) }
	}
	return s
}

// dial is a Dial to it.
func (s *fake) dial(context.Context) (io.ReadWriteCloser, error) {
	front, leader := net.Pipe()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stream = leader
	s.dials++
	if !s.deaf {
		s.runs.Go(func() { _ = s.link.RunLeader(leader, s.handle) })
	}
	return front, nil
}

// cut breaks the present stream.
func (s *fake) cut() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stream.Close()
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
		if err := s.link.Send(frame.Frame{Type: frame.Opened, Channel: f.Channel}); err != nil {
			return err
		}
	}
	if s.on != nil {
		return s.on(f)
	}
	return nil
}

// say sends frames.
func (s *fake) say(frames ...frame.Frame) {
	s.t.Helper()
	for _, f := range frames {
		if err := s.link.Send(f); err != nil {
			s.t.Error(err)
		}
	}
}

func data(channel uint16, text string) frame.Frame {
	return frame.Frame{Type: frame.Data, Channel: channel, Payload: []byte(text)}
}

func exit(channel uint16, m frame.ExitMessage) frame.Frame {
	return frame.Frame{Type: frame.Exit, Channel: channel, Payload: m.Encode()}
}

func eof(channel uint16) frame.Frame { return frame.Frame{Type: frame.EOF, Channel: channel} }

// connect returns a front end of s that the test's end closes.
func (s *fake) connect() *Leader {
	s.t.Helper()
	l, err := Connect(s.t.Context(), s.dial, s.dial)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { s.end(l) })
	return l
}

func (s *fake) end(l *Leader) {
	_ = l.Close()
	_ = s.link.Close(nil)
	s.runs.Wait()
}

func (s *fake) start(l *Leader) Stream {
	s.t.Helper()
	c, err := l.Start(s.t.Context(), Program{Path: "/bin/cat", Argv: []string{"cat"}})
	if err != nil {
		s.t.Fatal(err)
	}
	return c
}

// collect gathers what Copy hands on.
type collect struct{ stdout, stderr bytes.Buffer }

func (c *collect) copy(s Stream) error {
	return s.Copy(
		func(p []byte) error { c.stdout.Write(p); return nil },
		func(p []byte) error { c.stderr.Write(p); return nil })
}

var errTest = errors.New("test error")
