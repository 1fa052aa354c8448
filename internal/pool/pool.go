// Package pool keeps warm targets: containers that run, are connected to, and wait
// for an attacker.
//
// Makers make a container whenever one is missing (make.go), and each is watched
// while it waits (watch.go). Lease hands one to a session without asking Podman
// anything (lease.go, queue.go); Release stops it and keeps it as evidence. A
// source that comes back soon gets its container again (sticky.go). The janitor
// does what can wait, one thing at a time (janitor.go), and sees to it that not too
// much is kept (retention.go). What a crash left behind is found at the next start
// (reconcile.go). All of them change a container's state in one place (state.go).
package pool

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/sandtrap/sandtrap/internal/event"
	"github.com/sandtrap/sandtrap/internal/podman"
	"github.com/sandtrap/sandtrap/internal/target"
)

// Podman is what the pool asks of Podman; Real makes the real one.
type Podman interface {
	Image(ctx context.Context, name string) (podman.Image, error)
	Create(ctx context.Context, s podman.Spec) (string, error)
	Start(ctx context.Context, id string) error
	StartAgain(ctx context.Context, id string) error
	Connect(ctx context.Context, c Connection) (Leader, error)
	Rename(ctx context.Context, id, name string) error
	Stop(ctx context.Context, id string) error
	Remove(ctx context.Context, id string) error
	Running(ctx context.Context, id string) (bool, error)
	Confined(ctx context.Context, id string) (bool, error)
	List(ctx context.Context, label string) ([]podman.Container, error)
	// Passwd returns /etc/passwd of a container that nobody has touched yet, of at most
	// target.MaxPasswd bytes.
	Passwd(ctx context.Context, id string) ([]byte, error)
	Size(ctx context.Context, id string) (int64, error)
	Layer(ctx context.Context, id string) (string, error)
	Left(ctx context.Context) (podman.Left, error)
}

// Config says how many targets the pool keeps, and of what.
type Config struct {
	Target    target.Target
	Min, Max  int           // warm targets at rest, and at most
	Burst     int           // containers made at once at most
	MaxLeases int           // targets in use at once; as many sessions may wait
	MaxAge    time.Duration // how long a target may stay warm
	// LeaseTimeout is how long Lease waits for a warm target.
	LeaseTimeout time.Duration
	// BestEffort serves without limits where the host cannot enforce them.
	BestEffort bool

	Sticky       Sticky
	StickyWindow time.Duration // how long a stopped container waits for its source

	Retain      int           // stopped containers kept
	RetainAge   time.Duration // how long they are kept; 0 is no bound
	RetainBytes int64         // what they may have written in all; 0 is no bound
	// Keep reports whether a session's container must stay whatever the bounds
	// say. Those are not counted either. Nil keeps none.
	Keep func(session string) bool

	// What the evidence of earlier runs knows: the session of a container, by the
	// container's id, and who may come back to one.
	Owners    map[string]string
	Returning []Returning
}

// Errors of Lease that are not Podman's.
var (
	ErrBusy  = errors.New("all leases are taken")
	ErrEmpty = errors.New("no warm target within the lease timeout")
	ErrFew   = errors.New("too few warm targets for an early lease")
)

// Pool holds warm targets. Its methods are safe for concurrent use.
type Pool struct {
	cfg    Config
	podman Podman
	events *event.Emitter
	log    hclog.Logger

	ready    chan struct{} // closed when the first target is warm
	fill     chan struct{} // wakes refill
	sweep    chan struct{} // wakes the janitor
	watchers sync.WaitGroup

	mu sync.Mutex // guards all below and the states of containers
	holdings
	demand
	making    int
	width     int // how many may be made at once: fewer after trouble, more after successes
	successes int // since width changed
	isReady   bool
	drained   bool // by Drain, until Refill
	closed    bool // Run has ended or is about to: nothing stays warm
	unlimited bool
	failure   error         // why the latest container could not be made, nil after a success
	pause     time.Duration // after the next failure
	backoff   time.Time     // nothing is made before
	image     podman.Image  // when it was last looked up
	checked   string        // digest of the image whose accounts were found good
	emptySaid time.Time     // when PoolEmpty was last reported
	retention
	room
}

