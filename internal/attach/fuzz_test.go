package attach

import (
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
		front, leader := socketPair(t)
		var parrot sync.WaitGroup
		defer parrot.Wait()
		parrot.Go(func() { // says what it has learnt, hears everything, and ends
			hello := frame.HelloMessage{Version: frame.Version}
			p := peer{UnixConn: leader}
			_ = p.Send(frame.Frame{Type: frame.Hello, Payload: hello.Encode()})
			_, _ = io.ReadFull(leader, make([]byte, 18)) // hello and ping
			_, _ = leader.Write(said)
			_ = leader.CloseWrite()
			_, _ = io.Copy(io.Discard, leader)
			_ = leader.Close()
		})
		l, err := Connect(t.Context(), front)
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
