package transcript

import (
	"bytes"
	"strings"
	"unicode/utf8"
)

// maxLine bounds the text of one line, in bytes. What a terminal without a line editor
// takes in one is 4095, see termios(3).
const maxLine = 16 << 10

// keyState is where in a sequence the input is.
type keyState byte

const (
	keyGround keyState = iota
	keyEscape
	keyControl // of CSI
	keySingle  // the character after SS3
	keyReport  // a string that the terminal has answered with
	keyReportEscape
)

// maxKey bounds what is kept of the sequence of one key, in bytes.
const maxKey = 16

// typed is what came from the client since the last Enter, as a line that nobody has
// edited but by backspace and ^U.
type typed struct {
	state  keyState
	params []byte
	paste  bool // between the brackets of a paste

	text   []byte
	pasted bool // several lines at once
	// answered says that the terminal has sent something of its own.
	answered bool
	any      bool // a key was pressed
	edited   bool // by keys whose effect only the screen tells
	cut      bool // there was more than maxLine
	seen     int  // bytes of text that came back in the output, in order
}

// clear begins another line.
func (k *typed) clear() {
	k.text, k.any, k.edited, k.pasted, k.answered, k.cut, k.seen = k.text[:0], false, false, false, false, false, 0
}

// echo looks for what was typed in the output.
func (k *typed) echo(p []byte) { k.seen = echo(k.text, k.seen, p) }

// echo returns how much of text has come back, where seen did before p.
func echo(text []byte, seen int, p []byte) int {
	for _, c := range p {
		if seen >= len(text) {
			break
		}
		if text[seen] == c {
			seen++
		}
	}
	return seen
}

// add takes a character of the line.
func (k *typed) add(c byte) {
	if len(k.text) == maxLine {
		k.cut = true
		return
	}
	k.text = append(k.text, c)
}

// backspace takes the last character back.
func (k *typed) backspace() {
	if k.cut {
		return
	}
	_, n := utf8.DecodeLastRune(k.text)
	k.text = k.text[:len(k.text)-n]
	k.seen = min(k.seen, len(k.text))
}

// input takes what a client sends.
func (t *Tracker) input(p []byte) {
	for _, c := range p {
		if t.plain {
			t.plainByte(c)
			continue
		}
		t.key(c)
	}
}

// plainByte takes what a shell reads that has no terminal. What holds a zero byte is not
// lines but a file, or packets.
func (t *Tracker) plainByte(c byte) {
	k := &t.typed
	switch {
	case c == 0:
		t.binary = true
	case t.binary:
	case c == '\n':
		if strings.TrimSpace(string(k.text)) != "" {
			t.lines = append(t.lines, Line{Time: t.now, Text: string(k.text), Cut: k.cut})
		}
		k.clear()
	default:
		k.add(c)
	}
}

func (t *Tracker) key(c byte) {
	k := &t.typed
	switch k.state {
	case keyGround:
		t.groundKey(c)
	case keyEscape:
		t.escapeKey(c)
	case keyControl:
		switch {
		case c >= 0x40 && c < 0x7f:
			k.state = keyGround
			t.controlKey(c)
		case c < 0x20:
			k.state = keyGround
			t.groundKey(c)
		case len(k.params) < maxKey:
			k.params = append(k.params, c)
		}
	case keySingle:
		k.state = keyGround
		t.edits()
	case keyReport:
		switch c {
		case 0x1b:
			k.state = keyReportEscape
		case 0x07, 0x18, '\r', '\n': // or else whoever begins one types no more lines
			k.state = keyGround
		}
	case keyReportEscape:
		if k.state = keyGround; c != '\\' {
			t.escapeKey(c)
		}
	}
}

// Keys with a meaning here: those of stty(1) as it mostly is, and of line editors.
const (
	ctrlC      = 0x03
	ctrlD      = 0x04
	ctrlO      = 0x0f
	ctrlU      = 0x15
	ctrlZ      = 0x1a
	ctrlBslash = 0x1c
	escapeCode = 0x1b
	deleteCode = 0x7f
)

func (t *Tracker) groundKey(c byte) {
	k := &t.typed
	if c == escapeCode {
		k.state = keyEscape
		return
	}
	if !t.press() {
		return
	}
	switch {
	case k.paste && (c == '\r' || c == '\n'):
		k.add('\n')
		k.pasted = true
	case c == ctrlO && t.bracketed:
		t.operateAndNext()
	case c == '\r' || c == '\n':
		t.enter()
	case c >= 0x20 && c != deleteCode:
		k.add(c)
	case c == deleteCode || c == '\b':
		k.backspace()
	case c == ctrlU:
		k.text, k.cut, k.seen = k.text[:0], false, 0
	case c == ctrlC || c == ctrlZ || c == ctrlBslash:
		// The line is given up.
		k.clear()
		t.anchored = false
	case c == ctrlD && len(k.text) == 0:
	case k.paste && c == '\t':
		k.add(c)
	default:
		k.edited = true
	}
}

func (t *Tracker) escapeKey(c byte) {
	k := &t.typed
	switch k.state = keyGround; c {
	case '[':
		k.state, k.params = keyControl, k.params[:0]
	case 'O':
		k.state = keySingle
	case ']', 'P', '_', '^':
		k.state = keyReport
	case escapeCode:
		k.state = keyEscape
	case '\r', '\n':
		t.groundKey(c)
	default: // a key with Alt
		t.edits()
	}
}

// edits takes a key that changes the line in a way that only the screen tells.
func (t *Tracker) edits() {
	if t.press() {
		t.typed.edited = true
	}
}

func (t *Tracker) controlKey(final byte) {
	k := &t.typed
	switch {
	case final == '~' && bytes.Equal(k.params, []byte("200")):
		k.paste = t.press()
	case final == '~' && bytes.Equal(k.params, []byte("201")):
		k.paste = false
	case final == 'R' && bytes.IndexByte(k.params, ';') > 0, final == 'c' || final == 'n' || final == 't' || final == 'y',
		len(k.params) > 0 && k.params[0] == '?',
		len(k.params) == 0 && (final == 'I' || final == 'O'),
		final == 'M' || final == 'm':
		// The terminal has answered a question, told of its focus or of the mouse. Whoever
		// has not asked takes it for keys, and shows them.
		k.answered = t.press()
	default:
		t.edits()
	}
}
