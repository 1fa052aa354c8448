package attach

import (
	"fmt"

	"github.com/sandtrap/sandtrap/internal/frame"
)

// handle takes one frame from the leader. An error means that it lies: it ends.
func (l *Leader) handle(f frame.Frame) error {
	var err error
	switch f.Type {
	case frame.Pong:
		err = l.pong()
	case frame.Account:
		err = l.account(f.Payload)
	case frame.Failed:
		if f.Channel == 0 {
			return l.answerLogin(answer{err: fmt.Errorf("log in: the target says %.200q", f.Payload)})
		}
		fallthrough
	default:
		err = l.toChannel(f)
	}
	if err != nil {
		return fmt.Errorf("frame %q on channel %d: %w", byte(f.Type), f.Channel, err)
	}
	return nil
}

func (l *Leader) pong() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.pings) == 0 {
		return errUnasked
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
	a, err := checked(m)
	if err != nil {
		return err
	}
	return l.answerLogin(answer{account: a})
}

func (l *Leader) answerLogin(a answer) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.login == nil {
		return errUnasked
	}
	l.login <- a
	l.login = nil
	return nil
}

// toChannel hands a frame to its channel. One for a channel that was closed here
// has crossed with that news.
func (l *Leader) toChannel(f frame.Frame) error {
	l.mu.Lock()
	c, opened := l.channels[f.Channel], f.Channel > 0 && int(f.Channel) < l.next
	l.mu.Unlock()
	switch {
	case c != nil:
		return c.handle(f)
	case opened:
		return nil
	default:
		return errUnopened
	}
}

// forget drops a channel whose number is not used again.
func (l *Leader) forget(number uint16) {
	l.mu.Lock()
	delete(l.channels, number)
	l.mu.Unlock()
}
