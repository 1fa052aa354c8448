package sshd

import (
	"sync"
	"sync/atomic"
	"time"
)

// ChannelTimeout is one pair of ChannelTimeout of sshd_config(5).
type ChannelTimeout struct {
	Pattern string        // of types of channels; * and ? are wildcards
	Silence time.Duration // after which one is ended; 0 never ends it
}

// The types of session channels in a ChannelTimeout.
const (
	// typeSession is a channel before its program. sshd never ends one of those.
	typeSession   = "session"
	typeShell     = "session:shell"
	typeCommand   = "session:command"
	typeSubsystem = "session:subsystem:" // and its name
	typeTun       = "tun"                // channels.c calls it so
)

// typeOf is the type of a channel on which a program was started.
func typeOf(p Program) string {
	switch p.Kind {
	case Shell:
		return typeShell
	case Subsystem:
		return typeSubsystem + p.Command
	default:
		return typeCommand
	}
}

// typeOfForward is the type of a forward.
func typeOfForward(kind string) string {
	if kind == Tun {
		return typeTun
	}
	return kind
}

// silence is how long a channel of a type may be silent, 0 for ever. The first
// pattern that matches counts.
func (c *Config) silence(channelType string) time.Duration {
	for _, t := range c.ChannelTimeouts {
		if matches(channelType, t.Pattern) {
			return t.Silence
		}
	}
	return 0
}

// Why we end a connection that has had its time.
const (
	sessionTooLong = "session time limit"
	nothingOpen    = "no open channels"
)

// idle calls a function, once, when nothing was heard for so long as the type of a
// channel allows, with the time when something was. It has no goroutine; hearing something takes no lock.
type idle struct {
	began time.Time
	last  atomic.Int64 // when something was heard, in nanoseconds since began
	then  func(last time.Time)

	mu    sync.Mutex // guards all below
	most  time.Duration
	timer *time.Timer
	over  bool
}

// newIdle waits for most; 0 waits for ever. Every idle must be stopped.
func newIdle(most time.Duration, then func(last time.Time)) *idle {
	i := &idle{began: time.Now(), then: then}
	i.allow(most)
	return i
}

func (i *idle) heard() { i.last.Store(int64(time.Since(i.began))) }

// allow begins anew with another bound.
func (i *idle) allow(most time.Duration) {
	i.heard()
	i.mu.Lock()
	defer i.mu.Unlock()
	i.most = most
	if i.timer != nil {
		i.timer.Stop()
	}
	if most > 0 && !i.over {
		i.timer = time.AfterFunc(most, i.look)
	}
}

func (i *idle) look() {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.over || i.most <= 0 {
		return
	}
	if left := i.most - (time.Since(i.began) - time.Duration(i.last.Load())); left > 0 {
		i.timer.Reset(left)
		return
	}
	i.over = true
	i.then(i.began.Add(time.Duration(i.last.Load())))
}

// stop ends the waiting, and returns when nothing of it goes on.
func (i *idle) stop() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.over = true
	if i.timer != nil {
		i.timer.Stop()
	}
}

// unused ends a connection that has no open channel for too long:
// UnusedConnectionTimeout of sshd_config(5). channels.mu guards it.
type unused struct {
	most  time.Duration // 0 for ever
	until time.Time
	timer *time.Timer // nil while a channel is open, or for ever
}

// lastWords is how long a channel that was closed has at least until its connection
// ends, so that the client hears of it.
const lastWords = 100 * time.Millisecond

// begin is called when the last channel has closed, and at the beginning. since is when
// something was heard last while there was one: sshd looks at its clock only then
// (serverloop.c, wait_until_can_do_something), so a silence counts twice.
func (u *unused) begin(since time.Time, look func()) {
	if u.most > 0 {
		left := max(u.most-time.Since(since), lastWords)
		u.until, u.timer = time.Now().Add(left), time.AfterFunc(left, look)
	}
}

// end is called when a channel has opened, and at the end.
func (u *unused) end() {
	if u.timer != nil {
		u.timer.Stop()
		u.timer = nil
	}
}

// over reports whether the time is up; a timer may come too late to be stopped.
func (u *unused) over() bool { return u.timer != nil && !time.Now().Before(u.until) }
