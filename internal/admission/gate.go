// Package admission decides which connections are served, before a byte of SSH is
// read. What goes in is an address and a time, what comes out is a Verdict; it opens
// nothing, waits for nothing and knows nothing of SSH. Who would be served beyond the
// limits gets the answer that sshd gives.
//
// All that is remembered of sources has a fixed size: see Memory.
package admission

import (
	"math/rand/v2"
	"net/netip"
	"sync"
	"time"
)

// Reason is why a connection is not served. The words go into events.
type Reason string

// The reasons. Admitted is none.
const (
	Admitted              Reason = ""
	DenyListed            Reason = "deny list"
	Penalised             Reason = "penalty"
	OverRate              Reason = "too many connections at a time"
	OverSourceRate        Reason = "too many connections of the source at a time"
	OverConnections       Reason = "too many connections"
	OverSourceConnections Reason = "too many connections of the source"
	OverStartups          Reason = "too many connections before login"
	OverSourceStartups    Reason = "too many connections of the source before login"
)

// Outcome is how the unauthenticated part of a connection ended.
type Outcome int

// The outcomes, after what PerSourcePenalties of sshd_config(5) tells apart.
const (
	NoAuth        Outcome = iota // nothing was tried
	AuthFailed                   // something was tried
	GraceExceeded                // LoginGraceTime was over
	Crash                        // a mistake of ours was met
	outcomes
)

// Limits are the settings of a Gate. The zero value admits nobody.
type Limits struct {
	MaxConnections          int      // at once
	PerSourceMaxConnections int      // of these; 0 for as many
	MaxStartups             Startups // connections that have not logged in
	PerSourceMaxStartups    int      // of these; 0 for as many
	NetBlock4, NetBlock6    int      // bits of an address that make a source, PerSourceNetBlockSize
	Rate, PerSourceRate     Rate     // of new connections
	Penalties               Penalties

	// Allow are sources that neither Deny nor what is per source applies to.
	Allow, Deny Set
	// Balancers are those that tell whom they speak for with the PROXY protocol.
	Balancers Set
	// Tarpit are the reasons for which a connection is held and not closed.
	Tarpit map[Reason]bool
}

// Answer is what becomes of a connection that is not served.
type Answer string

// The answers. The words go into events.
const (
	AnswerClose  Answer = "closed" // without a word, as a firewall or tcpd(8) does
	AnswerTold   Answer = "told"   // as sshd does
	AnswerTarpit Answer = "tarpit"
)

// Answer says how to treat a connection that was refused.
func (g *Gate) Answer(r Reason) Answer {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case g.limits.Tarpit[r]:
		return AnswerTarpit
	case r == DenyListed:
		return AnswerClose
	}
	return AnswerTold
}

// Balancer reports whether an address is one of Limits.Balancers.
func (g *Gate) Balancer(addr netip.Addr) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.limits.Balancers.Has(addr.Unmap().WithZone(""))
}

// Startups is MaxStartups of sshd_config(5): from Start connections on that have not
// logged in a new one is dropped with a chance of Rate percent, which rises to 100 at
// Full.
type Startups struct{ Start, Rate, Full int }

// drops decides about one more. random returns a number from 0 to below n.
func (s Startups) drops(startups int, random func(n int) int) bool {
	switch {
	case startups >= s.Full:
		return true
	case startups < s.Start:
		return false
	}
	chance := s.Rate + (100-s.Rate)*(startups-s.Start)/(s.Full-s.Start)
	return random(100) < chance
}

// Gate admits connections. It is safe for concurrent use.
type Gate struct {
	random func(n int) int
	made   time.Time // has a monotonic clock, so that nothing depends on what the time is set to

	mu       sync.Mutex // guards all below
	limits   Limits
	all      bucket // of Limits.Rate
	open     count
	sources  map[netip.Prefix]count // those with open connections
	memory   *Memory
	admitted uint64
	refused  map[Reason]uint64
}

// count is of connections that are open.
type count struct{ connections, startups int }

// New returns a gate that remembers about as many sources of each address family.
func New(limits Limits, sources int, now time.Time) *Gate {
	return &Gate{random: rand.IntN, made: now, limits: limits, sources: map[netip.Prefix]count{}, memory: NewMemory(sources), refused: map[Reason]uint64{}}
}

// Set replaces the limits. Whoever is in stays in; penalties stay.
func (g *Gate) Set(limits Limits) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.limits = limits
}

