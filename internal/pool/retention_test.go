package pool

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sandtrap/sandtrap/internal/event"
)

// kept are the containers with a session's name.
func (b *bubble) kept() []string {
	b.fake.mu.Lock()
	defer b.fake.mu.Unlock()
	var names []string
	for _, c := range b.fake.boxes {
		if isSession(c.Name) {
			names = append(names, c.Name)
		}
	}
	slices.Sort(names)
	return names
}

func (b *bubble) expectKept(want ...string) {
	b.Helper()
	if got := b.kept(); !cmp.Equal(got, want) {
		b.Errorf("kept %q, want %q", got, want)
	}
}

func (b *bubble) expectReason(want string) {
	b.Helper()
	for _, reason := range b.events.values(event.PoolRemove, "reason") {
		if reason != want {
			b.Errorf("removed because %q, want %q", reason, want)
		}
	}
}

func TestRetainCount(t *testing.T) {
	f := newFake()
	f.put("old3", session3, false) // 1 and 2 are leased below: order is by session, not by time of release
	f.put("old4", session4, false)
	inBubble(t, f, nil, func(b *bubble) {
		second, first := b.lease(session2), b.lease(session1)
		b.over(second)
		b.rest(time.Second)
		b.expectKept(session1, session3, session4)
		b.over(first)
		b.rest(time.Second)
		b.expectKept(session3, session4)
		b.expectReason("more than pool.retain")
		b.expect(Status{Warm: 3, Goal: 3, Retained: 2})
	})
}

// TestIncompleteEvidenceIsKept until the session says so.
func TestIncompleteEvidenceIsKept(t *testing.T) {
	f := newFake()
	inBubble(t, f, func(c *Config) { c.Retain = 0 }, func(b *bubble) {
		l := b.lease(session1)
		l.Release(b.Context())
		b.rest(time.Hour)
		b.expectKept(session1)
		l.Captured()
		b.rest(time.Second)
		b.expectKept()
	})
}

// TestCapturedBeforeStop: Podman may come back after the evidence is complete.
func TestCapturedBeforeStop(t *testing.T) {
	f := newFake()
	inBubble(t, f, func(c *Config) { c.Retain = 0 }, func(b *bubble) {
		f.set("stop", errDown)
		b.over(b.lease(session1))
		f.set("stop", nil)
		b.rest(longestRetry)
		b.expectKept()
	})
}

func TestKeep(t *testing.T) {
	f := newFake()
	for i := range 6 {
		f.put(fmt.Sprint("old", i), sessionID(i), false)
	}
	pinned := map[string]bool{sessionID(0): true, sessionID(1): true, sessionID(4): true}
	var unpinned atomic.Bool
	keep := func(s string) bool { return pinned[s] && !unpinned.Load() }
	inBubble(t, f, func(c *Config) { c.Retain, c.Keep = 2, keep }, func(b *bubble) {
		b.rest(time.Minute)
		b.expectKept(sessionID(0), sessionID(1), sessionID(3), sessionID(4), sessionID(5)) // 3 and 5 are the two that count
		unpinned.Store(true)
		b.rest(time.Minute)
		b.expectKept(sessionID(4), sessionID(5))
	})
}

func TestRetainAge(t *testing.T) {
	f := newFake()
	inBubble(t, f, func(c *Config) { c.Retain, c.RetainAge = 10, time.Hour }, func(b *bubble) {
		b.over(b.lease(session1))
		b.rest(30 * time.Minute)
		b.over(b.lease(session2))
		b.rest(29 * time.Minute)
		b.expectKept(session1, session2)
		b.rest(2 * time.Minute)
		b.expectKept(session2)
		b.rest(30 * time.Minute)
		b.expectKept()
		for _, reason := range b.events.values(event.PoolRemove, "reason") {
			if reason != "older than pool.retain_age" && reason != "older than pool.max_age" {
				b.Errorf("removed because %q", reason)
			}
		}
	})
}

