package pool

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
	"go.uber.org/goleak"

	"github.com/sandtrap/sandtrap/internal/event"
	"github.com/sandtrap/sandtrap/internal/podman"
	"github.com/sandtrap/sandtrap/internal/target"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var errDown = errors.New("connection refused")

// box is a container of the fake.
type box struct {
	podman.Container
	limited bool
	stops   int
}

// fake is a Podman in memory. Every call takes a moment of the bubble's time.
type fake struct {
	mu     sync.Mutex // guards all below
	boxes  map[string]*box
	made   int
	calls  []string          // "verb id"
	broken map[string]error  // what a verb answers, by verb or "verb id"
	slow   time.Duration     // how long Create takes
	busy   int               // Creates at this moment
	most   int               // the largest busy
	passwd string            // of every image
	digest string            // of the image
	spec   podman.Spec       // the latest
	limits error             // what Start answers for a container with limits
	names  map[string]string // names of removed containers by id
}

func newFake() *fake {
	return &fake{
		boxes: map[string]*box{}, broken: map[string]error{}, names: map[string]string{}, digest: "sha256:one",
		passwd: "root:x:0:0::/root:/bin/bash\nadmin:x:1000:1000::/home/admin:/bin/bash\n",
	}
}

// enter begins a call: it is counted and perhaps refused. It holds the lock when
// it succeeds.
func (f *fake) enter(ctx context.Context, verb, id string) error {
	time.Sleep(time.Millisecond)
	f.mu.Lock()
	f.calls = append(f.calls, strings.TrimSpace(verb+" "+id))
	err := f.broken[verb]
	if err == nil {
		err = f.broken[verb+" "+id]
	}
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		f.mu.Unlock()
		return fmt.Errorf("%s: %w", verb, err)
	}
	return nil
}

func (f *fake) find(id string) (*box, error) {
	b := f.boxes[id]
	if b == nil {
		return nil, fmt.Errorf("container %s: %w", id, podman.ErrNotFound)
	}
	return b, nil
}

func (f *fake) ImageDigest(ctx context.Context, _ string) (string, error) {
	if err := f.enter(ctx, "image", ""); err != nil {
		return "", err
	}
	defer f.mu.Unlock()
	return f.digest, nil
}

func (f *fake) Create(ctx context.Context, s podman.Spec) (string, error) {
	f.mu.Lock()
	f.busy++
	f.most = max(f.most, f.busy)
	slow := f.slow
	f.mu.Unlock()
	time.Sleep(slow)
	err := f.enter(ctx, "create", "")
	if err != nil {
		f.mu.Lock()
	}
	defer f.mu.Unlock()
	f.busy--
	if err != nil {
		return "", err
	}
	f.made++
	id := fmt.Sprintf("c%d", f.made)
	f.boxes[id] = &box{Container: podman.Container{ID: id, Name: s.Name, Labels: s.Labels}, limited: !s.Unlimited}
	f.spec = s
	return id, nil
}

func (f *fake) Start(ctx context.Context, id string) error {
	if err := f.enter(ctx, "start", id); err != nil {
		return err
	}
	defer f.mu.Unlock()
	b, err := f.find(id)
	if err == nil && b.limited && f.limits != nil {
		return f.limits
	}
	if err == nil {
		b.Running = true
	}
	return err
}

func (f *fake) Rename(ctx context.Context, id, name string) error {
	if err := f.enter(ctx, "rename", id); err != nil {
		return err
	}
	defer f.mu.Unlock()
	b, err := f.find(id)
	if err == nil {
		b.Name = name
	}
	return err
}

func (f *fake) Stop(ctx context.Context, id string) error {
	if err := f.enter(ctx, "stop", id); err != nil {
		return err
	}
	defer f.mu.Unlock()
	b, err := f.find(id)
	if err == nil {
		b.Running = false
		b.stops++
	}
	return err
}

func (f *fake) Remove(ctx context.Context, id string) error {
	if err := f.enter(ctx, "remove", id); err != nil {
		return err
	}
	defer f.mu.Unlock()
	if b := f.boxes[id]; b != nil {
		f.names[id] = b.Name
	}
	delete(f.boxes, id)
	return nil
}

func (f *fake) Running(ctx context.Context, id string) (bool, error) {
	if err := f.enter(ctx, "inspect", id); err != nil {
		return false, err
	}
	defer f.mu.Unlock()
	b, err := f.find(id)
	return err == nil && b.Running, err
}

func (f *fake) List(ctx context.Context, label string) ([]podman.Container, error) {
	if err := f.enter(ctx, "list", ""); err != nil {
		return nil, err
	}
	defer f.mu.Unlock()
	if label != target.Label {
		return nil, fmt.Errorf("unexpected label %q", label)
	}
	var all []podman.Container
	for _, b := range f.boxes {
		all = append(all, b.Container)
	}
	return all, nil
}

func (f *fake) ReadFile(ctx context.Context, id, path string, limit int64) ([]byte, error) {
	if err := f.enter(ctx, "read", id); err != nil {
		return nil, err
	}
	defer f.mu.Unlock()
	if path != "/etc/passwd" || limit != target.MaxPasswd {
		return nil, fmt.Errorf("unexpected read of %s, %d bytes", path, limit)
	}
	return []byte(f.passwd), nil
}

func (f *fake) Exec(ctx context.Context, id string, _ Program) (Stream, error) {
	if err := f.enter(ctx, "exec", id); err != nil {
		return nil, err
	}
	defer f.mu.Unlock()
	return nil, nil
}

// set breaks a verb, or mends it with nil.
func (f *fake) set(verb string, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.broken[verb] = err
}

func (f *fake) count(call string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := 0
	for _, c := range f.calls {
		if c == call || strings.HasPrefix(c, call+" ") {
			n++
		}
	}
	return n
}

func (f *fake) get(id string) (box, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	b := f.boxes[id]
	if b == nil {
		return box{}, false
	}
	return *b, true
}

func (f *fake) ids() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Sorted(maps.Keys(f.boxes))
}

// put adds a container that was there before.
func (f *fake) put(id, name string, running bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.boxes[id] = &box{Container: podman.Container{ID: id, Name: name, Running: running}}
}

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
}

// inBubble runs test with a pool that has had a minute to fill.
func inBubble(t *testing.T, f *fake, change func(*Config), test func(b *bubble)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		cfg := Config{
			Target: target.Target{Name: "debian", Image: "localhost/x:latest", Hostname: "srv01", Account: "root", Memory: 1 << 20},
			Size:   3, MaxLeases: 2, Workers: 2, LeaseTimeout: 10 * time.Second, Retain: 2,
		}
		if change != nil {
			change(&cfg)
		}
		b := &bubble{T: t, fake: f, events: &sink{}}
		b.pool = New(cfg, f, event.New(b.events), hclog.NewNullLogger())
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- b.pool.Run(ctx) }()
		b.stop = sync.OnceValue(func() error {
			cancel()
			return <-done
		})
		time.Sleep(time.Minute)
		synctest.Wait()
		test(b)
		_ = b.stop()
	})
}

// lease takes a target, which must work.
func (b *bubble) lease(session string) *Lease {
	b.Helper()
	l, err := b.pool.Lease(b.Context(), session)
	if err != nil {
		b.Fatal(err)
	}
	return l
}

// rest lets everything settle that takes less than d.
func (b *bubble) rest(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}
