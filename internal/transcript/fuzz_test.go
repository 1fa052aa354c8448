package transcript

import (
	"bytes"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// follow feeds a script of output and input that is split by 0xff 0..3, with chunks of at
// most n bytes, and looks after each that what is kept stays bounded.
func follow(t *testing.T, tr *Tracker, script []byte, n int) (lines []Line) {
	at := time.Unix(0, 0)
	for _, part := range bytes.Split(script, []byte{0xff}) {
		if len(part) == 0 {
			continue
		}
		kind, data := part[0]%4, part[1:]
		if kind == 2 && len(data) >= 2 {
			tr.Resize(int(data[0])*5, int(data[1]))
			data = data[2:]
		}
		for len(data) > 0 {
			chunk := data[:min(n, len(data))]
			data = data[len(chunk):]
			if kind == 1 {
				lines = append(lines, tr.Input(chunk, at)...)
			} else {
				lines = append(lines, tr.Output(chunk, at)...)
			}
			bounded(t, tr)
		}
	}
	return append(lines, tr.Close()...)
}

func bounded(t *testing.T, tr *Tracker) {
	s := &tr.screen
	if s.rows > maxRows || s.columns > maxColumns || len(s.lines) != s.rows || s.other != nil && len(s.other) != s.rows {
		t.Fatalf("%d rows of %d columns, %d and %d lines", s.rows, s.columns, len(s.lines), len(s.other))
	}
	if s.x < 0 || s.x >= s.columns || s.y < 0 || s.y >= s.rows || s.top >= s.bottom || s.bottom >= s.rows {
		t.Fatalf("cursor at %d %d of %dx%d, region %d %d", s.x, s.y, s.columns, s.rows, s.top, s.bottom)
	}
	for _, l := range s.lines {
		if len(l.cells) > maxColumns {
			t.Fatalf("a row of %d cells", len(l.cells))
		}
	}
	waiting := 0
	for _, e := range tr.queue {
		waiting += len(e.text)
		if len(e.prompt) > maxPrompt || len(e.shown) > maxColumns*maxRows*8 {
			t.Fatalf("a prompt of %d cells, shown %d bytes", len(e.prompt), len(e.shown))
		}
	}
	if waiting != tr.waiting || waiting > maxPendingText || len(tr.queue) > maxPending || len(tr.typed.text) > maxLine {
		t.Fatalf("%d lines of %d bytes (counted %d), %d typed", len(tr.queue), waiting, tr.waiting, len(tr.typed.text))
	}
}

func FuzzTracker(f *testing.F) {
	f.Add([]byte("\xff\x00$ \xff\x01ls\r\xff\x00ls\r\nfile\r\n$ "), uint8(3), uint8(80), uint8(24))
	f.Add([]byte("\xff\x00\x1b[?2004hP$ \xff\x01\x1b[A\x1b[200~a\nb\x1b[201~\r\xff\x00a\r\n\rb\r\n\x1b[?2004l\r"), uint8(1), uint8(5), uint8(2))
	f.Add([]byte("\xff\x00\x1b[?1049h\x1b[5;10r\x1b[99L\x1b[99@\x1b[99P\x1b[99b\x1b[99S\x1b[99T\x1bM\x1b[?1049l\xff\x02\x01\x01x\xff\x01\x0f\x1b]x\x1b\\\r"), uint8(2), uint8(0), uint8(0))
	f.Add([]byte("\xff\x00日本\xe2\x82e\xcc\x81\x1b[4h\x1b[3X\x1b[2J\x1bc\xff\x01\xe9\x7f\x15\x03\r\r\n"), uint8(1), uint8(9), uint8(3))
	for _, sc := range scenes {
		var script []byte
		for _, s := range readTrace(f, sc.file()) {
			switch s.kind {
			case 'o':
				script = append(append(script, 0xff, 0), s.data...)
			case 'i':
				script = append(append(script, 0xff, 1), s.data...)
			}
		}
		f.Add(script[:min(len(script), 4000)], uint8(5), uint8(80), uint8(24))
	}
	f.Fuzz(func(t *testing.T, script []byte, chunk, columns, rows uint8) {
		size := Options{Columns: int(columns) * 3, Rows: int(rows)}
		whole := follow(t, New(size), script, 1<<20)
		split := follow(t, New(size), script, int(chunk)+1)
		if diff := cmp.Diff(whole, split); diff != "" {
			t.Fatalf("in pieces of %d (-whole +split):\n%s", int(chunk)+1, diff)
		}
		for _, l := range whole {
			if len(l.Text) > maxLine || strings.TrimSpace(l.Text) == "" {
				t.Fatalf("a line of %d bytes", len(l.Text))
			}
		}
	})
}

// TestChunks mixes pieces of real traces: what comes out must not depend on how the bytes
// were cut.
func TestChunks(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		var script []byte
		for range 5 {
			trace := readTrace(t, scenes[r.IntN(len(scenes))].file())
			from := r.IntN(len(trace))
			for _, s := range trace[from:min(len(trace), from+20)] {
				kind := byte(0)
				if s.kind == 'i' {
					kind = 1
				}
				script = append(append(script, 0xff, kind), strings.ReplaceAll(s.data, "\xff", "")...)
			}
		}
		whole := follow(t, New(Options{}), script, 1<<20)
		for _, n := range []int{1, 2, 7, 100} {
			if diff := cmp.Diff(whole, follow(t, New(Options{}), script, n)); diff != "" {
				t.Fatalf("in pieces of %d (-whole +split):\n%s\n%q", n, diff, script)
			}
		}
	}
}

