package term

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"strings"
	"testing"
)

// FuzzAppendOutput compares with the plain way: what JSON makes of the result is
// the text, without NUL and with the newlines of a terminal.
func FuzzAppendOutput(f *testing.F) {
	for _, seed := range []string{"", "plain text of some length, \"quoted\" \\ and so on", "a\nb\r\n\x00\x00c\x7f\x1b[m", "é€😀\u202e\ufeff\u0085", "\xff\xe2\x82", "12345678\x0012345678\"", "\xe2\x82\xacx\xf0\x9f"} {
		f.Add([]byte(seed), true)
		f.Add([]byte(seed), false)
	}
	f.Fuzz(func(t *testing.T, p []byte, newlines bool) {
		b, taken := AppendOutput([]byte(`"`), p, newlines)
		var got string
		if err := json.Unmarshal(append(b, '"'), &got); err != nil {
			t.Fatalf("%q: %v", b, err)
		}
		if rest := len(p) - taken; rest < 0 || rest > 3 {
			t.Fatalf("%d of %d bytes taken", taken, len(p))
		}
		want := strings.ReplaceAll(string([]rune(string(p[:taken]))), "\x00", "")
		if newlines {
			want = strings.ReplaceAll(want, "\n", "\r\n")
		}
		if got != want {
			t.Errorf("%q became %q, want %q", p, got, want)
		}
		if i := bytes.IndexFunc(b, func(r rune) bool { return r < 0x20 || r == 0x7f || steers(r) }); i >= 0 {
			t.Errorf("%q holds what a terminal acts on", b)
		}
	})
}

func TestPlainRun(t *testing.T) {
	for range 20000 {
		p := make([]byte, rand.IntN(40))
		for i := range p {
			p[i] = 'a'
			if rand.IntN(12) == 0 {
				p[i] = byte(rand.IntN(256))
			}
		}
		want := 0
		for want < len(p) && isPlain(p[want]) {
			want++
		}
		if got := plainRun(p); got != want {
			t.Fatalf("plainRun(%q) = %d, want %d", p, got, want)
		}
	}
}

func BenchmarkAppendOutput(b *testing.B) {
	for name, p := range map[string][]byte{
		"text":  bytes.Repeat([]byte("the quick brown fox jumps over the lazy dog, 0123456789 times\r\n"), 512),
		"zeros": make([]byte, 32<<10),
		"noise": func() []byte {
			p := make([]byte, 32<<10)
			for i := range p {
				p[i] = byte(rand.IntN(256))
			}
			return p
		}(),
	} {
		b.Run(name, func(b *testing.B) {
			var out []byte
			b.SetBytes(int64(len(p)))
			for b.Loop() {
				out, _ = AppendOutput(out[:0], p, false)
			}
		})
	}
}
