package pool

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sandtrap/sandtrap/internal/event"
	"github.com/sandtrap/sandtrap/internal/frame"
	"github.com/sandtrap/sandtrap/internal/hint"
	"github.com/sandtrap/sandtrap/internal/target"
)

func TestImageWithoutLeader(t *testing.T) {
	f := newFake()
	f.image.Labels = nil
	inBubble(t, f, nil, func(b *bubble) {
		c, _ := f.get(b.lease(session1).Container)
		if c.link.Program != "" {
			b.Errorf("connected as %+v", c.link)
		}
	})
}

// TestBurst: all makers work while less than half of the targets are there or the
// machine is idle, and one while sessions come and go.
func TestBurst(t *testing.T) {
	f := newFake()
	f.slow["create"] = 40 * time.Millisecond
	inBubble(t, f, func(c *Config) { c.Targets[0].Min, c.Targets[0].Max, c.Burst, c.MaxLeases = 20, 20, 4, 64 }, func(b *bubble) {
		if b.pool.Status().Warm != 20 {
			b.Errorf("%d warm after a second, want 20", b.pool.Status().Warm)
		}
		if f.most != 4 {
			b.Errorf("%d made at once at most, want 4", f.most)
		}
		reset := func() { f.mu.Lock(); f.most = 0; f.mu.Unlock() }
		reset()
		for i := range 5 {
			b.lease(sessionID(i))
		}
		b.rest(900 * time.Millisecond)
		if f.most != 1 || b.pool.Status().Warm != 20 {
			b.Errorf("after 5 of 20 were leased %d were made at once; status %+v", f.most, b.pool.Status())
		}
		reset()
		for i := range 11 {
			b.lease(sessionID(10 + i))
		}
		b.rest(900 * time.Millisecond)
		if f.most != 4 {
			b.Errorf("after 11 of 20 were leased %d were made at once", f.most)
		}
	})
}

// TestIdleFill: the first container comes alone, and those after it as many at once
// as allowed, for nobody else wants the machine.
func TestIdleFill(t *testing.T) {
	f := newFake()
	f.slow["create"] = 100 * time.Millisecond
	inBubble(t, f, func(c *Config) { c.Targets[0].Min, c.Targets[0].Max, c.Burst = 24, 24, 4 }, func(b *bubble) {
		b.expect(Status{Warm: 24, Goal: 24})
		for _, call := range f.calls[slices.Index(f.calls, "create debian")+1:] {
			if call == "create debian" {
				b.Error("the first container did not come alone")
			}
			if strings.HasPrefix(call, "connect") {
				break
			}
		}
	})
}

// TestTroubleIsTriedAlone: several makers would make it worse.
func TestTroubleIsTriedAlone(t *testing.T) {
	f := newFake()
	f.slow["create"] = 100 * time.Millisecond
	inBubble(t, f, func(c *Config) { c.Targets[0].Min, c.Targets[0].Max, c.Burst, c.MaxLeases = 8, 8, 4, 10 }, func(b *bubble) {
		f.set("create", errDown)
		for i := range 6 {
			b.lease(sessionID(i))
		}
		b.rest(time.Second)
		f.mu.Lock()
		f.most = 0
		f.mu.Unlock()
		b.rest(time.Minute)
		if f.most != 1 {
			b.Errorf("%d tries at once", f.most)
		}
	})
}

// TestSlowMachine: where several makers at once come to nothing, such as on a machine
// with too much to do, there are soon fewer, and what they make is of use.
func TestSlowMachine(t *testing.T) {
	f := newFake()
	f.slow["create"], f.bears = time.Second, 2
	inBubble(t, f, func(c *Config) { c.Targets[0].Min, c.Targets[0].Max, c.Burst, c.MaxLeases = 24, 24, 8, 30 }, func(b *bubble) {
		b.rest(time.Minute)
		b.expect(Status{Warm: 24, Goal: 24})
		made, failed := f.count("create"), len(b.events.values(event.PoolFail, "operation"))
		if failed*2 > made {
			b.Errorf("%d of %d tries came to nothing", failed, made)
		}
	})
}

