package pool

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sandtrap/sandtrap/internal/attach"
	"github.com/sandtrap/sandtrap/internal/frame"
	"github.com/sandtrap/sandtrap/internal/podman"
	"github.com/sandtrap/sandtrap/internal/target"
)

// box is a container of the fake.
type box struct {
	podman.Container
	limited bool
	starts  int
	stops   int
	leader  *fakeLeader // the latest
	link    Connection
}

// fake is a Podman in memory. Every call takes a moment of the bubble's time.
type fake struct {
	mu     sync.Mutex // guards all below
	boxes  map[string]*box
	made   int
	calls  []string         // "verb id"
	broken map[string]error // what a verb answers, by verb or "verb id"
	hung   map[string]bool  // verbs, or "verb id", that take until their context ends
	slow   map[string]time.Duration
	busy   int                  // Creates at this moment
	most   int                  // the largest busy
	bears  int                  // more Creates at once all fail; 0 for no bound
	passwd string               // of every image
	image  podman.Image         // there is one
	spec   podman.Spec          // the latest
	limits error                // what Start answers for a container with limits
	loose  bool                 // containers start without a cgroup of their own
	names  map[string]string    // names of removed containers by id
	born   map[string]time.Time // when each was created
	sizes  map[string]int64
	locks  int64 // free
	space  int64 // of the store, in bytes; 0 where it does not tell
	told   bool  // whether the service tells how many
	login  func(l *fakeLeader) error
	open   []string // containers that were removed with their leader's stream open
	ends   bool     // the main process of a container ends at once
}

func newFake() *fake {
	return &fake{
		boxes: map[string]*box{}, broken: map[string]error{}, hung: map[string]bool{}, slow: map[string]time.Duration{},
		names: map[string]string{}, born: map[string]time.Time{}, sizes: map[string]int64{},
		image:  podman.Image{Digest: "sha256:one", Labels: map[string]string{target.LeaderLabel: "/leader"}},
		passwd: "root:x:0:0::/root:/bin/bash\nadmin:x:1000:1000::/home/admin:/bin/bash\n",
	}
}

// enter begins a call: it is counted and perhaps refused. It holds the lock when
// it succeeds.
func (f *fake) enter(ctx context.Context, verb, id string) error {
	call := strings.TrimSpace(verb + " " + id)
	f.mu.Lock()
	f.calls = append(f.calls, call)
	slow, hung := time.Millisecond+f.slow[verb], f.hung[verb] || f.hung[call]
	f.mu.Unlock()
	if hung {
		<-ctx.Done()
	} else {
		time.Sleep(slow)
	}
	f.mu.Lock()
	err := f.broken[verb]
	if err == nil {
		err = f.broken[call]
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

func (f *fake) Image(ctx context.Context, name string) (podman.Image, error) {
	if err := f.enter(ctx, "image", name); err != nil {
		return podman.Image{}, err
	}
	defer f.mu.Unlock()
	return f.image, nil
}

func (f *fake) Create(ctx context.Context, s podman.Spec) (string, error) {
	f.mu.Lock()
	f.busy++
	f.most = max(f.most, f.busy)
	f.mu.Unlock()
	err := f.enter(ctx, "create", s.Labels[target.Label])
	if err != nil {
		f.mu.Lock()
	}
	defer f.mu.Unlock()
	if err == nil && f.bears > 0 && f.busy > f.bears {
		err = context.DeadlineExceeded
	}
	f.busy--
	if err != nil {
		return "", err
	}
	f.made++
	f.locks--
	id := fmt.Sprintf("c%d", f.made)
	f.boxes[id] = &box{Container: podman.Container{ID: id, Name: s.Name, Labels: s.Labels}, limited: !s.Unlimited}
	f.spec, f.born[id] = s, time.Now()
	return id, nil
}

// digests are the images that the containers were made of.
func (f *fake) digests() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var all []string
	for _, b := range f.boxes {
		all = append(all, b.Labels[target.ImageLabel])
	}
	return all
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
		b.Running = !f.ends
		b.starts++
	}
	return err
}

func (f *fake) StartAgain(ctx context.Context, id string) error { return f.Start(ctx, id) }

