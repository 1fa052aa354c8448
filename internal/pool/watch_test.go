package pool

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sandtrap/sandtrap/internal/event"
	"github.com/sandtrap/sandtrap/internal/hint"
	"github.com/sandtrap/sandtrap/internal/podman"
)

func TestDeadTargetIsReplaced(t *testing.T) {
	f := newFake()
	inBubble(t, f, func(c *Config) { c.Targets[0].Min, c.Targets[0].Max, c.Burst = 4, 4, 4 }, func(b *bubble) {
		b.rest(time.Minute)
		dead := f.ids()
		f.delay("create", time.Second)
		for _, id := range dead[:3] {
			b.leader(id).die()
		}
		b.rest(10 * time.Millisecond)
		b.expect(Status{Warm: 1, Goal: 4})
		b.rest(1100 * time.Millisecond)
		b.expect(Status{Warm: 4, Goal: 4}) // all at once, for the dead do not serve meanwhile
		for _, id := range dead[:3] {
			if _, ok := f.get(id); ok || !b.leaderClosed(id) {
				b.Errorf("the dead target %s was left", id)
			}
		}
		if got := b.events.values(event.PoolRemove, "reason"); !cmp.Equal(got, []any{died, died, died}) {
			b.Errorf("removed because %q", got)
		}
	})
}

// leaderClosed is true for a container that is gone, whose leader was closed or
// would show as a leak.
func (b *bubble) leaderClosed(id string) bool {
	_, ok := b.fake.get(id)
	return !ok
}

// TestDeadTargetIsNotLeased although its end has not been noticed by its watcher.
func TestDeadTargetIsNotLeased(t *testing.T) {
	f := newFake()
	inBubble(t, f, nil, func(b *bubble) {
		b.rest(time.Minute)
		ids := f.ids()
		b.pool.mu.Lock()
		for _, id := range ids[1:] {
			b.pool.all[id].seen = time.Now().Add(time.Second) // the dead ones would be the first choice
			b.leader(id).die()
		}
		b.pool.mu.Unlock()
		if l := b.lease(session1); l.Container != ids[0] {
			b.Errorf("leased %s, want the one that lives", l.Container)
		}
	})
}

func TestSilentTargetIsReplaced(t *testing.T) {
	f := newFake()
	inBubble(t, f, nil, func(b *bubble) {
		silent := f.ids()[1]
		f.hang("ping "+silent, true)
		b.rest(pingEvery + pingTimeout + time.Second)
		b.expect(Status{Warm: 3, Goal: 3})
		if _, ok := f.get(silent); ok {
			b.Error("a target that does not answer is still there")
		}
		if got := b.events.values(event.PoolRemove, "reason"); !cmp.Equal(got, []any{"does not answer"}) {
			b.Errorf("removed because %q", got)
		}
		pings := f.count("ping")
		b.rest(10 * time.Minute)
		if n := f.count("ping") - pings; n < 58 || n > 62 {
			b.Errorf("3 targets were asked %d times in 10 minutes", n)
		}
	})
}

// TestRemovalOfTheDeadYields to the login that has just taken another.
func TestRemovalOfTheDeadYields(t *testing.T) {
	f := newFake()
	inBubble(t, f, nil, func(b *bubble) {
		b.rest(time.Minute)
		l := b.lease(session1)
		dead := b.pool.stocks[0].warm[0]
		b.leader(dead.id).die()
		b.rest(yieldWork - 10*time.Millisecond)
		if f.count("remove") != 0 {
			b.Error("removed at once")
		}
		b.rest(20 * time.Millisecond)
		if _, ok := f.get(dead.id); ok || l.Container == dead.id {
			b.Error("not removed")
		}
	})
}

// TestLeasedWhileAsked: an answer that does not come is the session's affair then.
func TestLeasedWhileAsked(t *testing.T) {
	f := newFake()
	inBubble(t, f, func(c *Config) { c.Targets[0].Min, c.Targets[0].Max = 1, 1 }, func(b *bubble) {
		id := f.ids()[0]
		f.hang("ping "+id, true)
		for f.count("ping "+id) == 0 {
			b.rest(time.Second)
		}
		l := b.lease(session1)
		b.rest(time.Minute)
		if _, ok := f.get(id); !ok || l.Container != id {
			b.Errorf("leased %s, asked %s, still there: %v", l.Container, id, ok)
		}
		b.expect(Status{Warm: 1, Goal: 1, Leased: 1})
	})
}

