package frame

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

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

// wire is what a peer sends, made by hand.
type wire struct{ bytes.Buffer }

func (w *wire) frame(t Type, channel uint16, payload []byte) *wire {
	f := Frame{t, channel, payload}
	w.Write(f.appendHeader(nil))
	w.Write(payload)
	return w
}

func (w *wire) hello(change func(*HelloMessage)) *wire {
	m := HelloMessage{Version: Version, Token: testToken}
	if change != nil {
		change(&m)
	}
	return w.frame(Hello, 0, m.Encode())
}

// script is a stream whose other side says what was written before, and hears
// everything.
type script struct {
	io.Reader
	io.Writer
}

func TestLiars(t *testing.T) {
	hello := func() *wire { return new(wire).hello(nil) }
	offset := func(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }
	for name, w := range map[string]*wire{
		"no hello":             new(wire).frame(Data, 1, []byte("x")),
		"other version":        new(wire).hello(func(m *HelloMessage) { m.Version++ }),
		"received what is not": new(wire).hello(func(m *HelloMessage) { m.Received = 1 }),
		"short hello":          new(wire).frame(Hello, 0, make([]byte, 25)),
		"long hello":           new(wire).frame(Hello, 0, make([]byte, 27)),
		"two hellos":           hello().hello(nil),
		"unknown type":         hello().frame('z', 1, nil),
		"long data":            hello().frame(Data, 1, make([]byte, MaxData+1)),
		"long EOF":             hello().frame(EOF, 1, []byte("x")),
		"short ack":            hello().frame(Ack, 0, make([]byte, 7)),
		"ack of nothing":       hello().frame(Ack, 0, offset(1)),
		"huge ack":             hello().frame(Ack, 0, offset(1<<64-1)),
		"ack of a channel":     hello().frame(Ack, 1, offset(0)),
	} {
		for side, run := range map[string]func(*Link, io.ReadWriter) error{
			"front": func(l *Link, rw io.ReadWriter) error {
				return l.RunFront(rw, testToken, func(Frame) error { return nil })
			},
			"leader": func(l *Link, rw io.ReadWriter) error { return l.RunLeader(rw, func(Frame) error { return nil }) },
		} {
			l := NewLink()
			if err := run(l, script{bytes.NewReader(w.Bytes()), io.Discard}); !errors.Is(err, ErrMalformed) {
				t.Errorf("%s as seen by the %s: %v", name, side, err)
			}
		}
	}
	// Some types have one direction.
	for _, f := range []Frame{{Type: Ping}, {Open, 1, nil}, {Resize, 1, make([]byte, 8)}, {Close, 1, nil}} {
		err := NewLink().RunFront(script{hello().frame(f.Type, f.Channel, f.Payload), io.Discard}, testToken, func(Frame) error { return nil })
		if !errors.Is(err, ErrMalformed) {
			t.Errorf("%c from the leader: %v", f.Type, err)
		}
	}
	for _, f := range []Frame{{Type: Pong}, {Opened, 1, nil}, {Stderr, 1, nil}, {Exit, 1, nil}} {
		err := NewLink().RunLeader(script{hello().frame(f.Type, f.Channel, f.Payload), io.Discard}, func(Frame) error { return nil })
		if !errors.Is(err, ErrMalformed) {
			t.Errorf("%c from the front end: %v", f.Type, err)
		}
	}
	if err := NewLink().RunFront(script{new(wire).hello(func(m *HelloMessage) { m.Token[0]++ }), io.Discard}, testToken, nil); !errors.Is(err, ErrMalformed) {
		t.Errorf("another token from the leader: %v", err)
	}
}

// TestStrangersAtTheLeader: whoever else finds the leader's socket does not harm
// its link.
func TestStrangersAtTheLeader(t *testing.T) {
	l := NewLink()
	run := func(w *wire) error {
		return l.RunLeader(script{bytes.NewReader(w.Bytes()), io.Discard}, func(Frame) error { return nil })
	}
	if err := run(new(wire).hello(nil)); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Fatal(err)
	}
	for name, w := range map[string]*wire{
		"another token": new(wire).hello(func(m *HelloMessage) { m.Token[15]++ }),
		"garbage":       {*bytes.NewBufferString("GET / HTTP/1.1\r\n\r\n")},
		"nothing":       {},
	} {
		if err := run(w); err == nil || l.Err() != nil {
			t.Errorf("%s: %v, link %v", name, err, l.Err())
		}
	}
	if err := run(new(wire).hello(nil)); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("the front end afterwards: %v", err)
	}
}

// TestDeafPeer: one who never acknowledges makes us keep MaxUnacked and no more,
// whatever he sends.
func TestDeafPeer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := NewLink()
		a, b := net.Pipe()
		var wg sync.WaitGroup
		wg.Go(func() { _ = l.RunFront(a, testToken, func(Frame) error { return nil }) })
		wg.Go(func() { _, _ = io.Copy(io.Discard, b) })
		wg.Go(func() {
			for l.Send(Frame{Data, 1, make([]byte, MaxData)}) == nil {
			}
		})
		_, _ = b.Write(new(wire).hello(nil).Bytes())
		flood := new(wire).frame(Data, 1, make([]byte, MaxData)).Bytes()
		for range 1000 {
			if _, err := b.Write(flood); err != nil {
				t.Error(err)
			}
		}
		synctest.Wait()
		l.mu.Lock()
		if l.kept.n > maxKept || len(l.kept.b) > maxKept || l.kept.n < MaxUnacked/2 {
			t.Errorf("%d bytes are kept in %d", l.kept.n, len(l.kept.b))
		}
		l.mu.Unlock()
		_ = l.Close(nil)
		wg.Wait()
	})
}

