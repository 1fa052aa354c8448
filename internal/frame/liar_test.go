package frame

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
)

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
		"second byte not 0":    {*bytes.NewBuffer(append(hello().Bytes(), byte(Data), 1, 0, 1, 0, 0, 0, 0))},
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
		"another token": new(wire).hello(func(m *HelloMessage) { m.Token[15]++ }).frame(Ping, 0, nil),
		"garbage":       {*bytes.NewBufferString("GET / HTTP/1.1\r\n\r\n")},
		"half a hello":  {*bytes.NewBuffer(new(wire).hello(nil).Bytes()[:20])},
		"nothing":       {},
	} {
		want := ErrMalformed
		if w.Len() < headerSize+26 && name != "garbage" {
			want = io.ErrUnexpectedEOF
		}
		if err := run(w); !errors.Is(err, want) || l.Err() != nil {
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
		if l.kept.n > maxKept || l.kept.memory() > maxKept+2*largeBlock || l.kept.n < MaxUnacked/2 {
			t.Errorf("%d bytes are kept in %d", l.kept.n, l.kept.memory())
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
	precious, other := bytes.Repeat([]byte{1}, MaxData), bytes.Repeat([]byte{2}, MaxData)
	for range 3 {
		_ = l.Send(Frame{Data, 1, precious})
	}
	chunk, _ := l.pending(maxWrite)
	before := bytes.Clone(chunk)
	if err := l.acknowledge(binary.BigEndian.AppendUint64(nil, uint64(len(chunk)))); err != nil {
		t.Fatal(err)
	}
	for range 10 { // into memory that must not be free
		_ = l.Send(Frame{Data, 1, other})
	}
	if l.base != 0 || !bytes.Equal(chunk, before) {
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
