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
	"github.com/sandtrap/sandtrap/internal/frame"
	"github.com/sandtrap/sandtrap/internal/target"
)

// TestLease: between the session and its target there is a login and nothing else.
func TestLease(t *testing.T) {
	f := newFake()
	inBubble(t, f, nil, func(b *bubble) {
		b.rest(2 * time.Second)
		calls := f.since()
		l := b.lease(session1)
		if diff := cmp.Diff([]string{"login " + l.Container}, calls()); diff != "" {
			b.Errorf("calls for a lease (-want +got):\n%s", diff)
		}
		if l.Target != "debian" || l.Name != session1 || l.Image != "localhost/x:latest" || l.ImageDigest != "sha256:one" || l.Wait > time.Second || l.Previous != "" {
			b.Errorf("lease %+v", l)
		}
		if want := (target.Account{Name: "admin", UID: 7, GID: 8, Home: "/home/x", Shell: "/bin/sh"}); l.Account != want {
			b.Errorf("account %+v, want %+v", l.Account, want)
		}
		want := frame.LoginMessage{User: "admin", Fallback: "root", Policy: frame.PolicyExisting, Source: "192.0.2.1"}
		if got := b.leader(l.Container).logins; !cmp.Equal(got, []frame.LoginMessage{want}) {
			b.Errorf("logins %+v", got)
		}
		b.expect(Status{Warm: 2, Goal: 3, Leased: 1})
		b.rest(time.Second)
		b.expect(Status{Warm: 3, Goal: 3, Leased: 1})
		if _, err := l.Start(b.Context(), Program{}); err != nil || f.count("program "+l.Container) != 1 {
			b.Errorf("Start: %v", err)
		}
	})
}

// TestRenameComesLater: not during the login, and certainly before the end.
func TestRenameComesLater(t *testing.T) {
	f := newFake()
	inBubble(t, f, nil, func(b *bubble) {
		name := func(l *Lease) string { c, _ := f.get(l.Container); return c.Name }
		l := b.lease(session1)
		b.rest(yieldRename - 10*time.Millisecond)
		if !strings.HasPrefix(name(l), "warm-") {
			b.Errorf("named %s at once", name(l))
		}
		b.rest(20 * time.Millisecond)
		if name(l) != session1 {
			b.Errorf("still named %s", name(l))
		}
		short := b.lease(session2)
		short.Release(b.Context())
		if c, _ := f.get(short.Container); c.Name != session2 || c.Running {
			b.Errorf("after Release %+v", c)
		}
		l.Release(b.Context())
		b.rest(time.Minute)
		if n := f.count("rename"); n != 2 {
			b.Errorf("renamed %d times", n)
		}
	})
}

func TestFailedRenameIsRetried(t *testing.T) {
	f := newFake()
	inBubble(t, f, nil, func(b *bubble) {
		f.set("rename", errDown)
		l := b.lease(session1)
		b.rest(time.Second)
		l.Release(b.Context())
		b.rest(2 * time.Minute)
		if n := f.count("rename"); n < 4 || n > 10 {
			b.Errorf("%d tries in two minutes", n)
		}
		b.expect(Status{Warm: 3, Goal: 3, Retained: 1})
		f.set("rename", nil)
		b.rest(longestRetry)
		if c, _ := f.get(l.Container); c.Name != session1 || f.count("stop") != 1 {
			b.Errorf("container %+v, stopped %d times", c, f.count("stop"))
		}
	})
}

