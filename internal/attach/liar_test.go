package attach

import (
	"errors"
	"strings"
	"testing"

	"github.com/sandtrap/sandtrap/internal/frame"
)

func of(t frame.Type, channel uint16, payload string) frame.Frame {
	return frame.Frame{Type: t, Channel: channel, Payload: []byte(payload)}
}

func TestLyingLeader(t *testing.T) {
	chunk := strings.Repeat("x", frame.MaxData)
	var flood []frame.Frame
	for range frame.InitialWindow/frame.MaxData + 1 {
		flood = append(flood, data(1, chunk))
	}
	window := func(n uint32) frame.Frame { return of(frame.Window, 1, string(frame.EncodeWindow(n))) }
	for name, frames := range map[string][]frame.Frame{
		"more data than allowed":      flood,
		"no channel":                  {data(0, "x")},
		"channel never opened":        {data(2, "x")},
		"highest channel":             {eof(frame.MaxChannel)},
		"data after EOF":              {eof(1), data(1, "x")},
		"stderr after EOF":            {eof(1), of(frame.Stderr, 1, "x")},
		"empty data":                  {data(1, "")},
		"two EOFs":                    {eof(1), eof(1)},
		"two exits":                   {exit(1, frame.ExitMessage{}), exit(1, frame.ExitMessage{})},
		"opened twice":                {of(frame.Opened, 1, "")},
		"failed after opened":         {of(frame.Failed, 1, "no")},
		"grant of nothing sent":       {window(1)},
		"grant of nothing":            {window(0)},
		"huge grant":                  {window(1<<32 - 1)},
		"garbled grant":               {of(frame.Window, 1, "x")},
		"garbled exit":                {of(frame.Exit, 1, "x")},
		"signal with a space":         {exit(1, frame.ExitMessage{Signal: "TERM X"})},
		"long signal":                 {exit(1, frame.ExitMessage{Signal: strings.Repeat("A", 17)})},
		"pong that nobody asked for":  {of(frame.Pong, 0, "")},
		"login that nobody asked for": {of(frame.Account, 0, string(someAccount.Encode()))},
		"no to what nobody asked for": {of(frame.Failed, 0, "no")},
		"garbled account":             {of(frame.Account, 0, "x")},
		"type of the other direction": {of(frame.Close, 1, "")},
		"stderr beyond what is left":  append(flood[:len(flood)-1:len(flood)-1], of(frame.Stderr, 1, "x")),
	} {
		t.Run(name, func(t *testing.T) {
			s := newFake(t, nil)
			l := s.connect()
			c := s.start(l)
			for _, f := range frames {
				_ = s.link.Send(f)
			}
			<-l.Done()
			if err := l.Err(); err == nil {
				t.Error("the leader is still there")
			}
			<-c.Exited()
			_, _ = c.Wait(t.Context())
			var out collect
			_ = out.copy(c) // that it ends is the test
			if _, err := l.Start(t.Context(), Program{}); err == nil {
				t.Error("a program was started")
			}
			if err := c.Resize(t.Context(), Size{}); err == nil {
				t.Error("a terminal was resized")
			}
		})
	}
}

func TestLyingAccounts(t *testing.T) {
	long := strings.Repeat("x", 1025)
	for name, change := range map[string]func(*frame.AccountMessage){
		"no name":           func(m *frame.AccountMessage) { m.Name = "" },
		"long name":         func(m *frame.AccountMessage) { m.Name = long },
		"line in name":      func(m *frame.AccountMessage) { m.Name = "a\nb" },
		"colon in name":     func(m *frame.AccountMessage) { m.Name = "root:x" },
		"no home":           func(m *frame.AccountMessage) { m.Home = "" },
		"relative home":     func(m *frame.AccountMessage) { m.Home = "root" },
		"long home":         func(m *frame.AccountMessage) { m.Home = "/" + long },
		"NUL in home":       func(m *frame.AccountMessage) { m.Home = "/\x00" },
		"relative shell":    func(m *frame.AccountMessage) { m.Shell = "bash" },
		"colon in shell":    func(m *frame.AccountMessage) { m.Shell = "/bin/sh:" },
		"NUL in the middle": func(m *frame.AccountMessage) { m.Shell = "/bin/\x00sh" },
	} {
		t.Run(name, func(t *testing.T) {
			s := newFake(t, nil)
			change(&s.account)
			l := s.connect()
			if a, err := l.Login(t.Context(), frame.LoginMessage{}); err == nil || a != (Account{}) || len(err.Error()) > 1000 {
				t.Errorf("Login = %+v, %v", a, err)
			}
			<-l.Done()
		})
	}
}

func TestAccountComesOnce(t *testing.T) {
	s := newFake(t, nil)
	l := s.connect()
	if _, err := l.Login(t.Context(), frame.LoginMessage{}); err != nil {
		t.Fatal(err)
	}
	s.say(of(frame.Account, 0, string(someAccount.Encode())))
	<-l.Done()
}

func TestFramesBeforeOpened(t *testing.T) {
	for _, f := range []frame.Frame{data(1, "x"), eof(1), exit(1, frame.ExitMessage{}), of(frame.Window, 1, string(frame.EncodeWindow(1)))} {
		s := newFake(t, func(s *fake, _ frame.Frame) error { return s.link.Send(f) })
		s.mute = true
		l := s.connect()
		if c, err := l.Start(t.Context(), Program{}); err == nil || c != nil {
			t.Errorf("Start = %v, %v", c, err)
		}
		<-l.Done()
		if !strings.Contains(l.Err().Error(), "before it was opened") {
			t.Errorf("%c: Err = %v", f.Type, l.Err())
		}
	}
}

// TestLateFrames: what crosses with Close is nothing bad, more than that is.
func TestLateFrames(t *testing.T) {
	s := newFake(t, nil)
	l := s.connect()
	c := s.start(l)
	_ = c.Close()
	for range frame.InitialWindow / frame.MaxData {
		s.say(frame.Frame{Type: frame.Data, Channel: 1, Payload: make([]byte, frame.MaxData)})
	}
	s.say(exit(1, frame.ExitMessage{}), eof(1))
	if err := l.Ping(t.Context()); err != nil {
		t.Error(err)
	}
	if how, err := c.Wait(t.Context()); !errors.Is(err, ErrClosed) {
		t.Errorf("Wait of what was closed = %v, %v", how, err)
	}
	s.say(frame.Frame{Type: frame.Data, Channel: 1, Payload: make([]byte, frame.MaxData)})
	<-l.Done()
	if !strings.Contains(l.Err().Error(), "closed long ago") {
		t.Errorf("Err = %v", l.Err())
	}
}

// TestNumbersToCome: that a channel was closed allows nothing for the next.
func TestNumbersToCome(t *testing.T) {
	s := newFake(t, nil)
	l := s.connect()
	_ = s.start(l).Close()
	s.say(data(2, "x"))
	<-l.Done()
	if !strings.Contains(l.Err().Error(), "never opened") {
		t.Errorf("Err = %v", l.Err())
	}
}

// TestLastWords: output that came before the leader went is handed on.
func TestLastWords(t *testing.T) {
	s := newFake(t, nil)
	l := s.connect()
	c := s.start(l)
	s.say(data(1, "last words"))
	_ = s.link.Send(data(7, "lie"))
	<-l.Done()
	var out collect
	if err := out.copy(c); err == nil || out.stdout.String() != "last words" {
		t.Errorf("Copy = %v, %q", err, out.stdout.String())
	}
}