func (f *fake) Connect(ctx context.Context, c Connection) (Leader, error) {
	if err := f.enter(ctx, "connect", c.Container); err != nil {
		return nil, err
	}
	defer f.mu.Unlock()
	b, err := f.find(c.Container)
	if err != nil {
		return nil, err
	}
	b.link = c
	b.leader = &fakeLeader{fake: f, id: c.Container, done: make(chan struct{})}
	return b.leader, nil
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
		if b.leader != nil && !b.leader.closed {
			f.open = append(f.open, id)
		}
		f.names[id] = b.Name
		f.locks++
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

func (f *fake) Confined(ctx context.Context, id string) (bool, error) {
	if err := f.enter(ctx, "group", id); err != nil {
		return false, err
	}
	defer f.mu.Unlock()
	_, err := f.find(id)
	return err == nil && !f.loose, err
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

func (f *fake) Passwd(ctx context.Context, id string) ([]byte, error) {
	if err := f.enter(ctx, "read", id); err != nil {
		return nil, err
	}
	defer f.mu.Unlock()
	return []byte(f.passwd), nil
}

func (f *fake) Size(ctx context.Context, id string) (int64, error) {
	if err := f.enter(ctx, "size", id); err != nil {
		return 0, err
	}
	defer f.mu.Unlock()
	_, err := f.find(id)
	return f.sizes[id], err
}

func (f *fake) Layer(ctx context.Context, id string) (string, error) {
	if err := f.enter(ctx, "layer", id); err != nil {
		return "", err
	}
	defer f.mu.Unlock()
	_, err := f.find(id)
	return "layer of " + id, err
}

func (f *fake) Left(ctx context.Context) (podman.Left, error) {
	if err := f.enter(ctx, "left", ""); err != nil {
		return podman.Left{}, err
	}
	defer f.mu.Unlock()
	return podman.Left{Locks: f.locks, LocksKnown: f.told, Space: f.space, SpaceKnown: f.space > 0}, nil
}

// fakeLeader lives in a container of the fake.
type fakeLeader struct {
	fake   *fake
	id     string
	done   chan struct{}
	ending sync.Once
	logins []frame.LoginMessage // guarded by fake.mu, as below
	closed bool
}

func (l *fakeLeader) Login(ctx context.Context, m frame.LoginMessage) (attach.Account, error) {
	if err := l.fake.enter(ctx, "login", l.id); err != nil {
		return attach.Account{}, err
	}
	defer l.fake.mu.Unlock()
	l.logins = append(l.logins, m)
	if l.fake.login != nil {
		if err := l.fake.login(l); err != nil {
			return attach.Account{}, err
		}
	}
	return attach.Account{Name: m.User, UID: 7, GID: 8, Home: "/home/x", Shell: "/bin/sh", Made: m.Policy == frame.PolicyCreate}, nil
}

func (l *fakeLeader) Start(ctx context.Context, _ Program) (Stream, error) {
	if err := l.fake.enter(ctx, "program", l.id); err != nil {
		return nil, err
	}
	defer l.fake.mu.Unlock()
	return nil, nil
}

func (l *fakeLeader) Capture(ctx context.Context, _ frame.CaptureMessage, _ attach.Captured) (frame.CapturedMessage, error) {
	if err := l.fake.enter(ctx, "capture", l.id); err != nil {
		return frame.CapturedMessage{}, err
	}
	defer l.fake.mu.Unlock()
	return frame.CapturedMessage{}, nil
}

func (l *fakeLeader) Ping(ctx context.Context) error {
	if err := l.fake.enter(ctx, "ping", l.id); err != nil {
		return err
	}
	defer l.fake.mu.Unlock()
	return nil
}

func (l *fakeLeader) Done() <-chan struct{} { return l.done }
func (l *fakeLeader) Err() error            { return nil }

func (l *fakeLeader) Close() error {
	l.fake.mu.Lock()
	l.closed = true
	l.fake.mu.Unlock()
	l.die()
	return nil
}

func (l *fakeLeader) die() { l.ending.Do(func() { close(l.done) }) }

// set breaks a verb, or mends it with nil.
func (f *fake) set(verb string, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.broken[verb] = err
}

// hang makes a verb take until its context ends.
func (f *fake) hang(verb string, on bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.hung[verb] = on
}

func (f *fake) delay(verb string, d time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.slow[verb] = d
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

// since forgets the calls so far and returns those that follow when it is called.
func (f *fake) since() func() []string {
	f.mu.Lock()
	n := len(f.calls)
	f.mu.Unlock()
	return func() []string {
		f.mu.Lock()
		defer f.mu.Unlock()
		return slices.Clone(f.calls[n:])
	}
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
	f.boxes[id] = &box{Container: podman.Container{
		ID: id, Name: name, Running: running,
		Labels: map[string]string{target.Label: "debian", target.ImageLabel: "sha256:before", target.LeaderLabel: "/leader"},
	}}
}
