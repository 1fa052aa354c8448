// Package event is the contract between SandTrap and whoever watches it: what
// can happen, how an occurrence is written down, and where it goes.
//
// Events flow in through an Emitter, which is bound to one connection's
// identity before the first attacker byte is parsed, and out through sinks: the
// journal, JSON lines on disk, text for a terminal. Diagnostics never take this
// way; they go through hclog.
package event

import (
	"net/netip"
	"time"
)

// Identity says whose event it is. It is bound once, by us, so that nothing an
// attacker sends can stand in for it.
type Identity struct {
	Session string         // ULID of the attacker's connection; empty for events of the service itself
	Source  netip.AddrPort // where the attacker comes from
	Local   netip.AddrPort // what the attacker connected to
}

// Field is one named value of an event. Names are constants of this program,
// listed in the Catalog; values may be hostile. A value is a string, bool, int,
// int64, uint32 or float64.
type Field struct {
	Name  string
	Value any
}

// F makes a Field.
func F(name string, value any) Field { return Field{Name: name, Value: value} }

// Event is one occurrence as sinks see it.
type Event struct {
	Time time.Time
	// Seq counts up by one with every event of this process: a gap in a log is
	// a lost event.
	Seq uint64
	Identity
	*Definition
	Values []Field
}
