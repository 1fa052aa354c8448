package attach

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	openpty "github.com/creack/pty"
	"golang.org/x/sys/unix"

	"github.com/sandtrap/sandtrap/internal/frame"
)

// TestBulk goes both ways at once, whole and in order.
func TestBulk(t *testing.T) {
	const size = 8 << 20
	up, down, aside := make([]byte, size), make([]byte, size), make([]byte, size)
	source := rand.NewChaCha8([32]byte{1})
	for _, b := range [][]byte{up, down, aside} {
		_, _ = source.Read(b)
	}
	s := newFake(t, nil)
	c := s.start(s.connect())
	p := s.program(1)
	var wg sync.WaitGroup
	send := func(to *os.File, what []byte) {
		wg.Go(func() {
			if _, err := to.Write(what); err != nil {
				t.Error(err)
			}
			to.Close()
		})
	}
	send(p.out, down)
	send(p.err, aside)
	var input []byte
	wg.Go(func() {
		var err error
		if input, err = io.ReadAll(p.in); err != nil {
			t.Error(err)
		}
	})
	wg.Go(func() {
		if n, err := c.Write(up); n != size || err != nil {
			t.Errorf("Write = %d, %v", n, err)
		}
		if err := errors.Join(c.CloseWrite(), c.CloseWrite()); err != nil {
			t.Error(err)
		}
		if _, err := c.Write([]byte("more")); err == nil {
			t.Error("Write after CloseWrite")
		}
	})
	var out collect
	if err := out.copy(c); err != nil {
		t.Error(err)
	}
	wg.Wait()
	for name, pair := range map[string][2][]byte{"up": {up, input}, "down": {down, out.stdout.Bytes()}, "aside": {aside, out.stderr.Bytes()}} {
		if sha256.Sum256(pair[0]) != sha256.Sum256(pair[1]) {
			t.Errorf("%s: %d bytes came, differing from those sent", name, len(pair[1]))
		}
	}
}

// TestTerminal: what it holds when its program ends is handed on, and no more.
func TestTerminal(t *testing.T) {
	s := newFake(t, nil)
	c := s.startOn(s.connect(), true)
	slave := s.program(1).in
	if err := c.Resize(t.Context(), Size{Columns: 132, Rows: 43}); err != nil {
		t.Error(err)
	}
	if rows, columns, err := openpty.Getsize(slave); rows != 43 || columns != 132 || err != nil {
		t.Errorf("size %d rows, %d columns, %v", rows, columns, err)
	}
	if _, err := c.Write([]byte("typed\r")); err != nil {
		t.Error(err)
	}
	if err := c.CloseWrite(); err != nil { // it has no end
		t.Error(err)
	}
	line := make([]byte, 100)
	if n, err := slave.Read(line); string(line[:n]) != "typed\n" || err != nil {
		t.Errorf("read %q, %v", line[:n], err)
	}
	if _, err := slave.WriteString(strings.Repeat("last words\n", 300)); err != nil {
		t.Error(err)
	}
	s.say(exit(1, frame.ExitMessage{}))
	<-c.Exited()
	var out collect
	if err := out.copy(c); err != nil { // though the slave is open
		t.Error(err)
	}
	if got := out.stdout.String(); got != "typed\r\n"+strings.Repeat("last words\r\n", 300) {
		t.Errorf("%d bytes of output, %q", len(got), got[:min(len(got), 40)])
	}
	_ = c.Close()
	for end := time.Now().Add(5 * time.Second); ; time.Sleep(time.Millisecond) {
		if _, err := slave.WriteString("x"); errors.Is(err, syscall.EIO) {
			break
		}
		if time.Now().After(end) {
			t.Fatal("the terminal was not hung up")
		}
	}
	if err := c.Resize(t.Context(), Size{}); !errors.Is(err, ErrClosed) {
		t.Errorf("Resize of what was closed = %v", err)
	}
}

// TestTerminalFlood: others that write to a terminal do not keep it.
func TestTerminalFlood(t *testing.T) {
	s := newFake(t, nil)
	c := s.startOn(s.connect(), true)
	slave := s.program(1).in
	go func() {
		for {
			if _, err := slave.Write(make([]byte, 4096)); err != nil {
				return
			}
		}
	}()
	time.AfterFunc(20*time.Millisecond, func() { s.say(exit(1, frame.ExitMessage{})) })
	if err := c.Copy(func([]byte) error { return nil }, nil); err != nil {
		t.Error(err)
	}
	_ = c.Close()
}

