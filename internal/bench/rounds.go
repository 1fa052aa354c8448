package main

import (
	"context"
	"runtime"
	"slices"
	"time"
)

// warmUp rounds are not counted: caches fill, and the first session of a user
// starts more than later ones.
const warmUp = 2

// gap is a pause in which a server can do what follows a visit.
const gap = 100 * time.Millisecond

// measureRounds visits every server once in each round, for a shell and for
// commands: the figures of one client at a time. Every other round goes the other
// way round, so that none always follows the same neighbour.
func (b *bench) measureRounds(ctx context.Context) error {
	if err := b.service.configure(ctx, settings{ready: 16}); err != nil {
		return err
	}
	deadline := time.Now().Add(b.size.budget)
	for round := range warmUp + b.size.rounds {
		if time.Now().After(deadline) {
			progress("rounds: out of time after %d", round-warmUp)
			break
		}
		for _, s := range b.order(round) {
			if err := b.visit(ctx, s, round >= warmUp); err != nil {
				return err
			}
		}
		if round%20 == 19 {
			progress("rounds: %d of %d", round+1, warmUp+b.size.rounds)
		}
	}
	return nil
}

// order is the servers in the order of a round.
func (b *bench) order(round int) []*server {
	servers := slices.Clone(b.servers)
	if round%2 == 1 {
		slices.Reverse(servers)
	}
	return servers
}

// visit measures both kinds of sessions at one server. A session that fails is
// counted and the run goes on; only the end of ctx ends it.
func (b *bench) visit(ctx context.Context, s *server, keep bool) error {
	if err := b.visitShell(ctx, s, keep); err != nil {
		s.fail("shell", err)
	}
	if err := comeToRest(ctx); err != nil {
		return err
	}
	if err := b.visitExec(s, keep); err != nil {
		s.fail("exec", err)
	}
	return comeToRest(ctx)
}

// comeToRest waits until the machine has been at rest for a gap, so that what a server does
// after a visit (ending a session, making a new target) does not slow the next one, its
// own or another's. On a machine that does not come to rest it waits ten seconds.
func comeToRest(ctx context.Context) error {
	const rest = 0.1 // busy, of all processors
	before := busyTicks()
	for range 100 {
		if err := pause(ctx, gap); err != nil {
			return err
		}
		now := busyTicks()
		if float64(now-before) <= rest*gap.Seconds()*ticksPerSecond*float64(runtime.NumCPU()) {
			break
		}
		before = now
	}
	return nil
}
