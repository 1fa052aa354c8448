package transcript

import (
	"slices"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/width"
)

// Bounds of the screen, in characters. A client may claim billions, and what this
// costs is memory: a row takes as much as was written into it.
const (
	maxColumns = 500
	maxRows    = 100
)

// What a client without a size gets.
const (
	plainColumns = 80
	plainRows    = 24
)

// cell is one place on the screen: a character and at most one combining mark. 0 is a
// place that nothing was written to, a negative one a byte that is not UTF-8.
type cell struct{ r, mark rune }

// wide stands in the second place of a character that takes two.
const wide = rune(0x110000)

// row is one line of the screen.
type row struct {
	cells   []cell
	wrapped bool  // it went on in the next one because there was no more room
	told    bool  // it was handed on as it is, see Rows
	entered int64 // when the command in it was, in nanoseconds since 1970; 0 for none
}

// place is a position: rows count on, however far the screen has scrolled.
type place struct {
	row    int64
	column int
}

// screen is what a terminal shows, as far as text goes: no colours, no tab stops but
// those at every eighth column.
type screen struct {
	columns, rows int
	lines         []*row
	first         int64 // number of the top row
	x, y          int
	full          bool // the last column was written: the next character wraps
	top, bottom   int  // scroll region, both inside
	insert        bool // IRM
	noWrap        bool // DECAWM is off
	saved         struct{ x, y int }
	last          rune // for REP

	alt   bool   // the alternate screen is shown
	other []*row // the one that is not, nil before the first change
	gone  func(*row)
}

func (s *screen) init(columns, rows int) {
	s.columns, s.rows = bounds(columns, rows)
	s.lines = blank(s.rows)
	s.bottom = s.rows - 1
}

func bounds(columns, rows int) (int, int) {
	if columns <= 0 || rows <= 0 {
		return plainColumns, plainRows
	}
	return max(2, min(columns, maxColumns)), max(2, min(rows, maxRows))
}

func blank(n int) []*row {
	lines := make([]*row, n)
	for i := range lines {
		lines[i] = &row{}
	}
	return lines
}

// resize keeps the rows around the cursor. Terminals that wrap their lines anew show
// something else until the program has drawn it again.
func (s *screen) resize(columns, rows int) {
	s.columns, rows = bounds(columns, rows)
	if over := s.y - (rows - 1); over > 0 { // the cursor stays on the screen
		s.scrollOff(over)
		s.y -= over
	}
	fit := func(lines []*row) []*row {
		if len(lines) > rows {
			return lines[:rows]
		}
		return append(lines, blank(rows-len(lines))...)
	}
	s.lines = fit(s.lines)
	if s.other != nil {
		s.other = fit(s.other)
	}
	s.rows, s.top, s.bottom = rows, 0, rows-1
	s.x, s.full = min(s.x, s.columns-1), false
}

// at is where the cursor is.
func (s *screen) at() place { return place{s.first + int64(s.y), s.x} }

// write puts a run of printable ASCII on the screen.
func (s *screen) write(p []byte) {
	for len(p) > 0 {
		if s.full || s.insert || s.noWrap {
			s.put(rune(p[0]), 1)
			p = p[1:]
			continue
		}
		n := min(len(p), s.columns-s.x)
		l := s.lines[s.y]
		l.told = false
		l.reach(s.x + n)
		cells := l.cells[s.x : s.x+n]
		for i, c := range p[:len(cells)] {
			cells[i] = cell{r: rune(c)}
		}
		s.x += n
		s.last = rune(p[n-1])
		if s.x == s.columns {
			s.x, s.full = s.columns-1, true
		}
		p = p[n:]
	}
}

// reach makes room for n cells.
func (l *row) reach(n int) {
	if n <= len(l.cells) {
		return
	}
	if n > cap(l.cells) {
		l.cells = slices.Grow(l.cells, n-len(l.cells))
	}
	from := len(l.cells)
	l.cells = l.cells[:n]
	clear(l.cells[from:])
}

// character puts a character beyond ASCII on the screen.
func (s *screen) character(r rune) {
	switch {
	case r < firstCombining:
		s.put(r, 1)
		return
	case unicode.In(r, unicode.Mn, unicode.Me, unicode.Cf):
		s.combine(r)
		return
	}
	switch width.LookupRune(r).Kind() {
	case width.EastAsianWide, width.EastAsianFullwidth:
		s.put(r, 2)
	default:
		s.put(r, 1)
	}
}

// firstCombining is the first character that takes no place of its own, but for the soft
// hyphen, which terminals show.
const firstCombining = 0x300

// repeat puts the last character on the screen again.
func (s *screen) repeat(n int) {
	n = min(n, s.columns)
	if s.last < 0x20 || s.last > 0x7e {
		for ; n > 0 && s.last != 0; n-- {
			s.character(s.last)
		}
		return
	}
	var run [64]byte
	for i := range run {
		run[i] = byte(s.last)
	}
	for ; n > 0; n -= len(run) {
		s.write(run[:min(n, len(run))])
	}
}

