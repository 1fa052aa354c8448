package pool

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sandtrap/sandtrap/internal/event"
	"github.com/sandtrap/sandtrap/internal/target"
)

// sticky is a pool that remembers sources.
func sticky(c *Config) { c.Sticky, c.MaxLeases, c.Retain = StickySource, 10, 10 }

func TestReturn(t *testing.T) {
	for name, leader := range map[string]string{"leader": "/leader", "exec": ""} {
		t.Run(name, func(t *testing.T) {
			f := newFake()
			f.image.Labels[target.LeaderLabel] = leader
			inBubble(t, f, sticky, func(b *bubble) {
				first := b.lease(session1)
				b.rest(time.Second)
				b.over(first)
				b.rest(5 * time.Minute)
				again := b.lease(session2)
				if again.Container != first.Container || again.Previous != session1 || again.Name != session2 || again.ImageDigest != first.ImageDigest {
					b.Errorf("came back to %+v from %+v", again, first)
				}
				if c, _ := f.get(again.Container); !c.Running || c.starts != 2 || c.link.Program != leader {
					b.Errorf("container %+v", c)
				}
				b.expect(Status{Warm: 3, Goal: 3, Leased: 1})
				b.rest(time.Second)
				if c, _ := f.get(again.Container); c.Name != session2 {
					b.Errorf("named %s, want the new session", c.Name)
				}
				b.over(again)
				b.rest(time.Second)
				third := b.lease(session3)
				if third.Container != first.Container || third.Previous != session2 {
					b.Errorf("the third time %+v", third)
				}
				if got := b.events.values(event.TargetReturn, "returned"); !cmp.Equal(got, []any{true, true}) {
					b.Errorf("events %v", got)
				}
				if got := b.events.values(event.TargetReturn, "previous_session"); !cmp.Equal(got, []any{session1, session2}) {
					b.Errorf("events %v", got)
				}
			})
		})
	}
}

// TestBaitIsPlantedOnce: a target that somebody had keeps the bait that it has.
func TestBaitIsPlantedOnce(t *testing.T) {
	f := newFake()
	inBubble(t, f, sticky, func(b *bubble) {
		baited := func(session string) *Lease {
			c := claim(session)
			c.Bait = Bait{Name: session, Content: "x"}
			l, err := b.take(b.Context(), c)
			if err != nil {
				b.Fatal(err)
			}
			b.held(l)
			return l
		}
		first := baited(session1)
		if m := b.leader(first.Container).logins[0]; m.BaitName != session1 || m.Bait != "x" {
			b.Errorf("login %+v", m)
		}
		b.rest(time.Second)
		b.over(first)
		b.rest(time.Minute)
		again := baited(session2)
		if m := b.leader(again.Container).logins[0]; again.Container != first.Container || m.BaitName != "" || m.Bait != "" {
			b.Errorf("login %+v", m)
		}
	})
}

func TestWhoMayReturn(t *testing.T) {
	other := func(c Claim) Claim { c.Source = "192.0.2.2"; return c }
	guess := func(c Claim) Claim { c.Credential = "guess"; return c }
	none := func(c Claim) Claim { c.Credential = ""; return c }
	same := func(c Claim) Claim { return c }
	unknown := func(c Claim) Claim { c.Source = ""; return c }
	for _, test := range []struct {
		mode          Sticky
		first, second func(Claim) Claim
		after         time.Duration
		want          bool
	}{
		{StickySource, same, same, time.Second, true},
		{StickySource, same, guess, time.Second, true},
		{StickySource, same, other, time.Second, false},
		{StickySource, unknown, unknown, time.Second, false},
		{StickySource, same, same, 10*time.Minute - time.Second, true},
		{StickySource, same, same, 10*time.Minute + time.Second, false},
		{StickySourceAndCredential, same, same, time.Second, true},
		{StickySourceAndCredential, same, guess, time.Second, false},
		{StickySourceAndCredential, same, other, time.Second, false},
		{StickySourceAndCredential, none, none, time.Second, false},
		{StickyOff, same, same, time.Second, false},
		{"", same, same, time.Second, false},
	} {
		inBubble(t, newFake(), func(c *Config) { sticky(c); c.Sticky = test.mode }, func(b *bubble) {
			first, err := b.take(b.Context(), test.first(claim(session1)))
			if err != nil {
				b.Fatal(err)
			}
			b.over(first)
			b.rest(test.after)
			second, err := b.take(b.Context(), test.second(claim(session2)))
			if err != nil {
				b.Fatal(err)
			}
			b.held(second)
			if got := second.Container == first.Container; got != test.want || got != (second.Previous != "") {
				b.Errorf("%+v: came back: %v", test, got)
			}
		})
	}
}

