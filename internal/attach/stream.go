package attach

import (
	"context"
	"errors"

	"github.com/sandtrap/sandtrap/internal/frame"
)

// errHungUp is the error of a program after Close.
var errHungUp = errors.New("program was hung up")

const (
	// grantEvery is how much output is handed on before the leader may send as
	// much again, in bytes.
	grantEvery = frame.InitialWindow / 4
	// keepBuffer bounds the buffers that a quiet channel keeps, in bytes.
	keepBuffer = 16 << 10
)

// Copy hands output on until it has ended. It returns an error when the leader is
// gone, the channel was closed, or one of the functions fails.
func (c *channel) Copy(stdout, stderr func([]byte) error) error {
	var batch output
	consumed := 0
	for {
		var err error
		if batch, err = c.take(batch); err != nil {
			return err
		}
		if batch.runs == nil {
			return nil
		}
		rest := batch.bytes
		for _, r := range batch.runs {
			to := stdout
			if r.stderr {
				to = stderr
			}
			for n := r.n; n > 0; {
				chunk := rest[:min(n, frame.MaxData)]
				if err := to(chunk); err != nil {
					return err
				}
				rest, n = rest[len(chunk):], n-len(chunk)
				if consumed += len(chunk); consumed >= grantEvery {
					c.allow(consumed)
					consumed = 0
				}
			}
		}
	}
}

// take waits for output and exchanges it for used, whose memory it reuses. Its
// result has no runs when the output has ended.
func (c *channel) take(used output) (output, error) {
	if cap(used.bytes) > keepBuffer {
		used = output{}
	}
	for {
		c.mu.Lock()
		switch {
		case len(c.output.runs) > 0:
			full := c.output
			c.output = output{bytes: used.bytes[:0], runs: used.runs[:0]}
			c.mu.Unlock()
			return full, nil
		case c.ended:
			c.mu.Unlock()
			return output{}, nil
		case c.err != nil:
			defer c.mu.Unlock()
			return output{}, c.err
		}
		c.mu.Unlock()
		<-c.more
	}
}

// allow lets the leader send n more bytes.
func (c *channel) allow(n int) {
	c.mu.Lock()
	c.window += n
	c.mu.Unlock()
	_ = c.send(frame.Window, frame.EncodeWindow(uint32(n)))
}

func (c *channel) send(t frame.Type, payload []byte) error {
	return c.leader.link.SendUntil(c.gone, frame.Frame{Type: t, Channel: c.number, Payload: payload})
}

// Write sends to standard input, as fast as the program takes it.
func (c *channel) Write(p []byte) (int, error) {
	written := 0
	for written < len(p) {
		n, err := c.claim(min(len(p)-written, frame.MaxData))
		if err != nil {
			return written, err
		}
		if err := c.send(frame.Data, p[written:written+n]); err != nil {
			return written, err
		}
		written += n
	}
	return written, nil
}

// claim waits until input may be sent and returns how much, at most want.
func (c *channel) claim(want int) (int, error) {
	for {
		c.mu.Lock()
		n, err := int(min(int64(want), c.stdin)), c.err
		if err == nil {
			c.stdin -= int64(n)
		}
		c.mu.Unlock()
		if err != nil {
			return 0, err
		}
		if n > 0 {
			return n, nil
		}
		select {
		case <-c.credit:
		case <-c.gone:
		}
	}
}

// CloseWrite ends standard input.
func (c *channel) CloseWrite() error { return c.send(frame.EOF, nil) }

// Exited is closed when the program has ended, or nobody can tell any more.
func (c *channel) Exited() <-chan struct{} { return c.exited }

// Wait returns how the program ended.
func (c *channel) Wait(ctx context.Context) (Exit, error) {
	select {
	case <-c.exited:
	case <-ctx.Done():
		return Exit{}, context.Cause(ctx)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.exit != nil {
		return *c.exit, nil
	}
	return Exit{}, c.err
}

// Resize tells the terminal its new size.
func (c *channel) Resize(_ context.Context, s Size) error { return c.send(frame.Resize, s.Encode()) }

// Signal delivers a signal to the program's process group. The leader ignores
// names that it does not know.
func (c *channel) Signal(_ context.Context, name string) error {
	if len(name) > maxSignalName {
		return errors.New("signal's name is too long")
	}
	return c.send(frame.Signal, []byte(name))
}

// Close hangs up: the program loses its terminal or its pipes.
func (c *channel) Close() error {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return nil
	}
	c.closed = true
	c.mu.Unlock()
	c.fail(errHungUp)
	c.leader.forget(c.number)
	return c.leader.link.Send(frame.Frame{Type: frame.Close, Channel: c.number})
}