func (s *screen) combine(r rune) {
	x := s.x - 1
	if s.full {
		x = s.x
	}
	l := s.lines[s.y]
	if x > 0 && x < len(l.cells) && l.cells[x].r == wide {
		x--
	}
	if x >= 0 && x < len(l.cells) && l.cells[x].r > 0 {
		l.cells[x].mark = r
	}
}

// put writes one character of n columns.
func (s *screen) put(r rune, n int) {
	if s.full && !s.noWrap || s.x+n > s.columns {
		s.lines[s.y].wrapped = true
		s.x = 0
		s.lineFeed()
	}
	s.full = false
	l := s.lines[s.y]
	if s.insert {
		s.insertCells(n)
	}
	l.told = false
	l.reach(s.x + n)
	l.cells[s.x] = cell{r: r}
	if n == 2 {
		l.cells[s.x+1] = cell{r: wide}
	}
	s.last = r
	if s.x += n; s.x >= s.columns {
		s.x, s.full = s.columns-1, true
	}
}

// lineFeed moves the cursor down, and scrolls at the end of the region.
func (s *screen) lineFeed() {
	s.full = false
	switch {
	case s.y == s.bottom:
		s.scrollUp(1)
	case s.y < s.rows-1:
		s.y++
	}
}

// scrollUp scrolls the region; what leaves the whole screen at its top is gone.
func (s *screen) scrollUp(n int) {
	if s.top == 0 && s.bottom == s.rows-1 {
		s.scrollOff(min(n, s.rows))
		return
	}
	s.rotate(s.top, s.bottom, n)
}

// scrollOff takes n rows off the top of the screen.
func (s *screen) scrollOff(n int) {
	if s.gone != nil && !s.alt {
		for _, l := range s.lines[:n] {
			s.gone(l)
		}
	}
	s.rotate(0, s.rows-1, n)
	if !s.alt {
		s.first += int64(n)
	}
}

// rotate moves the rows of a region up by n and empties as many at its end.
func (s *screen) rotate(top, bottom, n int) {
	region := s.lines[top : bottom+1]
	if n == 1 { // this is where the time goes
		l := region[0]
		copy(region, region[1:])
		region[len(region)-1] = l
		l.cells, l.wrapped, l.told, l.entered = l.cells[:0], false, false, 0
		return
	}
	n = min(n, len(region))
	var moved [maxRows]*row
	copy(moved[:], region[:n])
	copy(region, region[n:])
	copy(region[len(region)-n:], moved[:n])
	s.eraseRows(bottom+1-n, bottom+1)
}

// rotateDown moves the rows of a region down by n and empties as many at its beginning.
func (s *screen) rotateDown(top, bottom, n int) {
	region := s.lines[top : bottom+1]
	n = min(n, len(region))
	var moved [maxRows]*row
	copy(moved[:], region[len(region)-n:])
	copy(region[n:], region)
	copy(region, moved[:n])
	s.eraseRows(top, top+n)
}

func (s *screen) insertCells(n int) {
	l := s.lines[s.y]
	if s.x >= len(l.cells) {
		return
	}
	n = min(n, s.columns-s.x)
	l.reach(min(len(l.cells)+n, s.columns))
	copy(l.cells[s.x+n:], l.cells[s.x:])
	clear(l.cells[s.x : s.x+n])
}

func (s *screen) deleteCells(n int) {
	l := s.lines[s.y]
	if s.x < len(l.cells) {
		l.cells = slices.Delete(l.cells, s.x, min(s.x+n, len(l.cells)))
	}
}

// erase empties the cells from from up to to of the cursor's row.
func (s *screen) erase(from, to int) {
	l := s.lines[s.y]
	if to >= min(len(l.cells), s.columns) { // what a wider window had there goes, too
		l.cells, l.wrapped = l.cells[:min(from, len(l.cells))], false
		return
	}
	clear(l.cells[from:to])
}

func (s *screen) eraseRows(from, to int) {
	for _, l := range s.lines[from:to] {
		l.cells, l.wrapped, l.told, l.entered = l.cells[:0], false, false, 0
	}
}

// setAlt shows the alternate screen, empty, or the main one as it was.
func (s *screen) setAlt(on bool) {
	if on == s.alt {
		return
	}
	s.alt, s.full = on, false
	s.top, s.bottom = 0, s.rows-1
	if s.other == nil {
		s.other = blank(s.rows)
	}
	s.lines, s.other = s.other, s.lines
	if on {
		s.eraseRows(0, s.rows)
	}
}

// appendText appends the text of a row from a column on, without spaces at its end
// unless it goes on in the next one.
func (l *row) appendText(b []byte, from int) []byte {
	cells := l.cells
	if !l.wrapped {
		for len(cells) > 0 && (cells[len(cells)-1].r == 0 || cells[len(cells)-1].r == ' ') {
			cells = cells[:len(cells)-1]
		}
	}
	if from >= len(cells) {
		return b
	}
	for _, c := range cells[from:] {
		switch {
		case c.r == 0:
			b = append(b, ' ')
		case c.r < 0:
			b = append(b, byte(-c.r))
		case c.r != wide:
			b = utf8.AppendRune(b, c.r)
		}
		if c.mark != 0 {
			b = utf8.AppendRune(b, c.mark)
		}
	}
	return b
}
