package pool

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sandtrap/sandtrap/internal/event"
)

func TestLeaseTakesWhatAnsweredLast(t *testing.T) {
	f := newFake()
	inBubble(t, f, nil, func(b *bubble) {
		b.rest(10 * time.Minute)
		b.pool.mu.Lock()
		best := b.pool.stocks[0].warm[0]
		for _, c := range b.pool.stocks[0].warm {
			if c.seen.After(best.seen) {
				best = c
			}
			if time.Since(c.seen) > pingEvery+time.Second {
				b.Errorf("%s has not been asked for %s", c.id, time.Since(c.seen))
			}
		}
		b.pool.mu.Unlock()
		if l := b.lease(session1); l.Container != best.id {
			b.Errorf("leased %s, but %s answered last", l.Container, best.id)
		}
	})
}

func TestLeaseBusy(t *testing.T) {
	inBubble(t, newFake(), nil, func(b *bubble) {
		first := b.lease(session1)
		b.lease(session2)
		began := time.Now()
		if _, err := b.take(b.Context(), claim(session3)); !errors.Is(err, ErrBusy) || time.Since(began) != 10*time.Second {
			b.Errorf("third of two leases: %v after %s", err, time.Since(began))
		}
		go func() {
			time.Sleep(time.Second)
			first.Release(b.Context())
		}()
		if l := b.lease(session3); l.Wait < time.Second || l.Wait > 2*time.Second {
			b.Errorf("waited %s for a lease that ended after 1 s", l.Wait)
		}
	})
}

// TestDrainingCounts: a target that cannot be stopped is one in use.
func TestDrainingCounts(t *testing.T) {
	f := newFake()
	inBubble(t, f, nil, func(b *bubble) {
		f.set("stop", errDown)
		first := b.lease(session1)
		b.lease(session2)
		first.Release(b.Context())
		b.expect(Status{Warm: 1, Goal: 3, Leased: 1, Draining: 1})
		if _, err := b.take(b.Context(), claim(session3)); !errors.Is(err, ErrBusy) {
			b.Errorf("Lease: %v", err)
		}
		f.set("stop", nil)
		b.rest(retryEvery * 2)
		b.lease(session3)
	})
}

func TestLeaseWaits(t *testing.T) {
	f := newFake()
	inBubble(t, f, func(c *Config) { c.Targets[0].Min, c.Targets[0].Max, c.Burst = 1, 1, 1 }, func(b *bubble) {
		f.delay("create", 4*time.Second)
		b.lease(session1)
		if l := b.lease(session2); l.Wait < 4*time.Second || l.Wait > 5*time.Second {
			b.Errorf("waited %s, want 4 s", l.Wait)
		}
		if got := b.events.values(event.PoolEmpty, "waiting"); !cmp.Equal(got, []any{1}) {
			b.Errorf("events %v", got)
		}
	})
}

// TestQueue: sessions are served in the order in which they came, and only so
// many wait.
func TestQueue(t *testing.T) {
	f := newFake()
	inBubble(t, f, func(c *Config) {
		c.Targets[0].Min, c.Targets[0].Max, c.Burst, c.MaxLeases, c.LeaseTimeout = 2, 2, 1, 10, time.Minute
	}, func(b *bubble) {
		f.delay("create", 500*time.Millisecond)
		var mu sync.Mutex
		var order, refused []int
		for i := range 15 {
			go func() {
				l, err := b.take(b.Context(), claim(sessionID(i)))
				mu.Lock()
				defer mu.Unlock()
				if err != nil {
					refused = append(refused, i)
					if !errors.Is(err, ErrBusy) {
						b.Error(err)
					}
					return
				}
				order = append(order, i)
				b.held(l)
			}()
			b.rest(2 * time.Millisecond)
		}
		b.expect(Status{Warm: 0, Goal: 2, Leased: 2, Waiting: 10})
		if diff := cmp.Diff([]int{12, 13, 14}, refused); diff != "" {
			b.Errorf("refused at once (-want +got):\n%s", diff)
		}
		b.rest(40 * time.Second)
		if diff := cmp.Diff([]int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}, order); diff != "" {
			b.Errorf("order (-want +got):\n%s", diff)
		}
		for i := range 2 { // the last two wait for others to end
			b.leases[i].Release(b.Context())
		}
		b.rest(5 * time.Second)
		if diff := cmp.Diff([]int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}, order); diff != "" {
			b.Errorf("order in the end (-want +got):\n%s", diff)
		}
		if got := b.events.values(event.PoolEmpty, "waiting"); len(got) != 1 {
			b.Errorf("events %v within 10 s", got)
		}
	})
}

