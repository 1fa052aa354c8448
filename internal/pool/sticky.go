package pool

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/sandtrap/sandtrap/internal/event"
	"github.com/sandtrap/sandtrap/internal/target"
)

// Sticky says who gets the container of an earlier session again; the values are
// those of pool.sticky in sandtrap.yaml(5).
type Sticky string

// The values of Sticky.
const (
	StickyOff                 Sticky = "off"
	StickySource              Sticky = "source"
	StickySourceAndCredential Sticky = "source-and-credential"
)

// Returning is somebody who may come back to the container of an earlier run.
type Returning struct {
	Source, Credential string // as in Claim
	Session            string
	Container          string // id
	Ended              time.Time
}

// stickyKey is by what somebody is known again. The zero key is nobody's.
type stickyKey struct{ source, credential string }

// returnTimeout bounds how long a session waits for its old container before it
// gets another.
const returnTimeout = 5 * time.Second

// keyOf is by what a session's source will be known.
func (p *Pool) keyOf(c Claim) stickyKey {
	switch {
	case p.cfg.Sticky == StickySource && c.Source != "":
		return stickyKey{source: c.Source}
	case p.cfg.Sticky == StickySourceAndCredential && c.Source != "" && c.Credential != "":
		return stickyKey{c.Source, c.Credential}
	}
	return stickyKey{}
}

// remember reserves a container whose session is over. The table is no larger
// than what is retained. Pool.mu is held.
func (p *Pool) remember(c *container) {
	if c.key == (stickyKey{}) || p.cfg.Retain == 0 {
		return
	}
	p.sticky[c.key] = c
	if len(p.sticky) <= p.cfg.Retain {
		return
	}
	oldest := c
	for _, o := range p.sticky {
		if o.ended.Before(oldest.ended) {
			oldest = o
		}
	}
	p.forget(oldest)
}

// forget ends a reservation. Pool.mu is held.
func (p *Pool) forget(c *container) {
	if p.sticky[c.key] == c {
		delete(p.sticky, c.key)
	}
}

// reserved reports whether somebody may come back to c. Pool.mu is held.
func (p *Pool) reserved(c *container, now time.Time) bool {
	return p.sticky[c.key] == c && now.Sub(c.ended) < p.cfg.StickyWindow
}

// Why somebody did not get their container.
var (
	errInUse     = errors.New("another session has it")
	errCapture   = errors.New("its evidence is not complete yet")
	errBeingKept = errors.New("it is being renamed")
	errLost      = errors.New("it is gone")
	errSlow      = errors.New("it does not come to life in time")
	errLeft      = errors.New("the client left")
)

// comeBack leases the container that is reserved for whoever makes the claim. It
// returns nil, which stands for "an ordinary one", if there is none or if it does
// not come to life.
func (p *Pool) comeBack(ctx context.Context, claim Claim) *Lease {
	began := time.Now()
	key := p.keyOf(claim)
	p.mu.Lock()
	c := p.sticky[key]
	if c == nil || !p.reserved(c, began) {
		p.mu.Unlock()
		return nil
	}
	previous := c.session
	p.mu.Unlock()
	ctx, cancel := context.WithTimeoutCause(ctx, returnTimeout, errSlow)
	defer cancel()
	account, err := p.reclaim(ctx, c, claim, previous)
	var lease *Lease
	reason := ""
	if err == nil {
		lease = p.begin(c, claim, account)
		lease.Previous = previous
	} else {
		reason = err.Error()
	}
	p.events.Bind(event.Identity{Session: claim.Session}).Emit(event.TargetReturn, event.F("target", c.of.Name),
		event.F("container", c.id), event.F("previous_session", previous), event.F("returned", err == nil), event.F("reason", reason),
		event.F("duration_ms", time.Since(began).Milliseconds()))
	return lease
}

// reclaim makes a container that was stopped a leased one. If it does not work out
// the container stays what it was: the evidence of the session before.
func (p *Pool) reclaim(ctx context.Context, c *container, claim Claim, previous string) (target.Account, error) {
	p.mu.Lock()
	state, settled := c.state, c.settled
	if state.settling() && c.wanted != nil {
		close(c.wanted)
		c.wanted = nil
	}
	p.mu.Unlock()
	if state == leased {
		return target.Account{}, errInUse
	}
	select { // the session before may have ended a moment ago
	case <-settled:
	case <-ctx.Done():
		return target.Account{}, whyNot(ctx, errCapture)
	}
	if err := p.retake(c, previous); err != nil {
		return target.Account{}, err
	}
	account, err := p.restart(ctx, c, claim)
	if err == nil {
		return account, nil
	}
	p.mu.Lock()
	leader := c.leader
	p.move(c, leased, draining)
	c.leader = nil
	c.due = time.Now()
	if err = whyNot(ctx, err); !errors.Is(err, errLeft) {
		p.forget(c) // the next time would not be better
	}
	p.mu.Unlock()
	if leader != nil {
		_ = leader.Close()
	}
	wake(p.sweep)
	return target.Account{}, err
}

// whyNot is the reason for an error: it may be the end of ctx.
func whyNot(ctx context.Context, err error) error {
	switch {
	case ctx.Err() == nil:
		return err
	case errors.Is(context.Cause(ctx), errSlow):
		return fmt.Errorf("%w: %w", errSlow, err)
	}
	return errLeft
}

// retake leases a captured container again, unless things have changed.
func (p *Pool) retake(c *container, previous string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case c.session != previous:
		return errInUse
	case p.inUse() >= p.cfg.MaxLeases:
		return ErrBusy
	case p.move(c, captured, leased):
		p.latest, c.of.unmoved = time.Now(), time.Now()
		c.due = time.Time{}
		return nil
	case c.state == leased || c.state.settling():
		return errInUse
	}
	return errLost
}

// restart brings a container to life again and logs in.
func (p *Pool) restart(ctx context.Context, c *container, claim Claim) (target.Account, error) {
	if c.hold(ctx) != nil {
		return target.Account{}, errBeingKept
	}
	defer c.letGo()
	if err := p.podman.StartAgain(ctx, c.id); err != nil {
		return target.Account{}, err
	}
	if err := p.connect(ctx, c); err != nil {
		return target.Account{}, err
	}
	claim.Bait = Bait{} // it has one, and whoever had it may have seen that
	return p.askLogin(ctx, c, claim)
}
