// Package pool keeps warm targets: containers that run and wait for an attacker.
//
// A refill worker makes a container whenever a place is free; Lease hands one to
// a session and frees its place; Release stops it and keeps it as evidence. What
// a crash left behind is found by label and name at the next start.
package pool

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/oklog/ulid/v2"

	"github.com/sandtrap/sandtrap/internal/event"
	"github.com/sandtrap/sandtrap/internal/hint"
	"github.com/sandtrap/sandtrap/internal/podman"
	"github.com/sandtrap/sandtrap/internal/target"
)

// Podman is what the pool asks of Podman; Real makes the real one.
type Podman interface {
	ImageDigest(ctx context.Context, name string) (string, error)
	Create(ctx context.Context, s podman.Spec) (string, error)
	Start(ctx context.Context, id string) error
	Rename(ctx context.Context, id, name string) error
	Stop(ctx context.Context, id string) error
	Remove(ctx context.Context, id string) error
	Running(ctx context.Context, id string) (bool, error)
	List(ctx context.Context, label string) ([]podman.Container, error)
	ReadFile(ctx context.Context, id, path string, limit int64) ([]byte, error)
	Exec(ctx context.Context, container string, o Program) (Stream, error)
}

// Real is the Podman that client talks to.
func Real(client *podman.Client) Podman { return real{client} }

type real struct{ *podman.Client }

func (r real) Exec(ctx context.Context, container string, o Program) (Stream, error) {
	e, err := r.Client.Exec(ctx, container, o)
	if err != nil {
		return nil, err // not e: a nil *podman.Exec is not a nil Stream
	}
	return e, nil
}

// Config says how many targets the pool keeps, and of what.
type Config struct {
	Target       target.Target
	Size         int           // warm targets kept ready
	MaxLeases    int           // targets in use at once
	Workers      int           // containers made at once
	LeaseTimeout time.Duration // how long Lease waits for a warm target
	Retain       int           // stopped containers kept
	// BestEffort serves without limits where the host cannot enforce them.
	BestEffort bool
}

// Errors of Lease that are not Podman's.
var (
	ErrBusy  = errors.New("all leases are taken")
	ErrEmpty = errors.New("no warm target within the lease timeout")
)

// Pool holds warm targets. Its methods are safe for concurrent use.
type Pool struct {
	cfg    Config
	podman Podman
	events *event.Emitter
	log    hclog.Logger

	places chan struct{} // a token for each warm target that is missing
	leases chan struct{} // a token for each lease that is taken
	warm   chan *warmTarget
	ready  chan struct{} // closed when the first target is warm
	sweep  chan struct{} // asks the janitor for a round

	mu        sync.Mutex // guards all below
	isReady   bool
	unlimited bool
	failure   error // why the latest container could not be made, nil after a success
	accounts  map[string]target.Accounts
	pending   map[string]struct{} // containers that could not be stopped or removed yet
}

// warmTarget is a container that waits for its attacker.
type warmTarget struct {
	id, name, digest string
	accounts         target.Accounts
}

