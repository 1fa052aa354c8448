package transcript

import "unicode/utf8"

// maxParameters bounds what is kept of one control sequence, in bytes.
const maxParameters = 32

// state is where in a sequence the output is.
type state byte

const (
	ground state = iota
	escape
	control
	charset // one more byte, of no meaning here
	str     // OSC, DCS, SOS, PM or APC
	strEscape
)

// parser cuts a terminal's output into text and what moves the cursor; see ECMA-48 and
// xterm's ctlseqs. Sequences may be split anywhere.
type parser struct {
	state  state
	params [maxParameters]byte
	n      int // of params; more than fit once it was too long
	char   [utf8.UTFMax]byte
	chars  int
}

// output takes what a terminal is sent.
func (t *Tracker) output(p []byte) {
	looked := 0
	for i := 0; i < len(p); {
		if t.parser.state == ground && t.parser.chars == 0 {
			if i >= looked {
				skipped, more := t.skip(p[i:])
				looked = i + max(more, enough)
				i += skipped
			}
			n := i
			for n < len(p) && p[n] >= 0x20 && p[n] < 0x7f {
				n++
			}
			if n > i {
				t.shown(p[i:n])
				i = n
				continue
			}
		}
		t.byte(p[i])
		i++
	}
}

// shown takes printable ASCII.
func (t *Tracker) shown(p []byte) {
	t.screen.write(p)
	t.echoes(p)
}

func (t *Tracker) byte(c byte) {
	s := &t.parser
	if s.state == ground {
		t.groundByte(c)
		return
	}
	// ESC, CAN and SUB end any sequence; other controls act inside of one.
	switch {
	case c == 0x1b && s.state == str:
		s.state = strEscape
		return
	case c == 0x1b:
		s.state = escape
		return
	case c == 0x18 || c == 0x1a:
		s.state = ground
		return
	}
	switch s.state {
	case escape:
		t.escapeByte(c)
	case control:
		t.controlByte(c)
	case charset:
		s.state = ground
	case str:
		if c == 0x07 {
			s.state = ground
		}
	case strEscape:
		if s.state = ground; c != '\\' {
			s.state = escape
			t.escapeByte(c)
		}
	}
}

func (t *Tracker) groundByte(c byte) {
	s := &t.parser
	if s.chars > 0 && c&0xc0 != 0x80 {
		t.brokenCharacter()
	}
	switch {
	case c >= 0x80:
		s.char[s.chars] = c
		s.chars++
		t.endCharacter()
	case c >= 0x20 && c < 0x7f:
		t.shown([]byte{c})
	case c == 0x1b:
		s.state = escape
	default:
		t.act(c)
	}
}

func (t *Tracker) endCharacter() {
	s := &t.parser
	for s.chars > 0 && utf8.FullRune(s.char[:s.chars]) {
		r, n := utf8.DecodeRune(s.char[:s.chars])
		if r == utf8.RuneError && n == 1 {
			r = -rune(s.char[0])
		}
		if r < 0x80 && r > 0 || r >= 0x80 && r < 0xa0 { // C1 controls; no terminal in use acts on them as UTF-8
			r = utf8.RuneError
		}
		t.echoes(s.char[:n])
		t.screen.character(r)
		s.chars = copy(s.char[:], s.char[n:s.chars])
	}
}

// brokenCharacter shows the bytes of a character that did not go on.
func (t *Tracker) brokenCharacter() {
	s := &t.parser
	t.echoes(s.char[:s.chars])
	for _, c := range s.char[:s.chars] {
		t.screen.character(-rune(c))
	}
	s.chars = 0
}

// act does what a C0 control does.
func (t *Tracker) act(c byte) {
	s := &t.screen
	switch c {
	case '\b':
		if s.full {
			s.full = false
		}
		s.x = max(0, s.x-1)
	case '\t':
		s.x = min((s.x/8+1)*8, s.columns-1)
		s.full = false
	case '\n', '\v', '\f':
		t.lineEnd()
		s.lineFeed()
		if t.newlines {
			s.x = 0
		}
	case '\r':
		s.x, s.full = 0, false
	}
}

func (t *Tracker) escapeByte(c byte) {
	s, screen := &t.parser, &t.screen
	s.state = ground
	switch c {
	case '[':
		s.state, s.n = control, 0
	case ']', 'P', 'X', '^', '_', 'k':
		s.state = str
	case '7':
		screen.saved.x, screen.saved.y = screen.x, screen.y
	case '8':
		t.restoreCursor()
	case 'D':
		screen.lineFeed()
	case 'E':
		screen.x = 0
		screen.lineFeed()
	case 'M':
		screen.full = false
		if screen.y == screen.top {
			screen.rotateDown(screen.top, screen.bottom, 1)
		} else {
			screen.y = max(0, screen.y-1)
		}
	case 'c':
		t.reset()
	case '=', '>':
		// The keypad; see setMode for what tells a full-screen program.
	default:
		switch {
		case c >= 0x20 && c <= 0x2f:
			s.state = charset
		case c < 0x20:
			s.state = escape
			t.act(c)
		}
	}
}

func (t *Tracker) restoreCursor() {
	s := &t.screen
	s.x, s.y, s.full = min(s.saved.x, s.columns-1), min(s.saved.y, s.rows-1), false
}

// reset is RIS.
func (t *Tracker) reset() {
	t.setAlt(false)
	t.cleared()
	s := &t.screen
	s.eraseRows(0, s.rows)
	s.x, s.y, s.full, s.insert, s.noWrap = 0, 0, false, false, false
	s.top, s.bottom = 0, s.rows-1
	t.hidden, t.application, t.bracketed = false, false, false
}

func (t *Tracker) controlByte(c byte) {
	s := &t.parser
	switch {
	case c < 0x20:
		t.act(c)
	case c < 0x40:
		if s.n < maxParameters {
			s.params[s.n] = c
		}
		s.n = min(s.n+1, maxParameters+1)
	case c < 0x7f:
		s.state = ground
		if s.n <= maxParameters {
			t.control(c, s.params[:s.n])
		}
	case c > 0x7f:
		s.state = ground
	}
}