// TestReturnIsExclusive: who is still there keeps it, and of several who come
// back at once one gets it.
func TestReturnIsExclusive(t *testing.T) {
	f := newFake()
	inBubble(t, f, sticky, func(b *bubble) {
		first := b.lease(session1)
		b.over(first)
		got := make(chan *Lease, 3)
		for i := range 3 {
			go func() {
				if l := b.tryLease(sessionID(10 + i)); l != nil {
					got <- l
				}
			}()
		}
		b.rest(time.Second)
		returned := 0
		for range 3 {
			if l := <-got; l.Container == first.Container {
				returned++
			}
		}
		if returned != 1 {
			b.Errorf("%d of 3 came back", returned)
		}
		reasons := b.events.values(event.TargetReturn, "reason")
		slices.SortFunc(reasons, func(a, b any) int { return strings.Compare(a.(string), b.(string)) })
		if want := []any{"", errInUse.Error(), errInUse.Error()}; !cmp.Equal(reasons, want) {
			b.Errorf("reasons %q", reasons)
		}
	})
}

// TestReturnAtOnce: copying a file and running it are two connections; the second
// waits until the evidence of the first is complete.
func TestReturnAtOnce(t *testing.T) {
	f := newFake()
	f.slow["stop"] = 50 * time.Millisecond
	inBubble(t, f, sticky, func(b *bubble) {
		first := b.lease(session1)
		go func() {
			first.Release(b.Context())
			time.Sleep(300 * time.Millisecond) // the evidence is being completed
			first.Captured()
		}()
		b.rest(10 * time.Millisecond)
		again := b.lease(session2)
		if again.Container != first.Container || again.Wait < 300*time.Millisecond || again.Wait > 400*time.Millisecond {
			b.Errorf("lease %+v after %s", again, again.Wait)
		}
	})
}

// TestReturnWhileItEnds: what goes with a target is taken while it still runs, and its
// source may be back before it stops.
func TestReturnWhileItEnds(t *testing.T) {
	f := newFake()
	inBubble(t, f, sticky, func(b *bubble) {
		first := b.lease(session1)
		b.rest(time.Second)
		first.End()
		first.End()
		go func() {
			<-first.Wanted()
			time.Sleep(300 * time.Millisecond)
			if c, _ := f.get(first.Container); !c.Running {
				b.Error("stopped before the session released it")
			}
			b.expect(Status{Warm: 3, Goal: 3, Draining: 1})
			first.Release(b.Context())
			first.Captured()
		}()
		again := b.lease(session2)
		if again.Container != first.Container || again.Previous != session1 || again.Wait < 300*time.Millisecond {
			b.Errorf("lease %+v after %s", again, again.Wait)
		}
		first.End() // too late to say anything
		b.expect(Status{Warm: 3, Goal: 3, Leased: 1})
	})
}

// TestEndWithoutAProgram: nothing is there to come back to.
func TestEndWithoutAProgram(t *testing.T) {
	f := newFake()
	inBubble(t, f, sticky, func(b *bubble) {
		first, err := b.pool.Lease(b.Context(), claim(session1))
		if err != nil {
			b.Fatal(err)
		}
		first.End()
		b.expect(Status{Warm: 2, Goal: 3, Leased: 1})
		first.Release(b.Context())
		b.rest(10 * time.Second)
		if _, ok := f.get(first.Container); ok {
			b.Error("it was kept")
		}
	})
}

func TestReturnToIncompleteEvidence(t *testing.T) {
	f := newFake()
	inBubble(t, f, sticky, func(b *bubble) {
		first := b.lease(session1)
		first.Release(b.Context())
		again := b.lease(session2)
		if again.Container == first.Container || again.Wait < returnTimeout || again.Wait > returnTimeout+time.Second {
			b.Errorf("lease %+v after %s", again, again.Wait)
		}
		if got := b.events.values(event.TargetReturn, "reason"); !cmp.Equal(got, []any{errSlow.Error() + ": " + errCapture.Error()}) {
			b.Errorf("reasons %q", got)
		}
		first.Captured()
		b.over(again)
	})
}