func BenchmarkOutput(b *testing.B) {
	text := bytes.Repeat([]byte("The quick brown fox jumps over the lazy dog, and then 0123456789 more.\r\n"), 14000)
	colours := bytes.Repeat([]byte("\x1b[01;34mbin\x1b[0m  \x1b[01;32mrun.sh\x1b[0m  notes.txt  \x1b[36mlink\x1b[0m\r\n"), 17000)
	binary := make([]byte, 1<<20)
	r := rand.New(rand.NewPCG(1, 2))
	for i := range binary {
		binary[i] = byte(r.Uint32())
	}
	for _, bb := range []struct {
		name string
		data []byte
		wait bool
	}{
		{"text", text, false}, {"colours", colours, false}, {"utf-8", bytes.Repeat([]byte("grüße 日本語 ÄÖÜ\r\n"), 40000), false}, {"random", binary, false},
		{"line-feeds", bytes.Repeat([]byte("\n"), 1<<20), false},
		{"insert-lines", bytes.Repeat([]byte("\x1b[9L"), 1<<18), false},
		{"delete-characters", bytes.Repeat([]byte("x\x1b[H\x1b[9@"), 1<<17), false},
		{"repeat", bytes.Repeat([]byte("x\x1b[999b"), 1<<17), false},
		{"erase", bytes.Repeat([]byte("\x1b[2J"), 1<<18), false},
		{"alternate-screen", bytes.Repeat([]byte("\x1b[?47h\x1b[?47l"), 1<<17), false},
		{"text-with-pending-line", text, true}, {"line-feeds-with-pending-line", bytes.Repeat([]byte("\n"), 1<<20), true},
	} {
		b.Run(bb.name, func(b *testing.B) {
			tr := New(Options{Columns: 200, Rows: 50})
			now := time.Now()
			b.SetBytes(int64(len(bb.data)))
			for b.Loop() {
				for rest := bb.data; len(rest) > 0; {
					n := min(32<<10, len(rest))
					if bb.wait && len(tr.queue) == 0 {
						tr.Input([]byte("secret\r"), now)
					}
					tr.Output(rest[:n], now)
					rest = rest[n:]
				}
			}
		})
	}
}
