package pool

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sandtrap/sandtrap/internal/event"
	"github.com/sandtrap/sandtrap/internal/podman"
)

func TestLease(t *testing.T) {
	f := newFake()
	inBubble(t, f, nil, func(b *bubble) {
		l := b.lease(session1)
		if c, _ := f.get(l.Container); c.Name != session1 || !c.Running {
			b.Errorf("container %+v", c)
		}
		if l.Target != "debian" || l.Name != session1 || l.Image != "localhost/x:latest" || l.ImageDigest != "sha256:one" || l.Wait > time.Second {
			b.Errorf("lease %+v", l)
		}
		if l.Account("admin").Home != "/home/admin" || l.Account("nobody").Name != "root" {
			b.Errorf("accounts %+v", l.accounts)
		}
		b.rest(time.Second)
		if got := b.pool.Status(); got != (Status{Warm: 3, Size: 3, Leased: 1}) {
			b.Errorf("status after a lease %+v", got)
		}
		if _, err := l.Exec(b.Context(), Program{}); err != nil || f.count("exec "+l.Container) != 1 {
			b.Errorf("Exec: %v", err)
		}
	})
}

func TestLeaseBusy(t *testing.T) {
	inBubble(t, newFake(), nil, func(b *bubble) {
		first := b.lease(session1)
		b.lease(session2)
		if _, err := b.pool.Lease(b.Context(), session3); !errors.Is(err, ErrBusy) {
			b.Errorf("third of two leases: %v", err)
		}
		first.Release(b.Context())
		b.lease(session3)
	})
}

func TestLeaseWaits(t *testing.T) {
	f := newFake()
	inBubble(t, f, func(c *Config) { c.Size, c.Workers = 1, 1 }, func(b *bubble) {
		f.mu.Lock()
		f.slow = 4 * time.Second
		f.mu.Unlock()
		b.lease(session1)
		if l := b.lease(session2); l.Wait < 4*time.Second || l.Wait > 5*time.Second {
			b.Errorf("waited %s, want 4 s", l.Wait)
		}
	})
}

func TestLeaseEmpty(t *testing.T) {
	f := newFake()
	inBubble(t, f, func(c *Config) { c.Size = 1 }, func(b *bubble) {
		f.set("create", errDown)
		b.lease(session1)
		began := time.Now()
		if _, err := b.pool.Lease(b.Context(), session2); !errors.Is(err, ErrEmpty) {
			b.Errorf("Lease of nothing: %v", err)
		}
		if took := time.Since(began); took != 10*time.Second {
			b.Errorf("took %s, want the lease timeout", took)
		}
		if n := b.pool.Status().Leased; n != 1 {
			b.Errorf("%d leased after the failure, want 1", n)
		}
		ctx, cancel := context.WithCancel(b.Context())
		cancel()
		if _, err := b.pool.Lease(ctx, session2); !errors.Is(err, context.Canceled) {
			b.Errorf("Lease for a client that left: %v", err)
		}
	})
}

func TestDeadTargetIsReplaced(t *testing.T) {
	for name, kill := range map[string]func(f *fake, id string){
		"stopped": func(f *fake, id string) { f.boxes[id].Running = false },
		"gone":    func(f *fake, id string) { delete(f.boxes, id) },
	} {
		t.Run(name, func(t *testing.T) {
			f := newFake()
			inBubble(t, f, func(c *Config) { c.Size = 1 }, func(b *bubble) {
				dead := f.ids()[0]
				f.mu.Lock()
				kill(f, dead)
				f.mu.Unlock()
				l := b.lease(session1)
				if l.Container == dead {
					b.Error("a dead target was leased")
				}
				if _, ok := f.get(dead); ok {
					b.Error("the dead target was left")
				}
				b.rest(time.Second)
				if got := b.pool.Status(); got.Warm != 1 {
					b.Errorf("status %+v", got)
				}
			})
		})
	}
}

func TestTargetThatVanishesOnRename(t *testing.T) {
	f := newFake()
	inBubble(t, f, func(c *Config) { c.Size = 1 }, func(b *bubble) {
		first := f.ids()[0]
		f.set("rename "+first, podman.ErrNotFound)
		if l := b.lease(session1); l.Container == first {
			b.Error("leased without its name")
		}
	})
}

func TestTargetThatPodmanRefuses(t *testing.T) {
	f := newFake()
	inBubble(t, f, func(c *Config) { c.Size = 1 }, func(b *bubble) {
		first := f.ids()[0]
		f.set("inspect "+first, fmt.Errorf("state is damaged (%w)", podman.ErrRefused))
		if l := b.lease(session1); l.Container == first {
			b.Error("leased what Podman cannot tell anything about")
		}
		if _, ok := f.get(first); ok {
			b.Error("the refused target was left")
		}
	})
}

