package term

import (
	"bytes"
	"fmt"
	"io"
	"unicode/utf8"
)

// Bounds of what the filter holds or swallows, in bytes.
const (
	maxSequence = 64       // parameters of one control sequence; longer ones are dropped whole
	maxString   = 64 << 10 // payload of one OSC, DCS, APC, PM or SOS; then text is shown again
)

// Filter is a writer that forwards terminal output of a stranger to a terminal
// of ours. Printable text, colours, cursor movement, erasing, scroll regions,
// character sets and the alternate screen pass. Everything else is dropped:
// titles, clipboard and hyperlinks (OSC), DCS, APC, PM and SOS strings, every
// request the terminal would answer by typing, window operations, printing,
// key and mouse modes, tab stops (nothing could put the
// operator's back), C1 controls, and whatever is not known to be harmless.
// Sequences may be split over writes. See ECMA-48 and xterm's ctlseqs.
//
// The zero value is not usable; a Filter is not safe for concurrent use.
type Filter struct {
	w       io.Writer
	state   func(*Filter, byte)
	out     []byte // what the current Write passes on
	seq     []byte // the control sequence or UTF-8 character being collected
	length  int    // payload of the string being dropped
	touched bool   // something beyond plain text was passed on
	alt     bool   // the alternate screen is on
}

// NewFilter returns a Filter that writes to w.
func NewFilter(w io.Writer) *Filter {
	return &Filter{w: w, state: ground, seq: make([]byte, 0, maxSequence)}
}

// Write filters p and forwards what remains in one write. It reports len(p)
// unless the underlying writer failed.
func (f *Filter) Write(p []byte) (int, error) {
	f.out = f.out[:0]
	for _, c := range p {
		f.state(f, c)
	}
	if len(f.out) == 0 {
		return len(p), nil
	}
	if _, err := f.w.Write(f.out); err != nil {
		return 0, fmt.Errorf("write filtered output: %w", err)
	}
	return len(p), nil
}

// Alternate reports whether what was passed on has the terminal show its alternate
// screen.
func (f *Filter) Alternate() bool { return f.alt }

// Restore brings the terminal back to everyday settings, as far as the filter
// let them be changed: attributes, character set, insert, origin, wrap and
// reverse modes, cursor, scroll region, main screen. A sequence that was begun
// is forgotten. It writes nothing when nothing but text has passed.
func (f *Filter) Restore() error {
	f.state, f.seq = ground, f.seq[:0]
	if !f.touched {
		return nil
	}
	f.touched = false
	reset := "\x0f\x1b(B\x1b)B\x1b[0m\x1b[4l\x1b[?5l\x1b[?6l\x1b[?7h\x1b[?25h\x1b7\x1b[r\x1b8"
	if f.alt {
		reset += "\x1b[?1049l"
		f.alt = false
	}
	if _, err := io.WriteString(f.w, reset); err != nil {
		return fmt.Errorf("restore terminal: %w", err)
	}
	return nil
}

// ground is the state between sequences.
func ground(f *Filter, c byte) {
	switch {
	case c == 0x1b:
		f.state = escape
	case c >= utf8.RuneSelf:
		f.seq = append(f.seq[:0], c)
		f.state = character
		f.endCharacter()
	case c >= 0x20 && c != 0x7f, c >= '\b' && c <= 0x0f:
		// BS, HT, LF, VT, FF, CR, SO and SI move the cursor or choose a
		// character set. NUL, BEL and ENQ (which the terminal would answer),
		// flow control and the rest stay out.
		f.out = append(f.out, c)
		f.touched = f.touched || c == 0x0e
	}
}

// character collects one UTF-8 sequence.
func character(f *Filter, c byte) {
	if utf8.RuneStart(c) {
		f.out = append(f.out, "\ufffd"...)
		f.state = ground
		ground(f, c)
		return
	}
	f.seq = append(f.seq, c)
	f.endCharacter()
}

func (f *Filter) endCharacter() {
	if !utf8.FullRune(f.seq) {
		return
	}
	f.state = ground
	r, n := utf8.DecodeRune(f.seq)
	if r == utf8.RuneError && n == 1 {
		f.out = append(f.out, "\ufffd"...)
		return
	}
	if !steers(r) {
		f.out = append(f.out, f.seq...)
	}
}

// escape is the state after ESC.
func escape(f *Filter, c byte) {
	f.state = ground
	switch {
	case c == '[':
		f.seq = f.seq[:0]
		f.state = control
	case bytes.IndexByte([]byte("]PX^_k"), c) >= 0:
		// OSC, DCS, SOS, PM, APC, and the title string of screen(1).
		f.length = 0
		f.state = dropString
	case c == '(' || c == ')':
		f.seq = append(f.seq[:0], c)
		f.state = charset
	case c >= 0x20 && c <= 0x2f:
		f.state = dropEscape
	case bytes.IndexByte([]byte("78DEM"), c) >= 0:
		f.pass(c)
	case c < 0x20 || c >= 0x7f:
		// A control inside a sequence acts as outside of it.
		ground(f, c)
	}
}

// charset is the state after ESC ( and ESC ): ASCII and line drawing pass.
func charset(f *Filter, c byte) {
	if c == 'B' || c == '0' {
		f.pass(f.seq[0], c)
		f.state = ground
		return
	}
	dropEscape(f, c)
}

// pass forwards ESC and what follows it.
func (f *Filter) pass(sequence ...byte) {
	f.out = append(append(f.out, 0x1b), sequence...)
	f.touched = true
}

// dropEscape swallows the rest of an escape sequence with intermediates.
func dropEscape(f *Filter, c byte) {
	switch {
	case c >= 0x20 && c <= 0x2f:
		f.state = dropEscape
	case c < 0x20 || c >= 0x7f:
		f.state = ground
		ground(f, c)
	default:
		f.state = ground
	}
}

// dropString swallows a string up to ST, BEL, CAN, SUB or any new sequence.
func dropString(f *Filter, c byte) {
	f.length++
	switch {
	case c == 0x1b:
		f.state = dropStringEnd
	case c == 0x07 || c == 0x18 || c == 0x1a || f.length >= maxString:
		f.state = ground
	}
}

func dropStringEnd(f *Filter, c byte) {
	f.state = ground
	if c != '\\' {
		escape(f, c)
	}
}

// control collects a control sequence (CSI).
func control(f *Filter, c byte) {
	switch {
	case c < 0x20 || c >= 0x80:
		f.state = ground
		ground(f, c)
	case c == 0x7f:
		// Terminals ignore DEL here.
	case c < 0x40 && len(f.seq) < maxSequence:
		f.seq = append(f.seq, c)
	case c < 0x40:
		f.state = dropControl
	default:
		f.state = ground
		f.endControl(c)
	}
}

// dropControl swallows the rest of an overlong control sequence.
func dropControl(f *Filter, c byte) {
	switch {
	case c < 0x20 || c >= 0x80:
		f.state = ground
		ground(f, c)
	case c >= 0x40 && c != 0x7f:
		f.state = ground
	}
}
