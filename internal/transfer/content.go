package transfer

import (
	"crypto/sha256"
	"encoding/hex"
	"hash"
	"math"
	"slices"
	"sort"
)

// content is what one open file was sent, or gave, as far as we saw it. Content
// is appended to a spool in the order in which it arrives; where it belongs in the
// file counts once it is acknowledged. So content that comes in order, as nearly all
// does, is hashed and written once and is the artifact as it lies there.
type content struct {
	w     *Watcher
	spool *spool // nil before the first byte, or where there is none to be had
	why   string // why something was not captured; empty if all was
	over  bool   // told: what still comes does not count

	// zero says that the file was empty when it was opened, so that what nobody
	// wrote is zeros.
	zero bool
	// strange is why the file holds what we did not see.
	strange string

	hash        hash.Hash // of [start, next) as it arrived; nil before the first byte
	start, next int64
	ordered     bool   // each byte came after the one before
	prefix      string // the hash of what the spool holds, if that is less
	cut         string // why what arrives is no longer spooled

	pieces []piece // acknowledged content, sorted, none over another
	tail   int64   // where the next append goes
	size   int64   // the end of what was acknowledged
	got    int64   // acknowledged bytes
}

// piece is a part of a file. Without a spool it is not captured.
type piece struct {
	off, n int64
	spool  *spool
	at     int64 // in the spool
}

func (p piece) end() int64 { return p.off + p.n }

// part is p without its first n bytes, cut to length.
func (p piece) part(n, length int64) piece {
	return piece{off: p.off + n, n: length, spool: p.spool, at: p.at + n}
}

// arrival is content of one message on its way to being acknowledged.
type arrival struct {
	off, n int64
	stored int64  // of n, in spool
	why    string // of what was not stored
	spool  *spool
	at     int64
}

// maxPieces bounds the pieces of all files that a channel has open.
const maxPieces = 16384

// reasonPieces is one of File.Reason.
const reasonPieces = "written in too many pieces"

// begin is an arrival without bytes at off.
func (c *content) begin(off int64) arrival {
	if c.hash == nil {
		c.hash, c.ordered, c.start, c.next, c.tail = sha256.New(), true, off, off, off
		c.spool, c.cut = c.w.open()
	}
	if off != c.next {
		c.ordered = false
	}
	a := arrival{off: off, spool: c.spool}
	if c.spool != nil {
		a.at = c.spool.size
	}
	return a
}

// arrive takes the next bytes of a.
func (c *content) arrive(a *arrival, p []byte) {
	if c.over {
		return
	}
	stored := 0
	if c.cut == "" {
		stored, c.cut = c.w.add(c.spool, p)
	}
	a.why = c.cut
	if c.ordered {
		c.hash.Write(p[:stored])
		if c.cut != "" && c.prefix == "" {
			c.prefix = hexSum(c.hash)
		}
		c.hash.Write(p[stored:])
		c.next += int64(len(p))
	}
	a.n += int64(len(p))
	a.stored += int64(stored)
}

func hexSum(h hash.Hash) string { return hex.EncodeToString(h.Sum(nil)) }

// acknowledge makes a count. Appended content goes where the content before ended.
func (c *content) acknowledge(a arrival, appended bool) {
	if a.n == 0 {
		return // which does not make a file longer
	}
	if appended {
		a.off = c.tail
	}
	if a.off > math.MaxInt64-a.n || a.spool != nil && a.spool.over {
		c.ordered, c.strange = false, reasonOrder
		return
	}
	c.tail = a.off + a.n
	c.got += a.n
	c.size = max(c.size, a.off+a.n)
	if a.stored > 0 {
		c.put(piece{off: a.off, n: a.stored, spool: a.spool, at: a.at})
	}
	if a.stored < a.n {
		c.why = a.why
		c.put(piece{off: a.off + a.stored, n: a.n - a.stored})
	}
}

// reasonOrder is one of File.Reason.
const reasonOrder = "answered out of order"

// put lays p over the pieces that are there.
func (c *content) put(p piece) {
	before := len(c.pieces)
	from := sort.Search(before, func(i int) bool { return c.pieces[i].end() > p.off })
	to := from
	fresh := make([]piece, 0, 3)
	if from < before && c.pieces[from].off < p.off {
		left := c.pieces[from]
		fresh = append(fresh, left.part(0, p.off-left.off))
	} else if from > 0 && follows(c.pieces[from-1], p) {
		from--
		fresh = append(fresh, c.pieces[from])
	}
	if n := len(fresh); n > 0 && follows(fresh[n-1], p) {
		fresh[n-1].n += p.n
	} else {
		fresh = append(fresh, p)
	}
	for to < before && c.pieces[to].off < p.end() {
		if right := c.pieces[to]; right.end() > p.end() {
			fresh = append(fresh, right.part(p.end()-right.off, right.end()-p.end()))
		}
		to++
	}
	if grown := len(fresh) - (to - from); grown > 0 && c.w.pieces+grown > maxPieces {
		c.strange, c.ordered = reasonPieces, false
		return
	}
	c.pieces = slices.Replace(c.pieces, from, to, fresh...)
	c.w.pieces += len(c.pieces) - before
}

// follows reports whether b goes on where a ends, in the file and in the spool.
func follows(a, b piece) bool {
	return a.end() == b.off && a.spool == b.spool && (a.spool == nil || a.at+a.n == b.at)
}

// truncate gives the file another size, as ftruncate(2) does.
func (c *content) truncate(size int64) {
	if size == c.size {
		return
	}
	c.ordered = false
	before := len(c.pieces)
	keep := sort.Search(before, func(i int) bool { return c.pieces[i].end() > size })
	if keep < before && c.pieces[keep].off < size {
		c.pieces[keep].n = size - c.pieces[keep].off
		keep++
	}
	c.pieces = c.pieces[:keep]
	c.w.pieces += keep - before
	c.size, c.tail = size, size
}
