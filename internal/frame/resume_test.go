package frame

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
)

// TestStreamsThatBreak is the promise of a link: two of them talk over streams
// that break after any number of bytes, in either direction, and every frame
// arrives once, in order, byte for byte.
func TestStreamsThatBreak(t *testing.T) {
	for seed := range uint64(30) {
		source := rand.New(rand.NewPCG(seed, 0))
		front, leader := newTalker(source, frontSays), newTalker(source, leaderSays)
		streams := talk(t, source, front, leader)
		sameFrames(t, "from the front end", leader.got, front.says)
		sameFrames(t, "from the leader", front.got, leader.says)
		if streams < 3 {
			t.Errorf("seed %d: only %d streams", seed, streams)
		}
		if t.Failed() {
			t.Fatalf("with seed %d and %d streams", seed, streams)
		}
	}
}

var (
	frontSays  = []Type{Ping, Data, Data, EOF, Window, Open}
	leaderSays = []Type{Pong, Data, Data, Stderr, EOF, Window}
)

// talker is one side with all that it will say.
type talker struct {
	link *Link
	says []Frame
	mu   sync.Mutex
	got  []Frame
	done chan struct{} // closed when it has got expected frames
	want int
}

func newTalker(source *rand.Rand, types []Type) *talker {
	s := &talker{link: NewLink(), done: make(chan struct{})}
	for i := range 60 + source.IntN(60) {
		f := Frame{Type: types[source.IntN(len(types))], Channel: uint16(i)}
		if f.Type.global() {
			f.Channel = 0
		}
		if limit := f.Type.limit(); limit > 0 {
			f.Payload = make([]byte, source.IntN(limit+1))
			if source.IntN(2) == 0 {
				f.Payload = f.Payload[:min(len(f.Payload), 100)]
			}
			for at := 0; at+8 <= len(f.Payload); at += 8 {
				binary.BigEndian.PutUint64(f.Payload[at:], source.Uint64())
			}
		}
		s.says = append(s.says, f)
	}
	return s
}

func (s *talker) handle(f Frame) error {
	f.Payload = bytes.Clone(f.Payload)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.got = append(s.got, f); len(s.got) == s.want {
		close(s.done)
	}
	return nil
}

func (s *talker) talk() error {
	for _, f := range s.says {
		if err := s.link.Send(f); err != nil {
			return err
		}
	}
	return nil
}

// talk connects two talkers over one stream after the other until all is said,
// and returns how many it took.
func talk(t *testing.T, source *rand.Rand, front, leader *talker) int {
	t.Helper()
	front.want, leader.want = len(leader.says), len(front.says)
	var talking sync.WaitGroup
	for _, s := range []*talker{front, leader} {
		talking.Go(func() {
			if err := s.talk(); err != nil {
				t.Error(err)
			}
		})
	}
	finished := make(chan struct{})
	go func() {
		<-front.done
		<-leader.done
		talking.Wait()
		close(finished)
		_ = front.link.Close(nil)
		_ = leader.link.Close(nil)
	}()
	streams := 0
	for ; front.link.Err() == nil && leader.link.Err() == nil; streams++ {
		a, b := net.Pipe()
		limit := 1 << source.IntN(21)
		fa, fb := &fragile{Conn: a, left: source.IntN(limit)}, &fragile{Conn: b, left: source.IntN(limit)}
		var serving sync.WaitGroup
		for _, run := range []func() error{
			func() error { return front.link.RunFront(fa, testToken, front.handle) },
			func() error { return leader.link.RunLeader(fb, leader.handle) },
		} {
			serving.Go(func() {
				if err := run(); errors.Is(err, ErrMalformed) {
					t.Error(err)
					_ = front.link.Close(err)
					_ = leader.link.Close(err)
				}
			})
		}
		serving.Wait()
	}
	if !t.Failed() {
		<-finished
	}
	return streams
}

// fragile breaks when so many bytes were written to it, in the midst of a write.
type fragile struct {
	net.Conn
	left int
}

func (f *fragile) Write(p []byte) (int, error) {
	if len(p) <= f.left {
		n, err := f.Conn.Write(p)
		f.left -= n
		return n, err
	}
	n, _ := f.Conn.Write(p[:f.left])
	f.left -= n
	f.Conn.Close()
	return n, io.ErrClosedPipe
}

// TestOldAcknowledgement: one that is sent again over a new stream says less than
// is known already.
func TestOldAcknowledgement(t *testing.T) {
	l := NewLink()
	_ = l.Send(Frame{Type: Ping})
	_ = l.Send(Frame{Type: Ping})
	_, _ = l.pending(maxWrite)
	l.wrote(2 * headerSize)
	for _, offset := range []uint64{16, 8, 16, 0} {
		if err := l.acknowledge(binary.BigEndian.AppendUint64(nil, offset)); err != nil {
			t.Errorf("acknowledgement of %d: %v", offset, err)
		}
		if l.base != 16 || l.kept.n != 0 {
			t.Errorf("after acknowledgement of %d: base %d, %d bytes kept", offset, l.base, l.kept.n)
		}
	}
}

// TestResumeOffsets: a hello may only ask for what is kept.
func TestResumeOffsets(t *testing.T) {
	for offset, ok := range map[uint64]bool{0: false, 7: false, 8: true, 12: true, 16: true, 17: false, 24: false, 1<<64 - 1: false} {
		l := NewLink()
		for range 3 {
			_ = l.Send(Frame{Type: Ping})
		}
		_, _ = l.pending(16) // the last one was never on any stream
		l.wrote(16)
		_ = l.acknowledge(binary.BigEndian.AppendUint64(nil, 8))
		err := l.resume(offset)
		if (err == nil) != ok || err != nil && !errors.Is(err, ErrMalformed) {
			t.Errorf("resume at %d: %v", offset, err)
		}
		if err != nil {
			continue
		}
		if next, _ := l.pending(maxWrite); uint64(len(next)) != 24-offset {
			t.Errorf("resume at %d: %d bytes are sent again", offset, len(next))
		}
		_ = l.resume(offset)
		_, _ = l.pending(1) // breaks again
		if err := l.resume(24); err != nil {
			t.Errorf("resume at %d, then at what was sent before: %v", offset, err)
		}
	}
}
