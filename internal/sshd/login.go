package sshd

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

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
		ID: c.id, Opened: c.opened, Source: c.source, Local: c.local, ClientVersion: c.version,
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
	// under a storm makes clients wait longer, and so would let few in here.
	longestQueue = 4
)

// wait is one hash.
func (h *hashing) wait() {
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
	time.Sleep(queued + d)
}