func TestRetainBytes(t *testing.T) {
	f := newFake()
	for i := range 6 {
		f.put(fmt.Sprint("old", i), sessionID(i), false)
		f.sizes[fmt.Sprint("old", i)] = 100
	}
	inBubble(t, f, func(c *Config) { c.Retain, c.RetainBytes = 10, 350 }, func(b *bubble) {
		b.rest(time.Second)
		b.expectKept(sessionID(3), sessionID(4), sessionID(5))
		b.expectReason("more than pool.retain_bytes")
		b.rest(10 * time.Minute)
		if n := f.count("size"); n > 6 {
			b.Errorf("6 containers were measured %d times", n)
		}
		l := b.lease("01JQ0000000000000000000009")
		f.mu.Lock()
		f.sizes[l.Container] = 200
		f.mu.Unlock()
		b.over(l)
		b.rest(time.Second)
		b.expectKept(sessionID(5), l.Name)
	})
}

// TestMeasuringYieldsToMakers: targets are made first, and measuring does not wait for ever.
func TestMeasuringYieldsToMakers(t *testing.T) {
	f := newFake()
	f.put("old", session1, false)
	f.slow["create"] = 700 * time.Millisecond
	inBubble(t, f, func(c *Config) { c.RetainBytes = 1000 }, func(b *bubble) {
		b.rest(300 * time.Millisecond) // the first one is there, and others are being made
		if n := f.count("size"); n != 0 {
			b.Errorf("measured %d times", n)
		}
		f.hang("create", true)
		b.rest(yieldBound)
		if n := f.count("size"); n != 1 {
			b.Errorf("measured %d times while one is being made", n)
		}
	})
}

func TestNothingIsMeasuredWithoutABound(t *testing.T) {
	f := newFake()
	inBubble(t, f, nil, func(b *bubble) {
		b.over(b.lease(session1))
		b.rest(time.Minute)
		if f.count("size") != 0 {
			b.Error("measured")
		}
	})
}

// TestReturnedIsMeasuredAgain, for its new session has written more.
func TestReturnedIsMeasuredAgain(t *testing.T) {
	f := newFake()
	inBubble(t, f, func(c *Config) { sticky(c); c.RetainBytes = 1000 }, func(b *bubble) {
		for i := range 2 {
			b.over(b.lease(sessionID(i)))
			b.rest(time.Minute)
		}
		if n := f.count("size"); n != 2 {
			b.Errorf("measured %d times", n)
		}
	})
}

func TestSizeThatCannotBeTold(t *testing.T) {
	f := newFake()
	f.put("old", session1, false)
	f.broken["size"] = errDown
	inBubble(t, f, func(c *Config) { c.RetainBytes = 50 }, func(b *bubble) {
		b.rest(5 * time.Minute)
		if n := f.count("size"); n < 5 || n > 15 {
			b.Errorf("asked %d times in 5 minutes", n)
		}
		f.mu.Lock()
		f.sizes["old"] = 100
		delete(f.broken, "size")
		f.mu.Unlock()
		b.rest(2 * time.Minute)
		b.expectKept()
	})
}

// A target with a file of holes goes itself, and not everything that is older.
func TestRetainBytesOfOne(t *testing.T) {
	f := newFake()
	for i := range 5 {
		f.put(fmt.Sprint("old", i), sessionID(i), false)
		f.sizes[fmt.Sprint("old", i)] = 100
	}
	inBubble(t, f, func(c *Config) { c.Retain, c.RetainBytes = 10, 600 }, func(b *bubble) {
		b.rest(time.Second)
		l := b.lease("01JQ0000000000000000000009")
		f.mu.Lock()
		f.sizes[l.Container] = 1 << 40
		f.mu.Unlock()
		b.over(l)
		b.rest(time.Minute)
		b.expectKept(sessionID(0), sessionID(1), sessionID(2), sessionID(3), sessionID(4))
	})
}

