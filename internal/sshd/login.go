package sshd

import (
	"context"
	"crypto/sha512"
	"encoding/binary"
	"errors"
	"math"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/sandtrap/sandtrap/internal/auth"
	"github.com/sandtrap/sandtrap/internal/event"
)

// opening is the session of a connection that the policy has let in. It begins at
// once, while the client still waits for the answer.
type opening struct {
	done    chan struct{} // closed when session or err is set
	session Session
	err     error
}

// begin opens the session: the latest attempt was accepted.
func (c *connection) begin(ctx context.Context) {
	if c.opening != nil {
		return
	}
	o := &opening{done: make(chan struct{}), err: errors.New(panicked)}
	c.opening = o
	login := Login{
		ID: c.id, Opened: c.opened, Source: c.source, Local: c.local, ClientVersion: c.version, KexInit: c.kexInit,
		Attempts: c.tries.tried, Events: c.events, End: c.drop,
	}
	go func() {
		defer close(o.done)
		defer c.survive()
		if o.session, o.err = c.server.cfg.Open(ctx, login); o.err == nil {
			o.session.Prepare(ctx, false)
		}
	}()
}

// session waits for the session that begin has opened.
func (c *connection) session() (Session, error) {
	<-c.opening.done
	if err := c.opening.err; err != nil {
		c.server.cfg.Log.Error("cannot open a session", "session", c.id, "error", err)
		c.events.Emit(event.SessionFail, event.F("stage", "open"), event.F("error", err.Error()))
		return nil, err
	}
	return c.opening.session, nil
}

// hashing takes the time that a real server needs for the hashes of passwords:
// without, every login would be answered at once, and eight logins at the same moment
// would succeed at the same moment.
type hashing struct {
	each time.Duration // for one, give or take a quarter

	mu   sync.Mutex // guards next
	next time.Time  // when the next one can begin
}

const (
	// hashers is how many hashes go on at once: the processors of a small server.
	hashers = 2
	// longestQueue bounds how long a hash waits for others, in hashes. A real server
	// under a storm makes clients wait longer; here a login shall take no more than twice
	// its time at rest then.
	longestQueue = 1
)

// wait is one hash. It ends early with ctx.
func (h *hashing) wait(ctx context.Context) {
	if h.each <= 0 {
		return
	}
	d := h.each*3/4 + rand.N(h.each/2+1)
	now := time.Now()
	h.mu.Lock()
	if h.next.Before(now) {
		h.next = now
	}
	queued := h.next.Sub(now)
	if queued < longestQueue*h.each {
		h.next = h.next.Add(d / hashers)
	}
	h.mu.Unlock()
	sleep(ctx, queued+d)
}

// takeTime takes the time that sshd takes to look at an attempt. What there is to do
// for one that is let in goes on meanwhile.
func (c *connection) takeTime(ctx context.Context, t auth.Attempt, accepted bool) {
	began := time.Now()
	interactive := t.Method == "keyboard-interactive"
	password := interactive || t.Method == "password"
	if password {
		c.server.hashing.wait(ctx)
	}
	if accepted {
		return
	}
	if password {
		sleep(ctx, failDelay(c.server.cfg.FailDelay))
	}
	if interactive { // sshd answers those elsewhere
		return
	}
	sleep(ctx, leastTime(t.User, c.server.secret, time.Since(began)))
}

// failDelay is what libpam makes of the delay that a module asks for after a failure:
// about that, for it differs by chance, mostly by little; see pam_fail_delay(3).
func failDelay(asked time.Duration) time.Duration {
	if asked <= 0 {
		return 0
	}
	mean := (rand.Float64() + rand.Float64() + rand.Float64()) / 3
	return asked*3/4 + time.Duration(mean*float64(asked/2))
}

// leastTime is what is left to wait so that a failed attempt has taken at least some
// milliseconds, by OpenSSH's rule (auth2.c, ensure_minimum_time_since): a time of the
// user's own, doubled until it is longer than what the attempt took.
func leastTime(user string, secret [16]byte, took time.Duration) time.Duration {
	const least, spread, most = 5 * time.Millisecond, 4200 * time.Microsecond, 5 * time.Second
	sum := sha512.Sum512(append(secret[:], user...))
	want := least + time.Duration(binary.BigEndian.Uint32(sum[:]))*spread/math.MaxUint32
	if took > most {
		return 0
	}
	for want < took {
		want *= 2
	}
	return want - took
}

// sleep waits, or until ctx ends.
func sleep(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
