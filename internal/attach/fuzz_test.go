package attach

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"sync"
	"testing"

	"github.com/sandtrap/sandtrap/internal/frame"
)

// FuzzLeader lets a leader say anything, in answer to a front end that does all it
// can do. Nothing may hang, panic or grow.
func FuzzLeader(f *testing.F) {
	wire := func(frames ...frame.Frame) []byte {
		var b []byte
		for _, f := range frames {
			b = append(b, byte(f.Type), 0)
			b = binary.BigEndian.AppendUint16(b, f.Channel)
			b = binary.BigEndian.AppendUint32(b, uint32(len(f.Payload)))
			b = append(b, f.Payload...)
		}
		return b
	}
	pong, opened := of(frame.Pong, 0, ""), of(frame.Opened, 1, "")
	account := of(frame.Account, 0, string(someAccount.Encode()))
	f.Add(wire(pong, account, opened, data(1, "x"), eof(1), exit(1, frame.ExitMessage{})))
	f.Add(wire(pong, account, of(frame.Failed, 1, "no")))
	f.Add(wire(pong, of(frame.Failed, 0, "no"), opened, of(frame.Stderr, 1, "x"), of(frame.Window, 1, "\x00\x00\x00\x01")))
	f.Fuzz(func(t *testing.T, said []byte) {
		dial := func(context.Context) (io.ReadWriteCloser, error) { return newParrot(said), nil }
		l, err := Connect(t.Context(), dial, nil)
		if err != nil {
			return
		}
		defer l.Close()
		_, _ = l.Login(t.Context(), frame.LoginMessage{})
		c, err := l.Start(t.Context(), Program{})
		if err != nil {
			return
		}
		defer c.Close()
		_, _ = c.Write([]byte("x"))
		total := 0
		count := func(p []byte) error { total += len(p); return nil }
		if err := c.Copy(count, count); err == nil && total > len(said) {
			t.Errorf("%d bytes of output from %d", total, len(said))
		}
		_, _ = c.Wait(t.Context())
	})
}

// parrot is a stream to a leader that answers the hello, then says what it has
// learnt, and ends.
type parrot struct {
	mu    sync.Mutex
	said  *bytes.Reader
	hello chan []byte
}

func newParrot(said []byte) *parrot {
	return &parrot{said: bytes.NewReader(said), hello: make(chan []byte, 1)}
}

func (p *parrot) Write(b []byte) (int, error) {
	if b[0] == byte(frame.Hello) {
		p.hello <- bytes.Clone(b)
	}
	return len(b), nil
}

func (p *parrot) Read(b []byte) (int, error) {
	select {
	case h := <-p.hello: // the front end's own: same version and token, nothing received
		return copy(b, h), nil
	default:
		p.mu.Lock()
		defer p.mu.Unlock()
		return p.said.Read(b)
	}
}

func (p *parrot) Close() error { return nil }