// Pass is held by a connection that was admitted.
type Pass struct {
	gate   *Gate
	source netip.Prefix
	exempt bool

	startup, gone bool // guarded by gate.mu
}

// Admit decides about a new connection. A Pass comes with Admitted, and must be given
// back with Close.
func (g *Gate) Admit(addr netip.Addr, now time.Time) (*Pass, Reason) {
	g.mu.Lock()
	defer g.mu.Unlock()
	addr = addr.Unmap().WithZone("")
	p := &Pass{gate: g, source: g.limits.source(addr), exempt: g.limits.Allow.Has(addr), startup: true}
	if reason := g.judge(p, addr, now.Sub(g.made)); reason != Admitted {
		g.refused[reason]++
		return nil, reason
	}
	g.admitted++
	g.change(p, 1, 1)
	return p, Admitted
}

// judge asks in the order in which an answer costs least, and takes from the rates only
// when everything else is well: who is refused otherwise uses nothing up. Gate.mu is
// held.
func (g *Gate) judge(p *Pass, addr netip.Addr, now time.Duration) Reason {
	l, its := &g.limits, g.sources[p.source]
	if !p.exempt {
		switch {
		case l.Deny.Has(addr):
			return DenyListed
		case l.Penalties.Enabled && g.memory.penalised(p.source, now):
			return Penalised
		case l.PerSourceMaxConnections > 0 && its.connections >= l.PerSourceMaxConnections:
			return OverSourceConnections
		case l.PerSourceMaxStartups > 0 && its.startups >= l.PerSourceMaxStartups:
			return OverSourceStartups
		}
	}
	switch {
	case g.open.connections >= l.MaxConnections:
		return OverConnections
	case l.MaxStartups.drops(g.open.startups, g.random):
		return OverStartups
	case !p.exempt && !g.memory.take(p.source, l.PerSourceRate, now):
		return OverSourceRate
	case !g.all.take(l.Rate, now):
		return OverRate
	}
	return Admitted
}

// change counts a connection of a pass. Gate.mu is held.
func (g *Gate) change(p *Pass, connections, startups int) {
	g.open.connections += connections
	g.open.startups += startups
	its := g.sources[p.source]
	its.connections += connections
	its.startups += startups
	if its == (count{}) {
		delete(g.sources, p.source)
	} else {
		g.sources[p.source] = its
	}
}

// Authenticated tells that the connection has logged in: it no longer counts for
// MaxStartups.
func (p *Pass) Authenticated() {
	p.gate.mu.Lock()
	defer p.gate.mu.Unlock()
	if p.startup && !p.gone {
		p.startup = false
		p.gate.change(p, 0, -1)
	}
}

// Close tells that the connection is gone. If it had not logged in, the outcome counts
// against its source.
func (p *Pass) Close(o Outcome, now time.Time) {
	g := p.gate
	g.mu.Lock()
	defer g.mu.Unlock()
	if p.gone {
		return
	}
	p.gone = true
	if !p.startup {
		g.change(p, -1, 0)
		return
	}
	g.change(p, -1, -1)
	if !p.exempt && g.limits.Penalties.Enabled {
		g.memory.penalise(p.source, g.limits.Penalties, o, now.Sub(g.made))
	}
}

// source is the block of addresses that counts as one.
func (l *Limits) source(addr netip.Addr) netip.Prefix {
	bits := l.NetBlock6
	if addr.Is4() {
		bits = l.NetBlock4
	}
	// An address that is none, as of a unix socket, makes a source, too.
	block, _ := addr.Prefix(min(max(bits, 0), addr.BitLen()))
	return block
}

// Status is what a gate has done and holds.
type Status struct {
	Connections, Startups int // open; of these, not logged in
	Sources               int // with an open connection
	Admitted              uint64
	Refused               map[Reason]uint64
	Forgotten             uint64 // sources of which the memory had no room to remember anything
	Allow, Deny           int    // ranges in the lists
}

// Status returns what the gate has done since it was made.
func (g *Gate) Status() Status {
	g.mu.Lock()
	defer g.mu.Unlock()
	refused := make(map[Reason]uint64, len(g.refused))
	for reason, n := range g.refused {
		refused[reason] = n
	}
	return Status{
		Connections: g.open.connections, Startups: g.open.startups, Sources: len(g.sources),
		Admitted: g.admitted, Refused: refused, Forgotten: g.memory.forgotten, Allow: g.limits.Allow.Len(), Deny: g.limits.Deny.Len(),
	}
}
