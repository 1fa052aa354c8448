package pool

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/sandtrap/sandtrap/internal/event"
	"github.com/sandtrap/sandtrap/internal/podman"
	"github.com/sandtrap/sandtrap/internal/target"
)

// Program is what to run in a leased target.
type Program = podman.ExecOptions

// Size is a terminal's size in characters.
type Size = podman.Size

// Stream is a running program with its standard streams.
type Stream interface {
	// Write sends to standard input, CloseWrite ends it.
	Write(p []byte) (int, error)
	CloseWrite() error
	// Copy hands output on until the program is gone; the buffers are reused.
	Copy(stdout, stderr func([]byte) error) error
	Resize(ctx context.Context, s Size) error
	// Wait returns the exit status once Copy has returned.
	Wait(ctx context.Context) (int, error)
	Close() error
}

// Lease is the exclusive hold of one target by one session.
type Lease struct {
	Target      string
	Container   string // Podman's id
	Name        string // the container's name: the session's id
	Image       string
	ImageDigest string
	Wait        time.Duration // from asking to having

	pool     *Pool
	accounts target.Accounts
	release  sync.Once
}

// Lease takes a warm target for a session, waiting for one if it must. The
// container is named after the session, which is how it is known as evidence.
func (p *Pool) Lease(ctx context.Context, session string) (*Lease, error) {
	began := time.Now()
	select {
	case p.leases <- struct{}{}:
	default:
		return nil, ErrBusy
	}
	t, err := p.take(ctx, session)
	if err != nil {
		<-p.leases
		return nil, err
	}
	return &Lease{
		Target: p.cfg.Target.Name, Container: t.id, Name: session, Image: p.cfg.Target.Image, ImageDigest: t.digest,
		Wait: time.Since(began), pool: p, accounts: t.accounts,
	}, nil
}

// take waits for a warm target that turns out to be alive.
func (p *Pool) take(ctx context.Context, session string) (*warmTarget, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, p.cfg.LeaseTimeout, ErrEmpty)
	defer cancel()
	for {
		var t *warmTarget
		select {
		case t = <-p.warm:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
		alive, err := p.podman.Running(ctx, t.id)
		if err == nil && alive {
			if err = p.podman.Rename(ctx, t.id, session); err == nil {
				p.places <- struct{}{}
				return t, nil
			}
		}
		if err != nil && !errors.Is(err, podman.ErrNotFound) && !errors.Is(err, podman.ErrRefused) {
			p.warm <- t // Podman is away, the target may be well
			return nil, err
		}
		p.places <- struct{}{}
		p.remove(context.WithoutCancel(ctx), t.id, "died while waiting")
	}
}

// Account returns the account that a login name lands in.
func (l *Lease) Account(user string) target.Account { return l.accounts.Lookup(user) }

// Exec starts a program in the target.
func (l *Lease) Exec(ctx context.Context, program Program) (Stream, error) {
	return l.pool.podman.Exec(ctx, l.Container, program)
}

// Release stops the target and everything in it, and keeps it. Where Podman
// cannot be reached the janitor goes on trying. Later calls do nothing.
func (l *Lease) Release(ctx context.Context) {
	l.release.Do(func() {
		l.pool.stop(ctx, l.Container, l.Name)
		<-l.pool.leases
		l.pool.wakeJanitor()
	})
}

// stop stops a session's container and keeps it, at once or later.
func (p *Pool) stop(ctx context.Context, id, session string) {
	began := time.Now()
	if err := p.podman.Stop(ctx, id); err != nil && !errors.Is(err, podman.ErrNotFound) {
		p.fail("stop", id, err)
		p.setPending(id)
		return
	}
	p.events.Bind(event.Identity{Session: session}).Emit(event.TargetStop, event.F("target", p.cfg.Target.Name), event.F("container", id),
		event.F("duration_ms", time.Since(began).Milliseconds()))
}

// remove removes a container, at once or later.
func (p *Pool) remove(ctx context.Context, id, reason string) {
	if err := p.podman.Remove(ctx, id); err != nil {
		p.fail("remove", id, fmt.Errorf("%s: %w", reason, err))
		p.setPending(id)
		return
	}
	p.events.Emit(event.PoolRemove, event.F("target", p.cfg.Target.Name), event.F("container", id), event.F("reason", reason))
}

func (p *Pool) setPending(id string) {
	p.mu.Lock()
	p.pending[id] = struct{}{}
	p.mu.Unlock()
	p.wakeJanitor()
}