// TestWaitersAreMadeFor: as many targets as sessions wait for, not as many as
// should be warm.
func TestWaitersAreMadeFor(t *testing.T) {
	f := newFake()
	inBubble(t, f, func(c *Config) { c.Targets[0].Min, c.Targets[0].Max, c.Burst, c.MaxLeases = 1, 1, 4, 10 }, func(b *bubble) {
		f.delay("create", time.Second)
		b.lease(sessionID(0))
		for i := range 4 {
			go b.tryLease(sessionID(1 + i))
		}
		b.rest(2500 * time.Millisecond)
		if got := b.pool.Status(); got.Leased != 5 {
			b.Errorf("status %+v", got)
		}
	})
}

// TestRefillDoesNotStarve: the pause is not begun anew by each session.
func TestRefillDoesNotStarve(t *testing.T) {
	f := newFake()
	inBubble(t, f, func(c *Config) { c.Targets[0].Min, c.Targets[0].Max, c.MaxLeases = 30, 30, 20 }, func(b *bubble) {
		b.rest(time.Minute)
		made := f.count("create")
		for i := range 10 {
			b.lease(sessionID(i))
			b.rest(100 * time.Millisecond)
		}
		if n := f.count("create") - made; n < 5 {
			b.Errorf("%d made during a second with 10 sessions", n)
		}
	})
}

// TestRefillYields: the login that takes a target has the machine for itself for a
// moment, unless there are few targets.
func TestRefillYields(t *testing.T) {
	f := newFake()
	inBubble(t, f, func(c *Config) { c.Targets[0].Min, c.Targets[0].Max, c.MaxLeases = 4, 4, 10 }, func(b *bubble) {
		b.rest(time.Minute)
		made := f.count("create")
		b.lease(session1)
		b.rest(yieldRefill - 10*time.Millisecond)
		if n := f.count("create"); n != made {
			b.Errorf("%d made at once", n-made)
		}
		b.rest(20 * time.Millisecond)
		if n := f.count("create"); n != made+1 {
			b.Errorf("%d made after the pause, want 1", n-made)
		}
		b.rest(time.Minute)
		made = f.count("create")
		for i := range 3 { // the last leaves one of four
			b.lease(sessionID(2 + i))
		}
		b.rest(10 * time.Millisecond)
		if n := f.count("create"); n == made {
			b.Error("nothing is made although few are left")
		}
	})
}

// TestSustained: ten sessions a second do not empty a pool of 16.
func TestSustained(t *testing.T) {
	f := newFake()
	f.slow["create"], f.slow["stop"], f.slow["remove"] = 45*time.Millisecond, 30*time.Millisecond, 12*time.Millisecond
	inBubble(t, f, func(c *Config) {
		c.Targets[0].Min, c.Targets[0].Max, c.Burst, c.MaxLeases, c.Retain = 16, 16, 4, 64, 50
	}, func(b *bubble) {
		least := 16
		for i := range 300 {
			l := b.lease(sessionID(i))
			if l.Wait > 10*time.Millisecond {
				b.Fatalf("session %d waited %s", i, l.Wait)
			}
			go func() {
				time.Sleep(time.Second)
				b.over(l)
			}()
			least = min(least, b.pool.Status().Warm)
			b.rest(95 * time.Millisecond)
		}
		if least < 6 {
			b.Errorf("%d targets were left at the worst moment", least)
		}
		if n := b.pool.Status().Retained; n > 50+urgentExcess+10 {
			b.Errorf("%d containers are kept while sessions come and go, want about 50", n)
		}
		b.rest(time.Minute)
		b.expect(Status{Warm: 16, Goal: 16, Retained: 50})
	})
}

