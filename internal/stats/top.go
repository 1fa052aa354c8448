// Package stats counts what attackers do: who came, what they tried, what they ran.
// Events and sessions go in; the most frequent of each come out, from a memory that
// does not grow with what attackers make up.
package stats

import (
	"cmp"
	"container/heap"
	"crypto/sha256"
	"slices"
)

const (
	// maxCounters is how many different values of one kind are counted.
	maxCounters = 20_000
	// maxText is how much of a value is kept, in bytes. Longer ones are told apart by
	// their hash.
	maxText = 256
)

// Top counts values and finds the most frequent (the space-saving algorithm of Metwally,
// Agrawal and El Abbadi, 2005). With more different values than counters the rarest
// gives its counter to a new one, which may be counted too high by what was on it.
type Top struct {
	counters map[string]*counter
	order    leastFirst
	most     int
	total    int64
	lossy    bool
}

type counter struct {
	key, text string
	cut       bool
	n, over   int64
	at        int // in order
}

// Count is how often something was met.
type Count struct {
	Value string `json:"-"`                        // any bytes, of a long one the beginning
	Cut   bool   `json:"-"`                        // it is longer
	N     int64  `json:"count"`                    // at most
	Over  int64  `json:"may_be_over_by,omitempty"` // N minus this, at least
}

func newTop(most int) *Top { return &Top{counters: make(map[string]*counter), most: most} }

// Add counts a value once.
func (t *Top) Add(s string) {
	t.total++
	key := s
	if len(s) > maxText {
		sum := sha256.Sum256([]byte(s))
		key = "sha256:" + string(sum[:]) + s[:maxText] // longer than any that is not hashed
	}
	if c := t.counters[key]; c != nil {
		c.n++
		heap.Fix(&t.order, c.at)
		return
	}
	if len(t.order) < t.most {
		c := &counter{}
		c.set(key, s)
		c.n = 1
		heap.Push(&t.order, c)
		t.counters[c.key] = c
		return
	}
	t.lossy = true
	c := t.order[0]
	delete(t.counters, c.key)
	c.set(key, s)
	c.n, c.over = c.n+1, c.n
	t.counters[c.key] = c
	heap.Fix(&t.order, 0)
}

// set makes copies: s may be a part of something larger.
func (c *counter) set(key, s string) {
	c.key, c.cut = string([]byte(key)), len(s) > maxText
	c.text = c.key
	if c.cut {
		c.text = string([]byte(s[:maxText]))
	}
}

// Most returns the n most frequent, or all for 0, the first by text among equals.
func (t *Top) Most(n int) []Count {
	all := make([]Count, 0, len(t.order))
	for _, c := range t.order {
		all = append(all, Count{c.text, c.cut, c.n, c.over})
	}
	slices.SortFunc(all, func(a, b Count) int { return cmp.Or(cmp.Compare(b.N, a.N), cmp.Compare(a.Value, b.Value)) })
	if n > 0 && len(all) > n {
		all = all[:n]
	}
	return all
}

// Total is how many values were counted, repetitions included.
func (t *Top) Total() int64 { return t.total }

// Distinct is how many different ones; exact is false if there were more.
func (t *Top) Distinct() (n int, exact bool) { return len(t.order), !t.lossy }

// leastFirst is a heap with the rarest on top.
type leastFirst []*counter

// Len implements heap.Interface.
func (h leastFirst) Len() int { return len(h) }

// Less implements heap.Interface.
func (h leastFirst) Less(i, j int) bool { return h[i].n < h[j].n }

// Swap implements heap.Interface.
func (h leastFirst) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].at, h[j].at = i, j
}

// Push implements heap.Interface.
func (h *leastFirst) Push(x any) {
	c := x.(*counter)
	c.at = len(*h)
	*h = append(*h, c)
}

// Pop implements heap.Interface. Nothing is ever taken off.
func (h *leastFirst) Pop() any { panic("stats: a counter is taken over, not removed") }
