package pool

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sandtrap/sandtrap/internal/event"
	"github.com/sandtrap/sandtrap/internal/hint"
	"github.com/sandtrap/sandtrap/internal/podman"
)

// Session ids, oldest first.
const (
	session1 = "01JQ0000000000000000000001"
	session2 = "01JQ0000000000000000000002"
	session3 = "01JQ0000000000000000000003"
	session4 = "01JQ0000000000000000000004"
)

func TestFillsToSize(t *testing.T) {
	inBubble(t, newFake(), nil, func(b *bubble) {
		select {
		case <-b.pool.Ready():
		default:
			b.Error("not ready")
		}
		if got := b.pool.Status(); got != (Status{Warm: 3, Size: 3}) {
			b.Errorf("status %+v", got)
		}
		if got := b.fake.ids(); len(got) != 3 {
			b.Errorf("containers %q", got)
		}
		for _, id := range b.fake.ids() {
			c, _ := b.fake.get(id)
			if !c.Running || !strings.HasPrefix(c.Name, "warm-") || !c.limited || c.Labels["io.sandtrap.target"] != "debian" {
				b.Errorf("container %+v", c)
			}
		}
		if got := b.fake.spec; got.Image != "localhost/x:latest" || got.Hostname != "srv01" || got.Memory != 1<<20 {
			b.Errorf("spec %+v", got)
		}
		if b.fake.count("read") > 2 { // both workers may have asked at once
			b.Error("the accounts of one image were read again and again")
		}
		if warm, ready := b.events.values(event.PoolWarm, "image_digest"), b.events.values(event.PoolReady, "warm"); len(warm) != 3 || len(ready) != 1 {
			b.Errorf("events %v and %v", warm, ready)
		}
	})
}

func TestStopRemovesUnused(t *testing.T) {
	inBubble(t, newFake(), nil, func(b *bubble) {
		l := b.lease(session1)
		b.rest(time.Minute)
		if err := b.stop(); err != nil {
			b.Errorf("Run = %v", err)
		}
		if got := b.fake.ids(); !cmp.Equal(got, []string{l.Container}) {
			b.Errorf("left: %q, want only the leased %s", got, l.Container)
		}
		l.Release(b.Context()) // a session may end after the pool
		if c, _ := b.fake.get(l.Container); c.Running || c.stops != 1 {
			b.Errorf("container %+v", c)
		}
	})
}

func TestRefillIsBounded(t *testing.T) {
	f := newFake()
	f.slow = time.Second
	inBubble(t, f, func(c *Config) { c.Size, c.Workers = 8, 3 }, func(b *bubble) {
		if f.most != 3 {
			b.Errorf("%d containers were made at once, want 3", f.most)
		}
		if got := b.pool.Status().Warm; got != 8 {
			b.Errorf("%d warm", got)
		}
	})
}

func TestMissingImageIsFatal(t *testing.T) {
	f := newFake()
	f.broken["image"] = podman.ErrNotFound
	inBubble(t, f, nil, func(b *bubble) {
		err := b.stop()
		if err == nil || err.Error() != "target debian: image localhost/x:latest does not exist" || hint.Of(err) != "build it: systemctl start sandtrap-target-debian-build.service" {
			b.Errorf("Run = %v, hint %q", err, hint.Of(err))
		}
		if f.count("image") != 1 || f.count("create") != 0 {
			b.Errorf("calls %q", f.calls)
		}
	})
}

func TestPodmanDownAtStart(t *testing.T) {
	f := newFake()
	f.broken["image"] = errDown
	inBubble(t, f, nil, func(b *bubble) {
		tries := f.count("image")
		if tries < 5 || tries > 15 {
			b.Errorf("%d tries in a minute", tries)
		}
		if s := b.pool.Status(); !errors.Is(s.Failure, errDown) || s.Warm != 0 {
			b.Errorf("status %+v", s)
		}
		f.set("image", nil)
		f.set("list", errDown) // half alive
		b.rest(longestPause)
		if f.count("create") != 0 {
			b.Error("targets were made before the leftovers were known")
		}
		f.set("list", nil)
		b.rest(longestPause)
		if s := b.pool.Status(); s.Failure != nil || s.Warm != 3 {
			b.Errorf("status %+v", s)
		}
	})
}

func TestStopWhilePodmanIsDown(t *testing.T) {
	f := newFake()
	f.broken["image"] = errDown
	inBubble(t, f, nil, func(b *bubble) {
		if err := b.stop(); err != nil {
			b.Errorf("Run = %v", err)
		}
	})
}

