// Package transcript tells what somebody did at a terminal from the bytes that went
// through it. The output of a pty, what was typed and the changes of its size go in;
// the lines that were entered come out, as the terminal showed them, and what it
// showed as plain text. It looks on: nothing waits for it, and what it keeps is bounded
// by the size of a screen. docs/commands.md says what it can tell.
package transcript

import (
	"slices"
	"time"
)

// Line is one line that somebody entered.
type Line struct {
	Time time.Time // when Enter was sent
	Text string    // any bytes; a paste may hold several lines
	// Echoed says that the terminal has shown it. Otherwise it is what was typed, such
	// as a password.
	Echoed bool
	Cut    bool // it was longer
}

// Options describe a channel.
type Options struct {
	Columns, Rows int
	// Plain is a shell without a terminal: nobody edits, and nothing comes back.
	Plain bool
}

// Bounds of the lines that were entered and whose end the terminal has not shown yet.
const (
	maxPending     = 512
	maxPendingText = 64 << 10 // bytes
	maxPatience    = 1000     // lines of output that one waits for
)

// maxPrompt bounds what is known of a prompt, in characters.
const maxPrompt = 200

// pending is a line whose Enter was sent.
type pending struct {
	at       time.Time
	text     []byte // what was typed
	edited   bool
	pasted   bool
	answered bool
	cut      bool
	seen     int    // see typed
	shown    string // what the terminal showed when it was echoed by something that does not edit
	editor   bool   // a line editor was reading when it was sent
	ahead    bool   // it was typed before its prompt was there
	anchored bool
	anchor   place  // where the cursor was before the first key
	prompt   []cell // what stood left of that
	age      int    // lines of output since
}

// empty reports whether nothing was typed but Enter.
func (e *pending) empty() bool { return !e.edited && len(squeeze(e.text)) == 0 }

// Tracker follows one channel. It is not safe for concurrent use.
type Tracker struct {
	screen   screen
	parser   parser
	typed    typed
	plain    bool
	binary   bool // plain, and not lines
	newlines bool // a line feed begins a line, as without a terminal
	now      time.Time

	hidden      bool // DECTCEM is off
	application bool // DECCKM is on
	bracketed   bool // a line editor reads: bracketed paste is on
	everEditor  bool

	// Of the line that is being typed.
	anchored, ahead bool
	anchor          place
	prompt          []cell

	last    candidate // at the last line feed of the line editor
	learned string    // the last prompt that was told from its line
	text    text
	queue   []pending
	waiting int // bytes of text in queue
	lines   []Line
}

// New returns a Tracker for a channel that begins.
func New(o Options) *Tracker {
	t := &Tracker{plain: o.Plain, newlines: o.Plain}
	t.screen.init(o.Columns, o.Rows)
	return t
}

// Output takes what the terminal was sent and returns the lines that this has ended.
func (t *Tracker) Output(p []byte, at time.Time) []Line {
	t.now = at
	t.output(p)
	return t.take()
}

// Input takes what the client has sent, before what it brings about.
func (t *Tracker) Input(p []byte, at time.Time) []Line {
	t.now = at
	t.input(p)
	return t.take()
}

// Resize takes a new size of the window.
func (t *Tracker) Resize(columns, rows int) { t.screen.resize(columns, rows) }

// Close returns the lines whose end the terminal has not shown. Nothing may follow.
func (t *Tracker) Close() []Line {
	if t.parser.chars > 0 {
		t.brokenCharacter()
	}
	t.settle(len(t.queue))
	if t.screen.alt {
		t.setAlt(false)
	}
	t.tell()
	return t.take()
}

func (t *Tracker) take() []Line {
	lines := t.lines
	t.lines = nil
	return lines
}

// fullScreen reports whether a program such as an editor has the terminal: there are no
// lines to be entered. Some do not change the screen but hide the cursor or have the
// arrow keys send other codes, which line editors do only with bracketed paste.
func (t *Tracker) fullScreen() bool {
	return t.screen.alt || t.hidden || t.application && !t.bracketed
}

// press takes note of any key: before the first one of a line the cursor is where the
// prompt ends. It returns false where there are no lines.
func (t *Tracker) press() bool {
	k := &t.typed
	if t.fullScreen() {
		k.clear()
		t.anchored, t.ahead = false, false
		return false
	}
	if k.any && (t.anchored || t.ahead) {
		return true
	}
	first := !k.any
	k.any = true
	if !first || len(t.queue) > 0 {
		t.ahead = true // what stands there now is not its prompt
		return true
	}
	t.ahead, t.anchored, t.anchor = false, true, t.screen.at()
	l := t.screen.lines[t.screen.y]
	t.prompt = append(t.prompt[:0], l.cells[:min(t.anchor.column, len(l.cells), maxPrompt)]...)
	return true
}

// enter takes the line that was typed.
func (t *Tracker) enter() {
	k := &t.typed
	for len(t.queue) > 0 && (len(t.queue) == maxPending || t.waiting+len(k.text) > maxPendingText) {
		t.settle(1)
	}
	t.queue = append(t.queue, pending{
		at: t.now, text: slices.Clone(k.text), edited: k.edited, pasted: k.pasted, answered: k.answered, cut: k.cut, seen: k.seen, editor: t.bracketed, ahead: t.ahead,
		anchored: t.anchored && !t.ahead, anchor: t.anchor, prompt: slices.Clone(t.prompt),
	})
	t.waiting += len(k.text)
	k.clear()
	t.anchored, t.ahead = false, false
}

// operateAndNext is the key of line editors that enters a line of the history and shows
// the one after it.
func (t *Tracker) operateAndNext() {
	t.enter()
	t.typed.any, t.typed.edited, t.ahead = true, true, true
}

// echoes looks for what was typed in the output.
func (t *Tracker) echoes(p []byte) {
	t.typed.echo(p)
	if len(t.queue) > 0 {
		e := &t.queue[0]
		e.seen = echo(e.text, e.seen, p)
	}
}

// setBracketed takes the sign of a line editor that begins, or is done with a line.
func (t *Tracker) setBracketed(on bool) {
	if on == t.bracketed {
		return
	}
	t.bracketed = on
	if !on {
		t.editorDone()
		return
	}
	t.everEditor = true
	t.last = candidate{}
	if t.typed.any {
		t.anchored, t.ahead = false, true
	}
	for i := range t.queue {
		t.queue[i].anchored, t.queue[i].ahead = false, true
	}
}
