package main

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

const (
	arrival    = 100 * time.Millisecond // between two sessions: ten a second
	mostAtOnce = 64                     // sessions in flight; more would only pile up
)

// measureSustain lets sessions arrive at a fixed rate, whether earlier ones are
// done or not: each logs in, runs one command and leaves. The service's events
// tell how long each waited for a target.
func (b *bench) measureSustain(ctx context.Context) error {
	if err := b.service.configure(ctx, settings{ready: 16}); err != nil {
		return err
	}
	start, err := markEvents(eventsDir)
	if err != nil {
		return err
	}
	arrivals := int64(b.size.sustain / arrival)
	served := b.arrive(ctx, arrivals)
	leases, err := eventsSince(eventsDir, start, "session.lease")
	if err != nil {
		return err
	}
	for _, l := range leases {
		b.samples.add(leaseWait, sandtrap, l.Wait)
	}
	b.samples.add(leaseLost, sandtrap, float64(arrivals-served))
	return ctx.Err()
}

// arrive starts a session at every tick and returns how many were served.
func (b *bench) arrive(ctx context.Context, arrivals int64) int64 {
	s := b.servers[0]
	var sessions sync.WaitGroup
	var served atomic.Int64
	places := make(chan struct{}, mostAtOnce)
	ticks := time.NewTicker(arrival)
	defer ticks.Stop()
	for range arrivals {
		select {
		case <-ctx.Done():
		case <-ticks.C:
		}
		select {
		case places <- struct{}{}:
		default:
			continue // the server is too far behind: lost
		}
		sessions.Go(func() {
			defer func() { <-places }()
			c, err := s.connect()
			if err != nil {
				s.fail("sustain", err)
				return
			}
			defer c.Close()
			_, at, err := c.run("true")
			if err != nil {
				s.fail("sustain", err)
				return
			}
			b.samples.duration(leaseStatus, sandtrap, at.Sub(c.authenticated))
			served.Add(1)
		})
	}
	sessions.Wait()
	return served.Load()
}