func TestMakingBacksOffAndRecovers(t *testing.T) {
	f := newFake()
	noLimits := errors.New("crun: opening file `memory.max` for writing: No such file or directory")
	f.broken["start"] = noLimits
	inBubble(t, f, func(c *Config) { c.Workers = 1 }, func(b *bubble) {
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
		if s := b.pool.Status(); s.Warm != 3 || s.Failure != nil {
			b.Errorf("status %+v", s)
		}
	})
}

func TestBestEffort(t *testing.T) {
	for _, bestEffort := range []bool{true, false} {
		t.Run(fmt.Sprint(bestEffort), func(t *testing.T) {
			f := newFake()
			f.limits = errors.New("controller not delegated")
			inBubble(t, f, func(c *Config) { c.BestEffort, c.Workers = bestEffort, 1 }, func(b *bubble) {
				s := b.pool.Status()
				if !bestEffort {
					if s.Warm != 0 || s.Unlimited || !errors.Is(s.Failure, f.limits) {
						b.Errorf("required limits: status %+v", s)
					}
					return
				}
				if s.Warm != 3 || !s.Unlimited || s.Failure != nil {
					b.Errorf("status %+v", s)
				}
				// One with limits, then only without.
				if n := f.count("create"); n != 4 {
					b.Errorf("%d containers made, want 4", n)
				}
			})
		})
	}
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
	for name, spoil := range map[string]func(*fake){
		"no account":  func(f *fake) { f.passwd = "daemon:x:1:1::/:/usr/sbin/nologin\n" },
		"unreadable":  func(f *fake) { f.broken["read"] = errDown },
		"no contents": func(f *fake) { f.passwd = "" },
	} {
		t.Run(name, func(t *testing.T) {
			f := newFake()
			spoil(f)
			inBubble(t, f, nil, func(b *bubble) {
				if s := b.pool.Status(); s.Warm != 0 || s.Failure == nil {
					b.Errorf("status %+v", s)
				}
				if got := f.ids(); len(got) != 0 {
					b.Errorf("left: %q", got)
				}
			})
		})
	}
}

func TestNewImageIsTakenUp(t *testing.T) {
	f := newFake()
	inBubble(t, f, func(c *Config) { c.Size = 1 }, func(b *bubble) {
		f.mu.Lock()
		f.digest, f.passwd = "sha256:two", "root:x:0:0::/new:/bin/sh\n"
		f.mu.Unlock()
		old := b.lease(session1)
		b.rest(time.Second)
		l := b.lease(session2)
		if old.ImageDigest != "sha256:one" || l.ImageDigest != "sha256:two" || old.Account("x").Home != "/root" || l.Account("x").Home != "/new" {
			b.Errorf("leases %+v and %+v", old, l)
		}
	})
}

func TestReconcile(t *testing.T) {
	f := newFake()
	f.put("warm", "warm-"+session1, true)
	f.put("dead", "warm-"+session2, false)
	f.put("odd", "somebody", true)
	f.put("running", session1, true)
	f.put("stopped", session2, false)
	inBubble(t, f, nil, func(b *bubble) {
		for _, id := range []string{"warm", "dead", "odd"} {
			if _, ok := f.get(id); ok {
				b.Errorf("%s was not removed", id)
			}
		}
		if c, ok := f.get("running"); !ok || c.Running || c.stops != 1 {
			b.Errorf("the session that ran: %+v, %v", c, ok)
		}
		if c, ok := f.get("stopped"); !ok || c.stops != 0 {
			b.Errorf("the session that was stopped: %+v, %v", c, ok)
		}
		if f.count("stop stopped") != 0 {
			b.Error("a stopped container was stopped again")
		}
	})
}

func TestReconcileOneThatResists(t *testing.T) {
	f := newFake()
	f.put("stuck", "warm-"+session1, true)
	f.broken["remove stuck"] = errors.New("device busy")
	inBubble(t, f, nil, func(b *bubble) {
		if got := b.pool.Status(); got.Warm != 3 || got.Failure != nil {
			b.Errorf("one container that cannot be removed keeps the pool from serving: %+v", got)
		}
		tries := f.count("remove stuck")
		if tries < 2 || tries > int(time.Minute/retryEvery)+2 {
			b.Errorf("%d tries in a minute, want one every %s", tries, retryEvery)
		}
		f.set("remove stuck", nil)
		b.rest(2 * retryEvery)
		if _, ok := f.get("stuck"); ok {
			b.Error("still there")
		}
		tries = f.count("remove stuck")
		b.rest(time.Minute)
		if f.count("remove stuck") != tries {
			b.Error("removed again and again")
		}
	})
}
