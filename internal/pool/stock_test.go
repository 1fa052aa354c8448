package pool

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/go-hclog"

	"github.com/sandtrap/sandtrap/internal/event"
	"github.com/sandtrap/sandtrap/internal/frame"
	"github.com/sandtrap/sandtrap/internal/target"
)

// withWeb adds a target to that of inBubble.
func withWeb(c *Config) {
	c.MaxLeases, c.Retain = 10, 10
	c.Targets = append(c.Targets, Supply{
		Target: target.Target{Name: "web", Image: "localhost/web:latest", Hostname: "web01", LoginAs: frame.PolicyFallback, Account: "admin", Memory: 2 << 20},
		Weight: 1, Min: 2, Max: 4,
	})
}

// sourceOf is an address that lands in a target.
func (b *bubble) sourceOf(name string) string {
	b.Helper()
	for i := range 1000 {
		if source := fmt.Sprintf("192.0.2.%d", i); b.pool.choose(source).Name == name {
			return source
		}
	}
	b.Fatalf("no source lands in %s", name)
	return ""
}

// leaseFrom takes a target for a session of a source.
func (b *bubble) leaseFrom(session, source string) *Lease {
	b.Helper()
	c := claim(session)
	c.Source = source
	l, err := b.take(b.Context(), c)
	if err != nil {
		b.Fatal(err)
	}
	b.held(l)
	return l
}

// TestChoice: shares go by weight, a source stays where it is, and one target more moves
// sources to that only.
func TestChoice(t *testing.T) {
	chooser := func(weights map[string]int) func(source string) string {
		var cfg Config
		for _, name := range []string{"a", "b", "c", "d"} {
			if w := weights[name]; w > 0 {
				cfg.Targets = append(cfg.Targets, Supply{Target: target.Target{Name: name}, Weight: w})
			}
		}
		p := New(cfg, newFake(), event.New(), hclog.NewNullLogger())
		return func(source string) string { return p.choose(source).Name }
	}
	weights := map[string]int{"a": 1, "b": 2, "c": 5}
	before, again := chooser(weights), chooser(weights)
	weights["d"] = 2
	after := chooser(weights)
	const sources = 16_000
	count := map[string]int{}
	for i := range sources {
		source := fmt.Sprintf("10.0.%d.%d", i/256, i%256)
		name := before(source)
		count[name]++
		if other := again(source); other != name {
			t.Fatalf("%s lands in %s, and in %s after a restart", source, name, other)
		}
		if other := after(source); other != name && other != "d" {
			t.Fatalf("%s moved from %s to %s because there is d", source, name, other)
		}
	}
	for name, share := range map[string]int{"a": 1, "b": 2, "c": 5} {
		if want := sources * share / 8; count[name] < want*9/10 || count[name] > want*11/10 {
			t.Errorf("%d sources land in %s, want about %d", count[name], name, want)
		}
	}
}

func TestSeveralTargets(t *testing.T) {
	inBubble(t, newFake(), withWeb, func(b *bubble) {
		b.rest(time.Minute)
		b.expect(Status{Warm: 5, Goal: 5})
		if got := b.events.values(event.PoolReady, "target"); len(got) != 2 {
			b.Errorf("ready: %v", got)
		}
		for name, want := range map[string]frame.LoginMessage{
			"debian": {User: "admin", Fallback: "root", Policy: frame.PolicyExisting},
			"web":    {User: "admin", Fallback: "admin", Policy: frame.PolicyFallback},
		} {
			want.Source = b.sourceOf(name)
			l := b.leaseFrom(map[string]string{"debian": session1, "web": session2}[name], want.Source)
			c, _ := b.fake.get(l.Container)
			if l.Target != name || c.Labels[target.Label] != name || l.Image != map[string]string{"debian": "localhost/x:latest", "web": "localhost/web:latest"}[name] {
				b.Errorf("%s: lease %+v of %+v", name, l, c)
			}
			if got := b.leader(l.Container).logins; !cmp.Equal(got, []frame.LoginMessage{want}) {
				b.Errorf("%s: login %+v, want %+v", name, got, want)
			}
			if c.link.Fallback != want.Fallback {
				b.Errorf("%s: connected as %+v", name, c.link)
			}
		}
		b.rest(time.Minute)
		b.expect(Status{Warm: 5, Goal: 5, Leased: 2})
		want := []TargetStatus{{"debian", Status{Warm: 3, Goal: 3, Leased: 1}}, {"web", Status{Warm: 2, Goal: 2, Leased: 1}}}
		if got := b.pool.Targets(); !cmp.Equal(got, want) {
			b.Errorf("targets %+v", got)
		}
	})
}

// TestReturnToItsTarget: who comes back to a target of one kind is not logged in by the
// settings of another.
func TestReturnToItsTarget(t *testing.T) {
	change := func(c *Config) {
		sticky(c)
		withWeb(c)
	}
	inBubble(t, newFake(), change, func(b *bubble) {
		source := b.sourceOf("web")
		first := b.leaseFrom(session1, source)
		b.over(first)
		b.rest(time.Second)
		again := b.leaseFrom(session2, source)
		if again.Container != first.Container || again.Target != "web" || again.Previous != session1 {
			b.Errorf("lease %+v after %+v", again, first)
		}
		if got := b.leader(again.Container).logins; len(got) != 1 || got[0].Fallback != "admin" {
			b.Errorf("login %+v", got)
		}
	})
}

