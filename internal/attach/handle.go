package attach

import (
	"fmt"
	"strings"

	"github.com/sandtrap/sandtrap/internal/descriptor"
	"github.com/sandtrap/sandtrap/internal/frame"
)

// violation is the error of a leader that does what it must not. It ends the
// leader.
func violation(format string, args ...any) error {
	return fmt.Errorf("leader breaks the protocol: "+format, args...)
}

// handle gets every frame of the leader, in its order. What it returns ends the
// link.
func (l *Leader) handle(f frame.Frame) error {
	switch f.Type {
	case frame.Item, frame.Content, frame.Captured:
		return l.captured(f)
	}
	l.mu.Lock()
	c := l.channels[f.Channel]
	if c != nil {
		l.mu.Unlock()
		return c.handle(f, l.descriptors(f))
	}
	defer l.mu.Unlock()
	switch {
	case f.Type == frame.Pong:
		return l.pong()
	case f.Type == frame.Account:
		return l.account(f.Payload)
	case f.Type == frame.Failed && f.Channel == 0:
		return l.answer(loginAnswer{err: &Refused{string(f.Payload)}})
	case f.Channel == 0 || f.Channel > l.last:
		return violation("%q for channel %d, which was never opened", f.Type, f.Channel)
	}
	return l.tooLate(f)
}

// descriptors are those that came with a frame, if it is one that has some.
func (l *Leader) descriptors(f frame.Frame) []int {
	if f.Type != frame.Opened {
		return nil
	}
	return l.conn.take()
}

func (l *Leader) pong() error {
	if len(l.pings) == 0 {
		return violation("an answer that nobody asked for")
	}
	close(l.pings[0])
	l.pings = l.pings[1:]
	return nil
}

func (l *Leader) account(payload []byte) error {
	var m frame.AccountMessage
	if err := m.Decode(payload); err != nil {
		return err
	}
	if !isField(m.Name, maxName) || m.Name == "" || !isPath(m.Home) || !isPath(m.Shell) {
		return violation("an account that cannot be: %.100q, home %.100q, shell %.100q", m.Name, m.Home, m.Shell)
	}
	return l.answer(loginAnswer{account: Account{Name: m.Name, UID: m.UID, GID: m.GID, Home: m.Home, Shell: m.Shell, Made: m.Made, Baited: m.Baited}})
}

// Bounds in bytes of what an account may hold.
const (
	maxName = 256 // LOGIN_NAME_MAX, limits.h(0p)
	maxPath = 1024
)

// isField reports whether s could be a field of passwd(5).
func isField(s string, limit int) bool {
	return len(s) <= limit && !strings.ContainsAny(s, ":\n\x00")
}

func isPath(s string) bool { return isField(s, maxPath) && strings.HasPrefix(s, "/") }

func (l *Leader) answer(a loginAnswer) error {
	if l.login == nil || l.answered {
		return violation("an answer to a login that nobody asked for")
	}
	l.answered = true
	l.login <- a // it has room for the one answer
	return nil
}

// tooLate handles what crosses with the closing of its channel: nothing happens,
// as long as it is no more than could be on its way.
func (l *Leader) tooLate(f frame.Frame) error {
	descriptor.Close(l.descriptors(f))
	if l.late--; l.late < 0 {
		return violation("frames for channels that were closed long ago")
	}
	return nil
}