// TestLocksRunOut: the oldest go, however few there are, but what must stay stays.
func TestLocksRunOut(t *testing.T) {
	f := newFake()
	for i := range 10 {
		f.put(fmt.Sprint("old", i), sessionID(i), false)
	}
	f.locks, f.told = 26+3, true // after the three warm ones there are 26
	keep := func(s string) bool { return s == sessionID(0) }
	inBubble(t, f, func(c *Config) { c.Targets[0].Max, c.MaxLeases, c.Retain, c.Keep = 6, 10, 100, keep }, func(b *bubble) {
		b.rest(inspectEvery + time.Second)
		// 10 + 6 + 16 are to be free.
		b.expectKept(sessionID(0), sessionID(7), sessionID(8), sessionID(9))
		b.expectReason("Podman runs out of locks")
		f.mu.Lock()
		if f.locks != 32 {
			b.Errorf("%d locks are free", f.locks)
		}
		f.mu.Unlock()
		b.lease(sessionID(20)) // the next target takes a lock: seen without asking
		b.rest(time.Second)
		b.expectKept(sessionID(0), sessionID(8), sessionID(9), sessionID(20))
	})
}

func TestLocksThatAreNotTold(t *testing.T) {
	for name, spoil := range map[string]func(*fake){"unknown": func(*fake) {}, "refused": func(f *fake) { f.told, f.broken["left"] = true, errDown }} {
		t.Run(name, func(t *testing.T) {
			f := newFake()
			f.put("old", session1, false)
			spoil(f)
			inBubble(t, f, nil, func(b *bubble) {
				b.rest(5 * time.Minute)
				b.expectKept(session1)
			})
		})
	}
}

// TestStoreRunsFull: nothing is made that the store could not hold if everybody wrote
// what they may, and old containers make room.
func TestStoreRunsFull(t *testing.T) {
	const share = 100
	f := newFake()
	for i := range 4 {
		f.put(fmt.Sprint("old", i), sessionID(i), false)
		f.sizes[fmt.Sprint("old", i)] = share
	}
	f.space = 6*share + 50 // after three warm ones: three shares and a half
	inBubble(t, f, func(c *Config) { c.Disk, c.Retain = share, 100 }, func(b *bubble) {
		b.rest(inspectEvery + time.Second)
		b.expectKept(sessionID(0), sessionID(1), sessionID(2), sessionID(3))
		b.lease(sessionID(20)) // its successor leaves two and a half
		b.rest(time.Second)
		b.lease(sessionID(21)) // and this one's one and a half: the oldest goes
		b.rest(5 * time.Second)
		b.expectKept(sessionID(1), sessionID(2), sessionID(3), sessionID(20), sessionID(21))
		b.expectReason("the store runs full")
	})
	f = newFake()
	f.space = 4*share + 50
	inBubble(t, f, func(c *Config) { c.Disk = share }, func(b *bubble) {
		b.rest(inspectEvery + time.Second)
		b.lease(sessionID(1))
		b.lease(sessionID(2))
		b.rest(15 * time.Second)
		if status := b.pool.Status(); status.Warm != 2 || status.Failure == nil || !strings.Contains(status.Failure.Error(), "no room") {
			b.Errorf("the pool holds %+v", status)
		}
	})
}

// TestReservedGoLast: what somebody may come back to is removed when nothing else
// can be.
func TestReservedGoLast(t *testing.T) {
	f := newFake()
	inBubble(t, f, func(c *Config) { sticky(c); c.Retain = 2 }, func(b *bubble) {
		source := func(session, source string) {
			c := claim(session)
			c.Source = source
			l, err := b.take(b.Context(), c)
			if err != nil {
				b.Fatal(err)
			}
			b.over(l)
			b.rest(time.Second)
		}
		source(session1, "192.0.2.1")
		source(session2, "")
		source(session3, "192.0.2.3")
		b.expectKept(session1, session3)
	})
	f = newFake()
	for i := range 20 {
		f.sizes[fmt.Sprint("c", i)] = 100
	}
	inBubble(t, f, func(c *Config) { sticky(c); c.RetainBytes = 250 }, func(b *bubble) {
		for i := range 3 { // all are reserved
			c := claim(sessionID(i))
			c.Source = fmt.Sprint("192.0.2.", i)
			l, err := b.take(b.Context(), c)
			if err != nil {
				b.Fatal(err)
			}
			b.over(l)
			b.rest(time.Second)
		}
		b.expectKept(sessionID(1), sessionID(2))
	})
}

