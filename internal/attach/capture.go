package attach

import (
	"context"
	"errors"
	"fmt"

	"github.com/sandtrap/sandtrap/internal/frame"
)

// Captured takes what a leader tells of its target. Its methods are called in the
// order in which that comes, by one goroutine; an error ends the leader.
type Captured interface {
	// Item takes an item, which is as frame.ItemMessage has it and otherwise hostile.
	Item(m frame.ItemMessage) error
	// Content takes bytes of the item before, which are valid during the call.
	Content(p []byte) error
}

// capture is an answer that is awaited.
type capture struct {
	bounds frame.CaptureMessage
	to     Captured
	done   chan frame.CapturedMessage // gets the end
	items  uint32
	file   uint64 // bytes that the item before may still have
}

// Capture has the leader tell what goes with the target, once, and hands it on. A
// leader that has not told all of it when ctx ends is closed, and so is one that tells
// more than m allows.
func (l *Leader) Capture(ctx context.Context, m frame.CaptureMessage, to Captured) (frame.CapturedMessage, error) {
	c := &capture{bounds: m, to: to, done: make(chan frame.CapturedMessage, 1)}
	l.mu.Lock()
	again := l.capture != nil
	if !again {
		l.capture = c
	}
	l.mu.Unlock()
	if again {
		return frame.CapturedMessage{}, errors.New("capture: a leader tells once")
	}
	if err := l.conn.send(frame.Frame{Type: frame.Capture, Payload: m.Encode()}); err != nil {
		l.conn.close(err)
		<-l.done // to is the caller's again
		return frame.CapturedMessage{}, fmt.Errorf("capture: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { l.conn.close(fmt.Errorf("the leader does not tell all in time: %w", context.Cause(ctx))) })
	defer stop()
	select {
	case end := <-c.done:
		return end, nil
	case <-l.done:
	}
	select {
	case end := <-c.done:
		return end, nil
	default:
		return frame.CapturedMessage{}, fmt.Errorf("capture: %w", l.Err())
	}
}

// captured handles a frame of the answer to Capture.
func (l *Leader) captured(f frame.Frame) error {
	l.mu.Lock()
	c := l.capture
	l.mu.Unlock()
	if c == nil || c.to == nil {
		return violation("%q, which nobody asked for", f.Type)
	}
	switch f.Type {
	case frame.Item:
		return c.item(f.Payload)
	case frame.Content:
		return c.content(f.Payload)
	}
	var m frame.CapturedMessage
	if err := m.Decode(f.Payload); err != nil {
		return err
	}
	c.to = nil
	c.done <- m
	return nil
}

func (c *capture) item(payload []byte) error {
	var m frame.ItemMessage
	if err := m.Decode(payload); err != nil {
		return err
	}
	if c.items++; c.items > c.bounds.Items {
		return violation("more items than were asked for")
	}
	if m.Origin == frame.OriginLayer {
		return violation("an item of a layer")
	}
	if c.file = 0; m.Content {
		c.file = min(c.bounds.FileBytes, m.Size)
	}
	return c.to.Item(m)
}

func (c *capture) content(p []byte) error {
	n := uint64(len(p))
	if n == 0 || n > c.file || n > c.bounds.Bytes {
		return violation("content that belongs to nothing, or more than was asked for")
	}
	c.file -= n
	c.bounds.Bytes -= n
	return c.to.Content(p)
}