// TestExitEndsInput, and not the output that others write.
func TestExitEndsInput(t *testing.T) {
	s := newFake(t, nil)
	c := s.start(s.connect())
	p := s.program(1)
	s.say(exit(1, frame.ExitMessage{Status: 5}))
	<-c.Exited()
	if _, err := io.ReadAll(p.in); err != nil {
		t.Error(err)
	}
	if _, err := c.Write([]byte("x")); err == nil {
		t.Error("a program that has ended took input")
	}
	go func() {
		_, _ = p.out.WriteString("late")
		p.end()
	}()
	var out collect
	if err := out.copy(c); err != nil || out.stdout.String() != "late" {
		t.Errorf("Copy = %v, %q", err, out.stdout.String())
	}
}

// TestSlowReader: what nobody takes stays in the pipe.
func TestSlowReader(t *testing.T) {
	s := newFake(t, nil)
	c := s.start(s.connect())
	p := s.program(1)
	_ = p.out.SetWriteDeadline(time.Now().Add(50 * time.Millisecond))
	written, err := p.out.Write(make([]byte, 4<<20))
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("%d bytes went, %v", written, err)
	}
	p.out.Close()
	seen := 0
	enough := c.Copy(func(b []byte) error {
		if seen += len(b); seen == written {
			return errTest
		}
		return nil
	}, nil)
	if !errors.Is(enough, errTest) {
		t.Errorf("Copy = %v", enough)
	}
}

// TestStreamsEnd whoever ends them.
func TestStreamsEnd(t *testing.T) {
	for name, tt := range map[string]func(*fake, *Leader, Stream){
		"with the leader":        func(s *fake, _ *Leader, _ Stream) { s.link.Close() },
		"with a lie":             func(s *fake, _ *Leader, _ Stream) { s.say(opened(1)) },
		"with the stream closed": func(_ *fake, _ *Leader, c Stream) { _ = c.Close() },
		"with the leader closed": func(_ *fake, l *Leader, _ Stream) { _ = l.Close() },
	} {
		for _, pty := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				s := newFake(t, nil)
				l := s.connect()
				c := s.startOn(l, pty)
				var wg sync.WaitGroup
				wg.Go(func() {
					for {
						if _, err := c.Write(make([]byte, 1<<20)); err != nil {
							return
						}
					}
				})
				wg.Go(func() {
					if err := c.Copy(func([]byte) error { return nil }, func([]byte) error { return nil }); err == nil {
						t.Error("Copy ended in peace")
					}
				})
				time.Sleep(20 * time.Millisecond)
				tt(s, l, c)
				<-c.Exited()
				wg.Wait()
				if _, err := c.Wait(context.Background()); err == nil {
					t.Error("Wait found an exit")
				}
			})
		}
	}
}

// TestLastWords: output that came before the leader went is handed on.
func TestLastWords(t *testing.T) {
	s := newFake(t, nil)
	l := s.connect()
	c := s.start(l)
	if _, err := s.program(1).out.WriteString("last words"); err != nil {
		t.Fatal(err)
	}
	s.link.Close()
	<-l.Done()
	var out collect
	if err := out.copy(c); err == nil || out.stdout.String() != "last words" {
		t.Errorf("Copy = %v, %q", err, out.stdout.String())
	}
}

// TestBlockingDescription: a leader that makes reads and writes wait in the kernel
// holds nobody who has closed the program.
func TestBlockingDescription(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	r2, w2, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	sent := make(chan struct{})
	s := newFake(t, func(s *fake, f frame.Frame) error {
		if f.Type != frame.Open {
			return nil
		}
		defer close(sent)
		return s.link.Send(opened(f.Channel), w2, r, r)
	})
	s.mute = true
	c := s.start(s.connect())
	<-sent
	for _, f := range []*os.File{r, w2} { // they share the description
		if err := unix.SetNonblock(int(f.Fd()), false); err != nil {
			t.Fatal(err)
		}
	}
	done := make(chan error, 2)
	go func() {
		done <- c.Copy(func([]byte) error { return nil }, func([]byte) error { return nil })
	}()
	go func() {
		_, err := c.Write(make([]byte, 1<<20))
		done <- err
	}()
	time.Sleep(50 * time.Millisecond) // they wait by now
	began := time.Now()
	_ = c.Close()
	if err := <-done; err == nil {
		t.Error("it ended in peace")
	}
	if d := time.Since(began); d > 5*letGo {
		t.Errorf("Copy held on for %s", d)
	}
	for _, f := range []*os.File{w, r2, r, w2} { // the target is stopped
		f.Close()
	}
	<-done
}

