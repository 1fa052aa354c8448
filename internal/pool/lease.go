package pool

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sandtrap/sandtrap/internal/attach"
	"github.com/sandtrap/sandtrap/internal/frame"
	"github.com/sandtrap/sandtrap/internal/target"
)

// Claim is who asks for a target.
type Claim struct {
	Session    string // its id, a ULID
	User       string // login name: any bytes
	Source     string // the attacker's address in text
	Credential string // stands for what was accepted; "" for none
	Early      bool   // who claims may not need it: only one of plenty, without waiting
	Bait       Bait   // to leave in a target that nobody had before
}

// Bait is a script for the home directory of the account. There is none without a name.
type Bait struct{ Name, Content string }

// Lease is the exclusive hold of one target by one session.
type Lease struct {
	Target      string
	Container   string // Podman's id
	Name        string // what the container will be called: the session's id
	Image       string
	ImageDigest string
	Wait        time.Duration // from asking to having
	Account     target.Account
	Previous    string // the session that had this target before, or ""
	Began       time.Time

	pool      *Pool
	container *container
	leader    Leader
	wanted    <-chan struct{}
	used      atomic.Bool // a program was asked for
	end       sync.Once
	release   sync.Once
}

const (
	// loginTries bounds the targets that one session may wear out.
	loginTries = 3
	// yieldRename is how long a session has been on its way when its container
	// gets its name.
	yieldRename = 200 * time.Millisecond
	// maxUser bounds a login name in bytes; no account has such a long one.
	maxUser = 1024
)

// Lease takes a target for a session: the one that the same source had before, if
// it may have that, else a warm one, waiting for one if it must. Nothing but the
// login goes between us and a warm target; the container is named after the
// session later.
func (p *Pool) Lease(ctx context.Context, claim Claim) (*Lease, error) {
	began := time.Now()
	s := p.choose(claim.Source)
	if claim.Early && p.few(s) {
		return nil, ErrFew
	}
	if len(claim.User) > maxUser {
		claim.User = claim.User[:maxUser]
	}
	if lease := p.comeBack(ctx, claim); lease != nil {
		lease.Wait = time.Since(began)
		return lease, nil
	}
	ctx, cancel := context.WithTimeoutCause(ctx, p.cfg.LeaseTimeout, ErrEmpty)
	defer cancel()
	var failed error
	for range loginTries {
		c, err := p.take(ctx, s)
		if err != nil {
			return nil, errors.Join(err, failed)
		}
		account, err := p.logIn(ctx, c, claim)
		if err == nil {
			lease := p.begin(c, claim, account)
			lease.Wait = time.Since(began)
			return lease, nil
		}
		if ctx.Err() != nil || errors.Is(err, ErrUnasked) {
			return nil, err
		}
		failed = err
		p.fail(s, "login", c.id, err)
	}
	return nil, failed
}

// logIn tells a leased target whose it is. A target that has heard of one session
// is not given to another: unless it was not asked, it goes.
func (p *Pool) logIn(ctx context.Context, c *container, claim Claim) (target.Account, error) {
	if ctx.Err() != nil {
		p.giveBack(c)
		return target.Account{}, context.Cause(ctx)
	}
	account, err := p.askLogin(ctx, c, claim)
	switch {
	case err == nil:
		return account, nil
	case errors.Is(err, ErrUnasked):
		p.giveBack(c)
	default:
		p.discard(c, leased, "login failed")
		wake(p.fill)
	}
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return target.Account{}, err
}

// askLogin gives the leader half of what a session may wait, so that another can be asked.
func (p *Pool) askLogin(ctx context.Context, c *container, claim Claim) (target.Account, error) {
	ctx, cancel := context.WithTimeout(ctx, p.cfg.LeaseTimeout/2)
	defer cancel()
	a, err := c.leader.Login(ctx, frame.LoginMessage{
		User: claim.User, Fallback: c.of.Account, Policy: c.of.LoginAs, Source: claim.Source,
		BaitName: claim.Bait.Name, Bait: claim.Bait.Content,
	})
	if err != nil {
		return target.Account{}, fmt.Errorf("log in to the target: %w", err)
	}
	return target.Account{Name: a.Name, UID: a.UID, GID: a.GID, Home: a.Home, Shell: a.Shell, Made: a.Made, Baited: a.Baited}, nil
}

