package frame

import (
	"bytes"
	"errors"
	"io"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
)

// wire is what a peer sends, made by hand.
type wire struct{ bytes.Buffer }

func (w *wire) frame(t Type, channel uint16, payload []byte) *wire {
	w.Write([]byte{byte(t), 0, byte(channel >> 8), byte(channel)})
	n := len(payload)
	w.Write([]byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)})
	w.Write(payload)
	return w
}

func (w *wire) hello(change func(*HelloMessage)) *wire {
	m := HelloMessage{Version: Version}
	if change != nil {
		change(&m)
	}
	return w.frame(Hello, 0, m.Encode())
}

var sides = map[string]func(io.Reader) *Reader{"front": FromLeader, "leader": FromFront}

func TestFramesArrive(t *testing.T) {
	large := bytes.Repeat([]byte("large "), MaxPayload/6)
	for name, frames := range map[string][]Frame{
		"leader": {{Ping, 0, nil}, {Open, 1, large}, {Signal, 1, []byte("INT")}, {Close, 65535, nil}},
		"front":  {{Pong, 0, nil}, {Opened, 1, nil}, {Failed, 2, large[:4096]}, {Exit, 1, (&ExitMessage{Status: 1}).Encode()}},
	} {
		for _, size := range []int{97, 4095, 1 << 20} {
			w := new(wire).hello(nil)
			for _, f := range frames {
				header, err := f.Header()
				if err != nil {
					t.Fatal(err)
				}
				w.Write(append(header[:], f.Payload...))
			}
			var got []Frame
			err := sides[name](&chunks{rest: w.Bytes(), limit: size}).Serve(func(f Frame) error {
				f.Payload = append([]byte(nil), f.Payload...)
				got = append(got, f)
				return nil
			})
			if !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("%s, pieces of %d: ended with %v", name, size, err)
			}
			if diff := cmp.Diff(frames, got); diff != "" {
				t.Errorf("%s, pieces of %d (-sent +received):\n%.500s", name, size, diff)
			}
		}
	}
}

func TestLiars(t *testing.T) {
	hello := func() *wire { return new(wire).hello(nil) }
	for name, w := range map[string]*wire{
		"no hello":            new(wire).frame(Exit, 1, []byte("x")),
		"other version":       new(wire).hello(func(m *HelloMessage) { m.Version++ }),
		"short hello":         new(wire).frame(Hello, 0, make([]byte, 1)),
		"long hello":          new(wire).frame(Hello, 0, make([]byte, 3)),
		"two hellos":          hello().hello(nil),
		"unknown type":        hello().frame('z', 1, nil),
		"data of version 2":   hello().frame('D', 1, []byte("x")),
		"long close":          hello().frame(Close, 1, []byte("x")),
		"second byte not 0":   {*bytes.NewBuffer(append(hello().Bytes(), byte(Close), 1, 0, 1, 0, 0, 0, 0))},
		"hello of a channel":  new(wire).frame(Hello, 1, []byte{0, Version}),
		"claims 4 gigabytes":  {*bytes.NewBuffer(append(hello().Bytes(), byte(Open), 0, 0, 1, 255, 255, 255, 255))},
		"HTTP":                {*bytes.NewBufferString("GET / HTTP/1.1\r\n\r\n")},
		"too long for a type": hello().frame(Signal, 1, make([]byte, 4097)),
	} {
		for side, reader := range sides {
			err := reader(bytes.NewReader(w.Bytes())).Serve(func(f Frame) error {
				t.Errorf("%s, %s: %c was handed on", side, name, f.Type)
				return nil
			})
			if !errors.Is(err, ErrMalformed) {
				t.Errorf("%s, %s: %v", side, name, err)
			}
		}
	}
	for side, f := range map[string]Type{"front": Open, "leader": Opened} {
		err := sides[side](bytes.NewReader(hello().frame(f, 1, nil).Bytes())).Serve(func(Frame) error { return nil })
		if !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %c of the other direction: %v", side, f, err)
		}
	}
}

func TestServeEnds(t *testing.T) {
	whole := new(wire).hello(nil).frame(Ping, 0, nil).Bytes()
	failure := errors.New("enough")
	if err := FromFront(bytes.NewReader(whole)).Serve(func(Frame) error { return failure }); err != failure {
		t.Errorf("with an error of handle: %v", err)
	}
	count := 0
	counted := func(Frame) error { count++; return nil }
	if err := FromFront(bytes.NewReader(whole[:len(whole)-1])).Serve(counted); !errors.Is(err, io.ErrUnexpectedEOF) || count != 0 {
		t.Errorf("amid a frame: %v, %d frames", err, count)
	}
	if err := FromFront(iotest.ErrReader(failure)).Serve(counted); !errors.Is(err, failure) {
		t.Errorf("with an error of the stream: %v", err)
	}
	if err := FromFront(still{}).Serve(counted); !errors.Is(err, io.ErrNoProgress) {
		t.Errorf("without progress: %v", err)
	}
}

// still reads nothing, for ever.
type still struct{}

func (still) Read([]byte) (int, error) { return 0, nil }

func TestHeaderRefuses(t *testing.T) {
	for name, f := range map[string]Frame{
		"unknown type":       {'z', 1, nil},
		"long open":          {Open, 1, make([]byte, MaxPayload+1)},
		"ping with payload":  {Ping, 0, []byte("x")},
		"ping with channel":  {Ping, 1, nil},
		"login with channel": {Login, 1, nil},
	} {
		if _, err := f.Header(); err == nil {
			t.Errorf("%s can be sent", name)
		}
	}
}