// TestEarlyAcknowledgement: bytes that are being written stay, even if the other
// side claims to have them.
func TestEarlyAcknowledgement(t *testing.T) {
	l := NewLink()
	_ = l.Send(Frame{Data, 1, []byte("precious")})
	chunk, _ := l.pending(maxWrite)
	before := bytes.Clone(chunk)
	if err := l.acknowledge(binary.BigEndian.AppendUint64(nil, uint64(len(chunk)))); err != nil {
		t.Fatal(err)
	}
	for range 1000 {
		_ = l.Send(Frame{Data, 1, []byte("other bytes")})
	}
	if !bytes.Equal(chunk, before) {
		t.Error("bytes changed while they were written")
	}
	l.wrote(len(chunk))
	if l.base != uint64(len(chunk)) {
		t.Errorf("base is %d", l.base)
	}
}

// TestWriteErrorStillReads: a stream that can no longer be written to may still
// carry the other side's last words.
func TestWriteErrorStillReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := NewLink()
		_ = l.Send(Frame{Type: Ping})
		r, w := io.Pipe()
		dead := &half{Reader: r, closed: func() { r.Close() }, writes: 1} // the hello passes
		var got []Frame
		done := make(chan error)
		go func() { done <- l.RunFront(dead, testToken, keep(&got)) }()
		_, _ = w.Write(new(wire).hello(nil).Bytes())
		synctest.Wait()
		_, _ = w.Write(new(wire).frame(Data, 1, []byte("last words")).Bytes())
		err := <-done
		sameFrames(t, "after the write error", got, []Frame{{Data, 1, []byte("last words")}})
		if err == nil || !strings.Contains(err.Error(), "write frames") {
			t.Errorf("RunFront = %v", err)
		}
		if l.Err() != nil {
			t.Errorf("the link is closed: %v", l.Err())
		}
	})
}

// half is a stream that can be written to a few times.
type half struct {
	io.Reader
	closed func()
	writes int
}

func (h *half) Close() error { h.closed(); return nil }
func (h *half) Write(p []byte) (int, error) {
	if h.writes--; h.writes < 0 {
		return 0, io.ErrClosedPipe
	}
	return len(p), nil
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
		if k := &e.front.kept; k.n >= ackEvery || len(k.b) >= max(8*k.n, 4*firstBuffer) {
			t.Errorf("%d bytes are kept in %d", k.n, len(k.b))
		}
		e.front.mu.Unlock()
		_ = e.front.Close(nil)
		e.wait()
	})
}

func TestReaderShrinks(t *testing.T) {
	big := new(wire).frame(Open, 1, make([]byte, MaxPayload)).Bytes()
	small := new(wire).frame(Data, 1, []byte("x")).Bytes()
	source := &chunks{rest: append(bytes.Clone(big), bytes.Repeat(small, 200)...)}
	r := reader{src: source, keep: 16 << 10}
	for frames := 0; frames < 201; {
		f, _, err := r.next()
		if err == nil && f.Type == 0 {
			if frames > 0 {
				source.limit = len(small)
			}
			err = r.fill()
		} else if err == nil {
			frames++
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if len(r.b) > firstBuffer {
		t.Errorf("the buffer holds %d bytes", len(r.b))
	}
}

// chunks hands out at most limit bytes a read.
type chunks struct {
	rest  []byte
	limit int
}

func (c *chunks) Read(p []byte) (int, error) {
	if len(c.rest) == 0 {
		return 0, io.EOF
	}
	if c.limit > 0 {
		p = p[:min(len(p), c.limit)]
	}
	n := copy(p, c.rest)
	c.rest = c.rest[n:]
	return n, nil
}

func TestRing(t *testing.T) {
	source := rand.New(rand.NewPCG(1, 2))
	var r ring
	var model []byte
	for range 20000 {
		if source.IntN(2) == 0 {
			p := make([]byte, source.IntN(9000))
			for i := range p {
				p[i] = byte(source.Uint32())
			}
			if r.n+len(p) <= maxKept {
				r.push(p)
				model = append(model, p...)
			}
		} else if n := source.IntN(9000); n <= r.n {
			r.drop(n)
			model = model[n:]
		}
		if r.n != len(model) || len(r.b) > maxKept || r.n == 0 && r.b != nil {
			t.Fatalf("%d bytes in %d, want %d", r.n, len(r.b), len(model))
		}
		if r.n > 0 {
			at := source.IntN(r.n)
			got := r.slice(at, 5000)
			if len(got) == 0 || !bytes.Equal(got, model[at:at+len(got)]) {
				t.Fatalf("slice at %d differs", at)
			}
		}
	}
}