// begin makes a container that has taken the login the session's.
func (p *Pool) begin(c *container, claim Claim, account target.Account) *Lease {
	p.mu.Lock()
	began := time.Now()
	c.wanted = make(chan struct{})
	wanted := c.wanted
	c.session, c.key, c.complete, c.keptAt = claim.Session, p.keyOf(claim), false, time.Time{}
	c.due = began.Add(yieldRename)
	leader := c.leader
	p.mu.Unlock()
	wake(p.sweep)
	if c.program != "" { // the streams of an exec end with their programs
		go p.attend(c, leader)
	}
	return &Lease{
		Target: c.of.Name, Container: c.id, Name: claim.Session, Image: c.of.Image, ImageDigest: c.digest,
		Account: account, Began: began, pool: p, container: c, leader: leader, wanted: wanted,
	}
}

// Start starts a program in the target.
func (l *Lease) Start(ctx context.Context, program Program) (Stream, error) {
	l.used.Store(true)
	return l.leader.Start(ctx, program)
}

// Used reports whether the target holds anything of an attacker's: a program was
// asked for, in this session or in an earlier one.
func (l *Lease) Used() bool { return l.used.Load() || l.Previous != "" }

// Started reports whether a program was asked for in this session.
func (l *Lease) Started() bool { return l.used.Load() }

// Capture has the target tell what goes with it, see attach.Leader. Call it before
// Release, which it does not make up for: the leader may be gone after it.
func (l *Lease) Capture(ctx context.Context, m frame.CaptureMessage, to attach.Captured) (frame.CapturedMessage, error) {
	return l.leader.Capture(ctx, m, to)
}

// Layer is the id of what the target has written, see package layer.
func (l *Lease) Layer(ctx context.Context) (string, error) {
	return l.pool.podman.Layer(ctx, l.Container)
}

// Wanted is closed when the session's source is back and waits for this target, which
// it can have after Captured.
func (l *Lease) Wanted() <-chan struct{} { return l.wanted }

// Lost is closed when nothing can be had of the target any more, and when it is
// released.
func (l *Lease) Lost() <-chan struct{} { return l.leader.Done() }

// End says that the session is over while the target still runs: whoever may come back
// to it waits for it from now on, see Captured. Without a program in the target nobody
// has reason to come back.
func (l *Lease) End() {
	if !l.Used() {
		return
	}
	l.end.Do(func() {
		p, c := l.pool, l.container
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.move(c, leased, ending) {
			c.due = time.Time{} // ours, not the janitor's
			c.ended = time.Now()
			p.remember(c)
		}
	})
}

// Release ends the session, if End has not, stops the target and everything in it, and
// keeps it under the session's name, or removes it if it was not Used. Where Podman
// cannot be reached the janitor goes on trying. Later calls do nothing.
func (l *Lease) Release(ctx context.Context) {
	l.release.Do(func() {
		p, c := l.pool, l.container
		if !l.Used() && p.discard(c, leased, "nothing ran in it") {
			_ = l.leader.Close()
			wake(p.fill)
			return
		}
		l.End()
		p.mu.Lock()
		p.move(c, ending, draining)
		c.leader = nil
		p.mu.Unlock()
		_ = l.leader.Close()
		p.finish(ctx, c)
	})
}

// Captured says that the session's evidence is complete: from now on the container
// is retention's, and whoever may come back to it can. Call it after Release.
func (l *Lease) Captured() {
	p := l.pool
	p.mu.Lock()
	if l.container.session == l.Name { // nobody else has it by now
		l.container.complete = true
		p.move(l.container, stopped, captured)
	}
	p.mu.Unlock()
	wake(p.sweep)
}
