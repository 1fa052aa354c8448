package transfer

// waiting is an arrival of content for a file that nobody has opened yet, as far
// as we know.
func (w *Watcher) waiting(off int64) arrival {
	if w.spare == nil && w.noSpare == "" {
		w.spare, w.noSpare = w.open()
	}
	a := arrival{off: off, spool: w.spare, why: w.noSpare}
	if w.spare != nil {
		a.at = w.spare.size
	}
	return a
}

// keepWaiting takes the next bytes of a.
func (w *Watcher) keepWaiting(a *arrival, p []byte) {
	if w.spare != nil && w.noSpare == "" && a.stored == a.n {
		var n int
		n, w.noSpare = w.add(w.spare, p)
		a.stored += int64(n)
		a.why = w.noSpare
	}
	a.n += int64(len(p))
}