func TestGoalGrowsAndFalls(t *testing.T) {
	f := newFake()
	f.slow["create"] = 40 * time.Millisecond
	inBubble(t, f, func(c *Config) { c.Targets[0].Min, c.Targets[0].Max, c.MaxLeases = 4, 8, 64 }, func(b *bubble) {
		for i := range 3 { // leaves 3, 2, 1 of 4
			b.lease(sessionID(i))
		}
		if got := b.pool.Status().Goal; got != 5 {
			b.Errorf("goal %d, want 5", got)
		}
		for i := range 20 {
			b.lease(sessionID(10 + i))
		}
		if got := b.pool.Status().Goal; got != 8 {
			b.Errorf("goal %d, want the maximum of 8", got)
		}
		b.rest(5 * time.Second)
		b.expect(Status{Warm: 8, Goal: 8, Leased: 23})
		b.rest(10 * time.Second)
		b.expect(Status{Warm: 7, Goal: 7, Leased: 23})
		b.rest(time.Minute)
		b.expect(Status{Warm: 4, Goal: 4, Leased: 23})
		if got := b.events.values(event.PoolRemove, "reason"); len(got) != 4 || got[0] != "more than are needed" {
			b.Errorf("removed because %q", got)
		}
		f.mu.Lock()
		defer f.mu.Unlock()
		for id := range f.names { // removed
			for _, c := range b.pool.stocks[0].warm {
				if f.born[c.id].Before(f.born[id]) {
					b.Errorf("%s was removed and the older %s was not", id, c.id)
				}
			}
		}
	})
}

func TestMakingBacksOffAndRecovers(t *testing.T) {
	f := newFake()
	noLimits := errors.New("crun: opening file `memory.max` for writing: No such file or directory")
	f.broken["start"] = noLimits
	inBubble(t, f, nil, func(b *bubble) {
		b.rest(time.Minute)
		if n := f.count("create"); n < 5 || n > 15 {
			b.Errorf("%d tries in a minute", n)
		}
		if got := f.ids(); len(got) != 0 {
			b.Errorf("what did not start was left: %q", got)
		}
		select {
		case <-b.pool.Ready():
			b.Error("ready without a target")
		default:
		}
		failure := b.pool.Status().Failure
		if !errors.Is(failure, noLimits) || !strings.Contains(hint.Of(failure), "limits.enforcement") {
			b.Errorf("failure %v, hint %q", failure, hint.Of(failure))
		}
		f.set("start", nil)
		b.rest(longestPause + time.Second)
		b.expect(Status{Warm: 3, Goal: 3})
		f.set("start", noLimits)
		tries := f.count("create")
		b.lease(session1)
		b.rest(time.Second)
		if n := f.count("create") - tries; n < 2 {
			b.Errorf("%d tries in the first second of new trouble", n)
		}
	})
}

func TestBestEffort(t *testing.T) {
	for _, bestEffort := range []bool{true, false} {
		t.Run(fmt.Sprint(bestEffort), func(t *testing.T) {
			f := newFake()
			f.limits = errors.New("controller not delegated")
			inBubble(t, f, func(c *Config) { c.BestEffort, c.Burst = bestEffort, 1 }, func(b *bubble) {
				b.rest(time.Minute)
				s := b.pool.Status()
				if !bestEffort {
					if s.Warm != 0 || s.Unlimited || !errors.Is(s.Failure, f.limits) {
						b.Errorf("required limits: status %+v", s)
					}
					return
				}
				b.expect(Status{Warm: 3, Goal: 3, Unlimited: true})
				// One with limits, then only without.
				if n := f.count("create"); n != 4 {
					b.Errorf("%d containers made, want 4", n)
				}
				if got := f.ids(); len(got) != 3 {
					b.Errorf("left %q", got)
				}
			})
		})
	}
}

// TestLimitsThatDoNotHold: a container that started without a group of its own has
// none, whatever Podman was asked for.
func TestLimitsThatDoNotHold(t *testing.T) {
	for _, bestEffort := range []bool{true, false} {
		f := newFake()
		f.loose = true
		inBubble(t, f, func(c *Config) { c.BestEffort, c.Burst = bestEffort, 1 }, func(b *bubble) {
			b.rest(time.Minute)
			s := b.pool.Status()
			if bestEffort {
				b.expect(Status{Warm: 3, Goal: 3, Unlimited: true})
			} else if s.Warm != 0 || s.Failure == nil || !strings.Contains(hint.Of(s.Failure), "controllers") || len(f.ids()) > 1 {
				b.Errorf("the pool holds %+v, and Podman %q", s, f.ids())
			}
		})
	}
}

// TestNoQuotas: where what a target writes has no bounds, the operator is told where to
// look.
func TestNoQuotas(t *testing.T) {
	f := newFake()
	f.limits = errors.New("start container: bound the disk space of layer 1: no store")
	inBubble(t, f, nil, func(b *bubble) {
		b.rest(time.Second)
		if s := b.pool.Status(); s.Warm != 0 || !errors.Is(s.Failure, f.limits) || !strings.Contains(hint.Of(s.Failure), "sandtrap-store.service") {
			b.Errorf("the pool holds %+v", s)
		}
	})
}

