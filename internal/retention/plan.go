// Package retention decides which evidence has to go. What is kept, with its age and
// size, and the owner's bounds go in; what to remove, and why, comes out.
package retention

import (
	"cmp"
	"slices"
	"time"
)

// Bounds are how much of one kind of evidence is kept; 0 is no bound.
type Bounds struct {
	Age   time.Duration
	Bytes int64
	Count int
}

// Item is a piece of evidence.
type Item struct {
	Name  string    `json:"name"`
	Time  time.Time `json:"time"`  // what its age counts from
	Bytes int64     `json:"bytes"` // on disk
	Held  bool      `json:"-"`     // it may not be removed, whatever the bounds; it counts all the same
}

// Reason is why something is removed: one of our words.
type Reason string

// The bounds that something may be beyond.
const (
	Age   Reason = "age"
	Bytes Reason = "bytes"
	Count Reason = "count"
)

// Removal is an item that has to go.
type Removal struct {
	Item
	Reason Reason `json:"reason"`
}

// Plan returns what has to go, the oldest first: all that is too old, then as much of
// the oldest as brings number and size within their bounds. It may change the order of
// items.
func Plan(items []Item, b Bounds, now time.Time) []Removal {
	slices.SortFunc(items, func(a, b Item) int { return cmp.Or(a.Time.Compare(b.Time), cmp.Compare(a.Name, b.Name)) })
	count, bytes := len(items), int64(0)
	for _, i := range items {
		bytes += i.Bytes
	}
	var plan []Removal
	for _, i := range items {
		var why Reason
		switch {
		case i.Held:
			continue
		case b.Age > 0 && now.Sub(i.Time) > b.Age:
			why = Age
		case b.Count > 0 && count > b.Count:
			why = Count
		case b.Bytes > 0 && bytes > b.Bytes:
			why = Bytes
		default:
			continue
		}
		plan = append(plan, Removal{i, why})
		count--
		bytes -= i.Bytes
	}
	return plan
}
