package sshd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/oklog/ulid/v2"
	"golang.org/x/crypto/ssh"

	"github.com/sandtrap/sandtrap/internal/event"
)

// connection is one TCP connection, from accept to the end of its session.
type connection struct {
	server  *Server
	raw     net.Conn
	id      string
	opened  time.Time
	source  netip.AddrPort
	local   netip.AddrPort
	events  *event.Emitter
	version string // the client's identification line
	tries   attempts
	opening *opening // nil until a credential was accepted

	dropped atomic.Pointer[string] // why we ended it, when we did
	chatter atomic.Int32           // requests answered only with an event
}

func newConnection(s *Server, c net.Conn) *connection {
	opened := time.Now()
	conn := &connection{
		// The id's own time says in which day's directory its session is.
		server: s, raw: c, id: ulid.MustNew(ulid.Timestamp(opened), ulid.DefaultEntropy()).String(), opened: opened,
		source: addrPort(c.RemoteAddr()), local: addrPort(c.LocalAddr()),
	}
	conn.events = s.cfg.Events.Bind(event.Identity{Session: conn.id, Source: conn.source, Local: conn.local})
	conn.tries.policy, conn.tries.events = s.cfg.Policy(), conn.events
	return conn
}

func addrPort(a net.Addr) netip.AddrPort {
	if tcp, ok := a.(*net.TCPAddr); ok {
		p := tcp.AddrPort()
		return netip.AddrPortFrom(p.Addr().Unmap(), p.Port())
	}
	return netip.AddrPort{}
}

// drop ends the connection for a reason of ours.
func (c *connection) drop(reason string) {
	c.dropped.CompareAndSwap(nil, &reason)
	c.raw.Close()
}

// serve is the life of a connection.
func (c *connection) serve(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(ctx, func() { c.drop("service stops") })()
	c.events.Emit(event.ConnectionOpen)
	reason := panicked
	defer func() {
		if ours := c.dropped.Load(); ours != nil {
			reason = *ours
		}
		c.events.Emit(event.ConnectionEnd, event.F("duration_ms", time.Since(c.opened).Milliseconds()), event.F("reason", reason))
	}()
	reason = c.talk(ctx)
}

// panicked is how a connection ended that met a mistake of ours.
const panicked = "internal error"

// survive, deferred in every goroutine of a connection, keeps a mistake in this
// program, reached by one attacker's bytes, from ending every other session. The
// attacker's own connection ends.
func (c *connection) survive() {
	if r := recover(); r != nil {
		c.server.cfg.Log.Error("connection handler panicked", "session", c.id, "panic", fmt.Sprint(r), "stack", hclog.Stacktrace())
		c.drop(panicked)
	}
}

// talk runs the protocol and says how it ended.
func (c *connection) talk(ctx context.Context) (reason string) {
	// LoginGraceTime is a deadline of the socket: no timer, no goroutine.
	if err := c.raw.SetDeadline(c.opened.Add(c.server.cfg.LoginGraceTime)); err != nil {
		return "connection lost"
	}
	ident := &identConn{Conn: c.raw}
	version, err := ident.exchange(c.server.cfg.Version)
	if c.version = version; version != "" {
		c.events.Emit(event.ClientVersion, event.F("client_version", version))
	}
	if err != nil {
		return loginFailure(err)
	}
	c.tries.accepted, c.tries.hash = func() { c.begin(ctx) }, c.server.hashing.wait
	conn, channels, requests, err := ssh.NewServerConn(ident, c.serverConfig())
	if err != nil {
		reason := loginFailure(err)
		if c.opening != nil { // the client has left before it was told
			reason = "client disconnected"
			if session, err := c.session(); err == nil {
				session.Close(reason)
			}
		}
		return reason
	}
	defer conn.Close()
	// This fails when the client has left already, as those do that only try
	// credentials. Their login is a session all the same.
	_ = c.raw.SetDeadline(time.Time{})
	session, err := c.session()
	if err != nil {
		return "session could not be opened"
	}
	c.serveSession(ctx, conn, session, channels, requests)
	return "client disconnected"
}

// serveSession serves channels and requests until the connection is gone, then
// ends the session. Nothing outlives it.
func (c *connection) serveSession(ctx context.Context, conn *ssh.ServerConn, session Session, channels <-chan ssh.NewChannel, requests <-chan *ssh.Request) {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() {
		defer ssh.DiscardRequests(requests) // after a panic: the library waits for a reader
		defer c.survive()
		c.globalRequests(requests)
	})
	wg.Go(func() {
		defer c.survive()
		newChannels(c, session).serve(ctx, channels)
	})
	_ = conn.Wait() // how a client leaves says nothing
	cancel()
	wg.Wait()
	reason := "client disconnected"
	if ours := c.dropped.Load(); ours != nil {
		reason = *ours
	}
	session.Close(reason)
}

// maxChatter bounds the requests of one connection that do nothing but fill the
// event log; a client that needs more is not a client.
const maxChatter = 10_000

// mayChat counts such a request and drops the connection at the bound.
func (c *connection) mayChat() bool {
	if c.chatter.Add(1) <= maxChatter {
		return true
	}
	c.drop("too many requests")
	return false
}

// globalRequests refuses every global request (RFC 4254, section 4), as sshd
// does with what its configuration does not allow.
func (c *connection) globalRequests(requests <-chan *ssh.Request) {
	for r := range requests {
		if c.mayChat() {
			c.events.Emit(event.GlobalRequest, event.F("request", r.Type), event.F("accepted", false), event.F("payload", head(r.Payload)))
		}
		_ = r.Reply(false, nil)
	}
}

// maxPayload is how much of a payload that we do not decode goes into an event.
const maxPayload = 1024

func head(payload []byte) string { return string(payload[:min(len(payload), maxPayload)]) }

// loginFailure names the end of a connection that never authenticated.
func loginFailure(err error) string {
	var timeout net.Error
	var auths *ssh.ServerAuthError
	switch {
	case errors.Is(err, errIdent):
		return "not SSH"
	case errors.As(err, &timeout) && timeout.Timeout():
		return "login grace time exceeded"
	case errors.As(err, &auths):
		return "authentication failed"
	case errors.Is(err, io.EOF):
		return "client disconnected before authentication"
	default:
		return "handshake failed: " + head([]byte(err.Error())) // may quote the client
	}
}

func (c *connection) serverConfig() *ssh.ServerConfig {
	cfg := &c.server.cfg
	sc := &ssh.ServerConfig{
		Config:                      ssh.Config{KeyExchanges: cfg.KexAlgorithms, Ciphers: cfg.Ciphers, MACs: cfg.MACs},
		MaxAuthTries:                cfg.MaxAuthTries,
		ServerVersion:               "SSH-2.0-" + cfg.Version,
		PasswordCallback:            c.tries.password,
		KeyboardInteractiveCallback: c.tries.interactive,
		PublicKeyCallback:           c.tries.offered,
		VerifiedPublicKeyCallback:   c.tries.verified,
		AuthLogCallback:             c.tries.log,
	}
	for _, key := range cfg.HostKeys {
		for _, one := range eachAlgorithm(key) {
			sc.AddHostKey(one)
		}
	}
	return sc
}
