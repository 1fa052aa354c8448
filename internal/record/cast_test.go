package record

import (
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

// castText runs chunks of one direction through a cast encoder and returns
// what a player would show.
func castText(t testing.TB, pty bool, kind Kind, chunks ...[]byte) string {
	t.Helper()
	c := cast{pty: pty}
	b := c.appendHeader(nil, &Options{Name: "c"}, time.Unix(0, 0))
	for i, p := range chunks {
		b = c.appendStream(b, time.Duration(i)*time.Millisecond, kind, p)
	}
	b = c.flush(b, time.Hour, kind)
	var text strings.Builder
	for _, e := range castLines(t, b) {
		text.WriteString(e.text)
	}
	return text.String()
}

func TestCastCarriesSplitCharacters(t *testing.T) {
	text := "aé€😀\n\x1b[31m日本\u0085z"
	for i := range len(text) + 1 {
		for j := i; j <= len(text); j++ {
			got := castText(t, true, KindOutput, []byte(text[:i]), []byte(text[i:j]), []byte(text[j:]))
			if got != text {
				t.Fatalf("split at %d and %d: %q", i, j, got)
			}
		}
	}
}

func TestCastReplacesInvalidBytes(t *testing.T) {
	for _, tt := range []struct{ in, want string }{
		{"\xff\xfe", "\ufffd\ufffd"},
		{"a\x80b", "a\ufffdb"},
		{"\xe2\x82A", "\ufffd\ufffdA"},
		{"\xc0\xaf", "\ufffd\ufffd"},                      // overlong
		{"\xed\xa0\x80", "\ufffd\ufffd\ufffd"},            // surrogate
		{"\xf4\x90\x80\x80", strings.Repeat("\ufffd", 4)}, // beyond Unicode
		{"\xe2\xe2\x82\xac", "\ufffd€"},
		{"\xf0\x9f\x92", "\ufffd\ufffd\ufffd"}, // never finished
		{"\xf0\x9f\n", "\ufffd\ufffd\r\n"},
	} {
		for i := range len(tt.in) + 1 {
			if got := castText(t, false, KindStderr, []byte(tt.in[:i]), []byte(tt.in[i:])); got != tt.want {
				t.Errorf("%q split at %d: %q, want %q", tt.in, i, got, tt.want)
			}
		}
	}
}

func TestCastNewlines(t *testing.T) {
	for _, tt := range []struct {
		pty  bool
		kind Kind
		want string
	}{
		{true, KindOutput, "a\nb"},
		{false, KindOutput, "a\r\nb"},
		{false, KindStderr, "a\r\nb"},
		{false, KindInput, "a\nb"},
	} {
		if got := castText(t, tt.pty, tt.kind, []byte("a\nb")); got != tt.want {
			t.Errorf("pty %v, %c: %q", tt.pty, tt.kind, got)
		}
	}
}

func FuzzCast(f *testing.F) {
	f.Add([]byte("\xe2\x82\xac\x1b[m\"\\\u2028"), uint8(2), true)
	f.Add([]byte("\xf0\x9f\xf0\n"), uint8(0), false)
	f.Fuzz(func(t *testing.T, p []byte, size uint8, pty bool) {
		whole := castText(t, pty, KindOutput, p)
		var chunks [][]byte
		for rest := p; len(rest) > 0; {
			n := min(int(size)+1, len(rest))
			chunks = append(chunks, rest[:n])
			rest = rest[n:]
		}
		if split := castText(t, pty, KindOutput, chunks...); split != whole {
			t.Fatalf("split %q, whole %q", split, whole)
		}
		if utf8.Valid(p) && pty && whole != string(p) {
			t.Fatalf("valid text %q became %q", p, whole)
		}
		c := cast{pty: pty}
		o := &Options{Name: "c", Command: string(p), Terminal: string(p), Title: string(p), Size: Size{uint32(size), 1 << 31}}
		b := c.appendHeader(nil, o, time.Unix(0, 0))
		b = c.appendResize(b, 0, o.Size)
		castLines(t, c.appendEvent(b, time.Second, 'm', string(p)))
	})
}

// Without a terminal the cast shows a MiB, then one marker; what a terminal showed
// is all there.
func TestCastShowsTheBeginningOfATransfer(t *testing.T) {
	const chunk = 32 << 10
	for _, pty := range []bool{false, true} {
		c := cast{pty: pty}
		b := c.appendHeader(nil, &Options{Name: "c"}, time.Unix(0, 0))
		for _, kind := range []Kind{KindInput, KindOutput, KindStderr} {
			for range maxPlain / chunk {
				b = c.appendStream(b, 0, kind, []byte(strings.Repeat("x", chunk-1)))
			}
		}
		b = c.appendEvent(b, 0, 'm', "exit status 0")
		shown, markers := 0, 0
		for _, e := range castLines(t, b) {
			if e.code == "m" {
				markers++
			} else {
				shown += len(e.text)
			}
		}
		want, wantMarkers := 3*maxPlain/chunk*(chunk-1), 1
		if !pty {
			want, wantMarkers = maxPlain, 2
		}
		if shown != want || markers != wantMarkers {
			t.Errorf("pty %v: %d bytes and %d markers, want %d and %d", pty, shown, markers, want, wantMarkers)
		}
	}
}
