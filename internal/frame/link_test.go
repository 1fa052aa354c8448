package frame

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var testToken = [16]byte{1, 2, 3}

// ends is the two ends of a link over one stream.
type ends struct {
	front, leader       *Link
	frontIn, leaderIn   []Frame // what arrived, payloads copied
	frontEnd, leaderEnd error   // what Run returned
	wait                func()
}

func keep(in *[]Frame) func(Frame) error {
	return func(f Frame) error {
		f.Payload = bytes.Clone(f.Payload)
		*in = append(*in, f)
		return nil
	}
}

// connect serves a pipe at both ends.
func connect() *ends {
	e := &ends{front: NewLink(), leader: NewLink()}
	a, b := net.Pipe()
	var wg sync.WaitGroup
	wg.Go(func() { e.frontEnd = e.front.RunFront(a, testToken, keep(&e.frontIn)) })
	wg.Go(func() { e.leaderEnd = e.leader.RunLeader(b, keep(&e.leaderIn)) })
	e.wait = wg.Wait
	return e
}

func TestFramesArrive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := connect()
		large := bytes.Repeat([]byte("large "), MaxPayload/6)
		down := []Frame{{Ping, 0, nil}, {Open, 1, large}, {Data, 1, []byte("in")}, {EOF, 1, nil}, {Window, 65535, EncodeWindow(1)}}
		up := []Frame{{Pong, 0, nil}, {Opened, 1, nil}, {Data, 1, large[:MaxData]}, {Stderr, 1, []byte("err")}, {Exit, 1, (&ExitMessage{Status: 1}).Encode()}}
		for i := range down {
			if err := errors.Join(e.front.Send(down[i]), e.leader.Send(up[i])); err != nil {
				t.Error(err)
			}
		}
		synctest.Wait()
		_ = e.front.Close(nil)
		e.wait()
		sameFrames(t, "to the leader", e.leaderIn, down)
		sameFrames(t, "to the front end", e.frontIn, up)
		if !errors.Is(e.frontEnd, ErrClosed) || !errors.Is(e.leaderEnd, io.ErrUnexpectedEOF) {
			t.Errorf("ended with %v, %v", e.frontEnd, e.leaderEnd)
		}
		if err := e.leader.Err(); err != nil {
			t.Errorf("the leader's link is closed: %v", err)
		}
	})
}

func sameFrames(t *testing.T, what string, got, want []Frame) {
	t.Helper()
	if len(got) != len(want) {
		t.Errorf("%s: %d frames, want %d", what, len(got), len(want))
	}
	for i := range min(len(got), len(want)) {
		if got[i].Type != want[i].Type || got[i].Channel != want[i].Channel || !bytes.Equal(got[i].Payload, want[i].Payload) {
			t.Fatalf("%s: frame %d is %c %d %.20q (%d), want %c %d %.20q (%d)", what, i,
				got[i].Type, got[i].Channel, got[i].Payload, len(got[i].Payload), want[i].Type, want[i].Channel, want[i].Payload, len(want[i].Payload))
		}
	}
}

func TestSendRefuses(t *testing.T) {
	l := NewLink()
	for name, f := range map[string]Frame{
		"hello": {Type: Hello}, "ack": {Type: Ack, Payload: make([]byte, 8)}, "unknown type": {Type: 'z'},
		"too long": {Type: Data, Channel: 1, Payload: make([]byte, MaxData+1)}, "ping of a channel": {Type: Ping, Channel: 1},
	} {
		if err := l.Send(f); err == nil {
			t.Errorf("%s was sent", name)
		}
	}
	if l.kept.n != 0 {
		t.Error("something was queued")
	}
}

// TestBothSidesFull: neither side may wait for the other while both have as much
// to say as they can.
func TestBothSidesFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := connect()
		const frames = 500
		var wg sync.WaitGroup
		for _, l := range []*Link{e.front, e.leader} {
			wg.Go(func() {
				for i := range frames {
					payload := make([]byte, MaxData)
					binary.BigEndian.PutUint32(payload, uint32(i))
					if err := l.Send(Frame{Data, 1, payload}); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		wg.Wait()
		synctest.Wait()
		_ = e.front.Close(nil)
		e.wait()
		for name, in := range map[string][]Frame{"front": e.frontIn, "leader": e.leaderIn} {
			if len(in) != frames {
				t.Errorf("%s got %d frames", name, len(in))
			}
			for i, f := range in {
				if binary.BigEndian.Uint32(f.Payload) != uint32(i) {
					t.Fatalf("%s: frame %d came as number %d", name, binary.BigEndian.Uint32(f.Payload), i)
				}
			}
		}
	})
}

func TestSendWaitsForRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := NewLink()
		sent, chunk := 0, Frame{Data, 1, make([]byte, 1000)}
		stop := make(chan struct{})
		var stopped, waiting error
		var wg sync.WaitGroup
		wg.Go(func() {
			for stopped == nil {
				stopped = l.SendUntil(stop, chunk)
				sent++
			}
		})
		synctest.Wait()
		if want := MaxUnacked / 1008; sent != want {
			t.Errorf("%d frames were sent, want %d", sent, want)
		}
		wg.Go(func() { waiting = l.Send(chunk) })
		synctest.Wait()
		for range 100 { // answers do not wait
			if err := l.Send(Frame{Pong, 0, nil}); err != nil {
				t.Error(err)
			}
		}
		close(stop)
		synctest.Wait()
		if !errors.Is(stopped, ErrStopped) || waiting != nil {
			t.Errorf("stopped: %v, waiting: %v", stopped, waiting)
		}
		cause := errors.New("cause")
		_ = l.Close(cause)
		_ = l.Close(errors.New("later"))
		wg.Wait()
		if !errors.Is(waiting, cause) {
			t.Errorf("waiting Send: %v", waiting)
		}
		if err := l.Send(Frame{Pong, 0, nil}); !errors.Is(err, cause) {
			t.Errorf("Send after Close: %v", err)
		}
	})
}

