package leader

import (
	"errors"
	"io"
	"os"
	"testing"

	"github.com/sandtrap/sandtrap/internal/frame"
)

// FuzzHandle has a worker handle any frames. Programs are only ones that do not
// exist, but for those that are there before.
func FuzzHandle(f *testing.F) {
	open := openPayload(terminal("x"))
	add := func(kind frame.Type, channel byte, payload []byte) []byte {
		return append([]byte{byte(kind), channel, byte(len(payload) >> 8), byte(len(payload))}, payload...)
	}
	f.Add(append(add(frame.Ping, 1, nil), add(frame.Close, 1, nil)...))
	f.Add(append(add(frame.Open, 3, open), add(frame.Signal, 3, []byte("TERM"))...))
	f.Add(append(add(frame.Close, 2, nil), add(frame.Signal, 2, []byte("CONT"))...))
	f.Add(add(frame.Login, 0, loginPayload()))
	f.Fuzz(func(t *testing.T, b []byte) {
		w := newTestWorker(t)
		for number, p := range map[uint16]frame.OpenMessage{
			1: {Path: "/bin/cat", Argv: []string{"cat"}, Dir: "/"},
			2: {Path: "/bin/cat", Argv: []string{"cat"}, Dir: "/", PTY: true},
		} {
			if err := w.handle(frame.Frame{Type: frame.Open, Channel: number, Payload: p.Encode()}); err != nil {
				t.Fatal(err)
			}
		}
		for len(b) >= 4 {
			kind, channel, n := frame.Type(b[0]), uint16(b[1]), min(int(b[2])<<8|int(b[3]), len(b)-4)
			payload := b[4 : 4+n]
			b = b[4+n:]
			var m frame.OpenMessage
			if kind == frame.Open && m.Decode(payload) == nil {
				m.Path = "/nonexistent/" + m.Path
				payload = m.Encode()
			}
			if err := w.handle(frame.Frame{Type: kind, Channel: channel, Payload: payload}); err != nil {
				if !errors.Is(err, frame.ErrMalformed) {
					t.Error(err)
				}
				return
			}
		}
		if len(w.order) > maxChannels {
			t.Errorf("%d channels", len(w.order))
		}
	})
}

// newTestWorker is a worker in this process, with somebody logged in and nobody
// at the other end. Signals that end a program end those of the tests only: they
// go to process groups of their own.
func newTestWorker(t testing.TB) *worker {
	t.Helper()
	front, leader := newStream(t)
	heard := make(chan struct{})
	go func() {
		defer close(heard)
		_, _ = io.Copy(io.Discard, front)
	}()
	w := &worker{title: &title{}, gate: -1, channels: map[uint16]*channel{}, root: t.TempDir()}
	w.stream = stream(leader.Fd())
	w.login = &login{account: account{name: "tester", uid: uint32(os.Getuid())}, records: newRecords(w.root, ""), monitor: os.Getpid()}
	t.Cleanup(func() {
		pids := []int{}
		for _, c := range w.order {
			pids = append(pids, c.pid)
		}
		w.hangUp()
		leader.Close()
		<-heard
		front.Close()
		reapAll(pids, w.orphans)
	})
	return w
}
