package pool

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"github.com/sandtrap/sandtrap/internal/podman"
)

// retention is what is known about how much is kept.
type retention struct {
	dirty       bool      // something changed since it was looked at
	dirtySince  time.Time // when work was first put off, or zero
	noMeasuring time.Time // before
}

// urgentExcess is how many containers too many there must be for retention not to
// yield. A rush of half a minute leaves fewer: what removes one holds the locks of
// Podman's storage that making and stopping the others need.
const urgentExcess = 128

// retain removes or measures one stopped container if one is to be, and reports
// whether it may have more to do.
func (p *Pool) retain(ctx context.Context, now time.Time) bool {
	if p.retainPause(now) > 0 {
		return false
	}
	list := p.removable(now)
	p.mu.Lock()
	c, reason := p.victim(list, now)
	// What its end gives back must be known, or more would go than must.
	remove := c != nil && (c.measured || !p.shortOfSpace() || now.Before(p.noMeasuring))
	if c == nil {
		c = p.unmeasured(now)
	}
	if c == nil {
		p.dirty = false
	}
	p.dirtySince = time.Time{} // the next one yields again
	p.mu.Unlock()
	switch {
	case c == nil:
		return false
	case !remove:
		p.measure(ctx, c)
	case !p.keeps(c, now, 0) && p.discard(c, captured, reason):
		p.remove(ctx, c)
	}
	return true
}

// retainPause is how long retention has nothing to do or yields: to sessions, and to
// makers. At a start it would measure all that is kept while the first targets are made.
func (p *Pool) retainPause(now time.Time) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.dirty {
		return time.Hour
	}
	if p.dirtySince.IsZero() {
		p.dirtySince = now
	}
	if p.short() || p.count[captured] > p.cfg.Retain+urgentExcess {
		return 0
	}
	if p.making() > 0 { // who is done does not say so here
		return max(0, min(p.dirtySince.Add(yieldBound).Sub(now), yieldWork))
	}
	return max(0, p.yielding(p.dirtySince, yieldBound).Sub(now))
}

// removable are the containers that may go, oldest first, if there is any reason
// for one to go.
func (p *Pool) removable(now time.Time) []*container {
	p.mu.Lock()
	var list []*container
	for _, c := range p.all {
		if c.state == captured {
			list = append(list, c)
		}
	}
	slices.SortFunc(list, func(a, b *container) int { return cmp.Compare(a.session, b.session) }) // ULIDs sort by time
	c, _ := p.victim(list, now)
	p.mu.Unlock()
	if c == nil {
		return nil
	}
	return slices.DeleteFunc(list, func(c *container) bool { return p.keeps(c, now, keepFresh) })
}

// keepFresh is how old an answer of Config.Keep may be for counting.
const keepFresh = 30 * time.Second

// keeps asks Config.Keep about a container unless it was asked within fresh.
func (p *Pool) keeps(c *container, now time.Time, fresh time.Duration) bool {
	if p.cfg.Keep == nil {
		return false
	}
	p.mu.Lock()
	session, kept, age := c.session, c.kept, now.Sub(c.keptAt)
	p.mu.Unlock()
	if age < fresh {
		return kept
	}
	kept = p.cfg.Keep(session)
	p.mu.Lock()
	defer p.mu.Unlock()
	if c.session == session {
		c.kept, c.keptAt = kept, now
	}
	return kept
}

// victim is the container that must go first, and why, or nil. One that its source
// may still come back to goes only when there is no other. Pool.mu is held.
func (p *Pool) victim(list []*container, now time.Time) (*container, string) {
	if len(list) == 0 {
		return nil, ""
	}
	var bytes int64
	var first *container
	for _, c := range list {
		bytes += c.bytes
		if first == nil && !p.reserved(c, now) {
			first = c
		}
	}
	if first != nil && p.cfg.RetainAge > 0 && now.Sub(first.ended) > p.cfg.RetainAge {
		return first, "older than pool.retain_age"
	}
	if first == nil {
		first = list[0]
	}
	switch {
	case p.shortOfLocks():
		return first, "Podman runs out of locks"
	case p.shortOfSpace():
		return first, "the store runs full"
	case len(list) > p.cfg.Retain:
		return first, "more than pool.retain"
	case p.cfg.RetainBytes > 0 && bytes > p.cfg.RetainBytes:
		// Holes in files count as well, and cost an attacker nothing: one of these
		// must not take everybody else's evidence with it.
		for _, c := range list {
			if c.bytes > p.cfg.RetainBytes {
				return c, "more than pool.retain_bytes"
			}
		}
		return first, "more than pool.retain_bytes"
	}
	return nil, ""
}

// unmeasured is a container whose size is not known and matters. Pool.mu is held.
func (p *Pool) unmeasured(now time.Time) *container {
	if p.cfg.RetainBytes == 0 && !p.spaceKnown || now.Before(p.noMeasuring) {
		return nil
	}
	for _, c := range p.all {
		if c.state == captured && !c.measured {
			return c
		}
	}
	return nil
}

func (p *Pool) measure(ctx context.Context, c *container) {
	size, err := p.podman.Size(ctx, c.id)
	if errors.Is(err, podman.ErrNotFound) {
		p.lose(c, captured)
		return
	}
	if err != nil && ctx.Err() == nil {
		p.fail(c.of, "measure", c.id, err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if err != nil {
		p.noMeasuring = time.Now().Add(inspectEvery)
		return
	}
	if c.state == captured { // not leased again meanwhile
		c.bytes, c.measured = max(0, size), true
	}
}
