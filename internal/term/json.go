package term

import (
	"encoding/binary"
	"unicode/utf8"
)

// AppendOutput appends what p shows on a terminal to b, as the inside of a JSON
// string that is harmless to print, like AppendJSON. NUL is left out: a terminal
// ignores it, and output full of it is large enough as it is. With newlines a line
// feed becomes carriage return and line feed. An unfinished UTF-8 sequence at the
// end of p is not taken; taken is how much of p was.
func AppendOutput(b, p []byte, newlines bool) (out []byte, taken int) {
	for i := 0; i < len(p); {
		if n := plainRun(p[i:]); n > 0 {
			b = append(b, p[i:i+n]...)
			i += n
			continue
		}
		switch c := p[i]; {
		case c == 0:
			for i++; i < len(p) && p[i] == 0; i++ { // they come in crowds
			}
			continue
		case c == '\n' && newlines:
			b = append(b, `\r\n`...)
			i++
			continue
		case c < utf8.RuneSelf:
			b = appendASCII(b, c)
			i++
			continue
		}
		if !utf8.FullRune(p[i:]) {
			return b, i
		}
		r, n := utf8.DecodeRune(p[i:])
		b = appendRune(b, r, n, p[i:i+n])
		i += n
	}
	return b, len(p)
}

// plainRun is how many bytes at the beginning of p are ASCII that JSON takes as it
// is. It looks at eight bytes at a time: this is where the time of recording goes.
func plainRun(p []byte) int {
	const (
		ones = 0x0101010101010101
		high = 0x8080808080808080
	)
	n := 0
	for ; len(p)-n >= 8; n += 8 {
		x := binary.LittleEndian.Uint64(p[n:])
		quote, slash, del := x^ones*'"', x^ones*'\\', x^ones*0x7f
		special := x | (x - ones*0x20) | (quote - ones) | (slash - ones) | (del - ones)
		if special&high != 0 { // perhaps: a borrow may come from a neighbour
			break
		}
	}
	for n < len(p) && isPlain(p[n]) {
		n++
	}
	return n
}

func isPlain(c byte) bool { return c >= 0x20 && c < 0x7f && c != '"' && c != '\\' }

// appendRune appends a character beyond ASCII whose n bytes are text.
func appendRune[T string | []byte](b []byte, r rune, n int, text T) []byte {
	switch {
	case r == utf8.RuneError && n == 1:
		return append(b, "\ufffd"...)
	case steers(r):
		return append(b, '\\', 'u', hexDigits[r>>12&15], hexDigits[r>>8&15], hexDigits[r>>4&15], hexDigits[r&15])
	}
	return append(b, text...)
}
