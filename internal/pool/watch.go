package pool

import (
	"context"
	"math/rand/v2"
	"time"
)

const (
	pingEvery   = 30 * time.Second
	pingTimeout = 5 * time.Second
)

// died is why a target is removed whose leader's stream has ended.
const died = "died while waiting"

// watch looks after a container for as long as it is warm. Pool.mu is held.
func (p *Pool) watch(c *container) {
	ctx, leave := context.WithCancel(context.Background())
	c.unwatched, c.leave = ctx, leave
	leader, age := c.leader, time.Until(c.made.Add(p.cfg.MaxAge))
	p.watchers.Go(func() {
		old := time.NewTimer(age)
		defer old.Stop()
		ping := time.NewTimer(rand.N(pingEvery)) // targets made together are not asked together
		defer ping.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-leader.Done():
				p.bury(ctx, c, died)
				return
			case <-old.C:
				p.replace(c, "older than pool.max_age")
			case <-ping.C:
				if !p.ping(ctx, c, leader) {
					p.bury(ctx, c, "does not answer")
					return
				}
				ping.Reset(pingEvery)
			}
		}
	})
}

// A leased leader that is killed leaves its stream open: Podman's monitor ends that
// with the container only. Its answer may take as long as a broken stream takes to
// be replaced.
const (
	attendEvery   = 10 * time.Second
	attendTimeout = 35 * time.Second
)

// attend looks after the leader of a session until it is released, and closes it
// when it does not answer any more, so that the session ends instead of hanging.
func (p *Pool) attend(c *container, leader Leader) {
	for {
		wait(context.Background(), leader.Done(), attendEvery)
		select {
		case <-leader.Done():
			return
		default:
		}
		ctx, cancel := context.WithTimeout(context.Background(), attendTimeout)
		err := leader.Ping(ctx)
		cancel()
		if err != nil {
			p.log.Warn("the session leader does not answer any more", "container", c.id, "error", err)
			_ = leader.Close()
			return
		}
	}
}

// ping reports whether the leader answers. It does so, too, if nobody is
// interested any more.
func (p *Pool) ping(ctx context.Context, c *container, leader Leader) bool {
	limited, cancel := context.WithTimeout(ctx, pingTimeout)
	defer cancel()
	err := leader.Ping(limited)
	if err != nil {
		return ctx.Err() != nil
	}
	p.mu.Lock()
	c.seen = time.Now()
	p.mu.Unlock()
	return true
}

// bury discards a container unless it has been leased since it was watched.
func (p *Pool) bury(watched context.Context, c *container, reason string) {
	p.mu.Lock()
	if watched.Err() == nil {
		p.doom(c, warm, reason)
	}
	p.mu.Unlock()
	wake(p.fill)
}

// replace marks a container that serves until there is another.
func (p *Pool) replace(c *container, reason string) {
	p.mu.Lock()
	if c.stale == "" {
		c.stale = reason
	}
	p.mu.Unlock()
	wake(p.fill)
}
