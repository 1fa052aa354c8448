package leader

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/sandtrap/sandtrap/internal/attach"
	"github.com/sandtrap/sandtrap/internal/frame"
)

// Many megabytes go through both ways at once, whole and in order.
func TestBulk(t *testing.T) {
	l := loggedIn(t)
	const size = 32 << 20
	block := bytes.Repeat([]byte("0123456789abcdef"), 1<<10)
	for name, p := range map[string]attach.Program{"pipes": shell("cat"), "terminal": terminal("stty raw -echo; echo; cat")} {
		t.Run(name, func(t *testing.T) {
			s := start(t, l, p)
			ready := make(chan struct{})
			if !p.PTY {
				close(ready)
			}
			var feed sync.WaitGroup
			feed.Go(func() {
				<-ready
				for range size / len(block) {
					if _, err := s.Write(block); err != nil {
						t.Error(err)
						return
					}
				}
				_ = s.CloseWrite()
			})
			got, enough := 0, errors.New("enough")
			err := s.Copy(func(p []byte) error {
				select {
				case <-ready:
				default: // the first line says that the terminal is raw
					close(ready)
					return nil
				}
				for i, c := range p {
					if want := block[(got+i)%len(block)]; c != want {
						t.Errorf("byte %d is %q, want %q", got+i, c, want)
						return enough
					}
				}
				if got += len(p); got == size {
					return enough
				}
				return nil
			}, nil)
			if !errors.Is(err, enough) || got != size {
				t.Errorf("copied %d bytes, %v", got, err)
			}
			s.Close()
			feed.Wait()
		})
	}
}

// A program that never reads, and one that writes without end to a front end
// that does not look, cost bounded memory and stop nobody else.
func TestFlood(t *testing.T) {
	p := run(t)
	l := p.connect(t)
	deaf := start(t, l, shell("sleep 1000"))
	loud := start(t, l, shell("cat /dev/zero"))
	loudTerminal := start(t, l, terminal("cat /dev/zero"))
	_, _ = loud, loudTerminal
	var writer sync.WaitGroup
	writer.Go(func() {
		block := make([]byte, 64<<10)
		for {
			if _, err := deaf.Write(block); err != nil {
				return
			}
		}
	})
	for range 50 {
		if got := output(t, l, shell("echo still here")).stdout; got != "still here\n" {
			t.Fatalf("got %q", got)
		}
	}
	if kb := anonymous(t, p.Process.Pid); kb > 8<<10 {
		t.Errorf("the worker has %d KiB", kb)
	}
	l.Close()
	writer.Wait()
}

// anonymous is how much memory of its own a process has, in KiB.
func anonymous(t *testing.T, pid int) int {
	t.Helper()
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == "RssAnon:" {
			n, _ := strconv.Atoi(f[1])
			return n
		}
	}
	t.Fatal("no RssAnon")
	return 0
}

// A program that closes its input does not hold who writes to it.
func TestInputClosed(t *testing.T) {
	l := loggedIn(t)
	s := start(t, l, shell("exec <&-; sleep 1000"))
	block := make([]byte, 64<<10)
	for range 64 { // far more than a pipe holds
		if _, err := s.Write(block); err != nil {
			if !errors.Is(err, syscall.EPIPE) {
				t.Errorf("Write = %v", err)
			}
			return
		}
	}
	t.Error("the pipe took everything")
}

// raw is a front end that says what it wants.
type raw struct {
	stream *net.UnixConn
	frames chan frame.Frame
}

func (p *process) raw(t *testing.T) *raw {
	t.Helper()
	r := &raw{stream: p.stream, frames: make(chan frame.Frame, 1024)}
	go func() {
		defer close(r.frames)
		_ = frame.FromLeader(r.stream).Serve(func(f frame.Frame) error {
			f.Payload = bytes.Clone(f.Payload)
			r.frames <- f
			return nil
		})
	}()
	t.Cleanup(func() {
		r.stream.Close()
		for range r.frames {
		}
	})
	hello := frame.HelloMessage{Version: frame.Version}
	r.send(t, frame.Hello, 0, hello.Encode())
	return r
}

func (r *raw) try(kind frame.Type, channel uint16, payload []byte) error {
	f := frame.Frame{Type: kind, Channel: channel, Payload: payload}
	header, err := f.Header()
	if err == nil {
		_, err = r.stream.Write(append(header[:], payload...))
	}
	return err
}

func (r *raw) send(t *testing.T, kind frame.Type, channel uint16, payload []byte) {
	t.Helper()
	if err := r.try(kind, channel, payload); err != nil {
		t.Fatal(err)
	}
}

// next is the next frame of a kind.
func (r *raw) next(t *testing.T, kind frame.Type) frame.Frame {
	t.Helper()
	for f := range r.frames {
		if f.Type == kind {
			return f
		}
	}
	t.Fatalf("no frame %q", kind)
	return frame.Frame{}
}

func loginPayload() []byte {
	m := frame.LoginMessage{User: "tester", Policy: frame.PolicyExisting}
	return m.Encode()
}

func openPayload(p attach.Program) []byte {
	m := frame.OpenMessage{Path: p.Path, Argv: p.Argv, Env: p.Env, Dir: p.Dir, PTY: p.PTY, Size: p.Size}
	return m.Encode()
}

