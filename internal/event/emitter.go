package event

import (
	"errors"
	"fmt"
	"sync"
	"time"
)

// Sink takes events to where somebody reads them. An Emitter calls it from one
// goroutine at a time.
type Sink interface {
	Write(*Event) error
	Close() error
}

// Emitter hands events to every sink, in order, on the caller's goroutine: an
// event that was acknowledged is on its way to the disk before the attacker gets
// an answer. It is safe for concurrent use. Emitters made by Bind share sinks
// and counter.
type Emitter struct {
	hub      *hub
	identity Identity
	tally    *tally // nil where nothing is left out
}

// remover is a Sink that removes old events to make room.
type remover interface{ takeRemoved() []removal }

type hub struct {
	now func() time.Time

	mu    sync.Mutex // guards all below, and the order of events
	sinks []Sink
	seq   uint64
	lost  uint64 // events that could not be written everywhere
	err   error
}

// New returns an emitter without identity, for events of the service itself.
func New(sinks ...Sink) *Emitter {
	return &Emitter{hub: &hub{now: time.Now, sinks: sinks}}
}

// Bind returns an emitter whose events all carry id.
func (e *Emitter) Bind(id Identity) *Emitter {
	return &Emitter{hub: e.hub, identity: id}
}

// Emit writes one event. A kind or field that the Catalog does not list is a
// mistake in this program; it is kept, and reported through Err. What is beyond the
// emitter's limits is left out.
func (e *Emitter) Emit(kind Kind, values ...Field) {
	if !e.tally.takes(kind, values) {
		return
	}
	h := e.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	h.err = h.write(e.identity, kind, values)
	for _, s := range h.sinks {
		r, ok := s.(remover)
		if !ok {
			continue
		}
		for _, gone := range r.takeRemoved() {
			h.err = errors.Join(h.err, h.write(Identity{}, EventsRemove, []Field{F("file", gone.name), F("size_bytes", gone.size)}))
		}
	}
}

// write hands an event to every sink. hub.mu is held.
func (h *hub) write(id Identity, kind Kind, values []Field) error {
	definition, err := check(kind, values)
	h.seq++
	ev := &Event{Time: h.now(), Seq: h.seq, Identity: id, Definition: definition, Values: values}
	for _, s := range h.sinks {
		err = errors.Join(err, s.Write(ev))
	}
	if err != nil {
		h.lost++
	}
	return err
}

// Err reports why the latest event could not be written everywhere, or nil. A
// service whose events are lost must not let anybody in.
func (e *Emitter) Err() error {
	e.hub.mu.Lock()
	defer e.hub.mu.Unlock()
	return e.hub.err
}

// Lost is how many events could not be written everywhere.
func (e *Emitter) Lost() uint64 {
	e.hub.mu.Lock()
	defer e.hub.mu.Unlock()
	return e.hub.lost
}

// Close closes every sink. Events emitted later are lost and reported by Err.
func (e *Emitter) Close() error {
	e.hub.mu.Lock()
	defer e.hub.mu.Unlock()
	var err error
	for _, s := range e.hub.sinks {
		err = errors.Join(err, s.Close())
	}
	return err
}

func check(kind Kind, values []Field) (*Definition, error) {
	d := Define(kind)
	if d == nil {
		return &Definition{Kind: kind, Severity: Error, Text: "Unknown event"}, fmt.Errorf("emit event: kind %q is not in the catalogue", kind)
	}
	for _, v := range values {
		if !d.has(v.Name) {
			return d, fmt.Errorf("emit event %s: field %q is not in the catalogue", kind, v.Name)
		}
	}
	return d, nil
}

func (d *Definition) has(field string) bool {
	for _, f := range d.Fields {
		if f == field {
			return true
		}
	}
	return false
}