// TestLeasedLeaderThatIsKilled: the session ends, it does not hang.
func TestLeasedLeaderThatIsKilled(t *testing.T) {
	f := newFake()
	inBubble(t, f, nil, func(b *bubble) {
		killed, well := b.lease(session1), b.lease(session2)
		b.rest(time.Minute)
		f.hang("ping "+killed.Container, true)
		f.delay("ping", 25*time.Second) // as while Podman restarts
		b.rest(attendEvery + attendTimeout + time.Second)
		if !b.leader(killed.Container).closed {
			b.Error("a leader that does not answer was not closed")
		}
		f.delay("ping", 0)
		b.rest(2 * attendTimeout)
		if b.leader(well.Container).closed {
			b.Error("a leader that answers was closed")
		}
		killed.Release(b.Context())
		b.expect(Status{Warm: 3, Goal: 3, Leased: 1, Retained: 1})
	})
}

// replacements watches that there are never fewer targets than wanted, nor more
// than one too many, while all are replaced.
func (b *bubble) replacements(for_ time.Duration, want int) {
	b.Helper()
	for end := time.Now().Add(for_); time.Now().Before(end); b.rest(time.Millisecond) {
		running := 0
		b.fake.mu.Lock()
		for _, c := range b.fake.boxes {
			if c.Running {
				running++
			}
		}
		b.fake.mu.Unlock()
		if warm := b.pool.Status().Warm; warm < want || running > want+2 {
			b.Fatalf("%d warm, %d running, want %d", warm, running, want)
		}
	}
}

func TestNewImage(t *testing.T) {
	f := newFake()
	inBubble(t, f, nil, func(b *bubble) {
		old := f.ids()
		f.mu.Lock()
		f.image = podman.Image{Digest: "sha256:two"}
		f.mu.Unlock()
		b.replacements(inspectEvery+5*time.Second, 3)
		for _, id := range f.ids() {
			if slices.Contains(old, id) {
				b.Errorf("%s of the old image is still there", id)
			}
		}
		if got := b.events.values(event.PoolRemove, "reason"); !cmp.Equal(got, []any{"image changed", "image changed", "image changed"}) {
			b.Errorf("removed because %q", got)
		}
		l := b.lease(session1)
		if c, _ := f.get(l.Container); l.ImageDigest != "sha256:two" || c.link.Program != "" {
			b.Errorf("lease %+v", l)
		}
		if n := f.count("read"); n > 4 {
			b.Errorf("accounts were read %d times of two images", n)
		}
	})
}

// TestImageThatIsBroken: what was made of the old one serves on.
func TestImageThatIsBroken(t *testing.T) {
	f := newFake()
	inBubble(t, f, nil, func(b *bubble) {
		b.rest(20 * time.Second)
		f.mu.Lock()
		f.image.Digest = "sha256:two"
		f.broken["connect"] = errDown
		f.mu.Unlock()
		b.rest(2 * time.Minute)
		if s := b.pool.Status(); s.Warm != 3 || s.Failure == nil {
			b.Errorf("status %+v", s)
		}
		if n := f.count("create"); n > 30 {
			b.Errorf("%d containers made", n)
		}
		f.set("connect", nil)
		b.rest(time.Minute)
		if l := b.lease(session1); l.ImageDigest != "sha256:two" {
			b.Errorf("lease %+v", l)
		}
	})
}

// TestImageIsRemoved while the pool runs.
func TestImageIsRemoved(t *testing.T) {
	f := newFake()
	inBubble(t, f, nil, func(b *bubble) {
		f.set("image", podman.ErrNotFound)
		f.set("create", podman.ErrNotFound)
		b.lease(session1)
		b.rest(time.Minute)
		if s := b.pool.Status(); s.Warm != 2 || s.Failure == nil || !strings.Contains(hint.Of(s.Failure), "sandtrap-target-debian-build.service") {
			b.Errorf("status %+v", s)
		}
		f.set("image", nil)
		f.set("create", nil)
		b.rest(longestPause + time.Second)
		b.expect(Status{Warm: 3, Goal: 3, Leased: 1})
	})
}