// TestReturnThatFails at any step: the session gets another target, and the
// container is again what it was.
func TestReturnThatFails(t *testing.T) {
	for _, verb := range []string{"start", "connect", "login"} {
		for _, how := range []string{"refused", "hangs", "client leaves"} {
			t.Run(verb+" "+how, func(t *testing.T) {
				f := newFake()
				inBubble(t, f, sticky, func(b *bubble) {
					first := b.lease(session1)
					b.over(first)
					b.rest(time.Second)
					call := verb + " " + first.Container
					ctx, cancel := context.WithCancel(b.Context())
					defer cancel()
					switch how {
					case "refused":
						f.set(call, errDown)
					case "hangs":
						f.hang(call, true)
					case "client leaves":
						f.hang(call, true)
						ctx, cancel = context.WithTimeout(ctx, time.Second)
						defer cancel()
					}
					l, err := b.take(ctx, claim(session2))
					if how == "client leaves" {
						if !errors.Is(err, context.DeadlineExceeded) {
							b.Errorf("Lease: %v", err)
						}
					} else if err != nil || l.Container == first.Container || l.Previous != "" || l.Wait > returnTimeout+time.Second {
						b.Fatalf("lease %+v, %v", l, err)
					} else {
						b.held(l)
					}
					f.set(call, nil)
					f.hang(call, false)
					b.rest(10 * time.Second)
					if c, ok := f.get(first.Container); !ok || c.Running || c.Name != session1 {
						b.Errorf("the evidence of the first session: %+v, %v", c, ok)
					}
					if verb == "login" && !b.leader(first.Container).closed {
						b.Error("the stream to its leader was left open")
					}
					if got := b.events.values(event.TargetReturn, "returned"); !cmp.Equal(got, []any{false}) {
						b.Errorf("events %v", got)
					}
					if got := b.events.values(event.TargetReturn, "reason"); len(got) != 1 || got[0] == "" {
						b.Errorf("reasons %q", got)
					}
					s := b.pool.Status()
					if s.Draining != 0 || s.Retained != 1 || s.Warm != 3 {
						b.Errorf("status %+v", s)
					}
					third := b.lease(session3)
					if back := third.Container == first.Container; back != (how == "client leaves") {
						b.Errorf("the next time: %+v", third)
					}
				})
			})
		}
	}
}

// TestReturnNeedsALease like any other.
func TestReturnNeedsALease(t *testing.T) {
	f := newFake()
	inBubble(t, f, func(c *Config) { sticky(c); c.MaxLeases = 1 }, func(b *bubble) {
		b.over(b.lease(session1))
		other := claim(session2)
		other.Source = "192.0.2.2"
		l, err := b.take(b.Context(), other)
		if err != nil {
			b.Fatal(err)
		}
		b.held(l)
		if _, err := b.take(b.Context(), claim(session3)); !errors.Is(err, ErrBusy) {
			b.Errorf("Lease: %v", err)
		}
		b.expect(Status{Warm: 3, Goal: 3, Leased: 1, Retained: 1})
	})
}

// TestCapturedTooLate: the end of one session does not end the next one's claim.
func TestCapturedTooLate(t *testing.T) {
	f := newFake()
	inBubble(t, f, sticky, func(b *bubble) {
		first := b.lease(session1)
		b.over(first)
		again := b.lease(session2)
		first.Captured()
		again.Release(b.Context())
		first.Captured()
		b.pool.mu.Lock()
		if again.container.state != stopped {
			b.Errorf("state %d, want that of incomplete evidence", again.container.state)
		}
		b.pool.mu.Unlock()
		again.Captured()
	})
}

// TestManySources: the table is no larger than what is kept.
func TestManySources(t *testing.T) {
	f := newFake()
	keep := func(string) bool { return true } // nothing is removed
	inBubble(t, f, func(c *Config) { sticky(c); c.Retain, c.Keep = 5, keep }, func(b *bubble) {
		var leases []*Lease
		for i := range 20 {
			c := claim(sessionID(i))
			c.Source = fmt.Sprintf("192.0.2.%d", i)
			l, err := b.take(b.Context(), c)
			if err != nil {
				b.Fatal(err)
			}
			leases = append(leases, l)
			b.over(l)
			b.rest(time.Second)
		}
		b.pool.mu.Lock()
		if n := len(b.pool.sticky); n != 5 {
			b.Errorf("%d sources remembered", n)
		}
		b.pool.mu.Unlock()
		c := claim(session1)
		c.Source = "192.0.2.19"
		if l, err := b.take(b.Context(), c); err != nil || l.Container != leases[19].Container {
			b.Errorf("the latest did not come back: %v", err)
		} else {
			l.Release(b.Context())
		}
	})
}

// TestRetake: things can change while somebody waits to come back.
func TestRetake(t *testing.T) {
	f := newFake()
	inBubble(t, f, sticky, func(b *bubble) {
		l := b.lease(session1)
		b.over(l)
		b.rest(time.Second)
		c := l.container
		if err := b.pool.retake(c, session2); !errors.Is(err, errInUse) {
			b.Errorf("another session's: %v", err)
		}
		if err := b.pool.retake(c, session1); err != nil {
			b.Error(err)
		}
		if err := b.pool.retake(c, session1); !errors.Is(err, errInUse) {
			b.Errorf("a leased one: %v", err)
		}
		b.pool.discard(c, leased, "test")
		if err := b.pool.retake(c, session1); !errors.Is(err, errLost) {
			b.Errorf("a doomed one: %v", err)
		}
	})
}
