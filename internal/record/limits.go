package record

import (
	"encoding/binary"
	"errors"
	"sync"
	"sync/atomic"
	"time"
)

// Why else than by ErrQuota a chunk was not recorded, and must not be forwarded. Both
// files say that they were cut off.
var (
	ErrBudget = errors.New("recordings of this session reached their size limit")
	ErrSpace  = errors.New("too little space is free for recordings")
)

// Budget is what several recordings may take on disk together. Nil is no bound. It is
// safe for concurrent use, and takes no lock.
type Budget struct {
	most int64
	used atomic.Int64
}

// NewBudget returns one of so many bytes, nil for 0.
func NewBudget(most int64) *Budget {
	if most <= 0 {
		return nil
	}
	return &Budget{most: most}
}

// Spent reports whether nothing is left: no other recording should begin.
func (b *Budget) Spent() bool { return b != nil && b.used.Load() >= b.most }

// take takes n bytes, or none and returns false.
func (b *Budget) take(n int64) bool {
	if b == nil || b.used.Add(n) <= b.most {
		return true
	}
	b.used.Add(-n)
	return false
}

// spend takes n bytes that are written in any case.
func (b *Budget) spend(n int64) {
	if b != nil {
		b.used.Add(n)
	}
}

// lookEvery is how often a Space looks at most.
const lookEvery = time.Second

// Space watches how much is free where recordings go. Nil has always enough. It is
// safe for concurrent use. It has no goroutine: who asks looks, once in lookEvery.
type Space struct {
	least   int64
	free    func() (int64, error)
	changed func(low bool, free int64, err error)

	began  time.Time
	next   atomic.Int64 // when to look again, in nanoseconds since began
	isLow  atomic.Bool
	looked sync.Mutex // held while it looks
}

// NewSpace watches that free, which is in bytes, is not below least; nil for a least
// of 0. An error of free counts as too little. changed is called when there is too
// little and when there is enough again; it must not use a Recorder.
func NewSpace(least int64, free func() (int64, error), changed func(low bool, free int64, err error)) *Space {
	if least <= 0 {
		return nil
	}
	return &Space{least: least, free: free, changed: changed, began: time.Now()}
}

// Least is how much must be free, in bytes.
func (s *Space) Least() int64 { return s.least }

// Low reports whether there is too little.
func (s *Space) Low() bool {
	if s == nil {
		return false
	}
	now := int64(time.Since(s.began))
	if next := s.next.Load(); now >= next && s.next.CompareAndSwap(next, now+int64(lookEvery)) {
		s.look()
	}
	return s.isLow.Load()
}

func (s *Space) look() {
	s.looked.Lock()
	defer s.looked.Unlock()
	free, err := s.free()
	low := err != nil || free < s.least
	if s.isLow.Swap(low) != low {
		s.changed(low, free, err)
	}
}

// fits says why what is to be written does not, or takes the room for it.
func (r *Recorder) fits() error {
	used, more := r.sum.RawBytes, r.size(r.rawBuf, r.castBuf)
	if r.sum.Cast != "" {
		used += r.sum.CastBytes
	}
	switch {
	case r.maxBytes > 0 && used+more > r.maxBytes:
		return ErrQuota
	case r.space.Low():
		return ErrSpace
	case !r.budget.take(more):
		return ErrBudget
	}
	return nil
}

// size is what both take on disk, in bytes.
func (r *Recorder) size(raw, cast []byte) int64 {
	if r.sum.Cast == "" {
		return int64(len(raw))
	}
	return int64(len(raw) + len(cast))
}

// truncate ends the recording: a limit is reached, which full says.
func (r *Recorder) truncate(at time.Duration, full error) error {
	limit, text := r.maxBytes, "recording ends here: size limit reached"
	r.rawBuf = r.rawBuf[:0]
	if full != ErrQuota {
		text = "recording ends here: " + full.Error()
		r.rawBuf = appendFrame(r.rawBuf, KindMarker, at, []byte(text))
	}
	switch full {
	case ErrBudget:
		limit = r.budget.most
	case ErrSpace:
		limit = r.space.least
	}
	r.rawBuf = appendFrame(r.rawBuf, KindTruncated, at, binary.BigEndian.AppendUint64(nil, uint64(limit)))
	r.castBuf = r.enc.appendEvent(r.castBuf[:0], at, 'm', text)
	if err := r.writeAnyway(r.rawBuf, r.castBuf); err != nil {
		return err
	}
	r.sum.Truncated = true
	r.err = full
	return r.err
}

// writeAnyway writes what is small and must be there, with room for it or not.
func (r *Recorder) writeAnyway(raw, cast []byte) error {
	r.budget.spend(r.size(raw, cast))
	return r.write(raw, cast)
}

// Cut records a remark of ours about the end of the recording, as Marker, and beyond
// MaxBytes too, as the end itself.
func (r *Recorder) Cut(text string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err != nil {
		return r.err
	}
	at := r.elapsed()
	text = text[:min(len(text), maxPayload)]
	r.rawBuf = appendFrame(r.rawBuf[:0], KindMarker, at, []byte(text))
	r.castBuf = r.enc.appendEvent(r.castBuf[:0], at, 'm', text)
	return r.writeAnyway(r.rawBuf, r.castBuf)
}
