// Package pool keeps warm targets: containers that run, are connected to, and wait
// for an attacker.
//
// There can be several targets, each with a stock of its own (stock.go). Makers make a
// container whenever one is missing (plan.go, make.go), and each is watched
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

// Config says which targets the pool keeps, and how many.
type Config struct {
	Targets   []Supply      // at least one
	Disk      int64         // bytes that each container may write, where the store bounds that
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

	mu     sync.Mutex // guards all below, the stocks and the states of containers
	stocks []*stock   // one for each target, in the order of Config
	holdings
	demand
	drained   bool // by Drain, until Refill
	closed    bool // Run has ended or is about to: nothing stays warm
	unlimited bool
	retention
	room
}

// New returns a pool that does nothing until Run.
func New(cfg Config, client Podman, events *event.Emitter, log hclog.Logger) *Pool {
	p := &Pool{
		cfg: cfg, podman: client, events: events, log: log,
		ready: make(chan struct{}), fill: make(chan struct{}, 1), sweep: make(chan struct{}, 1),
		holdings: holdings{all: map[string]*container{}, sticky: map[stickyKey]*container{}},
	}
	for _, s := range cfg.Targets {
		p.stocks = append(p.stocks, newStock(s, cfg.Burst))
	}
	return p
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

// prepare looks for the images and clears up. A Podman that does not answer yet is
// asked again; an image that does not exist is the operator's to build.
func (p *Pool) prepare(ctx context.Context) error {
	for pause := firstPause; ctx.Err() == nil; pause = min(2*pause, longestPause) {
		s, err := p.lookUpAll(ctx)
		if errors.Is(err, podman.ErrNotFound) {
			return p.noImage(s)
		}
		if err == nil {
			err = p.reconcile(ctx)
		}
		if err == nil {
			return nil
		}
		p.fail(s, "prepare", "", err)
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
	var unused []*container
	for _, s := range p.stocks {
		unused = append(unused, s.warm...)
	}
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
func (p *Pool) fail(s *stock, operation, container string, err error) {
	if operation == "make" || operation == "prepare" {
		p.mu.Lock()
		s.failure = err
		p.mu.Unlock()
	}
	p.log.Warn("target trouble", "target", s.Name, "operation", operation, "container", container, "error", err)
	p.events.Emit(event.PoolFail, event.F("target", s.Name), event.F("container", container),
		event.F("operation", operation), event.F("error", err.Error()))
}

// Ready is closed once one of each target has been warm.
func (p *Pool) Ready() <-chan struct{} { return p.ready }

// Status is what the pool holds at this moment, of one target or in all.
type Status struct {
	Warm, Goal, Leased, Draining int
	Waiting                      int   // sessions without a target
	Retained                     int   // stopped containers
	Unlimited                    bool  // targets run without limits
	Drained                      bool  // none is made, see Drain
	Failure                      error // why the latest container could not be made, nil when it could
}

// Status reports the pool's state in all.
func (p *Pool) Status() Status {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := Status{
		Leased: p.count[leased], Draining: p.count[ending] + p.count[draining], Waiting: len(p.waiting),
		Retained: p.count[stopped] + p.count[captured], Unlimited: p.unlimited, Drained: p.drained,
	}
	for _, s := range p.stocks {
		all.Warm, all.Goal = all.Warm+len(s.warm), all.Goal+s.goal
		if all.Failure == nil {
			all.Failure = s.failure
		}
	}
	return all
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
	p.drained = false
	for _, s := range p.stocks {
		s.backoff, s.pause = time.Time{}, firstPause
	}
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
