package admission

import (
	"hash/maphash"
	"net/netip"
	"time"
)

// Memory is what is remembered of sources that have gone: penalties and used rates. It
// is made once and never grows.
//
// It is two tables, for a flood of IPv6 addresses, which cost nothing, must not push out
// those of IPv4. A table is an array of sets, a source belongs into one set by a hash
// with a secret key, and a set has room for few. When all of a set is in use, that source
// is forgotten whose penalty and rate are over soonest, be it the new one. So whoever
// wants a penalty forgotten must earn longer ones for other sources, and cannot tell
// which: it takes about as many penalised sources as the whole table holds. Those
// without a debt take no room.
type Memory struct {
	seed      maphash.Seed
	v4, v6    []set
	forgotten uint64
}

// ways is how many sources a set holds.
const ways = 8

type set [ways]entry

// entry is a source. It is free when it owes nothing any more. Times
// are since the gate was made.
// It has no pointers, so that the collector never looks at a table.
type entry struct {
	key    key
	active bool          // the penalty has reached Penalties.Min
	expiry time.Duration // of the penalty
	rate   bucket        // when all tokens are back
}

// key is a source: its address and the number of bits that count.
type key [17]byte

func keyOf(source netip.Prefix) (k key) {
	bytes := source.Addr().As16()
	copy(k[:], bytes[:])
	k[16] = byte(source.Bits())
	return k
}

// until is when nothing is left to remember.
func (e *entry) until() time.Duration { return max(e.expiry, time.Duration(e.rate)) }

// NewMemory returns a memory for about so many sources of each address family.
func NewMemory(sources int) *Memory {
	sets := max(1, (sources+ways-1)/ways)
	return &Memory{seed: maphash.MakeSeed(), v4: make([]set, sets), v6: make([]set, sets)}
}

// set is where a source belongs.
func (m *Memory) set(source netip.Prefix, k key) *set {
	table := m.v6
	if source.Addr().Is4() {
		table = m.v4
	}
	return &table[maphash.Bytes(m.seed, k[:])%uint64(len(table))]
}

// find returns what is remembered of a source, or nil.
func (m *Memory) find(source netip.Prefix, now time.Duration) *entry {
	k := keyOf(source)
	s := m.set(source, k)
	for i := range s {
		if e := &s[i]; e.key == k && e.until() > now {
			return e
		}
	}
	return nil
}

// keep remembers a source of which nothing was known.
func (m *Memory) keep(source netip.Prefix, fresh entry, now time.Duration) {
	fresh.key = keyOf(source)
	s := m.set(source, fresh.key)
	soonest := &s[0]
	for i := range s {
		if s[i].until() < soonest.until() {
			soonest = &s[i]
		}
	}
	if soonest.until() > now {
		m.forgotten++
		if soonest.until() >= fresh.until() {
			return
		}
	}
	*soonest = fresh
}

// penalised reports whether a penalty of a source is in force.
func (m *Memory) penalised(source netip.Prefix, now time.Duration) bool {
	e := m.find(source, now)
	return e != nil && e.active && e.expiry > now
}

// penalise adds the penalty for an outcome.
func (m *Memory) penalise(source netip.Prefix, p Penalties, o Outcome, now time.Duration) {
	if o < 0 || o >= outcomes || p.For[o] <= 0 || !source.IsValid() {
		return
	}
	e := m.find(source, now)
	fresh := e == nil
	if fresh {
		e = &entry{}
	}
	if e.expiry <= now {
		e.expiry, e.active = now, false
	}
	e.expiry = min(e.expiry+p.For[o], now+p.Max)
	e.active = e.active || e.expiry-now > p.Min
	if fresh {
		m.keep(source, *e, now)
	}
}

// take takes a token of a source's rate.
func (m *Memory) take(source netip.Prefix, r Rate, now time.Duration) bool {
	if r.Count <= 0 || !source.IsValid() {
		return true
	}
	if e := m.find(source, now); e != nil {
		return e.rate.take(r, now)
	}
	fresh := entry{}
	ok := fresh.rate.take(r, now)
	m.keep(source, fresh, now)
	return ok
}
