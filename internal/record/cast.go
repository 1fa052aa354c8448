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

// maxPlain bounds what the cast of a channel without a pty shows, in bytes of all
// its directions: what is longer is no dialogue but a file on its way. Encoding one
// takes ten times as long as recording it, and no player shows it.
const maxPlain = 1 << 20

// cast encodes asciicast v2 lines (docs.asciinema.org/manual/asciicast/v2). It
// holds what the encoding depends on and writes nothing itself.
type cast struct {
	pty                   bool
	output, stderr, input carry
	shown                 int // bytes of streams so far
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
	b = term.AppendJSON(appendCode(b, at, code), text)
	return append(b, "]\n"...)
}

// appendCode appends the beginning of an event line.
func appendCode(b []byte, at time.Duration, code byte) []byte {
	us := at.Microseconds()
	b = append(b, '[')
	b = strconv.AppendInt(b, us/1e6, 10)
	b = append(b, '.')
	for div := int64(1e5); div > 0; div /= 10 {
		b = append(b, '0'+byte(us/div%10))
	}
	b = append(b, `, "`...)
	b = append(b, code)
	return append(b, `", `...)
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
// the chunk shows nothing yet. Without a pty a marker stands for what is beyond
// maxPlain.
func (c *cast) appendStream(b []byte, at time.Duration, kind Kind, p []byte) []byte {
	if left := maxPlain - c.shown; !c.pty && len(p) > left {
		if left < 0 {
			return b
		}
		b = c.appendShown(b, at, kind, p[:left])
		c.shown = maxPlain + 1
		return c.appendEvent(b, at, 'm', "the rest of what went through is in the raw log only")
	}
	return c.appendShown(b, at, kind, p)
}

// appendShown is appendStream without the bound.
func (c *cast) appendShown(b []byte, at time.Duration, kind Kind, p []byte) []byte {
	c.shown += len(p)
	code, from := c.direction(kind)
	before := len(b)
	b = append(appendCode(b, at, code), '"')
	empty := len(b)
	newlines := kind != KindInput && !c.pty
	b, p = from.complete(b, p, newlines)
	b, taken := term.AppendOutput(b, p, newlines)
	if rest := p[taken:]; len(rest) > 0 {
		from.n = copy(from.b[:], rest)
	}
	if len(b) == empty {
		return b[:before]
	}
	return append(b, "\"]\n"...)
}

// complete adds the beginning of p to the carried sequence until nothing is
// carried any more, and returns the rest. Each byte that turns out not to be part
// of a character becomes U+FFFD.
func (from *carry) complete(b, p []byte, newlines bool) (out, rest []byte) {
	for from.n > 0 && len(p) > 0 {
		from.b[from.n] = p[0]
		from.n++
		p = p[1:]
		for from.n > 0 && utf8.FullRune(from.b[:from.n]) {
			r, n := utf8.DecodeRune(from.b[:from.n])
			if r == utf8.RuneError && n == 1 {
				b = append(b, "\ufffd"...)
			} else {
				b, _ = term.AppendOutput(b, from.b[:n], newlines)
			}
			from.n = copy(from.b[:], from.b[n:from.n])
		}
	}
	return b, p
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
