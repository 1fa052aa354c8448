package frame

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// seeds are what a peer may say, honestly and not.
func seeds(f *testing.F, types ...Type) {
	w := new(wire).hello(nil)
	f.Add(bytes.Clone(w.Bytes()), uint16(7))
	for _, t := range types {
		w.frame(t, 1, nil)
		if limit := t.limit(); limit >= 4 {
			w.frame(t, 1, []byte{0, 0, 0, 1})
		}
	}
	f.Add(bytes.Clone(w.Bytes()), uint16(1))
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"), uint16(100))
}

// check reads what the other side says, in pieces of size bytes.
func check(t *testing.T, said []byte, size uint16, r func(io.Reader) *Reader, valid func(Type) bool) {
	total := 0
	reader := r(&chunks{rest: said, limit: 1 + int(size)})
	err := reader.Serve(func(f Frame) error {
		if !valid(f.Type) || len(f.Payload) > f.Type.limit() || f.Type.global() && f.Channel != 0 {
			t.Errorf("%c with %d bytes was handed on", f.Type, len(f.Payload))
		}
		total += headerSize + len(f.Payload)
		return nil
	})
	if !errors.Is(err, ErrMalformed) && !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("the end is %v", err)
	}
	if total > len(said) || len(reader.b) > MaxPayload+headerSize {
		t.Errorf("%d bytes of frames from %d, buffer of %d", total, len(said), len(reader.b))
	}
}

// FuzzFront is a front end whose leader says anything.
func FuzzFront(f *testing.F) {
	seeds(f, Pong, Account, Opened, Failed, Exit, Item, Content, Captured)
	f.Fuzz(func(t *testing.T, said []byte, size uint16) { check(t, said, size, FromLeader, Type.toFront) })
}

// FuzzLeader is a leader whose front end says anything.
func FuzzLeader(f *testing.F) {
	seeds(f, Ping, Login, Open, Signal, Close, Capture)
	f.Fuzz(func(t *testing.T, said []byte, size uint16) { check(t, said, size, FromFront, Type.toLeader) })
}

// message is what all messages can do.
type message[T any] interface {
	*T
	Encode() []byte
	Decode([]byte) error
}

// fuzzMessage checks that what can be decoded is encoded to the same bytes, and
// that nothing else comes of what cannot.
func fuzzMessage[T any, M message[T]](f *testing.F, some T) {
	f.Add(M(&some).Encode())
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, payload []byte) {
		var m T
		if err := M(&m).Decode(payload); err != nil {
			if !errors.Is(err, ErrMalformed) {
				t.Errorf("error %v", err)
			}
			return
		}
		if got := M(&m).Encode(); !bytes.Equal(got, payload) {
			t.Errorf("%x was decoded as %+v and encoded as %x", payload, m, got)
		}
	})
}

var (
	someHello   = HelloMessage{Version: 1}
	someLogin   = LoginMessage{User: "root\x00\xff", Fallback: "root", Policy: PolicyCreate, Source: "192.0.2.1", BaitName: "x.sh", Bait: "#!/bin/sh\n"}
	someAccount = AccountMessage{Name: "root", UID: 1, GID: 2, Home: "/root", Shell: "/bin/bash", Made: true, Baited: true}
	someSize    = Size{Columns: 80, Rows: 24, Width: 640, Height: 480}
	someOpen    = OpenMessage{
		Path: "/bin/sh", Argv: []string{"-sh", ""}, Env: []string{"A=b"}, Dir: "/", PTY: true, Size: someSize, Modes: "\x01\x02", LoginShell: true,
	}
	someExit = ExitMessage{Status: 255, Signal: "TERM", CoreDumped: true}
	someItem = ItemMessage{
		Kind: KindFile, Origin: OriginLayer, Change: Changed, Note: NoteSparse, Content: true, Path: "/a\n\xff", Link: "x", Text: "a\x00b",
		Size: 1 << 40, Device: 2, Inode: 1 << 63, Modified: -5, Altered: 6, Mode: 0o104755, UID: 7, GID: 8, Links: 9, PID: 10, PPID: 11,
	}
	someCapture  = CaptureMessage{Items: 1, FileBytes: 1 << 40, Bytes: 3, Milliseconds: 4}
	someCaptured = CapturedMessage{Stop: StopTime, Omitted: 1 << 31}
)

func FuzzHelloMessage(f *testing.F)   { fuzzMessage(f, someHello) }
func FuzzLoginMessage(f *testing.F)   { fuzzMessage(f, someLogin) }
func FuzzAccountMessage(f *testing.F) { fuzzMessage(f, someAccount) }
func FuzzOpenMessage(f *testing.F)    { fuzzMessage(f, someOpen) }
func FuzzExitMessage(f *testing.F)    { fuzzMessage(f, someExit) }
func FuzzItemMessage(f *testing.F)    { fuzzMessage(f, someItem) }
func FuzzCaptureMessage(f *testing.F) { fuzzMessage(f, someCapture) }

func FuzzCapturedMessage(f *testing.F) { fuzzMessage(f, someCaptured) }

// roundTrip is m after a way over the wire.
func roundTrip[T any, M message[T]](t *testing.T, m T) {
	t.Helper()
	var got T
	if err := M(&got).Decode(M(&m).Encode()); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff(m, got); diff != "" {
		t.Errorf("%T (-sent +received):\n%s", m, diff)
	}
}

func TestMessages(t *testing.T) {
	roundTrip(t, someHello)
	roundTrip(t, someLogin)
	roundTrip(t, someAccount)
	roundTrip(t, someOpen)
	roundTrip(t, someExit)
	roundTrip(t, someItem)
	roundTrip(t, someCapture)
	roundTrip(t, someCaptured)
}

// TestItemsThatCannotBe are refused, whoever tells them.
func TestItemsThatCannotBe(t *testing.T) {
	for name, change := range map[string]func(*ItemMessage){
		"kind":               func(m *ItemMessage) { m.Kind = 'x' },
		"no kind":            func(m *ItemMessage) { m.Kind = 0 },
		"origin":             func(m *ItemMessage) { m.Origin = 'x' },
		"change":             func(m *ItemMessage) { m.Change = 'x' },
		"note":               func(m *ItemMessage) { m.Note = 'x' },
		"long path":          func(m *ItemMessage) { m.Path = string(make([]byte, MaxItemPath+1)) },
		"NUL in path":        func(m *ItemMessage) { m.Path = "/a\x00b" },
		"NUL in link":        func(m *ItemMessage) { m.Link = "\x00" },
		"long text":          func(m *ItemMessage) { m.Text = string(make([]byte, MaxItemText+1)) },
		"negative size":      func(m *ItemMessage) { m.Size = 1 << 63 },
		"content of a link":  func(m *ItemMessage) { m.Kind = KindLink },
		"content of a shell": func(m *ItemMessage) { m.Kind = KindProcess },
	} {
		m := someItem
		change(&m)
		if err := new(ItemMessage).Decode(m.Encode()); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
