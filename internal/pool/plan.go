package pool

import (
	"context"
	"sync"
	"time"
)

const (
	// never is long enough for what something else will end first.
	never = time.Hour
	// idleAfter is how long nobody must have leased for the machine to be the
	// makers' alone.
	idleAfter = time.Second
)

// refill starts makers whenever targets are missing.
func (p *Pool) refill(ctx context.Context) {
	var makers sync.WaitGroup
	defer makers.Wait()
	for ctx.Err() == nil {
		start, pause := p.plan(time.Now())
		for _, s := range start {
			makers.Go(func() { p.makeOne(ctx, s) })
		}
		wait(ctx, p.fill, pause)
	}
}

// plan says of which targets to start a maker now, and when to ask again at the latest.
func (p *Pool) plan(now time.Time) (start []*stock, pause time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	pause = p.fall(now)
	if p.drained {
		return nil, pause
	}
	for {
		s, later := p.neediest(now)
		if s == nil {
			return start, min(pause, later)
		}
		s.making++
		start = append(start, s)
	}
}

// neediest is the target that a further maker should make one of now. There is none for
// some time otherwise, or until a maker is done and asks again. Pool.mu is held.
func (p *Pool) neediest(now time.Time) (first *stock, later time.Duration) {
	later = never
	for _, s := range p.stocks {
		if p.missing(s) <= 0 || !p.mayMake(s, now) {
			continue
		}
		begin := s.backoff
		if !p.urgent(s) && s.notBefore.After(begin) {
			begin = s.notBefore
		}
		switch {
		case now.Before(begin):
			later = min(later, begin.Sub(now))
		case first == nil || p.need(s) > p.need(first):
			first = s
		}
	}
	return first, later
}

// missing is how many of a target nobody makes yet. Pool.mu is held.
func (p *Pool) missing(s *stock) int {
	missing := s.goal + p.starving(s) - len(s.warm) - s.making
	if missing <= 0 && s.making == 0 && s.anyStale() {
		return 1
	}
	return missing
}

func (s *stock) anyStale() bool {
	for _, c := range s.warm {
		if c.stale != "" {
			return true
		}
	}
	return false
}

// urgent reports whether a target runs short. Pool.mu is held.
func (p *Pool) urgent(s *stock) bool { return s.low() || p.starving(s) > 0 }

// mayMake reports whether there may be a further maker for a target. Usually one works for
// all of them, some time after the lease that made it necessary; as many as the machine
// bears when targets run short or when nobody else wants the machine. Pool.mu is held.
func (p *Pool) mayMake(s *stock, now time.Time) bool {
	width := 1
	switch {
	case !s.isReady || s.failure != nil:
		// The first container of all shows whether it works, and prepares the image's
		// files for the rest.
		if s.making > 0 {
			return false
		}
		width = p.cfg.Burst
	case p.urgent(s) || now.Sub(p.latest) >= idleAfter:
		width = s.width
	}
	return p.making() < width
}

// need orders targets by how much they need another one: those that sessions wait for,
// those of which there has been none, then by the share that is missing. Pool.mu is held.
func (p *Pool) need(s *stock) float64 {
	need := 1 - float64(len(s.warm)+s.making)/float64(max(1, s.goal))
	if !s.isReady {
		need++
	}
	if p.starving(s) > 0 {
		need += 2
	}
	return need
}

// fall lets goals fall when it is time, and returns the time to the next. Pool.mu is
// held.
func (p *Pool) fall(now time.Time) time.Duration {
	next := never // nothing changes by itself
	for _, s := range p.stocks {
		if s.goal <= s.Min {
			continue
		}
		if now.Sub(s.unmoved) >= goalFalls {
			s.goal--
			s.unmoved = now
			p.settle()
		}
		next = min(next, s.unmoved.Add(goalFalls).Sub(now))
	}
	return next
}