// TestTargetThatCannotBeMade: others go on as they did, and take over its sources.
func TestTargetThatCannotBeMade(t *testing.T) {
	inBubble(t, newFake(), withWeb, func(b *bubble) {
		b.rest(time.Minute)
		web := b.sourceOf("web")
		b.fake.set("create web", errDown)
		for i := range 2 { // those that are there already
			if l := b.leaseFrom(sessionID(i), web); l.Target != "web" {
				b.Errorf("lease %+v", l)
			}
		}
		b.rest(time.Minute)
		if got := b.pool.Targets(); got[0].Failure != nil || got[0].Warm != 3 || !errors.Is(got[1].Failure, errDown) || got[1].Warm != 0 {
			b.Errorf("targets %+v", got)
		}
		if !errors.Is(b.pool.Status().Failure, errDown) {
			b.Errorf("status %+v", b.pool.Status())
		}
		for i := range 5 {
			if l := b.leaseFrom(sessionID(10+i), web); l.Target != "debian" || l.Wait > 10*time.Second {
				b.Errorf("lease %+v", l)
			}
			b.rest(time.Second)
		}
		b.fake.set("create web", nil)
		b.rest(time.Minute)
		if l := b.leaseFrom(sessionID(20), web); l.Target != "web" {
			b.Errorf("lease %+v", l)
		}
	})
}

// TestNotReadyWithoutEach: the service does not serve before one of each target is there.
func TestNotReadyWithoutEach(t *testing.T) {
	f := newFake()
	f.broken["create web"] = errDown
	inBubble(t, f, withWeb, func(b *bubble) {
		select {
		case <-b.pool.Ready():
			b.Error("ready")
		default:
		}
		f.set("create web", nil)
		b.rest(longestPause)
		<-b.pool.Ready()
	})
}

// TestWaitsForItsTarget: targets of the other kind are no use to who waits, and who waits
// for one does not keep others from the other.
func TestWaitsForItsTarget(t *testing.T) {
	inBubble(t, newFake(), withWeb, func(b *bubble) {
		b.rest(time.Minute)
		web, debian := b.sourceOf("web"), b.sourceOf("debian")
		b.fake.hang("create web", true)
		for i := range 2 {
			b.leaseFrom(sessionID(i), web)
		}
		done := make(chan error, 1)
		go func() {
			c := claim(session3)
			c.Source = web
			_, err := b.pool.Lease(b.Context(), c)
			done <- err
		}()
		b.rest(time.Second)
		if l := b.leaseFrom(session4, debian); l.Target != "debian" || l.Wait > 10*time.Millisecond {
			b.Errorf("lease %+v", l)
		}
		if got := b.pool.Targets(); got[0].Waiting != 0 || got[1].Waiting != 1 {
			b.Errorf("targets %+v", got)
		}
		if err := <-done; !errors.Is(err, ErrEmpty) {
			b.Errorf("Lease = %v", err)
		}
	})
}

// TestTargetNoMore: what was kept of a target that is not configured any more is evidence,
// and nobody comes back to it.
func TestTargetNoMore(t *testing.T) {
	f := newFake()
	f.put("old", session1, false)
	f.boxes["old"].Labels[target.Label] = "gone"
	change := func(c *Config) {
		sticky(c)
		c.Returning = []Returning{{Source: "192.0.2.1", Session: session1, Container: "old", Ended: time.Now()}}
	}
	inBubble(t, f, change, func(b *bubble) {
		b.expect(Status{Warm: 3, Goal: 3, Retained: 1})
		if l := b.lease(session2); l.Container == "old" {
			b.Errorf("lease %+v", l)
		}
		if _, ok := f.get("old"); !ok {
			b.Error("it was removed")
		}
	})
}

// TestRoomForEach: the containers of each target take their share of the store.
func TestRoomForEach(t *testing.T) {
	f := newFake()
	f.space = 1000
	inBubble(t, f, func(c *Config) {
		withWeb(c)
		c.Disk = 100
	}, func(b *bubble) {
		b.rest(2 * inspectEvery)
		b.pool.mu.Lock()
		defer b.pool.mu.Unlock()
		if want := int64(1000 - (3+2)*100); b.pool.space != want {
			b.Errorf("%d bytes are left, want %d", b.pool.space, want)
		}
	})
}

// TestFirstOfEachAtOnce: no target waits for the first of another.
func TestFirstOfEachAtOnce(t *testing.T) {
	f := newFake()
	f.slow["create"] = 600 * time.Millisecond
	inBubble(t, f, withWeb, func(b *bubble) {
		select {
		case <-b.pool.Ready():
		default:
			b.Errorf("not ready: %+v", b.pool.Targets())
		}
	})
}

// TestWhoWaitsIsServedFirst: of all that are missing, that which a session waits for is
// made before the rest.
func TestWhoWaitsIsServedFirst(t *testing.T) {
	change := func(c *Config) {
		withWeb(c)
		c.Burst = 1
	}
	inBubble(t, newFake(), change, func(b *bubble) {
		b.rest(time.Minute)
		b.pool.Drain()
		b.rest(time.Minute)
		b.fake.delay("create", time.Second)
		source := b.sourceOf("web")
		got := make(chan *Lease, 1)
		go func() {
			c := claim(session1)
			c.Source = source
			l, _ := b.take(b.Context(), c)
			got <- l
		}()
		b.rest(time.Second)
		b.pool.Refill()
		began := time.Now()
		l := <-got
		if l == nil || l.Target != "web" || time.Since(began) > 1500*time.Millisecond {
			b.Fatalf("%+v after %s", l, time.Since(began))
		}
		b.held(l)
	})
}
