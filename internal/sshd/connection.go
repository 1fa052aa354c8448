package sshd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/crypto/ssh"

	"github.com/sandtrap/sandtrap/internal/admission"
	"github.com/sandtrap/sandtrap/internal/auth"
	"github.com/sandtrap/sandtrap/internal/event"
)

// connection is one TCP connection, from accept to the end of its session.
type connection struct {
	server *Server
	raw    net.Conn
	wire   *clearConn // on it
	id     string
	opened time.Time
	source netip.AddrPort
	local  netip.AddrPort
	pass   *admission.Pass
	events *event.Emitter

	balancer string // whom it came through

	version string   // the client's identification line
	kexInit *KexInit // nil until the client has sent one
	tries   attempts
	opening *opening // nil until a credential was accepted

	traffic hearing                // the same connection as raw
	dropped atomic.Pointer[string] // why we ended it, when we did
	chatter atomic.Int32           // requests answered only with an event
	fails   atomic.Int32           // of what was asked of the session

	noMoreSessions atomic.Bool // the client asked that no further session be opened
	displays       displays    // of X11
	agent          agent
}

func newConnection(s *Server, c net.Conn, id event.Identity, opened time.Time, pass *admission.Pass) *connection {
	conn := &connection{server: s, raw: c, id: id.Session, opened: opened, source: id.Source, local: id.Local, pass: pass}
	conn.traffic.Conn, conn.raw = c, &conn.traffic
	conn.wire = newClearConn(conn.raw)
	conn.events = s.cfg.Events.Bind(id).Limit(s.cfg.EventLimits)
	conn.tries.policy, conn.tries.events, conn.tries.source, conn.tries.began = s.cfg.Policy(), conn.events, conn.source.Addr(), opened
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
	defer context.AfterFunc(ctx, func() { c.drop(serviceStops) })()
	var about []event.Field
	if c.server.cfg.About != nil {
		about = c.server.cfg.About(c.source.Addr())
	}
	if c.balancer != "" {
		about = append(about, event.F("balancer", c.balancer))
	}
	c.events.Emit(event.ConnectionOpen, about...)
	reason := panicked
	defer func() {
		c.pass.Close(c.outcome(reason), time.Now())
		c.events.Settle()
		c.events.Emit(event.ConnectionEnd, event.F("duration_ms", time.Since(c.opened).Milliseconds()), event.F("reason", c.why(reason)))
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
	config := c.serverConfig()
	wire := c.wire
	wire.kexAlgorithms, wire.hostKey, wire.heard = config.KeyExchanges, c.server.hostKeys[0].PublicKey().Type(), c.heard
	version, err := wire.exchange(c.server.cfg.Version)
	if c.version = version; version != "" {
		c.events.Emit(event.ClientVersion, event.F("client_version", version))
	}
	if err != nil {
		return loginFailure(err)
	}
	c.tries.drop = c.drop
	c.tries.accepted = func() {
		c.pass.Authenticated()
		c.begin(ctx)
	}
	c.tries.checked = func(t auth.Attempt, accepted bool) { c.takeTime(ctx, t, accepted) }
	conn, channels, requests, err := ssh.NewServerConn(wire, config)
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
	announceHostKeys(c, conn)
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

// heard takes what the client offers for the key exchange.
func (c *connection) heard(k *KexInit) {
	c.kexInit = k
	c.events.Emit(event.ClientKexInit, k.fields()...)
}

// serveSession serves channels and requests until the connection is gone, then
// ends the session. Nothing outlives it.
func (c *connection) serveSession(ctx context.Context, conn *ssh.ServerConn, session Session, channels <-chan ssh.NewChannel, requests <-chan *ssh.Request) {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	cs := newChannels(c, session)
	wg.Go(func() {
		defer discard(channels, requests)
		defer c.survive()
		cs.serve(ctx, channels, newGlobals(c, conn), requests)
	})
	wg.Go(func() {
		defer c.survive()
		c.watch(ctx, conn, cs)
	})
	enough := func() bool { return true }
	if most := c.server.cfg.MaxTime; most > 0 {
		enough = time.AfterFunc(most, func() { c.drop(sessionTooLong) }).Stop
	}
	_ = conn.Wait() // how a client leaves says nothing
	enough()
	cancel()
	session.Leave()
	wg.Wait()
	session.Close(c.why("client disconnected"))
}

// why is our reason for the end of the connection, or what else it is.
func (c *connection) why(otherwise string) string {
	if ours := c.dropped.Load(); ours != nil {
		return *ours
	}
	return otherwise
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

// maxFails is how many failures of a connection go to the log: a client can ask for
// as many as it likes.
const maxFails = 20

// failed reports what the session could not do.
func (c *connection) failed(what, stage string, err error) {
	log := c.server.cfg.Log
	if errors.Is(err, ErrReported) || c.fails.Add(1) > maxFails {
		log.Debug(what, "session", c.id, "stage", stage, "error", err)
	} else {
		log.Warn(what, "session", c.id, "stage", stage, "error", err)
	}
	if !errors.Is(err, ErrReported) {
		c.events.Emit(event.SessionFail, event.F("stage", stage), event.F("error", err.Error()))
	}
}

// maxPayload is how much of a payload that we do not decode goes into an event.
const maxPayload = 1024

func head(payload []byte) string { return string(payload[:min(len(payload), maxPayload)]) }

// graceExceeded is how a connection ended that took too long to log in.
const graceExceeded = "login grace time exceeded"

// outcome is what a connection that has not logged in counts for, as the exit status of
// sshd's process for it does.
func (c *connection) outcome(reason string) admission.Outcome {
	switch {
	case c.why(reason) == panicked:
		return admission.Crash
	case reason == graceExceeded:
		return admission.GraceExceeded
	case slices.ContainsFunc(c.tries.tried, func(t Tried) bool { return t.Method != "none" }):
		return admission.AuthFailed
	}
	return admission.NoAuth
}

// loginFailure names the end of a connection that never authenticated.
func loginFailure(err error) string {
	var timeout net.Error
	var auths *ssh.ServerAuthError
	switch {
	case errors.Is(err, errIdent):
		return "not SSH"
	case errors.As(err, &timeout) && timeout.Timeout():
		return graceExceeded
	case errors.As(err, &auths):
		return "authentication failed"
	case errors.Is(err, io.EOF):
		return "client disconnected before authentication"
	default:
		return "handshake failed: " + head([]byte(err.Error())) // may quote the client
	}
}

// publicKeyAlgorithms are those of OpenSSH 8.7 to 9.2, in its order, as far as the
// library has them: webauthn-sk-ecdsa-sha2-nistp256@openssh.com is missing.
var publicKeyAlgorithms = []string{
	ssh.KeyAlgoED25519, ssh.KeyAlgoSKED25519, ssh.KeyAlgoECDSA256, ssh.KeyAlgoECDSA384, ssh.KeyAlgoECDSA521, ssh.KeyAlgoSKECDSA256,
	"ssh-dss", ssh.KeyAlgoRSA, ssh.KeyAlgoRSASHA256, ssh.KeyAlgoRSASHA512,
}

func (c *connection) serverConfig() *ssh.ServerConfig {
	cfg := &c.server.cfg
	sc := &ssh.ServerConfig{
		Config:                  ssh.Config{KeyExchanges: cfg.KexAlgorithms, Ciphers: cfg.Ciphers, MACs: cfg.MACs},
		MaxAuthTries:            cfg.MaxAuthTries,
		ServerVersion:           "SSH-2.0-" + cfg.Version,
		AuthLogCallback:         c.tries.log,
		PublicKeyAuthAlgorithms: publicKeyAlgorithms,
	}
	if cfg.Banner != "" {
		sc.BannerCallback = func(ssh.ConnMetadata) string { return cfg.Banner }
	}
	if cfg.PasswordAuthentication {
		sc.PasswordCallback = c.tries.password
	}
	if cfg.KbdInteractiveAuthentication {
		sc.KeyboardInteractiveCallback = c.tries.interactive
	}
	if cfg.PubkeyAuthentication {
		sc.PublicKeyCallback, sc.VerifiedPublicKeyCallback = c.tries.offered, c.tries.verified
	}
	for _, key := range c.server.hostKeys {
		sc.AddHostKey(key)
	}
	return sc
}