func TestAnswersAreBounded(t *testing.T) {
	l := NewLink()
	var err error
	for range maxKept/headerSize + 1 {
		if err = l.Send(Frame{Pong, 0, nil}); err != nil {
			break
		}
	}
	if err == nil || l.Err() == nil || l.kept.n != 0 {
		t.Errorf("after more answers than can be kept: %v", err)
	}
}

func TestCloseEndsEverything(t *testing.T) {
	for name, act := range map[string]func(front, leader *Link, frontEnd net.Conn){
		"close while both run":  func(front, _ *Link, _ net.Conn) { _ = front.Close(nil) },
		"close at the leader":   func(_, leader *Link, _ net.Conn) { _ = leader.Close(nil) },
		"close of the stream":   func(_, _ *Link, c net.Conn) { c.Close() },
		"close of all, at once": func(f, l *Link, c net.Conn) { go c.Close(); go f.Close(nil); _ = l.Close(nil) },
	} {
		t.Run(name, func(*testing.T) { // that it ends is the test
			front, leader := NewLink(), NewLink()
			a, b := net.Pipe()
			flowing := make(chan struct{}, 1)
			handle := func(Frame) error { wake(flowing); return nil }
			var wg, senders sync.WaitGroup
			wg.Go(func() { _ = front.RunFront(a, testToken, handle) })
			wg.Go(func() { _ = leader.RunLeader(b, handle) })
			for _, l := range []*Link{front, leader} {
				senders.Go(func() {
					for l.Send(Frame{Data, 1, make([]byte, MaxData)}) == nil {
					}
				})
			}
			for range 100 {
				<-flowing
			}
			act(front, leader, a)
			wg.Wait()
			_ = front.Close(nil)
			_ = leader.Close(nil)
			senders.Wait()
		})
	}
}

func TestHandlersErrorClosesTheLink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := connect()
		bad := errors.New("bad frame")
		front := NewLink()
		a, b := net.Pipe()
		leader := NewLink()
		var wg sync.WaitGroup
		wg.Go(func() { _ = leader.RunLeader(b, func(Frame) error { return nil }) })
		_ = leader.Send(Frame{Pong, 0, nil})
		if err := front.RunFront(a, testToken, func(Frame) error { return bad }); !errors.Is(err, bad) {
			t.Errorf("RunFront = %v", err)
		}
		wg.Wait()
		if err := front.Send(Frame{Type: Ping}); !errors.Is(err, bad) {
			t.Errorf("Send = %v", err)
		}
		if err := front.RunFront(a, testToken, nil); !errors.Is(err, bad) {
			t.Errorf("RunFront of a closed link = %v", err)
		}
		_ = e.front.Close(nil)
		e.wait()
	})
}

func TestOneStreamAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := connect()
		synctest.Wait()
		if err := e.front.RunFront(script{new(bytes.Buffer), io.Discard}, testToken, nil); err == nil || e.front.Err() != nil {
			t.Errorf("a second stream: %v, link %v", err, e.front.Err())
		}
		_ = e.front.Send(Frame{Type: Ping})
		synctest.Wait()
		_ = e.front.Close(nil)
		e.wait()
		sameFrames(t, "after it", e.leaderIn, []Frame{{Ping, 0, []byte{}}})
	})
}

// TestQuietLinkIsSmall: after a flood little stays, not the memory for much.
func TestQuietLinkIsSmall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := connect()
		synctest.Wait()
		for range 101 {
			_ = e.front.Send(Frame{Data, 1, make([]byte, MaxData)})
		}
		synctest.Wait()
		e.front.mu.Lock()
		if k := &e.front.kept; k.n >= ackEvery || k.memory() > k.n+2*largeBlock {
			t.Errorf("%d bytes are kept in %d", k.n, k.memory())
		}
		e.front.mu.Unlock()
		_ = e.front.Close(nil)
		e.wait()
	})
}

// TestRunWaitsForItsWriter: nothing touches a stream after Run.
func TestRunWaitsForItsWriter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := NewLink()
		_ = l.Send(Frame{Type: Ping})
		s := &slow{Reader: new(wire).hello(nil), closed: make(chan struct{})}
		if err := l.RunFront(s, testToken, nil); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Error(err)
		}
		if s.writes != 2 || s.writing {
			t.Errorf("%d writes, one goes on: %v", s.writes, s.writing)
		}
	})
}

// slow is a stream whose writes after the hello end some time after Close.
type slow struct {
	io.Reader
	closed  chan struct{}
	writes  int
	writing bool
}

func (s *slow) Read(p []byte) (int, error) {
	n, err := s.Reader.Read(p)
	if err != nil {
		time.Sleep(time.Second)
	}
	return n, err
}

func (s *slow) Write(p []byte) (int, error) {
	if s.writes++; s.writes == 1 {
		return len(p), nil
	}
	s.writing = true
	<-s.closed
	time.Sleep(time.Second)
	s.writing = false
	return 0, io.ErrClosedPipe
}

func (s *slow) Close() error { close(s.closed); return nil }
