package transcript

// numbers are the parameters of a control sequence; missing ones are 0.
type numbers struct {
	list [8]int
	n    int
}

// maxNumber bounds a parameter; more than the screen has is as good as that.
const maxNumber = 9999

func parse(p []byte) (v numbers) {
	for _, c := range p {
		switch {
		case c >= '0' && c <= '9':
			if v.n < len(v.list) {
				v.list[v.n] = min(v.list[v.n]*10+int(c-'0'), maxNumber)
			}
		case c == ';':
			v.n++
		}
	}
	v.n++
	return v
}

// at is the parameter i, at least 1.
func (v *numbers) at(i int) int { return max(1, v.list[i]) }

// control does what a control sequence does.
func (t *Tracker) control(final byte, params []byte) {
	if len(params) > 0 && params[0] > ';' {
		if params[0] == '?' && (final == 'h' || final == 'l') {
			v := parse(params[1:])
			for _, mode := range v.list[:min(v.n, len(v.list))] {
				t.setMode(mode, final == 'h')
			}
		}
		return
	}
	if len(params) > 0 && params[len(params)-1] < '0' {
		return // with an intermediate byte it means something else
	}
	v := parse(params)
	if t.moves(final, &v) {
		return
	}
	s := &t.screen
	switch final {
	case 'J':
		t.eraseDisplay(v.list[0])
	case 'K':
		switch v.list[0] {
		case 0:
			s.erase(s.x, s.columns)
		case 1:
			s.erase(0, s.x+1)
		case 2:
			s.erase(0, s.columns)
		}
	case 'L', 'M':
		if s.y < s.top || s.y > s.bottom {
			return
		}
		if final == 'L' {
			s.rotateDown(s.y, s.bottom, v.at(0))
		} else {
			s.rotate(s.y, s.bottom, v.at(0))
		}
	case 'P':
		s.deleteCells(min(v.at(0), s.columns))
	case 'X':
		s.erase(s.x, min(s.x+v.at(0), s.columns))
	case '@':
		s.insertCells(v.at(0))
	case 'S':
		s.scrollUp(v.at(0))
	case 'T':
		s.rotateDown(s.top, s.bottom, v.at(0))
	case 'b':
		s.repeat(v.at(0))
	case 'h', 'l':
		s.insert = s.insert && v.list[0] != 4 || final == 'h' && v.list[0] == 4
	case 'r':
		t.setRegion(&v)
	case 's':
		s.saved.x, s.saved.y = s.x, s.y
	case 'u':
		t.restoreCursor()
	}
}

// moves does what moves the cursor, and returns false for another sequence.
func (t *Tracker) moves(final byte, v *numbers) bool {
	s := &t.screen
	switch final {
	case 'A':
		s.y = max(0, s.y-v.at(0))
	case 'B', 'e':
		s.y = min(s.rows-1, s.y+v.at(0))
	case 'C', 'a':
		s.x = min(s.columns-1, s.x+v.at(0))
	case 'D':
		s.x = max(0, s.x-v.at(0))
	case 'E':
		s.x, s.y = 0, min(s.rows-1, s.y+v.at(0))
	case 'F':
		s.x, s.y = 0, max(0, s.y-v.at(0))
	case 'G', '`':
		s.x = min(s.columns, v.at(0)) - 1
	case 'd':
		s.y = min(s.rows, v.at(0)) - 1
	case 'H', 'f':
		s.y, s.x = min(s.rows, v.at(0))-1, min(s.columns, v.at(1))-1
	case 'I':
		s.x = min((s.x/8+v.at(0))*8, s.columns-1)
	case 'Z':
		s.x = max(0, (s.x+7)/8-v.at(0)) * 8
	default:
		return false
	}
	s.full = false
	return true
}

func (t *Tracker) setRegion(v *numbers) {
	s := &t.screen
	top, bottom := v.at(0), v.list[1]
	if bottom == 0 || bottom > s.rows {
		bottom = s.rows
	}
	if top < bottom {
		s.top, s.bottom = top-1, bottom-1
		s.x, s.y, s.full = 0, 0, false
	}
}

func (t *Tracker) eraseDisplay(how int) {
	s := &t.screen
	switch how {
	case 0:
		if s.x == 0 && s.y == 0 {
			t.cleared()
		}
		s.erase(s.x, s.columns)
		s.eraseRows(s.y+1, s.rows)
	case 1:
		s.erase(0, s.x+1)
		s.eraseRows(0, s.y)
	case 2:
		t.cleared()
		s.eraseRows(0, s.rows)
	}
}

// setMode is DECSET and DECRST.
func (t *Tracker) setMode(mode int, on bool) {
	switch mode {
	case 1:
		t.application = on
	case 7:
		t.screen.noWrap = !on
	case 25:
		t.hidden = !on
	case 47, 1047:
		t.setAlt(on)
	case 1048:
		t.cursorAside(on)
	case 1049:
		if on {
			t.cursorAside(true)
			t.setAlt(true)
			return
		}
		t.setAlt(false)
		t.cursorAside(false)
	case 2004:
		t.setBracketed(on)
	}
}

func (t *Tracker) cursorAside(on bool) {
	if on {
		t.screen.saved.x, t.screen.saved.y = t.screen.x, t.screen.y
		return
	}
	t.restoreCursor()
}
