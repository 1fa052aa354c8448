package attach

import (
	"context"
	"errors"
	"strings"
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
	p := Program{Path: "/bin/sh", Argv: []string{"-sh"}, Env: []string{"A=b"}, Dir: "/", PTY: true, Size: Size{Columns: 80, Rows: 24}, Modes: "\x00", LoginShell: true}
	c, err := l.Start(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Signal(t.Context(), "INT"); err != nil {
		t.Error(err)
	}
	s.say(exit(1, frame.ExitMessage{Signal: "TERM", CoreDumped: true}))
	<-c.Exited()
	if how, err := c.Wait(t.Context()); err != nil || how != (Exit{Signal: "TERM", CoreDumped: true}) {
		t.Errorf("Wait = %+v, %v", how, err)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	s.heard(l)
	want := frame.OpenMessage{Path: "/bin/sh", Argv: []string{"-sh"}, Env: []string{"A=b"}, Dir: "/", PTY: true, Size: p.Size, Modes: "\x00", LoginShell: true}
	sent := []frame.Frame{
		{Type: frame.Open, Channel: 1, Payload: want.Encode()}, {Type: frame.Signal, Channel: 1, Payload: []byte("INT")},
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
	s := newFake(t, func(s *fake, f frame.Frame) error {
		if f.Type != frame.Open {
			return nil
		}
		s.programs[f.Channel].end()
		return s.link.Send(exit(f.Channel, frame.ExitMessage{Status: 3}))
	})
	l := s.connect()
	for range 200 { // by chance one of two things that have happened is seen first
		c := s.start(l)
		if e, err := c.Wait(t.Context()); e.Status != 3 || err != nil {
			t.Errorf("Wait = %+v, %v", e, err)
		}
		var out collect
		if err := out.copy(c); err != nil {
			t.Error(err)
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

// TestHangingLeader: whoever waits can stop.
func TestHangingLeader(t *testing.T) {
	s := newFake(t, nil)
	l := s.connect()
	c := s.start(l)
	block := make(chan struct{})
	s.mu.Lock()
	s.on = func(frame.Frame) error { <-block; return nil }
	s.mu.Unlock()
	_ = c.Signal(t.Context(), "INT")
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
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	if err := c.Signal(t.Context(), "INT"); !errors.Is(err, ErrClosed) {
		t.Errorf("Signal to what was closed = %v", err)
	}
	var err error
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