// TestImageThatChangesMeanwhile: the evidence names the right one, and the target is
// replaced once the change was seen.
func TestImageThatChangesMeanwhile(t *testing.T) {
	f := newFake()
	f.slow["create"] = 700 * time.Millisecond
	inBubble(t, f, func(c *Config) { c.Targets[0].Min, c.Targets[0].Max = 1, 1 }, func(b *bubble) {
		b.lease(session1)
		b.rest(400 * time.Millisecond) // the next is being created
		f.mu.Lock()
		f.image.Digest = "sha256:two"
		f.mu.Unlock()
		b.rest(time.Second)
		if got := f.digests(); !cmp.Equal(got, []string{"sha256:one", "sha256:one"}) {
			b.Errorf("made of %q", got)
		}
		b.rest(inspectEvery + 5*time.Second)
		if l := b.lease(session2); l.ImageDigest != "sha256:two" {
			b.Errorf("lease %+v", l)
		}
		if got := b.events.values(event.PoolFail, "operation"); len(got) > 0 {
			b.Errorf("failures %q", got)
		}
	})
}

func TestOldTargetsAreReplaced(t *testing.T) {
	f := newFake()
	inBubble(t, f, nil, func(b *bubble) {
		old := f.ids()
		b.rest(time.Hour - 5*time.Second)
		if got := f.ids(); !cmp.Equal(got, old) {
			b.Errorf("targets %q before their time, were %q", got, old)
		}
		b.replacements(10*time.Second, 3)
		for _, id := range f.ids() {
			if slices.Contains(old, id) {
				b.Errorf("%s is older than an hour", id)
			}
		}
		if got := b.events.values(event.PoolRemove, "reason"); len(got) != 3 || got[0] != "older than pool.max_age" {
			b.Errorf("removed because %q", got)
		}
	})
}

// TestStaleIsTheLastChoice, and the first to go, whatever speaks for it.
func TestStaleIsTheLastChoice(t *testing.T) {
	f := newFake()
	inBubble(t, f, nil, func(b *bubble) {
		b.rest(time.Minute)
		b.pool.mu.Lock()
		newest := b.pool.stocks[0].warm[0]
		for _, c := range b.pool.stocks[0].warm {
			if c.made.After(newest.made) {
				newest = c
			}
		}
		newest.seen = time.Now().Add(time.Second)
		b.pool.mu.Unlock()
		f.delay("create", 10*time.Second)
		b.pool.replace(newest, "test")
		b.rest(time.Second)
		for i := range 2 {
			if l := b.lease(sessionID(i)); l.Container == newest.id {
				b.Error("a stale target was leased before others")
			}
		}
		f.delay("create", 0)
		b.rest(30 * time.Second)
		if _, ok := f.get(newest.id); ok {
			b.Error("the stale target was not the one to go")
		}
		if got := b.events.values(event.PoolRemove, "reason"); !cmp.Equal(got, []any{"test"}) {
			b.Errorf("removed because %q", got)
		}
	})
}

// TestStaleGoesFirst, not what is older.
func TestStaleGoesFirst(t *testing.T) {
	f := newFake()
	inBubble(t, f, nil, func(b *bubble) {
		b.rest(time.Minute)
		ids := f.ids()
		b.pool.mu.Lock()
		all := b.pool.stocks[0].warm
		last := all[slices.IndexFunc(all, func(c *container) bool { return c.id == ids[2] })]
		b.pool.mu.Unlock()
		b.pool.replace(last, "test")
		b.rest(10 * time.Second)
		if _, ok := f.get(ids[2]); ok || !cmp.Equal(f.ids()[:2], ids[:2]) {
			b.Errorf("%q were replaced by %q", ids, f.ids())
		}
	})
}
