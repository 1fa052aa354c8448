package pool

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/sandtrap/sandtrap/internal/event"
	"github.com/sandtrap/sandtrap/internal/hint"
	"github.com/sandtrap/sandtrap/internal/podman"
	"github.com/sandtrap/sandtrap/internal/target"
)

// Session ids, oldest first.
const (
	session1 = "01JQ0000000000000000000001"
	session2 = "01JQ0000000000000000000002"
	session3 = "01JQ0000000000000000000003"
	session4 = "01JQ0000000000000000000004"
)

func TestFillsToMin(t *testing.T) {
	inBubble(t, newFake(), func(c *Config) { c.Targets[0].Max = 10 }, func(b *bubble) {
		select {
		case <-b.pool.Ready():
		default:
			b.Error("not ready")
		}
		b.rest(time.Minute)
		b.expect(Status{Warm: 3, Goal: 3})
		if got := b.fake.ids(); len(got) != 3 {
			b.Errorf("containers %q", got)
		}
		for _, id := range b.fake.ids() {
			c, _ := b.fake.get(id)
			if !c.Running || !strings.HasPrefix(c.Name, "warm-") || !c.limited || c.Labels[target.Label] != "debian" {
				b.Errorf("container %+v", c)
			}
			if c.link.Program != "/leader" || c.link.Fallback != "root" || c.leader == nil {
				b.Errorf("connected as %+v", c.link)
			}
		}
		if got := b.fake.spec; got.Image != "localhost/x:latest" || got.ImageID != "one" || got.Hostname != "srv01" || got.Memory != 1<<20 {
			b.Errorf("spec %+v", got)
		}
		if b.fake.count("read") > 2 { // both makers may have asked at once
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
			b.Fatal(err)
		}
		if got := b.fake.ids(); len(got) != 1 || got[0] != l.Container {
			b.Errorf("left %q, want the leased %q", got, l.Container)
		}
		for _, reason := range b.events.values(event.PoolRemove, "reason") {
			if reason != "service stops" {
				b.Errorf("removed because %v", reason)
			}
		}
		l.Release(b.Context())
		if c, _ := b.fake.get(l.Container); c.Running || c.Name != session1 {
			b.Errorf("released after the end: %+v", c)
		}
	})
}

func TestImageThatDoesNotExist(t *testing.T) {
	f := newFake()
	f.broken["image"] = fmt.Errorf("no such image: %w", podman.ErrNotFound)
	inBubble(t, f, nil, func(b *bubble) {
		err := b.stop()
		if err == nil || !strings.Contains(hint.Of(err), "sandtrap-target-debian-build.service") {
			b.Errorf("Run = %v, hint %q", err, hint.Of(err))
		}
	})
}

func TestPodmanThatComesLate(t *testing.T) {
	for _, verb := range []string{"image", "list"} {
		t.Run(verb, func(t *testing.T) {
			f := newFake()
			f.broken[verb] = errDown
			inBubble(t, f, nil, func(b *bubble) {
				if s := b.pool.Status(); !errors.Is(s.Failure, errDown) || s.Warm != 0 {
					b.Errorf("status %+v", s)
				}
				f.set(verb, nil)
				b.rest(longestPause)
				b.expect(Status{Warm: 3, Goal: 3})
			})
		})
	}
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

func TestStopWhilePodmanHangs(t *testing.T) {
	for _, verb := range []string{"image", "list", "create", "start", "connect", "read"} {
		t.Run(verb, func(t *testing.T) {
			f := newFake()
			f.hung[verb] = true
			inBubble(t, f, nil, func(b *bubble) {
				began := time.Now()
				if err := b.stop(); err != nil || time.Since(began) > time.Second {
					b.Errorf("Run = %v after %s", err, time.Since(began))
				}
			})
		})
	}
}
