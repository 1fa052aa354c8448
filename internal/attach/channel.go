package attach

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/sandtrap/sandtrap/internal/frame"
)

// maxChunk bounds what Copy hands on at once, in bytes.
const maxChunk = 32 << 10

// channel is a program on a channel of a leader. It implements Stream.
type channel struct {
	leader *Leader
	number uint16
	ctx    context.Context // ends when the program is closed, finished or lost
	cancel context.CancelCauseFunc
	opened chan error    // gets the answer to Open
	output chan struct{} // there may be something for Copy
	room   chan struct{} // there may be something for Write
	exited chan struct{} // closed when exit or failure is set

	mu       sync.Mutex // guards all below
	answered bool       // to Open
	queue    queue      // output that Copy has not taken yet
	credit   int        // what the leader may still send, in bytes
	consumed int        // what Copy has consumed since the latest grant
	window   int        // what Write may still send
	eof      bool       // no more output comes
	hasExit  bool       // the program has ended, with exit
	exit     Exit
	noInput  bool  // after CloseWrite
	failure  error // why this ended before eof or exit
}

func newChannel(l *Leader, number uint16) *channel {
	c := &channel{
		leader: l, number: number, credit: frame.InitialWindow, window: frame.InitialWindow, opened: make(chan error, 1),
		output: make(chan struct{}, 1), room: make(chan struct{}, 1), exited: make(chan struct{}),
	}
	c.ctx, c.cancel = context.WithCancelCause(context.Background())
	return c
}

// wake leaves a note for the one who waits, if there is none yet.
func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// handle gets the leader's frames for this channel.
func (c *channel) handle(f frame.Frame) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch f.Type {
	case frame.Opened, frame.Failed:
		return c.answer(f)
	case frame.Data, frame.Stderr, frame.EOF, frame.Exit, frame.Window:
		if !c.answered {
			return violation("%q for channel %d before it was opened", f.Type, c.number)
		}
	default:
		return violation("%q for channel %d", f.Type, c.number)
	}
	switch f.Type {
	case frame.EOF:
		return c.endOutput()
	case frame.Exit:
		return c.setExit(f.Payload)
	case frame.Window:
		return c.widen(f.Payload)
	default:
		return c.receive(f)
	}
}

func (c *channel) answer(f frame.Frame) error {
	if c.answered {
		return violation("two answers to the opening of channel %d", c.number)
	}
	c.answered = true
	if f.Type == frame.Opened {
		c.opened <- nil
		return nil
	}
	c.opened <- &Refused{string(f.Payload)}
	c.eof, c.hasExit = true, true // no frames but what Close takes
	return nil
}

func (c *channel) receive(f frame.Frame) error {
	switch n := len(f.Payload); {
	case c.eof:
		return violation("output of channel %d after its end", c.number)
	case n == 0:
		return violation("empty output of channel %d", c.number)
	case n > c.credit:
		return violation("%d bytes of output where channel %d has room for %d", n, c.number, c.credit)
	default:
		c.credit -= n
	}
	if c.failure == nil {
		c.queue.push(f.Payload, f.Type == frame.Stderr)
		wake(c.output)
	}
	return nil
}

func (c *channel) endOutput() error {
	if c.eof {
		return violation("two ends of the output of channel %d", c.number)
	}
	c.eof = true
	wake(c.output)
	c.finish()
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
	c.finish()
	return nil
}

