// Package term stands between hostile text and the operator's terminal. Text
// from attackers goes in; text that can be shown in a table, a JSON document or
// a replay without steering the terminal comes out. It imports nothing internal.
package term

import (
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

const hexDigits = "0123456789abcdef"

// Safe returns s on one line and without anything a terminal acts on: control
// characters (C0, DEL, C1), bidirectional and other format characters, and
// bytes that are not UTF-8 are shown as Go escapes (\x1b, \u202e, \xff). A
// backslash is doubled, so two different inputs never look the same.
func Safe(s string) string {
	if plain(s) {
		return s
	}
	b := make([]byte, 0, len(s)+16)
	for len(s) > 0 {
		r, n := utf8.DecodeRuneInString(s)
		switch {
		case r == utf8.RuneError && n == 1:
			b = append(b, '\\', 'x', hexDigits[s[0]>>4], hexDigits[s[0]&15])
		case r == '"':
			b = append(b, '"')
		default:
			// A quoted string of one character, without the quotes.
			q := strconv.AppendQuote(b, s[:n])
			b = append(b, q[len(b)+1:len(q)-1]...)
		}
		s = s[n:]
	}
	return string(b)
}

func plain(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < 0x20 || c >= 0x7f || c == '\\' {
			return false
		}
	}
	return true
}

// Clip is Safe cut to at most width characters, the last of them an ellipsis
// when something was cut off. A width below one cuts nothing.
func Clip(s string, width int) string {
	// An escape is never shorter than what it stands for, so what lies behind
	// this many bytes cannot show; hostile strings may be long.
	cut := width > 0 && len(s) > utf8.UTFMax*width
	if cut {
		s = s[:utf8.UTFMax*width]
		for i := 0; i < utf8.UTFMax && !endsWhole(s); i++ {
			s = s[:len(s)-1]
		}
	}
	s = Safe(s)
	if width < 1 || (!cut && utf8.RuneCountInString(s) <= width) {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		if width--; width == 0 {
			break
		}
		b.WriteRune(r)
	}
	b.WriteRune('…')
	return b.String()
}

// endsWhole reports whether s does not end inside a UTF-8 sequence.
func endsWhole(s string) bool {
	for i := len(s) - 1; i >= 0 && i >= len(s)-utf8.UTFMax; i-- {
		if utf8.RuneStart(s[i]) {
			return utf8.FullRuneInString(s[i:])
		}
	}
	return true
}

// AppendJSON appends s to b as a JSON string (RFC 8259 section 7) that is also
// harmless to print: what a terminal acts on is written as \u escapes. Bytes
// that are not UTF-8 become U+FFFD.
func AppendJSON(b []byte, s string) []byte {
	b = append(b, '"')
	for i := 0; i < len(s); {
		c := s[i]
		if c < utf8.RuneSelf {
			b = appendASCII(b, c)
			i++
			continue
		}
		r, n := utf8.DecodeRuneInString(s[i:])
		b = appendRune(b, r, n, s[i:i+n])
		i += n
	}
	return append(b, '"')
}

// Document returns a JSON document in which nothing acts on a terminal or hides: what is
// not printable, and JSON allows, becomes a \u escape. Its values stay the same.
func Document(p []byte) []byte {
	if !slices.ContainsFunc(p, func(c byte) bool { return c >= 0x7f }) {
		return p
	}
	b := make([]byte, 0, len(p)+64)
	for len(p) > 0 {
		r, n := utf8.DecodeRune(p)
		p = p[n:]
		if r < 0x7f || unicode.IsPrint(r) {
			b = utf8.AppendRune(b, r)
			continue
		}
		for _, unit := range utf16.AppendRune(nil, r) {
			b = append(b, '\\', 'u', hexDigits[unit>>12], hexDigits[unit>>8&15], hexDigits[unit>>4&15], hexDigits[unit&15])
		}
	}
	return b
}

// Printable is for messages of ours that may repeat names or errors of somebody else: one
// line, with backslashes as they are, and otherwise as from Safe.
func Printable(s string) string {
	parts := strings.Split(strings.ReplaceAll(s, "\n", "; "), `\`)
	for i, part := range parts {
		parts[i] = Safe(part)
	}
	return strings.Join(parts, `\`)
}

func appendASCII(b []byte, c byte) []byte {
	switch {
	case c == '"' || c == '\\':
		return append(b, '\\', c)
	case c == '\n':
		return append(b, '\\', 'n')
	case c == '\r':
		return append(b, '\\', 'r')
	case c == '\t':
		return append(b, '\\', 't')
	case c < 0x20 || c == 0x7f:
		return append(b, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
	}
	return append(b, c)
}

// steers reports whether a character beyond ASCII changes how others are read:
// C1 controls, line and paragraph separators (some JSON readers split lines
// there), bidirectional controls (UAX #9) and the byte order mark.
func steers(r rune) bool {
	switch {
	case r >= 0x80 && r <= 0x9f,
		bidi(r),
		r == 0x2028, r == 0x2029,
		r == 0xfeff:
		return true
	}
	return false
}

// bidi reports whether r reorders the text around it.
func bidi(r rune) bool {
	return r == 0x061c || r == 0x200e || r == 0x200f || r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069
}