func TestLoginThatFails(t *testing.T) {
	t.Run("once", func(t *testing.T) {
		f := newFake()
		inBubble(t, f, nil, func(b *bubble) {
			var bad string
			f.mu.Lock()
			f.login = func(l *fakeLeader) error {
				if bad == "" || l.id == bad {
					bad = l.id
					return errors.New("no such account")
				}
				return nil
			}
			f.mu.Unlock()
			l := b.lease(session1)
			if l.Container == bad {
				b.Error("leased what refused the login")
			}
			b.rest(3 * time.Second)
			if _, ok := f.get(bad); ok {
				b.Error("what refused the login is still there")
			}
			b.expect(Status{Warm: 3, Goal: 3, Leased: 1})
			if got := b.events.values(event.PoolFail, "operation"); !cmp.Equal(got, []any{"login"}) {
				b.Errorf("events %q", got)
			}
		})
	})
	t.Run("always", func(t *testing.T) {
		f := newFake()
		refusal := errors.New("no such account")
		f.login = func(*fakeLeader) error { return refusal }
		inBubble(t, f, func(c *Config) { c.Targets[0].Min, c.Targets[0].Max = 10, 10 }, func(b *bubble) {
			if _, err := b.take(b.Context(), claim(session1)); !errors.Is(err, refusal) {
				b.Errorf("Lease: %v", err)
			}
			if n := f.count("login"); n != loginTries {
				b.Errorf("one session wore out %d targets", n)
			}
		})
	})
	t.Run("silence", func(t *testing.T) {
		f := newFake()
		inBubble(t, f, nil, func(b *bubble) {
			ids := f.ids()
			loginTimeout := b.pool.cfg.LeaseTimeout / 2
			f.hang("login", true)
			go func() {
				time.Sleep(loginTimeout - time.Millisecond)
				f.hang("login", false)
			}()
			l := b.lease(session1)
			if l.Wait < loginTimeout || l.Wait > loginTimeout+time.Second {
				b.Errorf("waited %s", l.Wait)
			}
			b.rest(3 * time.Second)
			if left := f.ids(); slices.Contains(left, ids[0]) && slices.Contains(left, ids[1]) && slices.Contains(left, ids[2]) {
				b.Error("what does not answer a login is still there")
			}
		})
	})
}

// TestPodmanTroubleKeepsTheTarget: what was not asked can be given to another.
func TestPodmanTroubleKeepsTheTarget(t *testing.T) {
	f := newFake()
	f.image.Labels = nil
	inBubble(t, f, nil, func(b *bubble) {
		before := f.ids()
		trouble := fmt.Errorf("%w: %w", ErrUnasked, errDown)
		f.set("login", trouble)
		if _, err := b.take(b.Context(), claim(session1)); !errors.Is(err, errDown) {
			b.Errorf("Lease: %v", err)
		}
		b.expect(Status{Warm: 3, Goal: 3})
		if n := f.count("login"); n != 1 {
			b.Errorf("tried %d times", n)
		}
		f.set("login", nil)
		b.lease(session1)
		if n := f.count("remove"); n != 0 {
			b.Errorf("%d targets were removed of %q", n, before)
		}
	})
}

func TestLongUserName(t *testing.T) {
	inBubble(t, newFake(), nil, func(b *bubble) {
		c := claim(session1)
		c.User = strings.Repeat("x", 100_000)
		l, err := b.take(b.Context(), c)
		if err != nil {
			b.Fatal(err)
		}
		b.held(l)
		if got := b.leader(l.Container).logins[0].User; len(got) != maxUser {
			b.Errorf("%d bytes were sent to the leader", len(got))
		}
	})
}

func TestReleaseStopsOnceAndKeeps(t *testing.T) {
	f := newFake()
	inBubble(t, f, nil, func(b *bubble) {
		l := b.lease(session1)
		for range 3 {
			l.Release(b.Context())
			l.Captured()
		}
		b.rest(time.Minute)
		if c, ok := f.get(l.Container); !ok || c.Running || c.Name != session1 || f.count("stop "+l.Container) != 1 {
			b.Errorf("container %+v, kept %v, stopped %d times", c, ok, f.count("stop "+l.Container))
		}
		if !b.leader(l.Container).closed {
			b.Error("the stream to the leader was left open")
		}
		b.expect(Status{Warm: 3, Goal: 3, Retained: 1})
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
		l.Captured()
		b.rest(time.Minute)
		if n := f.count("stop"); n != 1 {
			b.Errorf("stopped %d times", n)
		}
		b.expect(Status{Warm: 3, Goal: 3})
		if got := b.events.values(event.PoolRemove, "reason"); !cmp.Equal(got, []any{"it was gone"}) {
			b.Errorf("events %q", got)
		}
	})
}

