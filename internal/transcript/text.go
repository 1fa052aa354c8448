package transcript

import "time"

// Row is one line of what a terminal showed. Its text may hold any bytes.
type Row struct {
	Text string
	Time time.Time // when the line that was entered in it was; zero for none
	// Picture says that it is of the last picture of a full-screen program.
	Picture bool
}

// maxRow bounds a row of the text, in bytes: what wraps for ever comes in pieces.
const maxRow = 64 << 10

// text collects what leaves the screen.
type text struct {
	row   func(Row)
	b     []byte
	at    int64
	begun bool
}

// Rows has the text of what the terminal shows handed to row, in the order in which it
// leaves the screen, and the rest at Close. What was written over is not there, and of
// full-screen programs the last picture only.
func (t *Tracker) Rows(row func(Row)) {
	t.text.row = row
	t.screen.gone = t.text.take
}

// take takes one row of the main screen.
func (x *text) take(l *row) {
	if l.told {
		return
	}
	l.told = true
	x.b = l.appendText(x.b, 0)
	x.begun = true
	if x.at == 0 {
		x.at = l.entered
	}
	if l.wrapped && len(x.b) < maxRow {
		return
	}
	x.flush()
}

func (x *text) flush() {
	if !x.begun {
		return
	}
	r := Row{Text: string(x.b)}
	if x.at != 0 {
		r.Time = time.Unix(0, x.at)
	}
	x.row(r)
	x.b, x.at, x.begun = x.b[:0], 0, false
}

// tell hands on what is on the main screen, which is about to be emptied or hidden, or is
// the end.
func (t *Tracker) tell() {
	s := &t.screen
	if t.text.row == nil || s.alt {
		return
	}
	last := len(s.lines)
	for last > 0 && len(s.lines[last-1].appendText(nil, 0)) == 0 {
		last--
	}
	for _, l := range s.lines[:last] {
		t.text.take(l)
	}
	t.text.flush()
}

// cleared comes before the whole screen is emptied. What full-screen programs draw on
// the main screen is not told picture by picture.
func (t *Tracker) cleared() {
	if !t.fullScreen() {
		t.tell()
	}
}

// setAlt changes between the main and the alternate screen.
func (t *Tracker) setAlt(on bool) {
	switch {
	case on && !t.screen.alt:
		t.tell() // it comes before the picture
	case !on && t.screen.alt:
		t.tellPicture()
	}
	t.screen.setAlt(on)
}

// tellPicture hands on what the alternate screen shows.
func (t *Tracker) tellPicture() {
	s := &t.screen
	if t.text.row == nil {
		return
	}
	last := len(s.lines)
	for last > 0 && len(s.lines[last-1].appendText(nil, 0)) == 0 {
		last--
	}
	for _, l := range s.lines[:last] {
		t.text.row(Row{Text: string(l.appendText(nil, 0)), Picture: true})
	}
}
