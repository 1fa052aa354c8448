package pool

import (
	"context"
	"errors"
	"time"

	"github.com/sandtrap/sandtrap/internal/event"
	"github.com/sandtrap/sandtrap/internal/podman"
)

const (
	// retryEvery is the pause after the first attempt that failed; each further
	// one doubles it up to longestRetry.
	retryEvery   = 5 * time.Second
	longestRetry = 5 * time.Minute
	// inspectEvery is how often image and room are looked at. Podman takes a tenth
	// of a second to tell, so that sessions put it off by as much again.
	inspectEvery = 30 * time.Second
	// yieldWork is how long after the latest lease the janitor does what can wait,
	// and yieldBound how long it puts that off at most.
	yieldWork  = 200 * time.Millisecond
	yieldBound = 2 * time.Second
)

// janitor does everything about containers that no session waits for. One
// goroutine does it, one thing at a time, so that it yields to sessions.
func (p *Pool) janitor(ctx context.Context) {
	inspect := time.Now()
	for ctx.Err() == nil {
		now := time.Now()
		c, pause := p.chore(now)
		looks := p.yields(inspect, inspectEvery)
		switch {
		case c != nil:
			p.doChore(ctx, c)
		case !now.Before(looks):
			p.inspect(ctx)
			inspect = time.Now().Add(inspectEvery)
		case p.retain(ctx, now):
		default:
			wait(ctx, p.sweep, min(pause, looks.Sub(now), p.retainPause(now)))
		}
	}
}

// chore returns the container that something is to be done about now, or how long
// there is none. Stopping and naming come first; removing yields to sessions.
func (p *Pool) chore(now time.Time) (*container, time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var first *container
	var at time.Time
	for _, c := range p.all {
		if c.due.IsZero() {
			continue
		}
		due := c.due
		if c.state == doomed {
			due = p.yielding(due, yieldBound)
		}
		if first == nil || due.Before(at) {
			first, at = c, due
		}
	}
	if first == nil {
		return nil, time.Hour
	}
	if now.Before(at) {
		return nil, at.Sub(now)
	}
	return first, 0
}

// yielding puts off what is due while sessions are leased, by bound at most.
// Pool.mu is held.
func (p *Pool) yielding(due time.Time, bound time.Duration) time.Time {
	quiet := p.latest.Add(yieldWork)
	switch {
	case quiet.Before(due):
		return due
	case quiet.After(due.Add(bound)):
		return due.Add(bound)
	}
	return quiet
}

// yields is yielding for who does not hold Pool.mu.
func (p *Pool) yields(due time.Time, bound time.Duration) time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.yielding(due, bound)
}

func (p *Pool) doChore(ctx context.Context, c *container) {
	p.mu.Lock()
	state := c.state
	p.mu.Unlock()
	if state == doomed {
		p.remove(ctx, c)
		return
	}
	p.finish(ctx, c)
}

// inspect looks for a new image and at what Podman has left.
func (p *Pool) inspect(ctx context.Context) {
	_, _ = p.lookUpAll(ctx) // an image that is not there shows at the next make
	wake(p.fill)
	left, err := p.podman.Left(ctx)
	p.mu.Lock()
	defer p.mu.Unlock()
	if err == nil {
		p.reckon(left)
	}
	p.dirty = true
}

// finish does to a session's container what is left to do: it is stopped after
// the session, and bears the session's name. What does not work is tried again.
func (p *Pool) finish(ctx context.Context, c *container) {
	if err := c.hold(ctx); err != nil {
		p.again(c)
		return
	}
	defer c.letGo()
	p.mu.Lock()
	state, session := c.state, c.session
	p.mu.Unlock()
	if state == doomed || state == gone || session == "" {
		return
	}
	if state == draining && !p.stop(ctx, c, session) {
		return
	}
	if !p.rename(ctx, c, session) {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if c.session == session && c.state != doomed {
		c.due = time.Time{}
	}
}

// stop stops a draining container, which is held.
func (p *Pool) stop(ctx context.Context, c *container, session string) bool {
	began := time.Now()
	err := p.podman.Stop(ctx, c.id)
	if errors.Is(err, podman.ErrNotFound) {
		p.lose(c, draining)
		return false
	}
	if err != nil {
		p.fail(c.of, "stop", c.id, err)
		p.again(c)
		return false
	}
	p.mu.Lock()
	if p.move(c, draining, stopped) && c.complete {
		p.move(c, stopped, captured)
	}
	c.measured = false
	p.settle()
	p.mu.Unlock()
	wake(p.fill)
	p.events.Bind(event.Identity{Session: session}).Emit(event.TargetStop, event.F("target", c.of.Name), event.F("container", c.id),
		event.F("duration_ms", time.Since(began).Milliseconds()))
	return true
}

// lose forgets a container that Podman does not know.
func (p *Pool) lose(c *container, from state) {
	p.mu.Lock()
	moved := p.move(c, from, gone)
	p.settle()
	p.mu.Unlock()
	wake(p.fill)
	if moved {
		p.emitRemove(c, "it was gone")
	}
}

// rename gives a container, which is held, its session's name.
func (p *Pool) rename(ctx context.Context, c *container, session string) bool {
	p.mu.Lock()
	named := c.name == session
	p.mu.Unlock()
	if named {
		return true
	}
	if err := p.podman.Rename(ctx, c.id, session); err != nil {
		p.fail(c.of, "rename", c.id, err)
		p.again(c)
		return false
	}
	p.mu.Lock()
	c.name = session
	p.mu.Unlock()
	return true
}

// remove removes a doomed container.
func (p *Pool) remove(ctx context.Context, c *container) {
	if err := c.hold(ctx); err != nil {
		return // it stays due
	}
	defer c.letGo()
	p.mu.Lock()
	if c.state != doomed {
		p.mu.Unlock()
		return
	}
	leader, reason := c.leader, c.reason
	c.leader = nil
	p.mu.Unlock()
	if leader != nil {
		_ = leader.Close()
	}
	if err := p.podman.Remove(ctx, c.id); err != nil {
		p.fail(c.of, "remove", c.id, err)
		p.again(c)
		return
	}
	p.mu.Lock()
	p.move(c, doomed, gone)
	p.gaveBack(c.bytes)
	p.mu.Unlock()
	p.emitRemove(c, reason)
}

func (p *Pool) emitRemove(c *container, reason string) {
	p.events.Emit(event.PoolRemove, event.F("target", c.of.Name), event.F("container", c.id), event.F("reason", reason))
}

// again has the janitor try once more, after a pause that grows.
func (p *Pool) again(c *container) {
	p.mu.Lock()
	pause := longestRetry
	if c.tries < 6 {
		pause = min(retryEvery<<c.tries, longestRetry)
	}
	c.tries++
	c.due = time.Now().Add(pause)
	p.mu.Unlock()
	wake(p.sweep)
}