// isSignal reports whether s is empty or could be a signal's name: it goes to the
// SSH client.
func isSignal(s string) bool {
	return len(s) <= 16 && strings.Trim(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789") == ""
}

// finish ends Write when the program and its output have ended: nobody reads.
func (c *channel) finish() {
	if c.eof && c.hasExit {
		c.cancel(errors.New("program has ended"))
	}
}

// widen handles a grant, which cannot exceed what was sent.
func (c *channel) widen(payload []byte) error {
	n, err := frame.DecodeWindow(payload)
	if err != nil {
		return err
	}
	if n == 0 || int64(n) > int64(frame.InitialWindow-c.window) {
		return violation("channel %d has read %d bytes of the %d that were sent", c.number, n, frame.InitialWindow-c.window)
	}
	c.window += int(n)
	wake(c.room)
	return nil
}

func (c *channel) waitOpened(ctx context.Context) error {
	select {
	case err := <-c.opened:
		return err
	case <-c.ctx.Done():
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	select {
	case err := <-c.opened: // a program may have ended as soon as it ran
		return err
	default:
		return context.Cause(c.ctx)
	}
}

// Write implements Stream.
func (c *channel) Write(p []byte) (int, error) {
	written := 0
	for written < len(p) {
		n, err := c.reserve(min(len(p)-written, frame.MaxData))
		if err == nil {
			err = c.send(c.ctx, frame.Data, p[written:written+n])
		}
		if err != nil {
			return written, fmt.Errorf("write to program: %w", err)
		}
		written += n
	}
	return written, nil
}

// reserve waits until some of n bytes may be sent.
func (c *channel) reserve(n int) (int, error) {
	for {
		c.mu.Lock()
		n := min(n, c.window)
		c.window -= n
		noInput := c.noInput
		c.mu.Unlock()
		switch {
		case noInput:
			return 0, errors.New("its input has ended")
		case c.ctx.Err() != nil:
			return 0, context.Cause(c.ctx)
		case n > 0:
			return n, nil
		}
		select {
		case <-c.room:
		case <-c.ctx.Done():
		}
	}
}

func (c *channel) send(ctx context.Context, t frame.Type, payload []byte) error {
	return c.leader.send(ctx, frame.Frame{Type: t, Channel: c.number, Payload: payload})
}

// CloseWrite implements Stream.
func (c *channel) CloseWrite() error {
	c.mu.Lock()
	again := c.noInput
	c.noInput = true
	c.mu.Unlock()
	wake(c.room)
	if again {
		return nil
	}
	if err := c.send(c.ctx, frame.EOF, nil); err != nil {
		return fmt.Errorf("end program's input: %w", err)
	}
	return nil
}

// Copy implements Stream.
func (c *channel) Copy(stdout, stderr func([]byte) error) error {
	var taken queue
	for {
		err := c.take(&taken)
		if err != nil || len(taken.bytes) == 0 {
			return err
		}
		for chunk, isStderr := range taken.chunks() {
			to := stdout
			if isStderr {
				to = stderr
			}
			if err := to(chunk); err != nil {
				return err
			}
			if err := c.consume(len(chunk)); err != nil {
				return err
			}
		}
	}
}

// take waits for output and exchanges it for what is in taken. Nothing is taken
// at the end.
func (c *channel) take(taken *queue) error {
	taken.reset()
	for {
		c.mu.Lock()
		switch {
		case errors.Is(c.failure, ErrClosed): // by us: nobody wants the rest
			c.mu.Unlock()
			return fmt.Errorf("read program output: %w", c.failure)
		case len(c.queue.bytes) > 0:
			c.queue, *taken = *taken, c.queue
			c.mu.Unlock()
			return nil
		case c.eof:
			c.mu.Unlock()
			return nil
		case c.failure != nil:
			c.mu.Unlock()
			return fmt.Errorf("read program output: %w", c.failure)
		}
		c.queue.shrink()
		taken.shrink()
		c.mu.Unlock()
		<-c.output
	}
}

// consume lets the leader send more, when it is worth a frame.
func (c *channel) consume(n int) error {
	c.mu.Lock()
	c.consumed += n
	grant := 0
	if c.consumed >= frame.InitialWindow/2 && !c.eof && c.failure == nil {
		grant, c.consumed = c.consumed, 0
		c.credit += grant // before the leader can know
	}
	c.mu.Unlock()
	if grant == 0 {
		return nil
	}
	err := c.send(c.ctx, frame.Window, frame.EncodeWindow(uint32(grant)))
	if err != nil && c.ctx.Err() == nil {
		return fmt.Errorf("read program output: %w", err)
	}
	return nil // what there is can still be read; take knows the rest
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
func (c *channel) Resize(ctx context.Context, s Size) error {
	if err := c.tell(ctx, frame.Resize, s.Encode()); err != nil {
		return fmt.Errorf("resize terminal: %w", err)
	}
	return nil
}

// Signal implements Stream.
func (c *channel) Signal(ctx context.Context, name string) error {
	if name == "" || len(name) > 64 {
		return errors.New("signal program: no such signal")
	}
	if err := c.tell(ctx, frame.Signal, []byte(name)); err != nil {
		return fmt.Errorf("signal program: %w", err)
	}
	return nil
}

// tell sends a frame unless ctx or the program ends first.
func (c *channel) tell(ctx context.Context, t frame.Type, payload []byte) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stop := context.AfterFunc(c.ctx, func() { cancel(context.Cause(c.ctx)) })
	defer stop()
	return c.send(ctx, t, payload)
}

// Close implements Stream.
func (c *channel) Close() error {
	l := c.leader
	l.mu.Lock()
	known := l.channels[c.number] == c
	delete(l.channels, c.number)
	c.mu.Lock()
	finished := c.eof && c.hasExit
	if known { // see tooLate: its output, grants for its input, and a few others
		l.late += frame.InitialWindow - c.window + 8
		if !finished {
			l.late += c.credit
		}
	}
	c.mu.Unlock()
	l.mu.Unlock()
	c.end(ErrClosed)
	if known && !finished {
		_ = l.conn.send(nil, frame.Frame{Type: frame.Close, Channel: c.number}) // it does not wait
	}
	return nil
}

// end makes everything that waits for the program end with cause, but for Copy,
// which first hands on what is there unless cause is ErrClosed.
func (c *channel) end(cause error) {
	c.mu.Lock()
	if c.failure == nil || errors.Is(cause, ErrClosed) {
		if c.failure == nil && !c.hasExit {
			close(c.exited)
		}
		c.failure = cause
	}
	c.mu.Unlock()
	c.cancel(cause)
	wake(c.output)
}