// TestStorm: 500 sessions at once, of which most get nothing, in any order of
// leaving; nothing is lost and nobody waits for ever.
func TestStorm(t *testing.T) {
	f := newFake()
	f.slow["create"] = 40 * time.Millisecond
	inBubble(t, f, func(c *Config) {
		c.Targets[0].Min, c.Targets[0].Max, c.Burst, c.MaxLeases, c.Retain, c.Sticky = 4, 16, 4, 64, 20, StickySource
	}, func(b *bubble) {
		var wg sync.WaitGroup
		var mu sync.Mutex
		holders := map[string]string{} // session by container
		served := 0
		for i := range 500 {
			wg.Go(func() {
				time.Sleep(time.Duration(max(0, i-300)) * 20 * time.Millisecond) // 300 at once, then 50 a second
				ctx, cancel := context.WithTimeout(b.Context(), time.Duration(i%40)*100*time.Millisecond)
				defer cancel()
				c := claim(sessionID(i))
				c.Source = fmt.Sprintf("192.0.2.%d", i%100)
				l, err := b.take(ctx, c)
				if err != nil {
					return
				}
				mu.Lock()
				served++
				if other := holders[l.Container]; other != "" {
					b.Errorf("%s is leased by %s and %s", l.Container, other, l.Name)
				}
				holders[l.Container] = l.Name
				if n := b.pool.Status(); n.Leased+n.Draining > 64 || n.Waiting > 64 {
					b.Errorf("status %+v", n)
				}
				mu.Unlock()
				time.Sleep(time.Duration(i%7) * 100 * time.Millisecond)
				if c, ok := f.get(l.Container); !ok || !c.Running {
					b.Errorf("%s was taken away from %s", l.Container, l.Name)
				}
				mu.Lock()
				delete(holders, l.Container)
				mu.Unlock()
				b.over(l)
			})
		}
		wg.Wait()
		if served < 150 {
			b.Errorf("%d of 500 were served", served)
		}
		b.rest(5 * time.Minute)
		b.expect(Status{Warm: 4, Goal: 4, Retained: 20})
		if got := f.ids(); len(got) != 24 {
			b.Errorf("%d containers, want 24", len(got))
		}
		b.pool.mu.Lock()
		if n := len(b.pool.sticky); n > 20 {
			b.Errorf("%d sources remembered", n)
		}
		b.pool.mu.Unlock()
	})
}

func TestLeaseEmpty(t *testing.T) {
	f := newFake()
	inBubble(t, f, func(c *Config) { c.Targets[0].Min, c.Targets[0].Max = 1, 1 }, func(b *bubble) {
		f.set("create", errDown)
		b.lease(session1)
		began := time.Now()
		if _, err := b.take(b.Context(), claim(session2)); !errors.Is(err, ErrEmpty) {
			b.Errorf("Lease of nothing: %v", err)
		}
		if took := time.Since(began); took != 10*time.Second {
			b.Errorf("took %s, want the lease timeout", took)
		}
		b.expect(Status{Goal: 1, Leased: 1, Failure: b.pool.Status().Failure})
		ctx, cancel := context.WithCancel(b.Context())
		cancel()
		if _, err := b.take(ctx, claim(session2)); !errors.Is(err, context.Canceled) {
			b.Errorf("Lease for a client that left: %v", err)
		}
	})
}

