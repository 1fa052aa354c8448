package event

import (
	"maps"
	"sync"
	"time"
)

// Counter is a Sink that counts what happened since the service began.
type Counter struct {
	mu     sync.Mutex // guards counts
	counts Counts
}

// Counts are the sums of a Counter.
type Counts struct {
	Kinds    map[Kind]uint64 // of each kind
	Accepted uint64          // authentication attempts that were let in
	Omitted  uint64          // events that were left out, see Limits
	Waits    Histogram       // of sessions for their target
	Makes    Histogram       // of targets until they were warm
}

// Bounds are the upper bounds of the buckets of a Histogram.
var Bounds = [...]time.Duration{
	time.Millisecond, 5 * time.Millisecond, 10 * time.Millisecond, 50 * time.Millisecond, 100 * time.Millisecond,
	500 * time.Millisecond, time.Second, 5 * time.Second, 10 * time.Second,
}

// Histogram counts durations. A bucket has those up to its bound and above the one
// before; Count has all.
type Histogram struct {
	Buckets [len(Bounds)]uint64
	Count   uint64
	Sum     time.Duration
}

func (h *Histogram) add(d time.Duration) {
	h.Count++
	h.Sum += d
	for i, bound := range Bounds {
		if d <= bound {
			h.Buckets[i]++
			return
		}
	}
}

// Write implements Sink.
func (c *Counter) Write(e *Event) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := &c.counts
	if n.Kinds == nil {
		n.Kinds = make(map[Kind]uint64, len(Catalog))
	}
	n.Kinds[e.Kind]++
	for _, v := range e.Values {
		switch value := v.Value.(type) {
		case bool:
			if e.Kind == AuthAttempt && v.Name == "accepted" && value {
				n.Accepted++
			}
		case int:
			if e.Kind == EventsOmit && v.Name == "omitted" {
				n.Omitted += uint64(value)
			}
		case int64:
			d := time.Duration(value) * time.Millisecond
			switch {
			case e.Kind == SessionLease && v.Name == "wait_ms":
				n.Waits.add(d)
			case e.Kind == PoolWarm && v.Name == "duration_ms":
				n.Makes.add(d)
			}
		}
	}
	return nil
}

// Close implements Sink.
func (c *Counter) Close() error { return nil }

// Counts returns the sums so far.
func (c *Counter) Counts() Counts {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.counts
	n.Kinds = maps.Clone(n.Kinds)
	return n
}
