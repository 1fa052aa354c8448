package main

import (
	"context"
	"sync"
	"time"
)

// atOnce is how many clients connect at the same moment.
const atOnce = 8

// measureBurst lets clients connect at once and wait for a prompt each, at one
// server after the other. The first burst at each is not counted.
func (b *bench) measureBurst(ctx context.Context) error {
	if err := b.service.configure(ctx, settings{ready: 16}); err != nil {
		return err
	}
	for round := range 1 + b.size.bursts {
		for _, s := range b.order(round) {
			b.burst(s, round > 0)
			if err := comeToRest(ctx); err != nil {
				return err
			}
		}
	}
	return nil
}

func (b *bench) burst(s *server, keep bool) {
	var clients sync.WaitGroup
	start := make(chan struct{})
	for range atOnce {
		clients.Go(func() {
			<-start
			c, err := s.connect()
			if err != nil {
				s.fail("burst", err)
				return
			}
			defer c.Close()
			if _, err := c.shell(); err != nil {
				s.fail("burst", err)
				return
			}
			if keep {
				b.samples.duration(burstPrompt, s.name, time.Since(c.authenticated))
			}
		})
	}
	close(start)
	clients.Wait()
}
