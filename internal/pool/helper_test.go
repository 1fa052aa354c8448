package pool

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
	"go.uber.org/goleak"

	"github.com/sandtrap/sandtrap/internal/event"
	"github.com/sandtrap/sandtrap/internal/frame"
	"github.com/sandtrap/sandtrap/internal/target"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m, idle...) }

// idle are goroutines of the bindings that stay: their connections are kept alive.
var idle = []goleak.Option{
	goleak.IgnoreAnyFunction("net/http.(*persistConn).readLoop"), goleak.IgnoreAnyFunction("net/http.(*persistConn).writeLoop"),
}

var errDown = errors.New("connection refused")

// sink keeps events.
type sink struct {
	mu   sync.Mutex // guards list
	list []*event.Event
}

func (s *sink) Write(e *event.Event) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.list = append(s.list, e)
	return nil
}

func (*sink) Close() error { return nil }

// values are one field of every event of a kind.
func (s *sink) values(kind event.Kind, name string) []any {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []any
	for _, e := range s.list {
		if e.Kind != kind {
			continue
		}
		for _, v := range e.Values {
			if v.Name == name {
				all = append(all, v.Value)
			}
		}
	}
	return all
}

// bubble is a pool that runs on a fake Podman and a fake clock.
type bubble struct {
	*testing.T
	pool   *Pool
	fake   *fake
	events *sink
	stop   func() error // ends the pool and returns what Run said

	mu     sync.Mutex // guards leases
	leases []*Lease
}

// inBubble runs test with a pool that has had a second to fill.
func inBubble(t *testing.T, f *fake, change func(*Config), test func(b *bubble)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		cfg := Config{
			Targets: []Supply{{
				Target: target.Target{Name: "debian", Image: "localhost/x:latest", Hostname: "srv01", LoginAs: frame.PolicyExisting, Account: "root", Memory: 1 << 20},
				Weight: 1, Min: 3, Max: 3,
			}},
			Burst: 2, MaxLeases: 2, MaxAge: time.Hour, LeaseTimeout: 10 * time.Second, Retain: 2, StickyWindow: 10 * time.Minute,
		}
		if change != nil {
			change(&cfg)
		}
		b := &bubble{T: t, fake: f, events: &sink{}}
		emitter := event.New(b.events)
		b.pool = New(cfg, f, emitter, hclog.NewNullLogger())
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- b.pool.Run(ctx) }()
		b.stop = sync.OnceValue(func() error {
			cancel()
			return <-done
		})
		end := func() {
			_ = b.stop()
			for _, l := range b.leases {
				l.Release(context.Background())
			}
		}
		defer end() // after Fatal
		time.Sleep(time.Second)
		synctest.Wait()
		test(b)
		end()
		if err := emitter.Err(); err != nil { // about no kind or field of the catalogue
			t.Errorf("events: %v", err)
		}
		b.checkInvariants()
		if len(f.open) > 0 {
			t.Errorf("the streams of %q were left open", f.open)
		}
	})
}

// checkInvariants holds the pool's books against each other.
func (b *bubble) checkInvariants() {
	b.Helper()
	p := b.pool
	p.mu.Lock()
	defer p.mu.Unlock()
	var count [states]int
	for id, c := range p.all {
		count[c.state]++
		if id != c.id || c.state == gone {
			b.Errorf("container %s is filed as %s in state %d", c.id, id, c.state)
		}
	}
	for s := making; s < gone; s++ {
		if count[s] != p.count[s] {
			b.Errorf("%d containers in state %d, counted %d", count[s], s, p.count[s])
		}
	}
	listed := 0
	for _, s := range p.stocks {
		listed += len(s.warm)
	}
	if listed != p.count[warm] || len(p.waiting) != 0 || p.making() != 0 {
		b.Errorf("%d listed as warm of %d, %d wait, %d are being made", listed, p.count[warm], len(p.waiting), p.making())
	}
	for key, c := range p.sticky {
		if c.key != key || p.all[c.id] != c {
			b.Errorf("%v is reserved for %v", c.id, key)
		}
	}
}

func claim(session string) Claim {
	return Claim{Session: session, User: "admin", Source: "192.0.2.1", Credential: "secret"}
}

// take leases a target in which a program runs then.
func (b *bubble) take(ctx context.Context, c Claim) (*Lease, error) {
	l, err := b.pool.Lease(ctx, c)
	if err == nil {
		l.used.Store(true)
	}
	return l, err
}

// lease takes a target, which must work.
func (b *bubble) lease(session string) *Lease {
	b.Helper()
	l := b.tryLease(session)
	if l == nil {
		b.FailNow()
	}
	return l
}

// tryLease is lease for other goroutines than the test's: it returns nil where lease ends
// the test.
func (b *bubble) tryLease(session string) *Lease {
	b.Helper()
	l, err := b.take(b.Context(), claim(session))
	if err != nil {
		b.Error(err)
		return nil
	}
	b.held(l)
	return l
}

// held has a lease released in the end.
func (b *bubble) held(l *Lease) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.leases = append(b.leases, l)
}

// over ends a session in good order.
func (b *bubble) over(l *Lease) {
	b.Helper()
	l.Release(b.Context())
	l.Captured()
}

// leader is the latest one of a container.
func (b *bubble) leader(id string) *fakeLeader {
	b.Helper()
	c, ok := b.fake.get(id)
	if !ok || c.leader == nil {
		b.Fatalf("container %s has no leader", id)
	}
	return c.leader
}

// status is Status without what it does not say here.
func (b *bubble) expect(want Status) {
	b.Helper()
	if got := b.pool.Status(); got != want {
		b.Errorf("status %+v, want %+v", got, want)
	}
}

// rest lets everything settle that takes less than d.
func (b *bubble) rest(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// session is the n-th session's id.
func sessionID(n int) string { return fmt.Sprintf("01JQ%022d", n) }
