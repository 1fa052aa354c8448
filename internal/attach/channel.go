package attach

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/sandtrap/sandtrap/internal/descriptor"
	"github.com/sandtrap/sandtrap/internal/frame"
)

// channel is a program on a channel of a leader. It implements Stream. Its streams
// are a terminal or pipes that came from the leader.
type channel struct {
	leader *Leader
	number uint16
	pty    bool
	opened chan error    // gets the answer to Open
	exited chan struct{} // closed when exit or failure is set
	ended  chan struct{} // closed when failure is set

	mu       sync.Mutex // guards all below
	answered bool       // to Open
	files    files      // nothing before the answer, and nothing again after end
	hasExit  bool       // the program has ended, with exit
	exit     Exit
	noInput  bool  // after CloseWrite
	noOutput bool  // after CloseRead
	failure  error // why this ended before its exit, or its streams
}

func newChannel(l *Leader, number uint16, pty bool) *channel {
	return &channel{
		leader: l, number: number, pty: pty,
		opened: make(chan error, 1), exited: make(chan struct{}), ended: make(chan struct{}),
	}
}

// handle gets the leader's frames for this channel, and the descriptors that came
// with them.
func (c *channel) handle(f frame.Frame, fds []int) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case f.Type == frame.Opened, f.Type == frame.Failed:
		return c.answer(f, fds)
	case f.Type != frame.Exit:
		return violation("%q for channel %d", f.Type, c.number)
	case !c.answered:
		return violation("%q for channel %d before it was opened", f.Type, c.number)
	}
	return c.setExit(f.Payload)
}

func (c *channel) answer(f frame.Frame, fds []int) error {
	if c.answered {
		descriptor.Close(fds)
		return violation("two answers to the opening of channel %d", c.number)
	}
	c.answered = true
	if f.Type == frame.Failed {
		c.opened <- &Refused{string(f.Payload)}
		c.hasExit = true // no frames but what Close takes
		return nil
	}
	files, err := newFiles(fds, c.pty)
	if err != nil {
		return err
	}
	if c.failure != nil { // it was closed meanwhile
		files.close()
		return nil
	}
	c.files = files
	c.opened <- nil
	return nil
}

func (c *channel) setExit(payload []byte) error {
	var m frame.ExitMessage
	if err := m.Decode(payload); err != nil {
		return err
	}
	if c.hasExit {
		return violation("two exits of channel %d", c.number)
	}
	if !isSignal(m.Signal) {
		return violation("an exit by signal %.100q", m.Signal)
	}
	c.hasExit = true
	if c.failure == nil {
		c.exit = Exit{Status: int(m.Status), Signal: m.Signal, CoreDumped: m.CoreDumped}
		close(c.exited)
	}
	// As sshd: a terminal holds no more than what it does now, and without one
	// nobody is interested in what else would be written.
	if c.pty {
		c.files.hurry()
	} else {
		c.files.endInput()
	}
	return nil
}

// isSignal reports whether s is empty or could be a signal's name: it goes to the
// SSH client.
func isSignal(s string) bool {
	return len(s) <= 16 && strings.Trim(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789") == ""
}

func (c *channel) waitOpened(ctx context.Context) error {
	select {
	case err := <-c.opened:
		return err
	case <-c.ended:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	select {
	case err := <-c.opened: // a program may have ended as soon as it ran
		return err
	default:
		return c.cause()
	}
}

// cause is why the channel has ended, nil as long as it has not.
func (c *channel) cause() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.failure
}

// Write implements Stream.
func (c *channel) Write(p []byte) (int, error) {
	c.mu.Lock()
	in, noInput, cause := c.files.in, c.noInput, c.failure
	c.mu.Unlock()
	switch {
	case noInput:
		return 0, errors.New("write to program: its input has ended")
	case cause != nil:
		return 0, fmt.Errorf("write to program: %w", cause)
	case in == nil:
		return 0, errors.New("write to program: program has ended")
	}
	n, err := in.Write(p)
	if err != nil {
		if cause := c.cause(); cause != nil {
			err = cause
		}
		return n, fmt.Errorf("write to program: %w", err)
	}
	return n, nil
}

// CloseWrite implements Stream. A terminal has no end of its input.
func (c *channel) CloseWrite() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.noInput = true
	if !c.pty {
		c.files.endInput()
	}
	return nil
}

// CloseRead implements Stream.
func (c *channel) CloseRead() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.pty {
		c.noOutput = true
		c.files.endOutput()
	}
	return nil
}

// Exited implements Stream.
func (c *channel) Exited() <-chan struct{} { return c.exited }

// Wait implements Stream.
func (c *channel) Wait(ctx context.Context) (Exit, error) {
	select {
	case <-c.exited:
	case <-ctx.Done():
		return Exit{}, fmt.Errorf("wait for program: %w", context.Cause(ctx))
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.hasExit {
		return Exit{}, fmt.Errorf("wait for program: %w", c.failure)
	}
	return c.exit, nil
}

// Resize implements Stream.
func (c *channel) Resize(_ context.Context, s Size) error {
	c.mu.Lock()
	terminal, cause := c.files.in, c.failure
	c.mu.Unlock()
	if cause != nil {
		return fmt.Errorf("resize terminal: %w", cause)
	}
	if !c.pty || terminal == nil {
		return errors.New("resize terminal: there is none")
	}
	if err := resize(terminal, s); err != nil {
		return fmt.Errorf("resize terminal: %w", err)
	}
	return nil
}

// resize sets a terminal's size; see ioctl_tty(2), TIOCSWINSZ.
func resize(terminal *os.File, s Size) error {
	raw, err := terminal.SyscallConn()
	if err != nil {
		return err
	}
	size := unix.Winsize{Row: s.Rows, Col: s.Columns, Xpixel: s.Width, Ypixel: s.Height}
	controlErr := raw.Control(func(fd uintptr) { err = unix.IoctlSetWinsize(int(fd), unix.TIOCSWINSZ, &size) })
	return errors.Join(controlErr, err)
}

// Signal implements Stream.
func (c *channel) Signal(_ context.Context, name string) error {
	if name == "" || len(name) > 64 {
		return errors.New("signal program: no such signal")
	}
	err := c.cause()
	if err == nil {
		err = c.leader.conn.send(frame.Frame{Type: frame.Signal, Channel: c.number, Payload: []byte(name)})
	}
	if err != nil {
		return fmt.Errorf("signal program: %w", err)
	}
	return nil
}

// Close implements Stream.
func (c *channel) Close() error {
	l := c.leader
	l.mu.Lock()
	known := l.channels[c.number] == c
	delete(l.channels, c.number)
	c.mu.Lock()
	finished := c.hasExit
	if known { // see tooLate: an answer to Open, and an exit
		l.late += 2
	}
	c.mu.Unlock()
	l.mu.Unlock()
	c.end(ErrClosed)
	if known && !finished {
		_ = l.conn.send(frame.Frame{Type: frame.Close, Channel: c.number})
	}
	return nil
}

// end makes everything that waits for the program end with cause, but for Copy,
// which first hands on what is there unless cause is ErrClosed. A leader that is
// gone may leave programs behind, so the streams end in any case.
func (c *channel) end(cause error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	first := c.failure == nil
	if first && !c.hasExit {
		close(c.exited)
	}
	if first {
		close(c.ended)
	}
	if first || errors.Is(cause, ErrClosed) {
		c.failure = cause
	}
	c.files.hurry()
	if errors.Is(cause, ErrClosed) {
		c.files.close()
	}
}