// TestOddDescriptors are not taken for those of a program.
func TestOddDescriptors(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	master, slave, err := openpty.Open()
	if err != nil {
		t.Fatal(err)
	}
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	file, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	fds := []*os.File{r, w, master, slave, null, file}
	defer func() {
		for _, f := range fds {
			f.Close()
		}
	}()
	for name, tt := range map[string]struct {
		pty   bool
		files []*os.File
	}{
		"none":                      {false, nil},
		"none for a terminal":       {true, nil},
		"one":                       {false, []*os.File{w}},
		"pipes the wrong way round": {false, []*os.File{r, w, w}},
		"a file":                    {false, []*os.File{w, r, file}},
		"a device":                  {false, []*os.File{null, null, null}},
		"a terminal in pipes":       {false, []*os.File{w, master, r}},
		"pipes for a terminal":      {true, []*os.File{w, r, r}},
		"a pipe for a terminal":     {true, []*os.File{r}},
		"a slave":                   {true, []*os.File{slave}},
		"a device for a terminal":   {true, []*os.File{null}},
		"two masters":               {true, []*os.File{master, master}},
		"many":                      {false, []*os.File{w, r, r, r, r, r, r}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newFake(t, func(s *fake, f frame.Frame) error {
				if f.Type != frame.Open {
					return nil
				}
				return s.link.Send(opened(f.Channel), tt.files...)
			})
			s.mute = true
			l := s.connect()
			before := openFiles(t)
			if c, err := l.Start(t.Context(), Program{PTY: tt.pty}); err == nil || c != nil {
				t.Errorf("Start = %v, %v", c, err)
			}
			<-l.Done()
			if err := l.Err(); !strings.Contains(err.Error(), "descriptors") {
				t.Errorf("Err = %v", err)
			}
			if after := openFiles(t); after > before {
				t.Errorf("%d descriptors are open, before %d", after, before)
			}
		})
	}
}

// TestStrayDescriptors, that belong to no program, are not kept.
func TestStrayDescriptors(t *testing.T) {
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	pong := frame.Frame{Type: frame.Pong}
	for name, say := range map[string]func(s *fake){
		"with another frame": func(s *fake) {
			for range 20 {
				_ = s.link.Send(exit(1, frame.ExitMessage{}), null)
			}
		},
		"twice":        func(s *fake) { _ = s.link.Send(pong, null); _ = s.link.Send(pong, null) },
		"before a lie": func(s *fake) { _ = s.link.Send(pong, null) },
		"late": func(s *fake) {
			for range 3 { // two may come late
				_ = s.link.Send(opened(1), null)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newFake(t, nil)
			l := s.connect()
			before := openFiles(t)
			_ = s.start(l).Close()
			say(s)
			<-l.Done()
			s.program(1).end()
			for end := time.Now().Add(5 * time.Second); openFiles(t) > before; time.Sleep(time.Millisecond) {
				if time.Now().After(end) {
					t.Fatalf("%d descriptors are open, before %d", openFiles(t), before)
				}
			}
		})
	}
}

func openFiles(t *testing.T) int {
	t.Helper()
	all, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(all)
}

// TestFirstError is that of the output it comes from.
func TestFirstError(t *testing.T) {
	for name, fail := range map[string]func(p *program){
		"stdout": func(p *program) { _, _ = p.out.WriteString("x") },
		"stderr": func(p *program) { _, _ = p.err.WriteString("x") },
	} {
		t.Run(name, func(t *testing.T) {
			s := newFake(t, nil)
			c := s.start(s.connect())
			fail(s.program(1))
			err := c.Copy(func([]byte) error { return errTest }, func([]byte) error { return errTest })
			if !errors.Is(err, errTest) {
				t.Errorf("Copy = %v", err)
			}
		})
	}
}

// TestChunks: bulk comes in large pieces, a key in a small buffer.
func TestChunks(t *testing.T) {
	s := newFake(t, nil)
	c := s.start(s.connect())
	p := s.program(1)
	go func() {
		_, _ = p.out.Write(bytes.Repeat([]byte("x"), 1<<20))
		p.end()
	}()
	calls, total := 0, 0
	err := c.Copy(func(b []byte) error {
		calls++
		total += len(b)
		return nil
	}, nil)
	if err != nil || total != 1<<20 || calls > 200 {
		t.Errorf("Copy = %v, %d bytes in %d pieces", err, total, calls)
	}
}
