package sshd

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/ssh"
)

// hearing is a connection that knows when something came last.
type hearing struct {
	net.Conn
	last atomic.Int64 // time.Time.UnixNano
}

func (h *hearing) Read(p []byte) (int, error) {
	n, err := h.Conn.Read(p)
	if n > 0 {
		h.last.Store(time.Now().UnixNano())
	}
	return n, err
}

// keepAlive is what TCPKeepAlive of sshd_config(5) makes of a connection: the
// kernel's own times, see tcp(7), and not those of Go.
func keepAlive(c net.Conn) {
	if tcp, ok := c.(*net.TCPConn); ok {
		// It fails where the client is gone already.
		_ = tcp.SetKeepAliveConfig(net.KeepAliveConfig{Enable: true, Idle: 2 * time.Hour, Interval: 75 * time.Second, Count: 9})
	}
}

// keepaliveRequest is sshd's question; every answer will do.
const keepaliveRequest = "keepalive@openssh.com"

// clientSilent is how a connection ended whose client answered no question.
const clientSilent = "client does not answer"

// watch asks a client that is silent whether it is there, and ends the connection of
// one that does not answer: ClientAliveInterval and ClientAliveCountMax of
// sshd_config(5). It returns when ctx has ended and conn is closed.
func (c *connection) watch(ctx context.Context, conn ssh.Conn, cs *channels) {
	interval, most := c.server.cfg.ClientAliveInterval, c.server.cfg.ClientAliveCountMax
	if interval <= 0 {
		return
	}
	var questions sync.WaitGroup
	defer questions.Wait()
	asking := make(chan struct{}, 1)
	timer := time.NewTimer(interval)
	defer timer.Stop()
	unanswered := 0
	for since := time.Now(); ; {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		if last := time.Unix(0, c.traffic.last.Load()); last.After(since) {
			unanswered, since = 0, last
			if left := interval - time.Since(last); left > 0 {
				timer.Reset(left)
				continue
			}
		}
		if unanswered++; most > 0 && unanswered > most {
			c.drop(clientSilent)
			return
		}
		select {
		case asking <- struct{}{}:
			questions.Go(func() {
				defer func() { <-asking }()
				ask(conn, cs.oldest())
			})
		default: // the library takes no question before the last is answered
		}
		since = time.Now()
		timer.Reset(interval)
	}
}

// ask sends a question as sshd does, on a channel where there is one, and waits for
// the answer or the end.
func ask(conn ssh.Conn, ch ssh.Channel) {
	if ch != nil {
		_, _ = ch.SendRequest(keepaliveRequest, true, nil)
		return
	}
	_, _, _ = conn.SendRequest(keepaliveRequest, true, nil)
}
