package pool

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sandtrap/sandtrap/internal/event"
)

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
		b.expect(Status{Warm: 3, Goal: 3, Retained: 2})
		b.expectReason("left by a predecessor")
	})
}

// TestReconcileOwners: evidence that had not got its name yet is evidence, and a
// container that changed hands belongs to whoever had it last.
func TestReconcileOwners(t *testing.T) {
	f := newFake()
	f.put("unnamed", "warm-"+session4, true)
	f.put("unnamed too", "warm-"+session3, false)
	f.put("returned", session2, true)
	f.put("named", session3, false)
	owners := map[string]string{"unnamed": session1, "unnamed too": session4, "returned": session3, "named": session2, "gone": session4, "junk": "warm-x"}
	f.put("junk", "warm-"+session1, true)
	inBubble(t, f, func(c *Config) { c.Owners, c.Retain = owners, 10 }, func(b *bubble) {
		for id, want := range map[string]string{"unnamed": session1, "unnamed too": session4, "returned": session3, "named": session3} {
			c, ok := f.get(id)
			if !ok || c.Running || c.Name != want {
				b.Errorf("%s: %+v, kept %v, want the name %s", id, c, ok, want)
			}
			if f.count("remove "+id) != 0 {
				b.Errorf("%s was removed", id)
			}
		}
		if _, ok := f.get("junk"); ok {
			b.Error("what belongs to nobody is still there")
		}
	})
}

// TestReconcileOwnersWhilePodmanRefuses: it is tried again and never removed.
func TestReconcileOwnersWhilePodmanRefuses(t *testing.T) {
	f := newFake()
	f.put("unnamed", "warm-"+session4, true)
	f.broken["rename"], f.broken["stop"] = errDown, errDown
	inBubble(t, f, func(c *Config) { c.Owners = map[string]string{"unnamed": session1} }, func(b *bubble) {
		b.rest(time.Minute)
		b.expect(Status{Warm: 3, Goal: 3, Draining: 1})
		f.set("stop", nil)
		b.rest(time.Minute)
		f.set("rename", nil)
		b.rest(longestRetry)
		if c, ok := f.get("unnamed"); !ok || c.Running || c.Name != session1 || c.stops != 1 {
			b.Errorf("container %+v, kept %v", c, ok)
		}
		b.expect(Status{Warm: 3, Goal: 3, Retained: 1})
	})
}

// TestReconcileReturning: who may come back can after a restart, too.
func TestReconcileReturning(t *testing.T) {
	f := newFake()
	f.put("old", session1, false)
	f.put("running", session2, true)
	f.put("stale", session3, false)
	change := func(c *Config) {
		sticky(c)
		now := time.Now()
		c.Returning = []Returning{
			{Source: "192.0.2.1", Session: session1, Container: "old", Ended: now.Add(-time.Minute)},
			{Source: "192.0.2.9", Session: session4, Container: "old", Ended: now.Add(-time.Hour)}, // an earlier one
			{Source: "192.0.2.2", Session: session2, Container: "running", Ended: now},
			{Source: "192.0.2.3", Session: session3, Container: "stale", Ended: now.Add(-time.Hour)},
			{Source: "192.0.2.4", Session: session4, Container: "gone", Ended: now},
		}
	}
	inBubble(t, f, change, func(b *bubble) {
		for i, want := range []string{"old", "running", "", ""} {
			c := claim(sessionID(20 + i))
			c.Source = []string{"192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4"}[i]
			l, err := b.take(b.Context(), c)
			if err != nil {
				b.Fatal(err)
			}
			b.held(l)
			if back := l.Previous != ""; back != (want != "") || back && l.Container != want {
				b.Errorf("%s: lease %+v, want %q", c.Source, l, want)
			}
			if l.Container == "old" && l.ImageDigest != "sha256:before" {
				b.Errorf("made from %s", l.ImageDigest)
			}
		}
		if got := b.events.values(event.TargetReturn, "returned"); !cmp.Equal(got, []any{true, true}) {
			b.Errorf("events %v", got)
		}
		if c, _ := f.get("old"); c.link.Program != "/leader" {
			b.Errorf("connected as %+v", c.link)
		}
	})
}

// TestCrash after any moment of a session's beginning.
func TestCrash(t *testing.T) {
	for _, moment := range []time.Duration{0, yieldRename + time.Second} {
		f := newFake()
		var left string
		inBubble(t, f, nil, func(b *bubble) {
			l := b.lease(session1)
			left = l.Container
			b.rest(moment)
			_ = b.stop()
			// The process is killed: its session is not released.
			l.leader.Close()
			b.leases = nil
		})
		inBubble(t, f, func(c *Config) { c.Owners = map[string]string{left: session1} }, func(b *bubble) {
			if c, ok := f.get(left); !ok || c.Running || c.Name != session1 {
				b.Errorf("after a crash at %s: %+v, kept %v", moment, c, ok)
			}
		})
	}
}

func TestReconcileOneThatResists(t *testing.T) {
	f := newFake()
	f.put("stuck", "warm-"+session1, true)
	f.broken["remove stuck"] = errors.New("device busy")
	inBubble(t, f, nil, func(b *bubble) {
		b.rest(time.Minute)
		b.expect(Status{Warm: 3, Goal: 3})
		if tries := f.count("remove stuck"); tries < 3 || tries > 5 {
			b.Errorf("%d tries in a minute", tries)
		}
		f.set("remove stuck", nil)
		b.rest(longestRetry)
		if _, ok := f.get("stuck"); ok {
			b.Error("still there")
		}
		tries := f.count("remove stuck")
		b.rest(time.Minute)
		if f.count("remove stuck") != tries {
			b.Error("removed again and again")
		}
	})
}