// What breaks the protocol ends the worker.
func TestMalformed(t *testing.T) {
	for name, send := range map[string]func(t *testing.T, r *raw){
		"login":    func(t *testing.T, r *raw) { r.send(t, frame.Login, 0, []byte{1}) },
		"second":   func(t *testing.T, r *raw) { r.send(t, frame.Login, 0, loginPayload()) },
		"open":     func(t *testing.T, r *raw) { r.send(t, frame.Open, 9, []byte("x")) },
		"own type": func(t *testing.T, r *raw) { r.send(t, frame.Exit, 1, nil) },
	} {
		t.Run(name, func(t *testing.T) {
			p := run(t)
			r := p.raw(t)
			r.send(t, frame.Login, 0, loginPayload())
			r.next(t, frame.Account)
			r.send(t, frame.Open, 1, openPayload(shell("sleep 1000")))
			r.next(t, frame.Opened)
			send(t, r)
			select {
			case <-p.gone:
			case <-time.After(deadline):
				t.Error("the worker goes on")
			}
		})
	}
}

// Frames for a channel that is not there may have crossed with its end.
func TestUnknownChannel(t *testing.T) {
	p := run(t)
	r := p.raw(t)
	r.send(t, frame.Login, 0, loginPayload())
	r.next(t, frame.Account)
	for _, kind := range []frame.Type{frame.Signal, frame.Close} {
		r.send(t, kind, 77, nil)
	}
	r.send(t, frame.Ping, 0, nil)
	r.next(t, frame.Pong)
}

// A program cannot be started before the login.
func TestOpenBeforeLogin(t *testing.T) {
	l := run(t).greet(t)
	_, err := l.Start(t.Context(), shell("true"))
	if refused := new(attach.Refused); !errors.As(err, &refused) {
		t.Errorf("got %v", err)
	}
}

// The end of the stream hangs up.
func TestHangUp(t *testing.T) {
	p := run(t)
	l := p.connect(t)
	r := follow(t, start(t, l, shell("trap '' PIPE; trap 'echo bye >"+p.root+"/bye; exit' HUP; echo ready; while :; do sleep 0.01; done")))
	r.until(t, "ready\n")
	l.Close()
	<-p.gone
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	for ctx.Err() == nil {
		if b, err := os.ReadFile(p.root + "/bye"); err == nil && string(b) == "bye\n" {
			return
		}
		pause()
	}
	t.Error("the program was not hung up")
}

// Process 1 waits for a front end, and not for ever. It leaves alone what comes behind
// the Hello.
func TestGreet(t *testing.T) {
	hello := frame.HelloMessage{Version: frame.Version}
	other := frame.HelloMessage{Version: frame.Version + 1}
	wire := func(kind frame.Type, payload []byte) []byte {
		f := frame.Frame{Type: kind, Payload: payload}
		header, err := f.Header()
		if err != nil {
			t.Fatal(err)
		}
		return append(header[:], payload...)
	}
	for name, test := range map[string]struct {
		pieces [][]byte
		left   string
		err    error
	}{
		"hello":             {pieces: [][]byte{wire(frame.Hello, hello.Encode())}},
		"in pieces":         {pieces: [][]byte{wire(frame.Hello, nil)[:3], wire(frame.Hello, hello.Encode())[3:]}},
		"with a ping":       {pieces: [][]byte{append(wire(frame.Hello, hello.Encode()), wire(frame.Ping, nil)...)}, left: "P\x00\x00\x00\x00\x00\x00\x00"},
		"another version":   {pieces: [][]byte{wire(frame.Hello, other.Encode())}, err: frame.ErrMalformed},
		"another frame":     {pieces: [][]byte{wire(frame.Ping, nil)}, err: frame.ErrMalformed},
		"longer than hello": {pieces: [][]byte{wire(frame.Hello, make([]byte, 4096))}, err: io.ErrUnexpectedEOF},
		"nobody":            {err: errNobody},
		"half":              {pieces: [][]byte{{'H'}}, err: errNobody},
		"gone":              {pieces: [][]byte{nil}, err: io.ErrUnexpectedEOF},
	} {
		t.Run(name, func(t *testing.T) {
			front, end := newStream(t)
			defer end.Close()
			defer front.Close()
			got := make(chan error, 1)
			go func() { got <- greet(stream(end.Fd()), 50*time.Millisecond) }()
			for _, p := range test.pieces {
				if p == nil {
					front.Close()
				} else if _, err := front.Write(p); err != nil {
					t.Fatal(err)
				}
				pause()
			}
			if err := <-got; !errors.Is(err, test.err) {
				t.Fatalf("got %v", err)
			}
			if test.err != nil {
				return
			}
			b := make([]byte, 100)
			if n, err := front.Read(b); err != nil || !bytes.Equal(b[:n], wire(frame.Hello, hello.Encode())) {
				t.Errorf("answer %q, %v", b[:n], err)
			}
			front.Close()
			if left, err := io.ReadAll(end); err != nil || string(left) != test.left {
				t.Errorf("left %q, %v", left, err)
			}
		})
	}
}
