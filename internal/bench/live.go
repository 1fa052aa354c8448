package main

import (
	"context"
	"time"
)

// measureLive compares commands while one session is there with commands while
// many are: the same measurement before, during and after holding them. New
// sessions are measured beside an old one.
func (b *bench) measureLive(ctx context.Context) error {
	if err := b.service.configure(ctx, settings{ready: 16}); err != nil {
		return err
	}
	s := b.servers[0]
	if err := b.visits(ctx, oneLive, 1); err != nil {
		return err
	}
	begin := time.Now()
	held := s.openShells(b.size.live, 4)
	defer func() { closeAll(held) }()
	progress("live: %d sessions open after %d s", len(held), int(time.Since(begin).Seconds()))
	if err := b.service.waitReady(ctx, 16+len(held)); err != nil {
		return err
	}
	if err := b.visits(ctx, manyLive, 2); err != nil {
		return err
	}
	closeAll(held)
	held = nil
	if err := b.service.waitReady(ctx, 16); err != nil {
		return err
	}
	return b.visits(ctx, oneLive, 1)
}

// visits runs commands on one connection and some on new ones.
func (b *bench) visits(ctx context.Context, subject string, times int) error {
	s := b.servers[0]
	old, err := s.connect()
	if err != nil {
		return err
	}
	defer old.Close()
	for i := range times * b.size.liveRounds {
		took, _, err := old.run("true")
		if err != nil {
			s.fail("live", err)
			break
		}
		if i >= warmUp {
			b.samples.duration(liveExec, subject, took)
		}
		if err := pause(ctx, 20*time.Millisecond); err != nil {
			return err
		}
	}
	for range times * b.size.liveRounds / 10 {
		c, err := s.connect()
		if err != nil {
			s.fail("live", err)
			continue
		}
		_, at, err := c.run("true")
		c.Close()
		if err != nil {
			s.fail("live", err)
			continue
		}
		b.samples.duration(liveFirst, subject, at.Sub(c.authenticated))
		if err := pause(ctx, 2*gap); err != nil {
			return err
		}
	}
	return nil
}