func TestRetentionThatFails(t *testing.T) {
	f := newFake()
	f.put("old", session1, false)
	f.broken["remove old"] = errors.New("device busy")
	inBubble(t, f, func(c *Config) { c.Retain = 0 }, func(b *bubble) {
		b.rest(time.Minute)
		if n := f.count("remove old"); n < 3 || n > 5 {
			b.Errorf("%d tries in a minute", n)
		}
		if n := f.count("stop old"); n != 0 {
			b.Errorf("stopped %d times", n)
		}
		f.set("remove old", nil)
		b.rest(longestRetry)
		b.expectKept()
	})
}

// TestRemovalYields to sessions, for a while.
func TestRemovalYields(t *testing.T) {
	f := newFake()
	inBubble(t, f, func(c *Config) { c.Retain, c.MaxLeases = 1, 64 }, func(b *bubble) {
		b.over(b.lease(session1))
		b.rest(time.Minute)
		b.over(b.lease(session2)) // session 1 is to go now
		began := time.Now()
		removed := time.Duration(0)
		for i := range 40 {
			b.rest(100 * time.Millisecond)
			b.lease(sessionID(10 + i))
			if removed == 0 && !slices.Contains(b.kept(), session1) {
				removed = time.Since(began)
			}
		}
		if removed < yieldBound-100*time.Millisecond || removed > yieldBound+300*time.Millisecond {
			b.Errorf("removed after %s of sessions every 100 ms", removed)
		}
		for _, call := range f.calls {
			if strings.HasPrefix(call, "remove") && !strings.HasPrefix(call, "remove c") {
				b.Errorf("call %s", call)
			}
		}
	})
}

// TestKeepIsAskedSparingly: it reads files.
func TestKeepIsAskedSparingly(t *testing.T) {
	f := newFake()
	for i := range 30 {
		f.put(fmt.Sprint("old", i), sessionID(i), false)
	}
	var asked atomic.Int32
	keep := func(s string) bool { asked.Add(1); return s == sessionID(7) }
	inBubble(t, f, func(c *Config) { c.Retain, c.Keep = 20, keep }, func(b *bubble) {
		if n := asked.Load(); n > 30+10 || len(b.kept()) != 21 {
			b.Errorf("asked %d times to remove 9 of 30; %d are left", n, len(b.kept()))
		}
	})
}

// TestPinnedInTheLastMoment: what counted as removable a moment ago may not be.
func TestPinnedInTheLastMoment(t *testing.T) {
	f := newFake()
	f.put("a", session1, false)
	f.put("b", session2, false)
	var pinned atomic.Bool
	keep := func(s string) bool { return s == session2 && pinned.Load() }
	inBubble(t, f, func(c *Config) { c.Retain, c.Keep = 1, keep }, func(b *bubble) {
		b.expectKept(session2)
		pinned.Store(true)
		b.over(b.lease(session3))
		b.rest(time.Second)
		b.expectKept(session2, session3)
	})
}

func TestMeasuredWhenGone(t *testing.T) {
	f := newFake()
	inBubble(t, f, func(c *Config) { c.RetainBytes = 1000 }, func(b *bubble) {
		l := b.lease(session1)
		l.Release(b.Context())
		f.mu.Lock()
		delete(f.boxes, l.Container)
		f.mu.Unlock()
		l.Captured()
		b.rest(time.Second)
		b.expect(Status{Warm: 3, Goal: 3})
		b.expectReason("it was gone")
	})
}
