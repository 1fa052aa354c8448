package transfer

import (
	"crypto/sha256"
	"hash"
	"io"
)

// Why a file is not complete, as in File.Reason.
const (
	reasonSparse  = "with gaps"
	reasonResumed = "does not begin at the file's beginning"
	reasonUnread  = "not read to its end"
	reasonCopied  = "the server copied content into it"
	reasonCut     = "channel ended before the file was closed"
	reasonStopped = "cannot be followed any further"
)

// finish completes f with what became of its content, keeps that and tells f.
// reason is why f is not complete by the protocol, if it is not. c is over then.
func (w *Watcher) finish(f File, c *content, reason string) {
	c.over = true
	if c.spool != nil {
		c.spool.over = true
	}
	w.pieces -= len(c.pieces)
	base := int64(0)
	if !c.zero && len(c.pieces) > 0 {
		base = c.pieces[0].off
	}
	f.Transferred, f.Offset, f.Size = c.got, base, max(f.Size, c.size)
	if reason == "" {
		reason = c.strange
	}
	if reason == "" && base > 0 {
		reason = reasonResumed
	}
	f.Reason = joined(reason, c.why)
	if c.simple(base) {
		w.keep(&f, c)
		w.tell(f)
		return
	}
	w.later(func() {
		w.gather(&f, c, base)
		w.tell(f)
	})
}

// simple reports whether the spool holds [base, size) as it is, or its beginning.
func (c *content) simple(base int64) bool {
	if c.hash == nil {
		return c.size == 0
	}
	return c.ordered && c.strange == "" && c.start == base && c.next == c.size && c.covers(base)
}

// covers reports whether the pieces leave no gap.
func (c *content) covers(base int64) bool {
	for _, p := range c.pieces {
		if p.off != base {
			return false
		}
		base = p.end()
	}
	return base == c.size
}

// keep makes the spool the artifact.
func (w *Watcher) keep(f *File, c *content) {
	if c.hash == nil {
		c.hash = sha256.New()
	}
	f.SHA256 = hexSum(c.hash)
	if c.spool == nil || c.spool.size == 0 {
		w.discard(c.spool)
		return
	}
	sum := f.SHA256
	if c.cut != "" {
		sum = c.prefix
	}
	w.commit(f, c.spool, sum)
}

// gather makes the artifact out of pieces: the file where it is known, with zeros
// where nobody wrote, or else the pieces one after the other.
func (w *Watcher) gather(f *File, c *content, base int64) {
	defer w.discard(c.spool)
	missing, captured := c.size-base, int64(0)
	for _, p := range c.pieces {
		missing -= p.n
		if p.spool != nil {
			captured += p.n
		}
	}
	lost := c.size-base-missing > captured
	lost = lost || c.strange != ""
	fill := missing > 0 && c.zero && !lost && c.size <= w.capture.limits.File && w.capture.takeAll(missing)
	if missing > 0 && !fill && f.Reason == "" {
		f.Reason = reasonSparse
	}
	out, why := w.open()
	if out == nil {
		f.Reason = joined(f.Reason, why)
		return
	}
	defer w.discard(out)
	g := gathering{w: w, out: out, hash: sha256.New(), fill: fill, at: base}
	for _, p := range c.pieces {
		g.piece(p)
	}
	g.zeros(c.size)
	if g.err != nil {
		w.storeFailed(g.err)
		f.Reason = joined(f.Reason, reasonStore)
		return
	}
	sum := hexSum(g.hash)
	if !lost && (missing == 0 || fill) {
		f.SHA256 = sum
	}
	if out.size > 0 {
		w.commit(f, out, sum)
	}
}

func joined(a, b string) string {
	if a == "" || b == "" {
		return a + b
	}
	return a + "; " + b
}

// gathering is an artifact that is put together.
type gathering struct {
	w    *Watcher
	out  *spool
	hash hash.Hash
	fill bool
	at   int64 // in the file
	err  error // the first
}

func (g *gathering) piece(p piece) {
	if p.spool == nil {
		return
	}
	g.zeros(p.off)
	g.copy(io.NewSectionReader(p.spool.temp, p.at, p.n), p.n)
	g.at = p.end()
}

// zeros fills a gap that ends at end.
func (g *gathering) zeros(end int64) {
	if g.fill {
		g.copy(zeros{}, end-g.at)
	}
}

func (g *gathering) copy(from io.Reader, n int64) {
	if g.err == nil {
		_, g.err = io.CopyN(io.MultiWriter(g.hash, g), from, n)
	}
}

// Write appends to the artifact.
func (g *gathering) Write(p []byte) (int, error) {
	if err := g.w.write(g.out, p); err != nil {
		return 0, err
	}
	return len(p), nil
}

// zeros never ends.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// tell reports a file, as far as there is room for it.
func (w *Watcher) tell(f File) {
	f.Complete = f.Reason == ""
	ok, first := w.capture.mayTell()
	if ok {
		w.report.File(f)
	} else if first {
		w.report.Gap(w.protocol, "more files than are told")
	}
}
