package sshd

import (
	"context"
	"errors"
	"math/rand/v2"
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

// hash takes the time that a real server needs for the hash of a password, about:
// without, every login would be answered at once.
func (c *connection) hash() {
	d := c.server.cfg.PasswordTime
	if d > 0 {
		time.Sleep(d*3/4 + rand.N(d/2+1))
	}
}
