package record

import (
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/sandtrap/sandtrap/internal/term"
)

// The size a cast has when the channel has no pty.
const (
	plainColumns = 80
	plainRows    = 24
)

// maxSide bounds both sides of the window size in a cast: players make room for
// it, and clients may ask for billions. The raw log has the true numbers.
const maxSide = 1000

// maxHeaderText bounds each text in a cast's header, in bytes. The raw log has
// all of it.
const maxHeaderText = 4096

// cast encodes asciicast v2 lines (docs.asciinema.org/manual/asciicast/v2). It
// holds what the encoding depends on and writes nothing itself.
type cast struct {
	pty                   bool
	output, stderr, input carry
	text                  []byte // scratch
}

// carry is the beginning of a UTF-8 sequence whose rest has not come yet. Each
// direction has its own, because their chunks interleave.
type carry struct {
	b [utf8.UTFMax]byte
	n int
}

// appendHeader appends the first line.
func (c *cast) appendHeader(b []byte, o *Options, start time.Time) []byte {
	size, ok := o.Size.shown()
	if !ok {
		size = Size{plainColumns, plainRows}
	}
	b = append(b, `{"version":2,"width":`...)
	b = strconv.AppendUint(b, uint64(size.Columns), 10)
	b = append(b, `,"height":`...)
	b = strconv.AppendUint(b, uint64(size.Rows), 10)
	b = append(b, `,"timestamp":`...)
	b = strconv.AppendInt(b, start.Unix(), 10)
	if o.Command != "" {
		b = append(b, `,"command":`...)
		b = term.AppendJSON(b, bounded(o.Command))
	}
	b = append(b, `,"title":`...)
	b = term.AppendJSON(b, bounded(o.title()))
	sep := `,"env":{`
	for _, v := range [...]struct{ name, value string }{{"TERM", o.Terminal}, {"SHELL", o.Shell}} {
		if v.value == "" {
			continue
		}
		b = append(append(b, sep...), `"`+v.name+`":`...)
		b = term.AppendJSON(b, bounded(v.value))
		sep = ","
	}
	if sep == "," {
		b = append(b, '}')
	}
	return append(b, "}\n"...)
}

// shown returns the size as a cast may tell it; ok is false for an unknown one.
func (s Size) shown() (_ Size, ok bool) {
	return Size{min(s.Columns, maxSide), min(s.Rows, maxSide)}, s.Columns > 0 && s.Rows > 0
}

func bounded(s string) string { return s[:min(len(s), maxHeaderText)] }

// appendEvent appends one event line.
func (c *cast) appendEvent(b []byte, at time.Duration, code byte, text string) []byte {
	us := at.Microseconds()
	b = append(b, '[')
	b = strconv.AppendInt(b, us/1e6, 10)
	b = append(b, '.')
	for div := int64(1e5); div > 0; div /= 10 {
		b = append(b, '0'+byte(us/div%10))
	}
	b = append(b, `, "`...)
	b = append(b, code)
	b = append(b, `", `...)
	b = term.AppendJSON(b, text)
	return append(b, "]\n"...)
}

// appendResize appends a resize event, or nothing for an unknown size.
func (c *cast) appendResize(b []byte, at time.Duration, s Size) []byte {
	s, ok := s.shown()
	if !ok {
		return b
	}
	return c.appendEvent(b, at, 'r', fmt.Sprintf("%dx%d", s.Columns, s.Rows))
}

// appendStream appends the line for a chunk of one direction, or nothing when
// the chunk holds no whole character.
func (c *cast) appendStream(b []byte, at time.Duration, kind Kind, p []byte) []byte {
	code, from := c.direction(kind)
	c.text = c.decode(c.text[:0], from, p, kind != KindInput && !c.pty)
	if len(c.text) == 0 {
		return b
	}
	return c.appendEvent(b, at, code, string(c.text))
}

// flush appends what is still carried in one direction: sequences that were
// never finished.
func (c *cast) flush(b []byte, at time.Duration, kind Kind) []byte {
	code, from := c.direction(kind)
	if from.n == 0 {
		return b
	}
	text := strings.Repeat("\ufffd", from.n)
	from.n = 0
	return c.appendEvent(b, at, code, text)
}

// direction returns the event code and the carry of a stream.
func (c *cast) direction(kind Kind) (code byte, from *carry) {
	switch kind {
	case KindInput:
		return 'i', &c.input
	case KindStderr:
		return 'o', &c.stderr
	default:
		return 'o', &c.output
	}
}

// decode appends what p adds to a direction as valid UTF-8. Each byte that
// cannot be part of it becomes U+FFFD; an unfinished sequence waits in from.
func (c *cast) decode(text []byte, from *carry, p []byte, newlines bool) []byte {
	// Complete the carried sequence one byte at a time.
	for from.n > 0 && len(p) > 0 {
		from.b[from.n] = p[0]
		from.n++
		p = p[1:]
		for from.n > 0 && utf8.FullRune(from.b[:from.n]) {
			r, n := utf8.DecodeRune(from.b[:from.n])
			text = appendRune(text, r, newlines)
			from.n = copy(from.b[:], from.b[n:from.n])
		}
	}
	for i := 0; i < len(p); {
		if b := p[i]; b < utf8.RuneSelf {
			text = appendRune(text, rune(b), newlines)
			i++
			continue
		}
		if !utf8.FullRune(p[i:]) {
			from.n = copy(from.b[:], p[i:])
			break
		}
		r, n := utf8.DecodeRune(p[i:])
		text = utf8.AppendRune(text, r)
		i += n
	}
	return text
}

func appendRune(text []byte, r rune, newlines bool) []byte {
	if r == '\n' && newlines {
		return append(text, '\r', '\n')
	}
	return utf8.AppendRune(text, r)
}
