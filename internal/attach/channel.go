package attach

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/sandtrap/sandtrap/internal/frame"
)

// What a leader must not say.
var (
	errUnasked  = errors.New("an answer that nobody asked for")
	errUnopened = errors.New("the channel was never opened")
	errTwice    = errors.New("said twice")
	errEarly    = errors.New("said before the program was started")
	errAfterEnd = errors.New("said after the end")
	errWindow   = errors.New("more than the window allows")
)

// channel is one program. It implements Stream.
type channel struct {
	leader *Leader
	number uint16
	opened chan error    // what came of Open, once
	exited chan struct{} // closed when exit or err is set
	gone   chan struct{} // closed by Close and by fail
	more   chan struct{} // output, its end or err may be there
	credit chan struct{} // there may be room for input

	mu      sync.Mutex // guards all below
	running bool
	output  output
	ended   bool // no more output comes
	window  int  // bytes that the leader may still send
	stdin   int64
	exit    *Exit
	err     error // why nothing goes on
	closed  bool
}

// output is what has come and was not handed on yet, in order.
type output struct {
	bytes []byte
	runs  []run
}

// run is how much of it belongs to one of the streams.
type run struct {
	stderr bool
	n      int
}

func (o *output) push(stderr bool, p []byte) {
	o.bytes = append(o.bytes, p...)
	if last := len(o.runs) - 1; last >= 0 && o.runs[last].stderr == stderr {
		o.runs[last].n += len(p)
		return
	}
	o.runs = append(o.runs, run{stderr, len(p)})
}

// Start starts a program.
func (l *Leader) Start(ctx context.Context, p Program) (Stream, error) {
	m := frame.OpenMessage{
		Path: p.Path, Argv: p.Argv, Env: p.Env, Dir: p.Dir, PTY: p.PTY, Size: p.Size, Modes: p.Modes, Interactive: p.Interactive,
	}
	payload := m.Encode()
	if len(payload) > frame.MaxPayload {
		return nil, fmt.Errorf("start program: command and environment of %d bytes are too long", len(payload))
	}
	c, err := l.newChannel()
	if err != nil {
		return nil, fmt.Errorf("start program: %w", err)
	}
	err = l.send(ctx, frame.Frame{Type: frame.Open, Channel: c.number, Payload: payload})
	if err == nil {
		select {
		case err = <-c.opened:
		case <-ctx.Done():
			err = context.Cause(ctx)
		}
	}
	if err != nil {
		_ = c.Close()
		return nil, fmt.Errorf("start program: %w", err)
	}
	return c, nil
}

func (l *Leader) newChannel() (*channel, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.channels == nil:
		return nil, l.err
	case l.next > frame.MaxChannel:
		return nil, errors.New("the session has had too many programs")
	}
	c := &channel{
		leader: l, number: uint16(l.next), opened: make(chan error, 1), exited: make(chan struct{}), gone: make(chan struct{}),
		more: make(chan struct{}, 1), credit: make(chan struct{}, 1), window: frame.InitialWindow, stdin: frame.InitialWindow,
	}
	l.channels[c.number] = c
	l.next++
	return c, nil
}

// handle takes one frame of the channel.
func (c *channel) handle(f frame.Frame) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil
	}
	if !c.running && f.Type != frame.Opened && f.Type != frame.Failed {
		return errEarly
	}
	switch f.Type {
	case frame.Opened:
		return c.start(nil)
	case frame.Failed:
		return c.start(fmt.Errorf("the target says %.200q", f.Payload))
	case frame.Data, frame.Stderr:
		return c.data(f.Type == frame.Stderr, f.Payload)
	case frame.EOF:
		if c.ended {
			return errTwice
		}
		c.ended = true
		wake(c.more)
	case frame.Window:
		return c.grant(f.Payload)
	case frame.Exit:
		return c.end(f.Payload)
	}
	return nil
}

func (c *channel) start(failed error) error {
	if c.running {
		return errTwice
	}
	c.running = true
	c.opened <- failed
	return nil
}

func (c *channel) data(stderr bool, p []byte) error {
	switch {
	case c.ended:
		return errAfterEnd
	case len(p) > c.window:
		return errWindow
	case len(p) == 0:
		return nil
	}
	c.window -= len(p)
	c.output.push(stderr, p)
	wake(c.more)
	return nil
}

func (c *channel) grant(payload []byte) error {
	n, err := frame.DecodeWindow(payload)
	if err != nil {
		return err
	}
	if c.stdin += int64(n); c.stdin > maxWindow {
		return errWindow
	}
	wake(c.credit)
	return nil
}

// maxWindow is more than any leader has reason to grant, in bytes.
const maxWindow = 1 << 30

func (c *channel) end(payload []byte) error {
	var m frame.ExitMessage
	if err := m.Decode(payload); err != nil {
		return err
	}
	if c.exit != nil {
		return errTwice
	}
	if len(m.Signal) > maxSignalName {
		return fmt.Errorf("signal of %d bytes", len(m.Signal))
	}
	c.exit = &Exit{Status: int(m.Status), Signal: m.Signal, CoreDumped: m.CoreDumped}
	close(c.exited)
	return nil
}

// maxSignalName bounds what the leader calls a signal, in bytes.
const maxSignalName = 32

// fail ends the channel with its leader.
func (c *channel) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return
	}
	c.err = err
	close(c.gone)
	if c.exit == nil {
		close(c.exited)
	}
	if !c.running {
		c.running = true
		c.opened <- err
	}
	wake(c.more)
}

// wake leaves a note for the one who waits, if there is none yet.
func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
