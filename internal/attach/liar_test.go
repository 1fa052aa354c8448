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
	for name, frames := range map[string][]frame.Frame{
		"no channel":                  {exit(0, frame.ExitMessage{})},
		"channel never opened":        {exit(2, frame.ExitMessage{})},
		"highest channel":             {opened(frame.MaxChannel)},
		"two exits":                   {exit(1, frame.ExitMessage{}), exit(1, frame.ExitMessage{})},
		"opened twice":                {opened(1)},
		"failed after opened":         {of(frame.Failed, 1, "no")},
		"garbled exit":                {of(frame.Exit, 1, "x")},
		"signal with a space":         {exit(1, frame.ExitMessage{Signal: "TERM X"})},
		"long signal":                 {exit(1, frame.ExitMessage{Signal: strings.Repeat("A", 17)})},
		"pong that nobody asked for":  {of(frame.Pong, 0, "")},
		"login that nobody asked for": {of(frame.Account, 0, string(someAccount.Encode()))},
		"no to what nobody asked for": {of(frame.Failed, 0, "no")},
		"garbled account":             {of(frame.Account, 0, "x")},
		"type of the other direction": {of(frame.Close, 1, "")},
		"data of version 2":           {of('D', 1, "x")},
	} {
		t.Run(name, func(t *testing.T) {
			s := newFake(t, nil)
			l := s.connect()
			c := s.start(l)
			for _, f := range frames {
				if header, err := f.Header(); err == nil {
					_, _ = s.link.Write(append(header[:], f.Payload...))
				} else { // of no type
					_, _ = s.link.Write([]byte{byte(f.Type), 0, 0, 1, 0, 0, 0, 1, 'x'})
				}
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
			if err := c.Signal(t.Context(), "INT"); err == nil {
				t.Error("a program was signalled")
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

func TestExitBeforeOpened(t *testing.T) {
	s := newFake(t, func(s *fake, _ frame.Frame) error { return s.link.Send(exit(1, frame.ExitMessage{})) })
	s.mute = true
	l := s.connect()
	if c, err := l.Start(t.Context(), Program{}); err == nil || c != nil {
		t.Errorf("Start = %v, %v", c, err)
	}
	<-l.Done()
	if !strings.Contains(l.Err().Error(), "before it was opened") {
		t.Errorf("Err = %v", l.Err())
	}
}

// TestLateFrames: what crosses with Close is nothing bad, more than that is.
func TestLateFrames(t *testing.T) {
	s := newFake(t, nil)
	l := s.connect()
	c := s.start(l)
	_ = c.Close()
	s.say(exit(1, frame.ExitMessage{}))
	if err := l.Ping(t.Context()); err != nil {
		t.Error(err)
	}
	if how, err := c.Wait(t.Context()); !errors.Is(err, ErrClosed) {
		t.Errorf("Wait of what was closed = %v, %v", how, err)
	}
	s.say(exit(1, frame.ExitMessage{}), exit(1, frame.ExitMessage{}))
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
	s.say(exit(2, frame.ExitMessage{}))
	<-l.Done()
	if !strings.Contains(l.Err().Error(), "never opened") {
		t.Errorf("Err = %v", l.Err())
	}
}