// New returns a pool that does nothing until Run.
func New(cfg Config, client Podman, events *event.Emitter, log hclog.Logger) *Pool {
	p := &Pool{
		cfg: cfg, podman: client, events: events, log: log,
		places: make(chan struct{}, cfg.Size), leases: make(chan struct{}, cfg.MaxLeases), warm: make(chan *warmTarget, cfg.Size),
		ready: make(chan struct{}), sweep: make(chan struct{}, 1),
		accounts: map[string]target.Accounts{}, pending: map[string]struct{}{},
	}
	for range cfg.Size {
		p.places <- struct{}{}
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
	for range p.cfg.Workers {
		wg.Go(func() { p.refill(ctx) })
	}
	wg.Go(func() { p.janitor(ctx) })
	wg.Wait()
	p.empty()
	return nil
}

// prepare looks for the image and clears up. A Podman that does not answer yet is
// asked again; an image that does not exist is the operator's to build.
func (p *Pool) prepare(ctx context.Context) error {
	for pause := firstPause; ctx.Err() == nil; pause = min(2*pause, longestPause) {
		_, err := p.podman.ImageDigest(ctx, p.cfg.Target.Image)
		if errors.Is(err, podman.ErrNotFound) {
			return hint.Wrap(fmt.Errorf("target %s: image %s does not exist", p.cfg.Target.Name, p.cfg.Target.Image),
				fmt.Sprintf("build it: systemctl start sandtrap-target-%s-build.service", p.cfg.Target.Name))
		}
		if err == nil {
			err = p.reconcile(ctx)
		}
		if err == nil {
			return nil
		}
		p.fail("prepare", "", err)
		wait(ctx, pause)
	}
	return nil
}

// reconcile finds what a predecessor left: a container named by a session is
// evidence and is stopped, any other was waiting and is removed.
func (p *Pool) reconcile(ctx context.Context) error {
	left, err := p.podman.List(ctx, target.Label)
	if err != nil {
		return err
	}
	for _, c := range left {
		if !isSession(c.Name) {
			p.remove(ctx, c.ID, "left by a predecessor")
		} else if c.Running {
			p.stop(ctx, c.ID, c.Name)
		}
	}
	return nil
}

// wait sleeps unless ctx ends first.
func wait(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// isSession reports whether a container's name is a session's id.
func isSession(name string) bool {
	_, err := ulid.ParseStrict(name)
	return err == nil
}

const (
	firstPause   = 200 * time.Millisecond
	longestPause = 10 * time.Second
)

// refill makes a target whenever one is missing. After a failure it waits,
// longer each time, so that a Podman in trouble is not made worse.
func (p *Pool) refill(ctx context.Context) {
	pause := firstPause
	for {
		select {
		case <-ctx.Done():
			return
		case <-p.places:
		}
		t, err := p.make(ctx)
		if err == nil {
			p.warm <- t // never blocks: there are no more targets than places
			pause = firstPause
			continue
		}
		p.places <- struct{}{}
		if ctx.Err() != nil {
			return
		}
		p.fail("make", "", err)
		wait(ctx, pause)
		pause = min(2*pause, longestPause)
	}
}

func (p *Pool) make(ctx context.Context) (*warmTarget, error) {
	began := time.Now()
	digest, err := p.podman.ImageDigest(ctx, p.cfg.Target.Image)
	if err != nil {
		return nil, err
	}
	t := &warmTarget{name: "warm-" + ulid.Make().String(), digest: digest}
	if t.id, err = p.boot(ctx, t.name); err != nil {
		return nil, err
	}
	if t.accounts, err = p.readAccounts(ctx, t); err != nil {
		p.remove(context.WithoutCancel(ctx), t.id, "not usable")
		return nil, err
	}
	p.succeed(t, time.Since(began))
	return t, nil
}

// boot creates and starts a container, without limits only where the
// configuration allows that and the host leaves no choice.
func (p *Pool) boot(ctx context.Context, name string) (string, error) {
	p.mu.Lock()
	unlimited := p.unlimited
	p.mu.Unlock()
	id, err := p.createAndStart(ctx, name, unlimited)
	if err == nil || unlimited || !lacksControllers(err) {
		return id, err
	}
	if !p.cfg.BestEffort {
		return "", hint.Wrap(err, "limits cannot be enforced: this host delegates no cgroup v2 controllers; see limits.enforcement in sandtrap.yaml(5)")
	}
	id, retryErr := p.createAndStart(ctx, name, true)
	if retryErr != nil {
		return "", err
	}
	p.mu.Lock()
	known := p.unlimited // another worker was first
	p.unlimited = true
	p.mu.Unlock()
	if known {
		return id, nil
	}
	p.log.Warn("serving WITHOUT limits on memory, tasks and CPU: this host cannot enforce them and limits.enforcement is best-effort", "error", err)
	return id, nil
}

// lacksControllers reports whether a container failed because its limits have
// nowhere to go. The OCI runtime says so only in words.
func lacksControllers(err error) bool {
	text := err.Error()
	for _, word := range []string{"cgroup", "controller", "memory.max", "memory.swap.max", "pids.max", "cpu.max"} {
		if strings.Contains(text, word) {
			return true
		}
	}
	return false
}

func (p *Pool) createAndStart(ctx context.Context, name string, unlimited bool) (string, error) {
	id, err := p.podman.Create(ctx, p.cfg.Target.Spec(name, unlimited))
	if err != nil {
		return "", err
	}
	if err := p.podman.Start(ctx, id); err != nil {
		p.remove(context.WithoutCancel(ctx), id, "did not start")
		return "", err
	}
	return id, nil
}

// readAccounts reads the passwd file of an image once; the file of a target that
// nobody has touched yet is the image's.
func (p *Pool) readAccounts(ctx context.Context, t *warmTarget) (target.Accounts, error) {
	p.mu.Lock()
	known, ok := p.accounts[t.digest]
	p.mu.Unlock()
	if ok {
		return known, nil
	}
	passwd, err := p.podman.ReadFile(ctx, t.id, "/etc/passwd", target.MaxPasswd)
	if err != nil {
		return target.Accounts{}, err
	}
	accounts, err := target.ParseAccounts(passwd, p.cfg.Target.Account)
	if err != nil {
		return target.Accounts{}, fmt.Errorf("target %s: %w", p.cfg.Target.Name, err)
	}
	p.mu.Lock()
	p.accounts = map[string]target.Accounts{t.digest: accounts} // an image that was replaced does not come back
	p.mu.Unlock()
	return accounts, nil
}

func (p *Pool) succeed(t *warmTarget, took time.Duration) {
	p.mu.Lock()
	first := !p.isReady
	p.isReady, p.failure = true, nil
	p.mu.Unlock()
	warm := len(p.warm) + 1
	p.events.Emit(event.PoolWarm, event.F("target", p.cfg.Target.Name), event.F("container", t.id),
		event.F("image_digest", t.digest), event.F("duration_ms", took.Milliseconds()), event.F("warm", warm))
	if first {
		p.events.Emit(event.PoolReady, event.F("target", p.cfg.Target.Name), event.F("warm", warm))
		close(p.ready)
	}
}

func (p *Pool) fail(operation, container string, err error) {
	if container == "" { // making failed; what cannot be stopped or removed is the janitor's
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
	Warm, Size, Leased int
	Unlimited          bool  // targets run without limits
	Failure            error // why the latest container could not be made, nil when it could
}

// Status reports the pool's state.
func (p *Pool) Status() Status {
	p.mu.Lock()
	defer p.mu.Unlock()
	return Status{Warm: len(p.warm), Size: p.cfg.Size, Leased: len(p.leases), Unlimited: p.unlimited, Failure: p.failure}
}
