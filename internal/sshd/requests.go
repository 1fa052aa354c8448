package sshd

import (
	"fmt"
	"math/rand/v2"
	"sync"

	"golang.org/x/crypto/ssh"

	"github.com/sandtrap/sandtrap/internal/event"
)

// breakRequest answers RFC 4335. A pseudo-terminal, which sshd looks for only when a
// program has it, takes a break and does nothing.
func (c *channel) breakRequest(r *ssh.Request) bool {
	var m breakRequest
	if ssh.Unmarshal(r.Payload, &m) != nil {
		return c.malformed(r)
	}
	ok := c.program.PTY && c.running != nil
	c.report(r, ok, event.F("payload", head(r.Payload)))
	return ok
}

// displays are the X11 displays of a connection by their number.
type displays struct {
	mu   sync.Mutex // guards used
	used map[int]bool
}

const (
	firstDisplay = 10   // X11DisplayOffset of sshd_config(5)
	maxDisplays  = 1000 // channels.c, MAX_DISPLAYS
)

func (d *displays) take() (number int, ok bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for n := firstDisplay; n < maxDisplays; n++ {
		if !d.used[n] {
			if d.used == nil {
				d.used = map[int]bool{}
			}
			d.used[n] = true
			return n, true
		}
	}
	return 0, false
}

func (d *displays) free(number int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.used, number)
}

// x11 answers RFC 4254, section 6.3.1. Where it is allowed the program gets a display
// that nobody answers at.
func (c *channel) x11(r *ssh.Request) bool {
	ok := false
	if c.running == nil && c.program.Display == "" {
		m, valid, whole := decodeX11(r.Payload)
		if !whole {
			return c.malformed(r)
		}
		if valid && c.conn.server.cfg.Forwarding.X11 {
			if c.display, ok = c.conn.displays.take(); ok {
				c.program.Display = fmt.Sprintf("localhost:%d.%d", c.display, m.Screen)
			}
		}
	}
	c.report(r, ok, event.F("payload", head(r.Payload)))
	return ok
}

func (c *channel) freeDisplay() {
	if c.program.Display != "" {
		c.conn.displays.free(c.display)
	}
}

// agent is the forwarding of the client's agent, one for the whole connection.
type agent struct {
	mu    sync.Mutex // guards asked
	asked string     // the socket's path, empty until it was asked for
}

// ask returns true for the first one who asks.
func (a *agent) ask() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.asked != "" {
		return false
	}
	a.asked = agentSocket()
	return true
}

// socket is SSH_AUTH_SOCK of every program from now on.
func (a *agent) socket() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.asked
}

const mkdtempLetters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"

// agentSocket is where sshd could listen for the client's agent; session.c,
// auth_input_request_forwarding. The number is that of a process.
func agentSocket() string {
	random := make([]byte, 10)
	for i := range random {
		random[i] = mkdtempLetters[rand.N(len(mkdtempLetters))]
	}
	return fmt.Sprintf("/tmp/ssh-%s/agent.%d", random, 400+rand.N(30000))
}

// agent answers auth-agent-req@openssh.com.
func (c *channel) agent(r *ssh.Request) bool {
	ok := false
	if c.running == nil {
		if len(r.Payload) > 0 {
			return c.malformed(r)
		}
		ok = c.conn.server.cfg.Forwarding.Agent && c.conn.agent.ask()
	}
	c.report(r, ok)
	return ok
}
