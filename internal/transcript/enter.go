package transcript

import (
	"bytes"
	"slices"
	"strings"
	"time"
)

// candidate is what the screen shows as the line that was entered.
type candidate struct {
	taken bool
	line  []byte // with its prompt, as far as that is in the same line
	text  string // without
	exact bool   // it is known where the prompt ends
	row   *row   // where it begins
}

// lineEnd comes before the cursor moves to the next line.
func (t *Tracker) lineEnd() {
	if len(t.queue) == 0 || t.fullScreen() {
		return
	}
	if t.queue[0].age++; t.queue[0].age > maxPatience {
		t.settle(1)
		return
	}
	if t.bracketed {
		// It may be a list of completions; the editor says when it is done.
		t.last = t.candidate(&t.queue[0])
		return
	}
	t.echoedLine()
}

// editorDone takes the line that a line editor has read.
func (t *Tracker) editorDone() {
	if len(t.queue) == 0 || t.fullScreen() {
		return
	}
	c := t.last
	s := &t.screen
	if now := s.lines[s.y]; !c.taken || s.x > 0 || len(now.cells) > 0 {
		c = t.candidate(&t.queue[0]) // the line feed comes after this
	}
	t.last = candidate{}
	if i := t.find(c, len(t.queue), 1); i >= 0 {
		t.settle(i)
		t.resolve(c, string(t.queue[0].text), true)
		return
	}
	e := &t.queue[0]
	switch {
	case e.empty() && (e.ahead || strings.TrimSpace(c.text) == ""):
		t.drop()
	case !e.edited && e.editor && !e.answered && (e.pasted || e.seen == len(e.text)):
		// Something else was shown in between, or a paste did not fit on the screen.
		t.resolve(c, string(e.text), true)
	case e.edited || e.editor:
		t.resolve(c, c.text, true)
	}
}

// echoedLine takes a line that the terminal itself has echoed, or a program that edits
// lines and does not say so.
func (t *Tracker) echoedLine() {
	e, s := &t.queue[0], &t.screen
	c := t.candidate(e)
	const atOnce = 8 // lines that were not echoed before one that was
	if i := t.find(c, 1, 1); i == 0 {
		t.resolve(c, string(e.text), true)
		return
	}
	switch {
	case e.empty():
		t.drop()
		return
	case len(s.lines[s.y].cells) >= s.columns:
		return // an editor that wraps lines itself
	case e.edited && t.everEditor && !e.editor && (!c.exact || keyCodes(c.text)):
		// Typed ahead of a line editor, the terminal shows the codes of the keys. The
		// editor shows the line, if that is who reads it.
		if e.shown == "" {
			e.shown = c.text
		}
		return
	case e.edited:
		t.resolve(c, c.text, true)
		return
	case e.anchored && c.exact && strings.Trim(c.text, "*") == "":
		t.resolve(c, string(e.text), false)
		return
	}
	if i := t.find(c, atOnce, sure); i > 0 {
		t.settle(i)
		t.resolve(c, string(t.queue[0].text), true)
	}
}

// sure is how many bytes are hardly in any output by chance.
const sure = 3

// find returns which of the first n pending lines was typed as the screen shows it, or -1.
func (t *Tracker) find(c candidate, n, least int) int {
	line, text := squeeze(c.line), squeeze([]byte(c.text))
	for i := range t.queue[:min(n, len(t.queue))] {
		e := &t.queue[i]
		if e.edited {
			continue
		}
		want := squeeze(e.text)
		switch {
		case len(want) < least:
		case c.exact && i == 0 && e.anchored:
			if bytes.Equal(want, text) || longer(want, text) || len(want) >= sure && bytes.HasSuffix(text, want) {
				return i
			}
		case bytes.HasSuffix(line, want), longer(want, line):
			return i
		}
	}
	return -1
}

// longer reports whether only the end of a line is on the screen.
func longer(line, shown []byte) bool {
	const enough = 24
	return len(shown) >= enough && len(line) > len(shown) && bytes.HasSuffix(line, shown)
}

// keyCodes reports whether a terminal may have shown keys as ^A or ^[[A.
func keyCodes(text string) bool {
	i := strings.IndexByte(text, '^')
	return i >= 0 && i+1 < len(text) && text[i+1] >= '@' && text[i+1] <= '_'
}

// squeeze leaves white space out: where a line wraps, and how wide a tab is, the screen
// does not tell.
func squeeze(p []byte) []byte {
	out := make([]byte, 0, len(p))
	for _, c := range p {
		if c != ' ' && c != '\t' && c != '\n' {
			out = append(out, c)
		}
	}
	return out
}