func TestBestEffortAndOtherTrouble(t *testing.T) {
	f := newFake()
	f.broken["start"] = errDown
	inBubble(t, f, func(c *Config) { c.BestEffort = true }, func(b *bubble) {
		if s := b.pool.Status(); s.Unlimited || !errors.Is(s.Failure, errDown) || hint.Of(s.Failure) != "" {
			b.Errorf("status %+v", s)
		}
		f.set("start", nil)
		b.rest(longestPause + time.Second)
		if s := b.pool.Status(); s.Unlimited || s.Warm != 3 {
			b.Errorf("trouble that passed took the limits away: %+v", s)
		}
	})
}

func TestBestEffortThatDoesNotHelp(t *testing.T) {
	f := newFake()
	f.broken["start"] = errors.New("cgroup: no space left")
	inBubble(t, f, func(c *Config) { c.BestEffort = true }, func(b *bubble) {
		if s := b.pool.Status(); s.Unlimited || s.Warm != 0 || s.Failure == nil {
			b.Errorf("status %+v", s)
		}
	})
}

func TestImageWithoutTheAccount(t *testing.T) {
	for name, passwd := range map[string]string{"no account": "daemon:x:1:1::/:/usr/sbin/nologin\n", "no contents": ""} {
		t.Run(name, func(t *testing.T) {
			f := newFake()
			f.passwd = passwd
			inBubble(t, f, nil, func(b *bubble) {
				if s := b.pool.Status(); s.Warm != 0 || s.Failure == nil || !strings.Contains(s.Failure.Error(), `account "root"`) {
					b.Errorf("status %+v", s)
				}
				if got := f.ids(); len(got) != 0 {
					b.Errorf("left: %q", got)
				}
			})
		})
	}
}

// TestLeaderThatDoesNotCome: each kind of failure has one clear line and a hint.
func TestLeaderThatDoesNotCome(t *testing.T) {
	for _, test := range []struct {
		name, want, hint string
		leader           string
		spoil            func(f *fake)
	}{
		{"says nothing", "the session leader in image localhost/x:latest does not answer", "must start with /leader", "/leader",
			func(f *fake) { f.hung["connect"] = true }},
		{"ends at once", "the main process of image localhost/x:latest ends at once", "run --rm localhost/x:latest", "/leader",
			func(f *fake) { f.broken["connect"], f.ends = errors.New("EOF"), true }},
		{"ends at once without leader", "the main process of image localhost/x:latest ends at once", "run --rm localhost/x:latest", "",
			func(f *fake) { f.broken["connect"], f.ends = errNotRunning, true }},
		{"speaks nonsense", "the session leader in image localhost/x:latest speaks another language: connect: malformed", "of another version", "/leader",
			func(f *fake) { f.broken["connect"] = frame.ErrMalformed }},
		{"Podman trouble", "connect to a container of image localhost/x:latest: connect: connection refused", "", "/leader",
			func(f *fake) { f.broken["connect"] = errDown }},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := newFake()
			f.image.Labels[target.LeaderLabel] = test.leader
			test.spoil(f)
			inBubble(t, f, nil, func(b *bubble) {
				b.rest(time.Minute)
				s := b.pool.Status()
				if s.Failure == nil || !strings.HasPrefix(s.Failure.Error(), test.want) || !strings.Contains(hint.Of(s.Failure), test.hint) {
					b.Errorf("failure %v, hint %q", s.Failure, hint.Of(s.Failure))
				}
				if got := f.ids(); len(got) > 2 { // those being made now
					b.Errorf("left: %q", got)
				}
				if n := f.count("create"); n > 15 {
					b.Errorf("%d tries in a minute", n)
				}
				if operations := b.events.values(event.PoolFail, "operation"); len(operations) == 0 || operations[0] != "make" {
					b.Errorf("events %q", operations)
				}
				f.mu.Lock()
				clear(f.broken)
				clear(f.hung)
				f.mu.Unlock()
				b.rest(longestPause + helloTimeout + time.Second)
				b.expect(Status{Warm: 3, Goal: 3})
			})
		})
	}
}