// TestClientLeaves at every moment of a lease. Only a target that has heard of it
// is lost.
func TestClientLeaves(t *testing.T) {
	t.Run("before", func(t *testing.T) {
		inBubble(t, newFake(), nil, func(b *bubble) {
			b.rest(time.Second)
			ctx, cancel := context.WithCancel(b.Context())
			cancel()
			if _, err := b.take(ctx, claim(session1)); !errors.Is(err, context.Canceled) {
				b.Errorf("Lease: %v", err)
			}
			b.expect(Status{Warm: 3, Goal: 3})
		})
	})
	t.Run("during the login", func(t *testing.T) {
		f := newFake()
		inBubble(t, f, nil, func(b *bubble) {
			f.hang("login", true)
			ctx, cancel := context.WithTimeout(b.Context(), time.Second)
			defer cancel()
			before := f.ids()
			if _, err := b.take(ctx, claim(session1)); !errors.Is(err, context.DeadlineExceeded) {
				b.Errorf("Lease: %v", err)
			}
			b.rest(time.Second)
			b.expect(Status{Warm: 3, Goal: 3})
			if after := f.ids(); len(after) != 3 || cmp.Equal(before, after) {
				b.Errorf("containers %q before and %q after", before, after)
			}
			if n := f.count("login"); n != 1 {
				b.Errorf("%d targets were worn out", n)
			}
		})
	})
	t.Run("in the queue", func(t *testing.T) {
		f := newFake()
		inBubble(t, f, func(c *Config) { c.Targets[0].Min, c.Targets[0].Max, c.MaxLeases = 1, 1, 5 }, func(b *bubble) {
			f.delay("create", 3*time.Second)
			b.lease(session1)
			ctx, cancel := context.WithTimeout(b.Context(), time.Second)
			defer cancel()
			if _, err := b.take(ctx, claim(session2)); !errors.Is(err, context.DeadlineExceeded) {
				b.Errorf("Lease: %v", err)
			}
			b.expect(Status{Goal: 1, Leased: 1})
			b.rest(5 * time.Second)
			b.expect(Status{Warm: 1, Goal: 1, Leased: 1})
		})
	})
	t.Run("when served", func(t *testing.T) {
		f := newFake()
		inBubble(t, f, func(c *Config) { c.Targets[0].Min, c.Targets[0].Max, c.MaxLeases = 1, 1, 5 }, func(b *bubble) {
			f.hang("create", true) // another one does not come
			c, err := b.pool.take(b.Context(), b.pool.stocks[0])
			if err != nil {
				b.Fatal(err)
			}
			ctx, cancel := context.WithCancel(b.Context())
			cancel()
			w := &waiter{got: make(chan *container, 1)}
			w.got <- c // settle was faster than the end of ctx
			if err := b.pool.leaveQueue(ctx, w); !errors.Is(err, context.Canceled) {
				b.Error(err)
			}
			b.rest(time.Second)
			b.expect(Status{Warm: 1, Goal: 1})
			if l := b.lease(session1); l.Container != c.id {
				b.Error("the target that was given back was not given out again")
			}
		})
	})
}

// TestGivenBackToOneWhoWaits: it is that one's at once.
func TestGivenBackToOneWhoWaits(t *testing.T) {
	f := newFake()
	inBubble(t, f, func(c *Config) { c.Targets[0].Min, c.Targets[0].Max, c.MaxLeases = 1, 1, 5 }, func(b *bubble) {
		c, err := b.pool.take(b.Context(), b.pool.stocks[0])
		if err != nil {
			b.Fatal(err)
		}
		f.set("create", errDown)
		go func() {
			time.Sleep(time.Second)
			b.pool.giveBack(c)
		}()
		if l := b.lease(session1); l.Container != c.id {
			b.Errorf("leased %s, want %s", l.Container, c.id)
		}
		b.rest(time.Minute)
		if box, ok := f.get(c.id); !ok || !box.Running {
			b.Error("it was taken away again")
		}
		b.expect(Status{Goal: 1, Leased: 1, Failure: b.pool.Status().Failure})
	})
}

// TestGivenBackWhilePoolEnds: nothing is warm any more then.
func TestGivenBackWhilePoolEnds(t *testing.T) {
	inBubble(t, newFake(), nil, func(b *bubble) {
		c, err := b.pool.take(b.Context(), b.pool.stocks[0])
		if err != nil {
			b.Fatal(err)
		}
		_ = b.stop()
		b.pool.giveBack(c)
		b.expect(Status{Goal: 3})
		if !b.leader(c.id).closed {
			b.Error("its stream was left open")
		}
	})
}

// TestEarly leases are for when there are plenty, and wait for nothing.
func TestEarly(t *testing.T) {
	f := newFake()
	inBubble(t, f, func(c *Config) { c.MaxLeases = 5 }, func(b *bubble) {
		f.delay("create", time.Minute)
		early := claim(session1)
		early.Early = true
		l, err := b.take(b.Context(), early)
		if err != nil || l.Wait > time.Second {
			b.Fatalf("of three: %+v, %v", l, err)
		}
		b.held(l)
		b.lease(session2)
		began := time.Now()
		early.Session = session3
		if l, err := b.take(b.Context(), early); !errors.Is(err, ErrFew) || time.Since(began) > 0 {
			b.Errorf("of one: %+v, %v", l, err)
		}
		b.lease(session3)
	})
}
