package sshd

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/pires/go-proxyproto"

	"github.com/sandtrap/sandtrap/internal/admission"
	"github.com/sandtrap/sandtrap/internal/event"
)

const (
	// headerTime is how long a balancer may take to say whom it speaks for. It should
	// send that with its first packet.
	headerTime = 5 * time.Second
	// maxHeader is the longest header that is taken, in bytes: 16 and the addresses, and
	// room for what balancers add (TLVs).
	maxHeader = 4096
	// maxHeaders is how many connections may be without theirs at once.
	maxHeaders = 1024
)

// fromBalancer reads the PROXY protocol's header, of version 1 or 2, and takes the
// connection for one from whom it names.
func (s *Server) fromBalancer(ctx context.Context, c net.Conn, id event.Identity) {
	defer context.AfterFunc(ctx, func() { c.Close() })()
	defer func() {
		if r := recover(); r != nil { // what it reads may be a client's
			s.cfg.Log.Error("reading a PROXY header panicked", "balancer", id.Source, "panic", fmt.Sprint(r), "stack", hclog.Stacktrace())
			c.Close()
		}
	}()
	balancer := id.Source.Addr().String()
	if s.headers.Add(1) > maxHeaders {
		s.headers.Add(-1)
		s.deny(c, id, string(admission.OverConnections), admission.AnswerClose, "")
		return
	}
	_ = c.SetReadDeadline(time.Now().Add(headerTime))
	r := bufio.NewReaderSize(c, maxHeader)
	source, local, err := readHeader(r)
	s.headers.Add(-1)
	if err != nil {
		s.deny(c, id, "no PROXY header from a balancer", admission.AnswerClose, "")
		return
	}
	_ = c.SetReadDeadline(time.Time{})
	if !source.IsValid() { // the balancer speaks for itself
		s.admit(ctx, withRest(c, r), id, "")
		return
	}
	s.admit(ctx, withRest(c, r), event.Identity{Source: source, Local: local}, balancer)
}

// readHeader reads a header and nothing behind it. The addresses are not valid where
// the header has none: a balancer's own connection, or one of an unknown kind.
func readHeader(r *bufio.Reader) (source, local netip.AddrPort, err error) {
	header, err := proxyproto.Read(r)
	if err != nil {
		return source, local, fmt.Errorf("read PROXY header: %w", err)
	}
	if header.Command.IsLocal() || header.TransportProtocol.IsUnspec() {
		return source, local, nil
	}
	from, to, ok := header.TCPAddrs()
	if !ok {
		return source, local, errors.New("read PROXY header: it is not about TCP")
	}
	if source, local = addrPort(from), addrPort(to); !source.IsValid() || !local.IsValid() {
		return netip.AddrPort{}, netip.AddrPort{}, errors.New("read PROXY header: its addresses are none")
	}
	return source, local, nil
}

// rested is a connection of which more was read than was asked for.
type rested struct {
	net.Conn
	rest []byte
}

func withRest(c net.Conn, r *bufio.Reader) net.Conn {
	if r.Buffered() == 0 {
		return c
	}
	rest, _ := r.Peek(r.Buffered())
	return &rested{Conn: c, rest: append([]byte(nil), rest...)}
}

func (c *rested) Read(p []byte) (int, error) {
	if len(c.rest) == 0 {
		return c.Conn.Read(p)
	}
	n := copy(p, c.rest)
	if c.rest = c.rest[n:]; len(c.rest) == 0 {
		c.rest = nil
	}
	return n, nil
}
