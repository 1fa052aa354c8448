package pool

import (
	"context"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/sandtrap/sandtrap/internal/podman"
	"github.com/sandtrap/sandtrap/internal/target"
)

// reconcile finds what a predecessor left. A container that bears a session's
// name, or that a session's evidence names, is evidence: it is stopped, and named
// if it was not yet. Any other was waiting, and goes.
func (p *Pool) reconcile(ctx context.Context) error {
	left, err := p.podman.List(ctx, target.Label)
	if err != nil {
		return err
	}
	returning := map[string]Returning{}
	for _, r := range p.cfg.Returning {
		if r.Ended.After(returning[r.Container].Ended) {
			returning[r.Container] = r
		}
	}
	for _, found := range left {
		c := p.recognise(found, returning[found.ID])
		p.mu.Lock()
		evidence := c.state != doomed
		p.mu.Unlock()
		if evidence {
			p.finish(ctx, c)
		}
	}
	return nil
}

// recognise takes over a container of a predecessor.
func (p *Pool) recognise(found podman.Container, r Returning) *container {
	p.mu.Lock()
	defer p.mu.Unlock()
	of, configured := p.stockOf(found.Labels[target.Label])
	c := &container{
		id: found.ID, of: of, name: found.Name, made: found.Created,
		digest: found.Labels[target.ImageLabel], program: found.Labels[target.LeaderLabel],
		session: p.owner(found), complete: true,
	}
	if c.session == "" {
		c.reason, c.due = "left by a predecessor", time.Now()
		p.adopt(c, doomed)
		return c
	}
	c.ended = sessionTime(c.session)
	if r.Session == c.session {
		c.ended = r.Ended
		if configured { // nobody comes back to a target that is no more
			c.key = p.keyOf(Claim{Source: r.Source, Credential: r.Credential})
		}
	}
	if found.Running {
		p.adopt(c, draining)
	} else {
		p.adopt(c, captured)
	}
	p.remember(c)
	return c
}

// owner is the latest session that had a container, by its name and by what
// evidence says: a container can have changed hands without being renamed yet.
func (p *Pool) owner(c podman.Container) string {
	session := p.cfg.Owners[c.ID]
	if !isSession(session) {
		session = ""
	}
	if isSession(c.Name) {
		return max(session, c.Name) // ULIDs sort by time
	}
	return session
}

// isSession reports whether a container's name is a session's id.
func isSession(name string) bool {
	_, err := ulid.ParseStrict(name)
	return err == nil
}

// sessionTime is when a session began.
func sessionTime(session string) time.Time {
	id, _ := ulid.ParseStrict(session) // it is one
	return id.Timestamp()
}
