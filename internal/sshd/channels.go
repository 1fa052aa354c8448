package sshd

import (
	"context"
	"slices"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/sandtrap/sandtrap/internal/event"
)

// maxChannels bounds the session channels of one connection over its life: each
// leaves a recording.
const maxChannels = 1000

// channels serves the channels of one connection (RFC 4254, section 5).
type channels struct {
	conn    *connection
	session Session
	serving sync.WaitGroup

	mu          sync.Mutex // guards all below
	open        int        // session channels
	next        int        // number of the next session channel
	forwards    int        // forwards that are open
	nextForward int
	list        []ssh.Channel // all that are open, the oldest first
	unused      unused
}

func newChannels(c *connection, s Session) *channels {
	return &channels{conn: c, session: s, unused: unused{most: c.server.cfg.UnusedConnectionTimeout}}
}

// serve answers what the client opens and what it asks about the whole connection,
// until it opens no more and every channel is done.
func (cs *channels) serve(ctx context.Context, opened <-chan ssh.NewChannel, g *globals, requests <-chan *ssh.Request) {
	cs.mu.Lock()
	cs.unused.begin(time.Now(), cs.lookUnused)
	cs.mu.Unlock()
	defer cs.stopUnused()
	defer cs.serving.Wait()
	for opened != nil || requests != nil {
		select {
		case nc, ok := <-opened:
			if !ok {
				opened = nil
				continue
			}
			cs.answer(ctx, nc)
		case r, ok := <-requests:
			if !ok {
				requests = nil
				continue
			}
			if r.Type == noMoreSessions {
				cs.answerWaiting(ctx, opened) // they came before it
			}
			g.answer(r)
		}
	}
}

// answerWaiting answers what was opened before now.
func (cs *channels) answerWaiting(ctx context.Context, opened <-chan ssh.NewChannel) {
	for {
		select {
		case nc, ok := <-opened:
			if !ok {
				return
			}
			cs.answer(ctx, nc)
		default:
			return
		}
	}
}

// answer answers the opening of a channel.
func (cs *channels) answer(ctx context.Context, nc ssh.NewChannel) {
	switch nc.ChannelType() {
	case "session":
		cs.program(ctx, nc)
	case DirectTCPIP, DirectStreamlocal, Tun:
		cs.forward(ctx, nc)
	default:
		cs.deny(nc, &unknownType, unknownType.reason)
	}
}

// discard takes what nobody answers any more after a panic: the library waits for
// a reader.
func discard(opened <-chan ssh.NewChannel, requests <-chan *ssh.Request) {
	for opened != nil || requests != nil {
		select {
		case _, ok := <-opened:
			if !ok {
				opened = nil
			}
		case _, ok := <-requests:
			if !ok {
				requests = nil
			}
		}
	}
}

// program answers the opening of a session channel and serves it.
func (cs *channels) program(ctx context.Context, nc ssh.NewChannel) {
	if len(nc.ExtraData()) > 0 {
		cs.deny(nc, nil, "malformed")
		return
	}
	if cs.conn.noMoreSessions.Load() {
		// sshd says so in an SSH_MSG_DISCONNECT.
		cs.deny(nc, nil, "session after no-more-sessions@openssh.com")
		return
	}
	number, ok := cs.begin()
	if !ok {
		cs.deny(nc, &tooManySessions, tooManySessions.reason)
		return
	}
	ch, requests, err := nc.Accept()
	if err != nil {
		cs.end()
		return // the connection is gone
	}
	closed := cs.opened(ch)
	cs.serving.Go(func() {
		defer cs.end()
		defer func() { closed(time.Now()) }()
		defer ssh.DiscardRequests(requests) // after a panic: the library waits for a reader
		defer cs.conn.survive()
		newChannel(cs.conn, cs.session, number, ch).serve(ctx, requests, closed)
	})
}

func (cs *channels) begin() (number int, ok bool) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if cs.open >= cs.conn.server.cfg.MaxSessions || cs.next >= maxChannels {
		return 0, false
	}
	cs.open++
	cs.next++
	return cs.next - 1, true
}

func (cs *channels) end() {
	cs.mu.Lock()
	cs.open--
	cs.mu.Unlock()
}

// opened notes a channel as open until closed is called.
func (cs *channels) opened(ch ssh.Channel) (closed func(last time.Time)) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	cs.list = append(cs.list, ch)
	cs.unused.end()
	return func(last time.Time) {
		cs.mu.Lock()
		defer cs.mu.Unlock()
		before := len(cs.list)
		cs.list = slices.DeleteFunc(cs.list, func(one ssh.Channel) bool { return one == ch })
		if before > 0 && len(cs.list) == 0 {
			cs.unused.begin(last, cs.lookUnused)
		}
	}
}

// lookUnused ends a connection that had no open channel for too long.
func (cs *channels) lookUnused() {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if cs.unused.over() {
		cs.conn.drop(nothingOpen)
	}
}

func (cs *channels) stopUnused() {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	cs.unused.end()
}

// oldest is the channel that has been open for the longest time, or nil.
func (cs *channels) oldest() ssh.Channel {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if len(cs.list) == 0 {
		return nil
	}
	return cs.list[0]
}

// deny refuses a channel, or for nil ends the connection without an answer.
func (cs *channels) deny(nc ssh.NewChannel, refused *openFailure, reason string) {
	if cs.conn.mayChat() {
		cs.conn.events.Emit(event.ChannelDeny, event.F("channel_type", nc.ChannelType()), event.F("reason", reason), event.F("payload", head(nc.ExtraData())))
	}
	if refused == nil {
		cs.conn.drop("channel refused: " + reason)
		return
	}
	_ = nc.Reject(refused.code, refused.answer)
}
