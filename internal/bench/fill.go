package main

import (
	"context"
	"fmt"
	"time"
)

// filled is how many targets are to be ready.
const filled = 20

// measureFill starts the service with no target there and sees by its events how
// long it takes until all are ready: from the moment the first was begun, and
// from the start of the service.
func (b *bench) measureFill(ctx context.Context) error {
	if err := b.service.configure(ctx, settings{ready: filled}); err != nil {
		return err
	}
	for range b.size.fills {
		if err := systemctl(ctx, "stop", unit); err != nil {
			return err
		}
		if err := b.service.waitReady(ctx, 0); err != nil { // the old ones are gone
			return err
		}
		if err := b.measureAlone(ctx); err != nil {
			return err
		}
		if err := comeToRest(ctx); err != nil {
			return err
		}
		start, err := markEvents(eventsDir)
		if err != nil {
			return err
		}
		begin := time.Now()
		if err := systemctl(ctx, "start", unit); err != nil {
			return err
		}
		warm, err := waitWarm(ctx, start)
		if err != nil {
			return err
		}
		first, last := warm[0].Time, warm[filled-1].Time
		for _, w := range warm[:filled] {
			if made := w.Time.Add(-time.Duration(w.Duration * float64(time.Millisecond))); made.Before(first) {
				first = made
			}
		}
		b.samples.add(fillTime, sandtrap, last.Sub(first).Seconds())
		b.samples.add(fillService, sandtrap, last.Sub(begin).Seconds())
		if err := pause(ctx, 2*time.Second); err != nil {
			return err
		}
	}
	return nil
}

// waitWarm waits for the events of as many targets as are to be ready.
func waitWarm(ctx context.Context, start mark) ([]happened, error) {
	ctx, cancel := context.WithTimeout(ctx, starting)
	defer cancel()
	for {
		warm, err := eventsSince(eventsDir, start, "pool.warm")
		if err != nil {
			return nil, err
		}
		if len(warm) >= filled {
			return warm, nil
		}
		if err := pause(ctx, 50*time.Millisecond); err != nil {
			return nil, fmt.Errorf("wait for %d targets, %d came: %w", filled, len(warm), err)
		}
	}
}
