package attach

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sandtrap/sandtrap/internal/frame"
)

func TestProgram(t *testing.T) {
	var got []frame.Frame
	s := newFake(t, func(_ *fake, f frame.Frame) error {
		got = append(got, f)
		return nil
	})
	l := s.connect()
	account, err := l.Login(t.Context(), frame.LoginMessage{User: "root", Policy: frame.PolicyExisting})
	if want := (Account{Name: "root", Home: "/root", Shell: "/bin/bash"}); err != nil || account != want {
		t.Errorf("Login = %+v, %v", account, err)
	}
	p := Program{Path: "/bin/sh", Argv: []string{"-sh"}, Env: []string{"A=b"}, Dir: "/", PTY: true, Size: Size{Columns: 80, Rows: 24}, Modes: "\x00", Interactive: true}
	c, err := l.Start(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	n, werr := c.Write([]byte("input"))
	if err := errors.Join(werr, c.Resize(t.Context(), Size{Columns: 1}), c.Signal(t.Context(), "INT"), c.CloseWrite(), c.CloseWrite()); err != nil || n != 5 {
		t.Error(n, err)
	}
	if _, err := c.Write([]byte("more")); err == nil {
		t.Error("Write after CloseWrite")
	}
	s.say(data(1, "out "), frame.Frame{Type: frame.Stderr, Channel: 1, Payload: []byte("err")}, data(1, "put"),
		exit(1, frame.ExitMessage{Signal: "TERM", CoreDumped: true}))
	<-c.Exited()
	if how, err := c.Wait(t.Context()); err != nil || how != (Exit{Signal: "TERM", CoreDumped: true}) {
		t.Errorf("Wait before the end of the output = %+v, %v", how, err)
	}
	s.say(data(1, " and more"), eof(1))
	var out collect
	if err := out.copy(c); err != nil || out.stdout.String() != "out put and more" || out.stderr.String() != "err" {
		t.Errorf("Copy = %v, %q, %q", err, out.stdout.String(), out.stderr.String())
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	s.heard(l)
	want := frame.OpenMessage{Path: "/bin/sh", Argv: []string{"-sh"}, Env: []string{"A=b"}, Dir: "/", PTY: true, Size: p.Size, Modes: "\x00", Interactive: true}
	size := Size{Columns: 1}
	sent := []frame.Frame{
		{Type: frame.Open, Channel: 1, Payload: want.Encode()}, data(1, "input"), {Type: frame.Resize, Channel: 1, Payload: size.Encode()},
		{Type: frame.Signal, Channel: 1, Payload: []byte("INT")}, {Type: frame.EOF, Channel: 1, Payload: []byte{}},
	}
	if diff := cmp.Diff(sent, got); diff != "" {
		t.Errorf("the leader got (-want +got):\n%s", diff)
	}
	if err := l.Ping(t.Context()); err != nil {
		t.Error(err)
	}
}

// A leader that never answers does not hold a request for ever, and goes on.
func TestStartTimesOut(t *testing.T) {
	s := newFake(t, nil)
	s.mute = true
	l := s.connect()
	l.patience = 20 * time.Millisecond
	if _, err := l.Start(context.Background(), Program{Path: "/bin/sh", Argv: []string{"sh"}, Dir: "/"}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Start = %v", err)
	}
	if err := l.Ping(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestProgramThatHasEnded before anybody looks has run all the same.
func TestProgramThatHasEnded(t *testing.T) {
	s := newFake(t, nil)
	l := s.connect()
	for range 100 { // by chance one of two things that have happened is seen first
		c, err := l.open()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range []frame.Frame{{Type: frame.Opened}, exit(c.number, frame.ExitMessage{Status: 3}), eof(c.number)} {
			f.Channel = c.number
			if err := c.handle(f); err != nil {
				t.Fatal(err)
			}
		}
		if err := c.waitOpened(t.Context()); err != nil {
			t.Fatal(err)
		}
		if e, err := c.Wait(t.Context()); e.Status != 3 || err != nil {
			t.Errorf("Wait = %+v, %v", e, err)
		}
		_ = c.Close()
	}
}

func TestRefusals(t *testing.T) {
	s := newFake(t, nil)
	s.refuses = true
	l := s.connect()
	var refused *Refused
	if _, err := l.Login(t.Context(), frame.LoginMessage{}); !errors.As(err, &refused) || strings.Contains(err.Error(), "\x1b") {
		t.Errorf("Login = %v", err)
	}
	if _, err := l.Login(t.Context(), frame.LoginMessage{}); err == nil || errors.As(err, &refused) {
		t.Errorf("second Login = %v", err)
	}
	if c, err := l.Start(t.Context(), Program{}); !errors.As(err, &refused) || refused.Text != "no \x1b[2J" || c != nil {
		t.Errorf("Start = %v, %v", c, err)
	}
	if _, err := l.Start(t.Context(), Program{Env: []string{strings.Repeat("x", frame.MaxPayload)}}); err == nil {
		t.Error("Start with an environment of 512 KiB")
	}
	if err := l.Ping(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestCloseHangsUpOnce(t *testing.T) {
	var got []frame.Type
	s := newFake(t, func(_ *fake, f frame.Frame) error {
		got = append(got, f.Type)
		return nil
	})
	l := s.connect()
	c := s.start(l)
	for range 2 {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
	s.heard(l)
	if want := []frame.Type{frame.Open, frame.Close}; !cmp.Equal(got, want) {
		t.Errorf("the leader got %q, want %q", got, want)
	}
	var out collect
	if err := out.copy(c); !errors.Is(err, ErrClosed) {
		t.Errorf("Copy = %v", err)
	}
}

// TestBulk: both directions carry more than their windows at once, and neither
// side sends more than it may.
func TestBulk(t *testing.T) {
	const size = 8 << 20
	up, down := make([]byte, size), make([]byte, size)
	source := rand.NewChaCha8([32]byte{1})
	_, _ = source.Read(up)
	_, _ = source.Read(down)
	var mu sync.Mutex // guards the next four
	var input bytes.Buffer
	window, unread := frame.InitialWindow, 0
	more := make(chan struct{}, 1)
	s := newFake(t, func(s *fake, f frame.Frame) error {
		mu.Lock()
		defer mu.Unlock()
		switch f.Type {
		case frame.Data:
			input.Write(f.Payload)
			if unread += len(f.Payload); unread > frame.InitialWindow {
				t.Errorf("%d bytes of input are on their way", unread)
			}
		case frame.Window:
			n, _ := frame.DecodeWindow(f.Payload)
			window += int(n)
			wake(more)
		}
		return nil
	})
	l := s.connect()
	c := s.start(l)
	var wg sync.WaitGroup
	wg.Go(func() { // output
		for rest := down; len(rest) > 0; {
			mu.Lock()
			n := min(window, len(rest), frame.MaxData)
			window -= n
			mu.Unlock()
			if n == 0 {
				<-more
				continue
			}
			s.say(frame.Frame{Type: frame.Data, Channel: 1, Payload: rest[:n]})
			rest = rest[n:]
		}
		s.say(eof(1))
	})
	done := make(chan struct{})
	wg.Go(func() { // the program reads its input, now and then
		for {
			select {
			case <-done:
				return
			case <-time.After(time.Millisecond):
			}
			mu.Lock()
			n := unread
			unread = 0
			mu.Unlock()
			if n > 0 {
				s.say(frame.Frame{Type: frame.Window, Channel: 1, Payload: frame.EncodeWindow(uint32(n))})
			}
		}
	})
	wg.Go(func() {
		defer close(done)
		if n, err := c.Write(up); n != size || err != nil {
			t.Errorf("Write = %d, %v", n, err)
		}
	})
	var out collect
	if err := out.copy(c); err != nil {
		t.Error(err)
	}
	wg.Wait()
	s.heard(l)
	if sha256.Sum256(out.stdout.Bytes()) != sha256.Sum256(down) || sha256.Sum256(input.Bytes()) != sha256.Sum256(up) {
		t.Errorf("%d and %d bytes came, differing from those sent", out.stdout.Len(), input.Len())
	}
}

// TestSlowReader: what nobody takes stays with the leader.
func TestSlowReader(t *testing.T) {
	granted := 0
	s := newFake(t, func(_ *fake, f frame.Frame) error {
		if f.Type == frame.Window {
			granted++
		}
		return nil
	})
	l := s.connect()
	c := s.start(l)
	for range frame.InitialWindow / frame.MaxData {
		s.say(frame.Frame{Type: frame.Data, Channel: 1, Payload: make([]byte, frame.MaxData)})
	}
	s.heard(l)
	if granted != 0 {
		t.Error("more output was asked for before the first was taken")
	}
	seen := 0
	err := c.Copy(func(p []byte) error {
		if seen += len(p); seen == frame.InitialWindow {
			return errTest
		}
		return nil
	}, nil)
	s.heard(l)
	if !errors.Is(err, errTest) || granted == 0 || granted > 2 {
		t.Errorf("Copy = %v, %d grants", err, granted)
	}
}

func TestWriteEnds(t *testing.T) {
	for name, tt := range map[string]func(*fake, *Leader, Stream){
		"with the program":       func(s *fake, _ *Leader, _ Stream) { s.say(exit(1, frame.ExitMessage{}), eof(1)) },
		"with the leader":        func(s *fake, _ *Leader, _ Stream) { s.say(eof(1), eof(1)) },
		"with the stream closed": func(_ *fake, _ *Leader, c Stream) { _ = c.Close() },
		"with the leader closed": func(_ *fake, l *Leader, _ Stream) { _ = l.Close() },
		"with its input ended":   func(_ *fake, _ *Leader, c Stream) { _ = c.CloseWrite() },
	} {
		t.Run(name, func(t *testing.T) {
			s := newFake(t, nil)
			l := s.connect()
			c := s.start(l)
			written := make(chan int)
			go func() {
				n, err := c.Write(make([]byte, 2*frame.InitialWindow))
				if err == nil {
					t.Error("Write succeeded")
				}
				written <- n
			}()
			for window := 1; window > 0; time.Sleep(time.Millisecond) {
				c.(*channel).mu.Lock()
				window = c.(*channel).window
				c.(*channel).mu.Unlock()
			}
			tt(s, l, c)
			if n := <-written; n != frame.InitialWindow {
				t.Errorf("%d bytes were written", n)
			}
		})
	}
}

// TestHangingLeader: whoever waits can stop.
func TestHangingLeader(t *testing.T) {
	s := newFake(t, nil)
	l := s.connect()
	c := s.start(l)
	block := make(chan struct{})
	s.mu.Lock()
	s.on = func(frame.Frame) error { <-block; return nil }
	s.mu.Unlock()
	_, _ = c.Write([]byte("x"))
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	for name, err := range map[string]error{
		"Ping":  l.Ping(ctx),
		"Login": func() error { _, err := l.Login(ctx, frame.LoginMessage{}); return err }(),
		"Start": func() error { _, err := l.Start(ctx, Program{}); return err }(),
		"Wait":  func() error { _, err := c.Wait(ctx); return err }(),
	} {
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s = %v", name, err)
		}
	}
	for range 5 { // more than a link takes
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		_, _ = l.Start(ctx, Program{Env: []string{strings.Repeat("x", 200<<10)}})
		cancel()
	}
	ctx2, cancel2 := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel2()
	var err error
	for range 100000 {
		if err = c.Resize(ctx2, Size{}); err != nil {
			break
		}
	}
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Resize = %v", err)
	}
	blocked := make(chan error)
	go func() { blocked <- c.Resize(context.Background(), Size{}) }()
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	if err := <-blocked; !errors.Is(err, ErrClosed) {
		t.Errorf("Resize of what was closed = %v", err)
	}
	for range 2 * maxPings {
		err = l.Ping(ctx)
	}
	if err == nil || !strings.Contains(err.Error(), "does not answer") {
		t.Errorf("many Pings = %v", err)
	}
	_ = l.Close()
	close(block)
}

func TestConnectFails(t *testing.T) {
	t.Run("nobody there", func(t *testing.T) {
		s := newFake(t, nil)
		s.deaf = true
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		if l, err := Connect(ctx, s.dial()); !errors.Is(err, context.DeadlineExceeded) || l != nil {
			t.Errorf("Connect = %v, %v", l, err)
		}
	})
	t.Run("ends", func(t *testing.T) {
		s := newFake(t, nil)
		s.deaf = true
		time.AfterFunc(20*time.Millisecond, func() { s.link.Close() })
		if l, err := Connect(t.Context(), s.dial()); err == nil || l != nil {
			t.Errorf("Connect = %v, %v", l, err)
		}
	})
}

func TestChannelNumbersRunOut(t *testing.T) {
	s := newFake(t, nil)
	l := s.connect()
	l.mu.Lock()
	l.last = frame.MaxChannel - 1
	l.mu.Unlock()
	_ = s.start(l).Close()
	if _, err := l.Start(t.Context(), Program{}); err == nil {
		t.Error("a number was used twice")
	}
}
