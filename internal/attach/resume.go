package attach

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/sandtrap/sandtrap/internal/frame"
)

// Bounds of resumption.
const (
	resumeFor    = 30 * time.Second // from a break to the leader's next answer
	attemptFor   = 10 * time.Second // from asking for a stream to an answer over it
	firstPause   = 50 * time.Millisecond
	longestPause = 5 * time.Second
	// maxAttempts bounds the work that a leader can make by breaking its streams.
	// The pauses begin anew only after a stream that has held for steadyAfter.
	maxAttempts = 200
	steadyAfter = time.Minute
)

// serve runs the link over one stream after the other until the leader is gone.
func (l *Leader) serve(stream io.ReadWriteCloser) {
	defer close(l.done)
	defer l.cancel()
	r := resumption{leader: l, began: time.Now()}
	for l.link.Err() == nil {
		broken := l.link.RunFront(stream, l.token, l.handle)
		next, err := r.next(broken)
		if err != nil {
			_ = l.link.Close(err)
		}
		stream = next
	}
	l.fail(l.link.Err())
}

// fail ends everything that waits for the leader.
func (l *Leader) fail(cause error) {
	l.mu.Lock()
	l.err = cause
	channels := l.channels
	l.channels = nil
	l.mu.Unlock()
	for _, c := range channels {
		c.end(cause)
	}
}

// resumption finds the streams after the first.
type resumption struct {
	leader   *Leader
	attempts int
	pause    time.Duration // before the next attempt
	began    time.Time     // when the present stream began
	until    time.Time     // when to give up
	alarm    *time.Timer   // closes a stream that brings no answer
}

// next returns the stream to go on with after one that broke, or why there is
// none.
func (r *resumption) next(broken error) (io.ReadWriteCloser, error) {
	l := r.leader
	if r.alarm != nil {
		r.alarm.Stop()
	}
	l.mu.Lock()
	connected, heard := l.connected, l.heard
	l.mu.Unlock()
	switch {
	case l.link.Err() != nil:
		return nil, l.link.Err()
	case l.redial == nil, !connected, errors.Is(broken, frame.ErrMalformed):
		return nil, broken
	}
	if heard { // else that was but an attempt
		r.until = time.Now().Add(resumeFor)
		if time.Since(r.began) > steadyAfter {
			r.pause = 0
		}
	}
	for {
		if err := r.wait(); err != nil {
			return nil, fmt.Errorf("%w after: %w", err, broken)
		}
		stream, err := r.attempt()
		if err == nil {
			return stream, nil
		}
		broken = fmt.Errorf("resume: %w", err)
		if errors.Is(err, ErrGone) {
			return nil, broken
		}
	}
}

// wait pauses before an attempt, and fails when there must be no other.
func (r *resumption) wait() error {
	if r.attempts++; r.attempts > maxAttempts {
		return errors.New("too many broken streams")
	}
	pause := r.pause
	r.pause = min(max(2*pause, firstPause), longestPause)
	if time.Until(r.until) <= pause {
		return errors.New("no answer over a new stream")
	}
	select {
	case <-time.After(pause):
		return nil
	case <-r.leader.ctx.Done():
		return ErrClosed
	}
}

// attempt makes a stream and queues a question for it.
func (r *resumption) attempt() (io.ReadWriteCloser, error) {
	l := r.leader
	limit := min(attemptFor, time.Until(r.until))
	ctx, cancel := context.WithTimeout(l.ctx, limit)
	defer cancel()
	stream, err := l.redial(ctx)
	if err != nil {
		return nil, err
	}
	r.began = time.Now()
	l.mu.Lock()
	l.heard = false
	ask := len(l.pings) == 0 // else the answer to an earlier question is due
	if ask {
		l.pings = append(l.pings, make(chan struct{}))
	}
	l.mu.Unlock()
	if ask {
		_ = l.link.Send(frame.Frame{Type: frame.Ping})
	}
	r.alarm = time.AfterFunc(limit, func() {
		l.mu.Lock()
		silent := !l.heard
		l.mu.Unlock()
		if silent {
			_ = stream.Close()
		}
	})
	return stream, nil
}