func TestFailedStopIsRetried(t *testing.T) {
	f := newFake()
	inBubble(t, f, nil, func(b *bubble) {
		l := b.lease(session1)
		f.set("stop", errDown)
		l.Release(b.Context())
		l.Captured()
		b.rest(time.Minute)
		tries := f.count("stop " + l.Container)
		if tries < 3 || tries > 5 {
			b.Errorf("%d tries in a minute", tries)
		}
		if s := b.pool.Status(); s.Failure != nil || s.Draining != 1 {
			b.Errorf("a target that cannot be stopped counts as one that cannot be made: %+v", s)
		}
		f.set("stop", nil)
		b.rest(longestRetry)
		c, ok := f.get(l.Container)
		if !ok || c.Running || c.stops != 1 || c.Name != session1 {
			b.Errorf("container %+v, kept %v", c, ok)
		}
		tries = f.count("stop")
		b.rest(time.Minute)
		if f.count("stop") != tries {
			b.Error("stopped again and again")
		}
		b.expect(Status{Warm: 3, Goal: 3, Retained: 1})
	})
}

// TestReleaseInTime: a Podman that hangs does not hold the session's end.
func TestReleaseInTime(t *testing.T) {
	f := newFake()
	inBubble(t, f, nil, func(b *bubble) {
		l := b.lease(session1)
		f.hang("stop", true)
		ctx, cancel := context.WithTimeout(b.Context(), 30*time.Second)
		defer cancel()
		began := time.Now()
		l.Release(ctx)
		if took := time.Since(began); took > 31*time.Second {
			b.Errorf("took %s", took)
		}
		f.hang("stop", false)
		b.rest(time.Minute)
		if c, _ := f.get(l.Container); c.Running || c.Name != session1 {
			b.Errorf("container %+v", c)
		}
	})
}

// TestClientLeavesBeforeTheLogin: what it was given can be given to another.
func TestClientLeavesBeforeTheLogin(t *testing.T) {
	f := newFake()
	inBubble(t, f, nil, func(b *bubble) {
		c, err := b.pool.take(b.Context(), b.pool.stocks[0])
		if err != nil {
			b.Fatal(err)
		}
		ctx, cancel := context.WithCancel(b.Context())
		cancel()
		if _, err := b.pool.logIn(ctx, c, claim(session1)); !errors.Is(err, context.Canceled) {
			b.Errorf("logIn: %v", err)
		}
		b.expect(Status{Warm: 3, Goal: 3})
		if n := f.count("login"); n != 0 {
			b.Errorf("%d logins", n)
		}
	})
}

// TestReleaseWhileHeld: the janitor finishes what Release could not wait for.
func TestReleaseWhileHeld(t *testing.T) {
	f := newFake()
	inBubble(t, f, nil, func(b *bubble) {
		l := b.lease(session1)
		b.rest(time.Second)
		_ = l.container.hold(b.Context())
		ctx, cancel := context.WithTimeout(b.Context(), time.Second)
		defer cancel()
		l.Release(ctx)
		b.expect(Status{Warm: 3, Goal: 3, Draining: 1})
		l.container.letGo()
		b.rest(retryEvery + time.Second)
		b.expect(Status{Warm: 3, Goal: 3, Retained: 1})
	})
}

// TestUnusedIsRemoved: a target in which nothing ran is no evidence.
func TestUnusedIsRemoved(t *testing.T) {
	f := newFake()
	inBubble(t, f, nil, func(b *bubble) {
		l, err := b.pool.Lease(b.Context(), claim(session1))
		if err != nil {
			b.Fatal(err)
		}
		l.Release(b.Context())
		l.Captured()
		b.rest(10 * time.Second)
		if _, ok := f.get(l.Container); ok {
			b.Error("it was kept")
		}
		b.expect(Status{Warm: 3, Goal: 3})
		if got := b.events.values(event.PoolRemove, "reason"); !cmp.Equal(got, []any{"nothing ran in it"}) {
			b.Errorf("removed because %q", got)
		}
	})
}
