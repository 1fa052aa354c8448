package pool

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"github.com/sandtrap/sandtrap/internal/event"
)

// demand is what sessions ask of the pool.
type demand struct {
	waiting []*waiter // in the order in which they came
	latest  time.Time // lease
}

// waiter is a session that waits. Whoever takes it out of the queue sends it a
// container, or is the waiter itself.
type waiter struct {
	of  *stock
	got chan *container
}

const (
	// yieldRefill is how long the login that a lease is for has the machine for
	// itself.
	yieldRefill = 150 * time.Millisecond
	// goalFalls is how long nobody must have leased for the goal to fall by one.
	goalFalls = 10 * time.Second
	// emptyEvery is the pause between two reports that sessions wait.
	emptyEvery = 10 * time.Second
)

// take returns a container that is leased and has heard of nobody yet. Sessions
// that wait for the same target are served in the order in which they came.
func (p *Pool) take(ctx context.Context, s *stock) (*container, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	defer wake(p.fill)
	p.mu.Lock()
	if p.waitingFor(s) == 0 {
		if c := p.pick(s); c != nil {
			p.mu.Unlock()
			return c, nil
		}
	}
	if len(p.waiting) >= p.cfg.MaxLeases {
		p.mu.Unlock()
		return nil, ErrBusy
	}
	w := &waiter{s, make(chan *container, 1)}
	p.waiting = append(p.waiting, w)
	p.mu.Unlock()
	p.sayEmpty(s)
	wake(p.fill)
	select {
	case c := <-w.got:
		return c, nil
	case <-ctx.Done():
		return nil, p.leaveQueue(ctx, w)
	}
}

// leaveQueue takes a waiter out, and puts back what it was given meanwhile.
func (p *Pool) leaveQueue(ctx context.Context, w *waiter) error {
	err := context.Cause(ctx)
	p.mu.Lock()
	i := slices.Index(p.waiting, w)
	if i >= 0 {
		p.waiting = slices.Delete(p.waiting, i, i+1)
	}
	if errors.Is(err, ErrEmpty) && p.inUse() >= p.cfg.MaxLeases {
		err = ErrBusy
	}
	p.mu.Unlock()
	if i < 0 {
		p.giveBack(<-w.got)
	}
	return err
}

// pick leases the warm target that answered last, those that need no replacement
// first, if there is a lease to be had. Nothing is asked of anybody: a leader that
// is gone has closed its stream. Pool.mu is held.
func (p *Pool) pick(s *stock) *container {
	if p.inUse() >= p.cfg.MaxLeases {
		return nil
	}
	for _, c := range slices.Clone(s.warm) {
		select {
		case <-c.leader.Done():
			p.doom(c, warm, died)
		default:
		}
	}
	if len(s.warm) == 0 {
		return nil
	}
	c := slices.MaxFunc(s.warm, func(a, b *container) int { return cmp.Or(a.worth(b), a.seen.Compare(b.seen)) })
	p.move(c, warm, leased)
	p.wanted(s, time.Now())
	return c
}

// wanted notes that a target was leased: the refill is put off, and the goal grows
// if few are left. Pool.mu is held.
func (p *Pool) wanted(s *stock, now time.Time) {
	p.latest, s.unmoved = now, now
	if now.After(s.notBefore) {
		s.notBefore = now.Add(yieldRefill)
	}
	if s.low() && s.goal < s.Max {
		s.goal++
	}
}

// few reports whether targets are too few to lease one before it is needed.
func (p *Pool) few(s *stock) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return s.low() || len(p.waiting) > 0 || p.inUse() >= p.cfg.MaxLeases
}

// waitingFor is how many sessions wait for a target. Pool.mu is held.
func (p *Pool) waitingFor(s *stock) int {
	n := 0
	for _, w := range p.waiting {
		if w.of == s {
			n++
		}
	}
	return n
}

// starving is how many sessions wait that a further one of a target would help. Pool.mu
// is held.
func (p *Pool) starving(s *stock) int {
	return min(p.waitingFor(s), max(0, p.cfg.MaxLeases-p.inUse()))
}

// giveBack puts a target back that was leased and has heard of nobody. From then on it
// may be another session's.
func (p *Pool) giveBack(c *container) {
	p.mu.Lock()
	closed, leader := p.closed, c.leader
	if closed {
		p.doom(c, leased, "service stops") // the next start removes it
	} else {
		p.move(c, leased, warm)
		p.settle()
	}
	p.mu.Unlock()
	if closed {
		_ = leader.Close()
	}
	wake(p.fill)
}

// discard is doom for those who do not hold Pool.mu.
func (p *Pool) discard(c *container, from state, reason string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.doom(c, from, reason)
}

// sayEmpty reports that sessions wait.
func (p *Pool) sayEmpty(s *stock) {
	p.mu.Lock()
	now := time.Now()
	if !s.emptySaid.IsZero() && now.Sub(s.emptySaid) < emptyEvery {
		p.mu.Unlock()
		return
	}
	s.emptySaid = now
	waiting, inUse := p.waitingFor(s), p.inUse()
	p.mu.Unlock()
	p.events.Emit(event.PoolEmpty, event.F("target", s.Name), event.F("waiting", waiting), event.F("leased", inUse))
}