// New returns a pool that does nothing until Run.
func New(cfg Config, client Podman, events *event.Emitter, log hclog.Logger) *Pool {
	return &Pool{
		cfg: cfg, podman: client, events: events, log: log,
		ready: make(chan struct{}), fill: make(chan struct{}, 1), sweep: make(chan struct{}, 1),
		holdings: holdings{all: map[string]*container{}, sticky: map[stickyKey]*container{}},
		demand:   demand{goal: cfg.Min}, pause: firstPause, width: cfg.Burst,
	}
}

// Run clears up after a predecessor, then fills the pool until ctx ends, and
// takes the unused targets away. It fails only where waiting would not help.
func (p *Pool) Run(ctx context.Context) error {
	if err := p.prepare(ctx); err != nil {
		return err
	}
	var wg sync.WaitGroup
	wg.Go(func() { p.refill(ctx) })
	wg.Go(func() { p.janitor(ctx) })
	wg.Wait()
	p.empty()
	p.watchers.Wait()
	return nil
}

// prepare looks for the image and clears up. A Podman that does not answer yet is
// asked again; an image that does not exist is the operator's to build.
func (p *Pool) prepare(ctx context.Context) error {
	for pause := firstPause; ctx.Err() == nil; pause = min(2*pause, longestPause) {
		_, err := p.lookUp(ctx)
		if errors.Is(err, podman.ErrNotFound) {
			return p.noImage()
		}
		if err == nil {
			err = p.reconcile(ctx)
		}
		if err == nil {
			return nil
		}
		p.fail("prepare", "", err)
		wait(ctx, nil, pause)
	}
	return nil
}

// emptyTimeout bounds the removal of unused targets when the service stops; what
// is left then is removed by the next start.
const emptyTimeout = 10 * time.Second

// empty removes the targets that nobody leased.
func (p *Pool) empty() {
	ctx, cancel := context.WithTimeout(context.Background(), emptyTimeout)
	defer cancel()
	p.mu.Lock()
	p.closed = true
	unused := append([]*container(nil), p.warm...)
	for _, c := range unused {
		p.doom(c, warm, "service stops")
	}
	p.mu.Unlock()
	for _, c := range unused {
		p.remove(ctx, c)
	}
}

// fail reports what Podman refused. An operation without a container is about
// making them, which is what Status tells.
func (p *Pool) fail(operation, container string, err error) {
	if operation == "make" || operation == "prepare" {
		p.mu.Lock()
		p.failure = err
		p.mu.Unlock()
	}
	p.log.Warn("target trouble", "operation", operation, "container", container, "error", err)
	p.events.Emit(event.PoolFail, event.F("target", p.cfg.Target.Name), event.F("container", container),
		event.F("operation", operation), event.F("error", err.Error()))
}

// Ready is closed once the first target is warm.
func (p *Pool) Ready() <-chan struct{} { return p.ready }

// Status is what the pool holds at this moment.
type Status struct {
	Warm, Goal, Leased, Draining int
	Waiting                      int   // sessions without a target
	Retained                     int   // stopped containers
	Unlimited                    bool  // targets run without limits
	Drained                      bool  // none is made, see Drain
	Failure                      error // why the latest container could not be made, nil when it could
}

// Status reports the pool's state.
func (p *Pool) Status() Status {
	p.mu.Lock()
	defer p.mu.Unlock()
	return Status{
		Warm: len(p.warm), Goal: p.goal, Leased: p.count[leased], Draining: p.count[ending] + p.count[draining], Waiting: len(p.waiting),
		Retained: p.count[stopped] + p.count[captured], Unlimited: p.unlimited, Drained: p.drained, Failure: p.failure,
	}
}

// Drain removes the warm targets and makes no others until Refill. Sessions that have
// one keep it; others wait for a target in vain.
func (p *Pool) Drain() {
	p.mu.Lock()
	p.drained = true
	p.settle()
	p.mu.Unlock()
}

// Refill ends Drain, and makes what is missing without waiting for the end of the pause
// after a failure.
func (p *Pool) Refill() {
	p.mu.Lock()
	p.drained, p.backoff, p.pause = false, time.Time{}, firstPause
	p.mu.Unlock()
	wake(p.fill)
}

// wait sleeps unless ctx ends or early says something first.
func wait(ctx context.Context, early <-chan struct{}, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-early:
	case <-timer.C:
	}
}

// wake lets whoever listens to c look again.
func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default: // it will anyway
	}
}