// resolve ends the first pending line.
func (t *Tracker) resolve(c candidate, text string, echoed bool) {
	e := &t.queue[0]
	if c.exact && len(e.prompt) > 0 {
		t.learned = string((&row{cells: e.prompt, wrapped: true}).appendText(nil, 0))
	}
	if c.row != nil {
		c.row.entered = e.at.UnixNano()
	}
	t.emit(e.at, text, echoed, e.cut)
	t.drop()
}

// settle ends the first n pending lines with what is known of them.
func (t *Tracker) settle(n int) {
	for range n {
		e := &t.queue[0]
		switch {
		case e.shown != "":
			t.emit(e.at, e.shown, true, e.cut)
		default:
			t.emit(e.at, string(e.text), len(e.text) > 0 && e.seen >= len(e.text), e.cut)
		}
		t.drop()
	}
}

func (t *Tracker) emit(at time.Time, text string, echoed, cut bool) {
	if len(text) > maxLine {
		text, cut = text[:maxLine], true
	}
	if strings.TrimSpace(text) == "" {
		return
	}
	t.lines = append(t.lines, Line{Time: at, Text: text, Echoed: echoed, Cut: cut})
}

// drop forgets the first pending line.
func (t *Tracker) drop() {
	t.waiting -= len(t.queue[0].text)
	t.queue = slices.Delete(t.queue, 0, 1)
	if len(t.queue) == 0 {
		t.queue = nil
	}
}

// candidate reads the line of e from the screen, whose cursor is in its last row.
func (t *Tracker) candidate(e *pending) candidate {
	s := &t.screen
	if start, ok := t.start(e); ok {
		c := candidate{taken: true, exact: true, row: s.lines[start.row-s.first]}
		c.line = t.region(place{start.row, 0})
		c.text = string(t.region(start))
		return c
	}
	y := s.y
	for y > 0 && s.lines[y-1].wrapped {
		y--
	}
	c := candidate{taken: true, row: s.lines[y], line: t.region(place{s.first + int64(y), 0})}
	c.text = t.withoutPrompt(string(c.line))
	return c
}

// start finds where the line of e begins. It was drawn again below a list of
// completions, or at the top of a screen that was cleared.
func (t *Tracker) start(e *pending) (place, bool) {
	s := &t.screen
	if !e.anchored {
		return place{}, false
	}
	if len(e.prompt) == 0 {
		y := e.anchor.row - s.first
		return e.anchor, y >= 0 && y <= int64(s.y)
	}
	for y := s.y; y >= 0; y-- {
		if hasPrompt(s.lines[y].cells, e.prompt) {
			return place{s.first + int64(y), max(e.anchor.column, 0)}, true
		}
	}
	return place{}, false
}

func hasPrompt(cells, prompt []cell) bool {
	for i, want := range prompt {
		var c cell
		if i < len(cells) {
			c = cells[i]
		}
		if c != want && !(c.r == 0 && want.r == ' ') && !(c.r == ' ' && want.r == 0) {
			return false
		}
	}
	return true
}

// region is the text from a place to the end of the line that the cursor is in.
func (t *Tracker) region(from place) []byte {
	s := &t.screen
	last := s.y
	for last+1 < s.rows && s.lines[last].wrapped {
		last++
	}
	var b []byte
	column := from.column
	for y := int(from.row - s.first); y <= last; y++ {
		l := s.lines[y]
		if t.everEditor {
			b = l.upToGap(s.columns).appendText(b, column)
		} else {
			b = l.appendText(b, column)
		}
		if y < last && !l.wrapped && len(l.cells) < s.columns {
			b = append(b, '\n')
		}
		column = 0
	}
	return b
}

// upToGap leaves out what stands at the right of a row by itself, as a prompt of zsh
// can: line editors write every place up to the end of the line.
func (l *row) upToGap(columns int) *row {
	const gap = 2
	if len(l.cells) < columns-1 || l.wrapped {
		return l
	}
	for i := len(l.cells) - 1; i >= gap; i-- {
		if l.cells[i].r == 0 && l.cells[i-1].r == 0 {
			return &row{cells: l.cells[:i-1]}
		}
	}
	return l
}

// withoutPrompt guesses where the prompt of a line ends that was there before it was
// looked at.
func (t *Tracker) withoutPrompt(line string) string {
	if i := strings.LastIndexByte(line, '\n'); i >= 0 {
		line = line[i+1:]
	}
	if t.learned != "" {
		if rest, ok := strings.CutPrefix(line, t.learned); ok {
			return rest
		}
		if n := len(t.learned); n >= 2 && t.learned[n-1] == ' ' {
			if _, rest, ok := strings.Cut(line, t.learned[n-2:]); ok {
				return rest
			}
		}
		return line
	}
	best := len(line)
	for _, end := range []string{"# ", "$ ", "> ", "% "} {
		if i := strings.Index(line, end); i >= 0 && i+len(end) < best {
			best = i + len(end)
		}
	}
	if best == len(line) {
		return line
	}
	return line[best:]
}
