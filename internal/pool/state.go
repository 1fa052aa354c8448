package pool

import (
	"cmp"
	"context"
	"slices"
	"time"
)

// state is where a container is in its life.
//
//	making ─▶ warm ⇄ leased ─▶ ending ─▶ draining ─▶ stopped ─▶ captured
//	   │        │      │  ▲                                        │ │
//	   │        │      │  └──────── its source comes back ─────────┘ │
//	   └────────┴──────┴───────────────▶ doomed ◀────────────────────┘
//	                                       ▼
//	                                      gone
//
// A leased container goes back to warm if its client left before the leader
// heard of it, and is doomed if it refused the login. It may also be gone from
// anywhere when Podman does not know it any more.
type state int

const (
	making   state = iota // created, not yet of use
	warm                  // connected, waits for its attacker
	leased                // a session's
	ending                // the session is over, what goes with the container is taken
	draining              // the container is to be stopped
	stopped               // its evidence is being completed
	captured              // evidence, until retention takes it
	doomed                // to be removed
	gone
	states
)

// settling reports whether a session is over and its evidence is not complete yet.
func (s state) settling() bool { return s == ending || s == draining || s == stopped }

// container is one target, from being made to being gone.
type container struct {
	id      string
	of      *stock
	digest  string // of its image
	program string // path of the session leader inside, or ""
	made    time.Time

	// work is full during Podman calls that stop, start, rename or remove it: see
	// hold. It is taken before Pool.mu.
	work chan struct{}

	// Guarded by Pool.mu.
	state  state
	leader Leader    // while it is warm, leased or ending
	seen   time.Time // when the leader last answered
	stale  string    // why it should be replaced, or ""
	// unwatched ends when it is no longer warm, by leave.
	unwatched context.Context
	leave     context.CancelFunc

	name     string // as Podman knows it
	session  string // whose it is
	key      stickyKey
	complete bool          // the session's evidence needs it no more
	settled  chan struct{} // closed when it is captured or lost
	wanted   chan struct{} // of the lease; closed, and nil then, when its source is back
	ended    time.Time     // when the session was over
	bytes    int64         // that it wrote
	measured bool
	kept     bool      // Config.Keep said so
	keptAt   time.Time // when it was asked

	due    time.Time // when the janitor has something to do about it, or zero
	tries  int       // that have failed since something was done
	reason string    // why it is doomed
}

// holdings are the containers that the pool knows.
type holdings struct {
	all    map[string]*container    // by id
	count  [states]int              // in each state
	sticky map[stickyKey]*container // who may come back, see sticky.go
}

// move is the only place where a container's state changes. It reports whether
// the container was in the state it should come from; somebody else was faster
// otherwise. Pool.mu is held.
func (p *Pool) move(c *container, from, to state) bool {
	if c.state != from || from == to {
		return false
	}
	p.count[from]--
	p.count[to]++
	c.state, c.tries = to, 0
	if from == warm {
		c.of.warm = slices.DeleteFunc(c.of.warm, func(o *container) bool { return o == c })
		c.leave()
	}
	switch to {
	case warm:
		c.of.warm = append(c.of.warm, c)
		p.watch(c)
	case ending, draining:
		if from == leased {
			c.settled = make(chan struct{})
		}
	case captured:
		close(c.settled)
		p.dirty = true
	case doomed:
		c.due = time.Now()
		p.forget(c)
		wake(p.sweep)
	case gone:
		p.forget(c)
		delete(p.all, c.id)
		if from.settling() {
			close(c.settled)
		}
	}
	return true
}

// hold waits until nobody else has Podman do something to c.
func (c *container) hold(ctx context.Context) error {
	select {
	case c.work <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// letGo is the end of hold.
func (c *container) letGo() { <-c.work }

// adopt makes the pool know a container. Pool.mu is held.
func (p *Pool) adopt(c *container, as state) {
	c.state = as
	c.work, c.settled = make(chan struct{}, 1), make(chan struct{})
	if as == captured {
		close(c.settled)
	}
	p.count[as]++
	p.all[c.id] = c
}

// doom moves a container to where the janitor removes it. Pool.mu is held.
func (p *Pool) doom(c *container, from state, reason string) bool {
	if !p.move(c, from, doomed) {
		return false
	}
	c.reason = reason
	return true
}

// settle gives warm targets to those who wait, and lets surplus go: first what
// should be replaced anyway, then the oldest. Pool.mu is held.
func (p *Pool) settle() {
	p.waiting = slices.DeleteFunc(p.waiting, func(w *waiter) bool {
		c := p.pick(w.of)
		if c != nil {
			w.got <- c
		}
		return c != nil
	})
	for _, s := range p.stocks {
		most, reason := s.goal, "more than are needed"
		if p.drained {
			most, reason = 0, "drained by operator"
		}
		for len(s.warm) > most {
			c := slices.MinFunc(s.warm, func(a, b *container) int { return cmp.Or(a.worth(b), a.made.Compare(b.made)) })
			p.doom(c, warm, cmp.Or(c.stale, reason))
		}
	}
}

// worth is below 0 if c should be replaced and o should not, above if it is the
// other way round. Pool.mu is held.
func (c *container) worth(o *container) int {
	switch {
	case c.stale != "" && o.stale == "":
		return -1
	case c.stale == "" && o.stale != "":
		return 1
	}
	return 0
}

// inUse is how many leases are taken. Pool.mu is held.
func (p *Pool) inUse() int { return p.count[leased] + p.count[ending] + p.count[draining] }
