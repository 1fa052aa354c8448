package transcript

import "bytes"

// flows are the bytes of output that only write and go on to the next line.
var flows = func() (t [256]bool) {
	for c := 0x20; c < 0x7f; c++ {
		t[c] = true
	}
	t['\r'], t['\n'] = true, true
	return t
}()

// enough is the least output that is worth a look whether it can be skipped, in bytes.
const enough = 1 << 10

// skip returns how much of p need not be put on the screen because it would have left it
// by the end of p: when a file goes by, most of it. looked is how far it has looked.
func (t *Tracker) skip(p []byte) (skipped, looked int) {
	s := &t.screen
	if len(p) < enough || s.gone != nil || s.alt || s.noWrap || s.insert || t.newlines || s.top != 0 || s.bottom != s.rows-1 ||
		len(t.queue) > 0 || t.typed.seen < len(t.typed.text) {
		return 0, 0
	}
	for looked < len(p) && flows[p[looked]] {
		looked++
	}
	// So many lines at the end fill the screen.
	cut := looked
	for range s.rows + 1 {
		if cut = bytes.LastIndexByte(p[:cut], '\n'); cut < 0 {
			return 0, looked
		}
	}
	if cut++; cut < 2 || p[cut-2] != '\r' {
		return 0, looked
	}
	// So many before that put the cursor into the last row, wherever it was.
	if bytes.Count(p[:cut], []byte{'\n'}) < s.rows {
		return 0, looked
	}
	if i := bytes.LastIndexFunc(p[:cut], func(r rune) bool { return r >= 0x20 }); i >= 0 {
		s.last = rune(p[i])
	}
	s.x, s.y, s.full = 0, s.rows-1, false
	s.first += int64(s.rows) // what was on the screen is gone
	return cut, looked
}
