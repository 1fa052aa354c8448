package sshd

import (
	"context"
	"sync"

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

	mu   sync.Mutex // guards all below
	open int
	next int // number of the next session channel
}

func newChannels(c *connection, s Session) *channels {
	return &channels{conn: c, session: s}
}

// serve runs until the client opens no more and every channel is done.
func (cs *channels) serve(ctx context.Context, opened <-chan ssh.NewChannel) {
	var wg sync.WaitGroup
	defer wg.Wait()
	for nc := range opened {
		if nc.ChannelType() != "session" {
			cs.refuse(nc)
			continue
		}
		number, ok := cs.begin()
		if !ok {
			// sshd's answer beyond MaxSessions
			cs.deny(nc, ssh.ConnectionFailed, "open failed", "too many sessions")
			continue
		}
		ch, requests, err := nc.Accept()
		if err != nil {
			cs.end()
			continue // the connection is gone
		}
		wg.Go(func() {
			defer cs.end()
			defer ssh.DiscardRequests(requests) // after a panic: the library waits for a reader
			defer cs.conn.survive()
			newChannel(cs.conn, cs.session, number, ch).serve(ctx, requests)
		})
	}
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

// refuse answers a channel type that is not served, as an sshd that forbids
// forwarding does (AllowTcpForwarding no and the like).
func (cs *channels) refuse(nc ssh.NewChannel) {
	switch nc.ChannelType() {
	case "direct-tcpip", "direct-streamlocal@openssh.com", "tun@openssh.com":
		cs.deny(nc, ssh.Prohibited, "open failed", "forwarding is not allowed")
	default:
		cs.deny(nc, ssh.UnknownChannelType, "unknown channel type", "unknown channel type")
	}
}

func (cs *channels) deny(nc ssh.NewChannel, code ssh.RejectionReason, answer, reason string) {
	if cs.conn.mayChat() {
		cs.conn.events.Emit(event.ChannelDeny, event.F("channel_type", nc.ChannelType()), event.F("reason", reason), event.F("payload", head(nc.ExtraData())))
	}
	_ = nc.Reject(code, answer)
}
