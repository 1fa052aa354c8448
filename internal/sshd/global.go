package sshd

import (
	"math/rand/v2"

	"golang.org/x/crypto/ssh"

	"github.com/sandtrap/sandtrap/internal/event"
)

// The global requests that sshd knows: RFC 4254, section 7.1, and OpenSSH's
// PROTOCOL, sections 2.2, 2.4 and 2.5.
const (
	tcpipForward       = "tcpip-forward"
	cancelTCPIP        = "cancel-tcpip-forward"
	streamlocalForward = "streamlocal-forward@openssh.com"
	cancelStreamlocal  = "cancel-streamlocal-forward@openssh.com"
	noMoreSessions     = "no-more-sessions@openssh.com"
	hostKeysAnnounced  = "hostkeys-00@openssh.com"
	hostKeysProve      = "hostkeys-prove-00@openssh.com"
)

const (
	// maxListening bounds the remote forwards of a connection at once.
	maxListening = 100
	// firstPort and numPorts are what freePort chooses from.
	firstPort, numPorts = 32769, 7058
)

// globals answers the global requests of one connection (RFC 4254, section 4). One
// goroutine uses it.
type globals struct {
	conn      *connection
	ssh       *ssh.ServerConn
	listening map[listener]bool // what the client believes that we listen on
	proofs    int               // requests for proofs of host keys
}

// listener is one remote forward: an address and a port, or a path.
type listener struct {
	address string
	port    uint32
	isPath  bool
}

func newGlobals(c *connection, conn *ssh.ServerConn) *globals {
	return &globals{conn: c, ssh: conn, listening: map[listener]bool{}}
}

// answer answers one request as sshd does; serverloop.c, server_input_global_request.
func (g *globals) answer(r *ssh.Request) {
	var ok bool
	var payload []byte
	switch r.Type {
	case tcpipForward, cancelTCPIP:
		ok, payload = g.tcpip(r)
	case streamlocalForward, cancelStreamlocal:
		ok = g.streamlocal(r)
	case noMoreSessions:
		g.conn.noMoreSessions.Store(true)
		ok = true
		g.report(r, ok)
	case hostKeysProve:
		payload, ok = g.prove(r.Payload)
		g.report(r, ok)
	default: // keepalive@openssh.com is among what sshd does not know
		g.report(r, false)
	}
	_ = r.Reply(ok, payload)
}

func (g *globals) report(r *ssh.Request, accepted bool) {
	if g.conn.mayChat() {
		g.conn.events.Emit(event.GlobalRequest, event.F("request", r.Type), event.F("accepted", accepted), event.F("payload", head(r.Payload)))
	}
}

// malformed ends the connection without an answer, as sshd does.
func (g *globals) malformed(r *ssh.Request) {
	g.report(r, false)
	g.conn.drop("malformed request")
}

// tcpip answers a request for a port, or to give one up. The answer has the port's
// number where the client left the choice to us.
func (g *globals) tcpip(r *ssh.Request) (ok bool, payload []byte) {
	var m listenTCPIP
	if !decode(r.Payload, &m, &m.Address) {
		g.malformed(r)
		return false, nil
	}
	l := listener{address: m.Address, port: m.Port}
	switch {
	case r.Type == cancelTCPIP:
		ok = g.listening[l]
		delete(g.listening, l)
	case m.Port != 0:
		ok = g.listen(l)
	case r.WantReply: // or nobody would know the port
		for range portTries {
			if l.port = freePort(); g.listen(l) {
				ok, payload = true, ssh.Marshal(struct{ Port uint32 }{l.port})
				break
			}
		}
	}
	g.reportListen(r, l, g.conn.server.cfg.Forwarding.TCPRemote, ok)
	return ok, payload
}

// listen notes a port that the client may believe to be open, if it can be one.
func (g *globals) listen(l listener) bool {
	port := uint16(l.port)                             // sshd does not look at the rest either
	taken := port == 22 || port == g.conn.local.Port() // ours
	for other := range g.listening {
		taken = taken || !other.isPath && uint16(other.port) == port
	}
	if !g.conn.server.cfg.Forwarding.TCPRemote || taken || len(l.address) > maxListenHost || len(g.listening) >= maxListening {
		return false
	}
	g.listening[l] = true
	return true
}

// maxListenHost is NI_MAXHOST of getnameinfo(3), less the NUL.
const maxListenHost = 1024

// portTries is how many ports are tried: few of them can be taken.
const portTries = 10

// freePort is a port as the kernel chooses it for bind(2) to port 0 with SO_REUSEADDR:
// an odd one of the lower half of ip_local_port_range, see ip(7).
func freePort() uint32 { return firstPort + 2*rand.N[uint32](numPorts) }

// streamlocal answers a request for a socket, or to give one up.
func (g *globals) streamlocal(r *ssh.Request) bool {
	var m listenStreamlocal
	if !decode(r.Payload, &m, &m.Path) {
		g.malformed(r)
		return false
	}
	allowed := g.conn.server.cfg.Forwarding.StreamlocalRemote
	l := listener{address: m.Path, isPath: true}
	known := g.listening[l]
	ok := known
	if r.Type == cancelStreamlocal {
		delete(g.listening, l)
	} else if ok = allowed && !known && len(m.Path) < maxSocketPath && len(g.listening) < maxListening; ok {
		g.listening[l] = true
	}
	g.reportListen(r, l, allowed, ok)
	return ok
}

func (g *globals) reportListen(r *ssh.Request, l listener, allowed, accepted bool) {
	if g.conn.mayChat() {
		g.conn.events.Emit(event.ForwardListen, event.F("request", r.Type), event.F("address", head([]byte(l.address))), event.F("port", l.port),
			event.F("policy", policyWord(allowed)), event.F("accepted", accepted))
	}
}
