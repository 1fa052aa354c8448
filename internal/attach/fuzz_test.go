package attach

import (
	"bytes"
	"encoding/binary"
	"io"
	"os"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

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
	pong := of(frame.Pong, 0, "")
	account := of(frame.Account, 0, string(someAccount.Encode()))
	f.Add(wire(pong, account, opened(1), exit(1, frame.ExitMessage{})))
	f.Add(wire(pong, account, of(frame.Failed, 1, "no")))
	f.Add(wire(pong, of(frame.Failed, 0, "no"), exit(1, frame.ExitMessage{}), opened(1)))
	f.Fuzz(func(t *testing.T, said []byte) {
		front, leader := socketPair(t)
		program, theirs, err := begin(false)
		if err != nil {
			t.Fatal(err)
		}
		program.end()
		defer func() {
			for _, f := range theirs {
				f.Close()
			}
		}()
		var parrot sync.WaitGroup
		defer parrot.Wait()
		parrot.Go(func() { // says what it has learnt, hears everything, and ends
			hello := frame.HelloMessage{Version: frame.Version}
			p := peer{UnixConn: leader}
			_ = p.Send(frame.Frame{Type: frame.Hello, Payload: hello.Encode()})
			_, _ = io.ReadFull(leader, make([]byte, 18)) // hello and ping
			p.sayWith(said, theirs)
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
		nothing := func([]byte) error { t.Error("output of nobody"); return nil }
		_ = c.Copy(nothing, nothing)
		_, _ = c.Wait(t.Context())
	})
}

// sayWith sends bytes, with the descriptors of a program at its first Opened.
func (p *peer) sayWith(said []byte, files []*os.File) {
	at := bytes.Index(said, []byte{byte(frame.Opened), 0, 0, 1, 0, 0, 0, 0})
	if at < 0 {
		_, _ = p.Write(said)
		return
	}
	_, _ = p.Write(said[:at])
	var fds []int
	for _, f := range files {
		fds = append(fds, int(f.Fd()))
	}
	_, _, _ = p.WriteMsgUnix(said[at:], unix.UnixRights(fds...), nil)
}