func TestPodmanTroubleKeepsTheTarget(t *testing.T) {
	for _, verb := range []string{"inspect", "rename"} {
		t.Run(verb, func(t *testing.T) {
			f := newFake()
			inBubble(t, f, nil, func(b *bubble) {
				before := f.ids()
				f.set(verb, errDown)
				if _, err := b.pool.Lease(b.Context(), session1); !errors.Is(err, errDown) {
					b.Errorf("Lease: %v", err)
				}
				if got := b.pool.Status(); got != (Status{Warm: 3, Size: 3}) {
					b.Errorf("status %+v", got)
				}
				f.set(verb, nil)
				b.lease(session1)
				if n := f.count("remove"); n != 0 {
					b.Errorf("%d targets were removed of %q", n, before)
				}
			})
		})
	}
}

func TestReleaseStopsOnceAndKeeps(t *testing.T) {
	f := newFake()
	inBubble(t, f, nil, func(b *bubble) {
		l := b.lease(session1)
		for range 3 {
			l.Release(b.Context())
		}
		b.rest(time.Minute)
		if c, ok := f.get(l.Container); !ok || c.Running || f.count("stop "+l.Container) != 1 {
			b.Errorf("container %+v, kept %v, stopped %d times", c, ok, f.count("stop "+l.Container))
		}
		if got := b.pool.Status(); got != (Status{Warm: 3, Size: 3}) {
			b.Errorf("status %+v", got)
		}
		if got := b.events.values(event.TargetStop, "container"); !cmp.Equal(got, []any{l.Container}) {
			b.Errorf("events %q", got)
		}
	})
}

func TestReleaseOfWhatIsGone(t *testing.T) {
	f := newFake()
	inBubble(t, f, nil, func(b *bubble) {
		l := b.lease(session1)
		f.mu.Lock()
		delete(f.boxes, l.Container)
		f.mu.Unlock()
		l.Release(b.Context())
		b.rest(time.Minute)
		if n := f.count("stop"); n != 1 {
			b.Errorf("stopped %d times", n)
		}
	})
}

func TestFailedStopIsRetried(t *testing.T) {
	f := newFake()
	inBubble(t, f, nil, func(b *bubble) {
		l := b.lease(session1)
		f.set("stop", errDown)
		l.Release(b.Context())
		if n := b.pool.Status().Leased; n != 0 {
			b.Errorf("%d leases are still held", n)
		}
		b.rest(time.Minute)
		tries := f.count("stop " + l.Container)
		if tries < 2 || tries > int(time.Minute/retryEvery)+2 {
			b.Errorf("%d tries in a minute, want one every %s", tries, retryEvery)
		}
		if s := b.pool.Status(); s.Failure != nil {
			b.Errorf("a target that cannot be stopped counts as one that cannot be made: %v", s.Failure)
		}
		f.set("list", errDown) // Podman is away altogether
		b.rest(time.Minute)
		f.set("list", nil)
		f.set("stop", nil)
		b.rest(2 * retryEvery)
		c, ok := f.get(l.Container)
		if !ok || c.Running || c.stops != 1 {
			b.Errorf("container %+v, kept %v", c, ok)
		}
		tries = f.count("stop")
		b.rest(time.Minute)
		if f.count("stop") != tries {
			b.Error("stopped again and again")
		}
	})
}

func TestRetention(t *testing.T) {
	f := newFake()
	f.put("old3", session3, false) // 1 and 2 are leased below: order is by name, not by time of release
	f.put("old4", session4, false)
	inBubble(t, f, nil, func(b *bubble) {
		second, first := b.lease(session2), b.lease(session1)
		second.Release(b.Context())
		b.rest(time.Second)
		if _, ok := f.get(second.Container); ok {
			b.Error("the oldest of three was kept")
		}
		if _, ok := f.get(first.Container); !ok {
			b.Error("one in use was removed")
		}
		first.Release(b.Context())
		b.rest(time.Second)
		for _, id := range []string{"old3", "old4"} {
			if _, ok := f.get(id); !ok {
				b.Errorf("%s was removed, but it is among the newest two", id)
			}
		}
		if got := b.events.values(event.PoolRemove, "reason"); !cmp.Equal(got, []any{"retention", "retention"}) {
			b.Errorf("removed for %q", got)
		}
	})
}

func TestRetentionThatFails(t *testing.T) {
	f := newFake()
	f.put("old", session1, false)
	f.broken["remove old"] = errors.New("device busy")
	inBubble(t, f, func(c *Config) { c.Retain = 0 }, func(b *bubble) {
		if n := f.count("remove old"); n < 2 || n > int(time.Minute/retryEvery)+2 {
			b.Errorf("%d tries in a minute, want one every %s", n, retryEvery)
		}
		if n := f.count("stop old"); n != 0 {
			b.Errorf("stopped %d times", n)
		}
		f.set("remove old", nil)
		b.rest(2 * retryEvery)
		if _, ok := f.get("old"); ok {
			b.Error("still there")
		}
	})
}
