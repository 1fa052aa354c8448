package transcript

import (
	"bytes"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// shows is all that a screen shows and where its cursor is.
func shows(tr *Tracker) (all []string) {
	s := &tr.screen
	for _, l := range s.lines {
		text := string(l.appendText(nil, 0))
		if l.wrapped {
			text += "\\"
		}
		all = append(all, text)
	}
	return append(all, string(rune('0'+s.x)), string(rune('0'+s.y)), string(s.last))
}

// TestSkip compares what is left on the screen with and without skipping.
func TestSkip(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	skipped := false
	for range 300 {
		size := Options{Columns: 2 + r.IntN(60), Rows: 2 + r.IntN(20)}
		var out []byte
		for range r.IntN(400) {
			out = append(out, bytes.Repeat([]byte{byte('a' + r.IntN(26))}, r.IntN(150)*r.IntN(2))...)
			switch r.IntN(60) {
			case 0:
				out = append(out, "\n"...)
			case 1:
				out = append(out, "\x1b[1m\t"...)
			case 2:
				out = append(out, "\r"...)
			default:
				out = append(out, "\r\n"...)
			}
		}
		whole, split := New(size), New(size)
		at := time.Time{}
		for _, tr := range []*Tracker{whole, split} {
			tr.Output([]byte("$ "), at)
			tr.Input([]byte("x"), at)
			tr.Output([]byte("x"), at)
		}
		whole.Output(out, at)
		for i := range out {
			split.Output(out[i:i+1], at)
		}
		skipped = skipped || whole.screen.first < split.screen.first
		if diff := cmp.Diff(shows(split), shows(whole)); diff != "" {
			t.Fatalf("%+v (-each byte +whole):\n%s", size, diff)
		}
		for _, tr := range []*Tracker{whole, split} { // an anchor that has left the screen is none in either
			if got := append(tr.Input([]byte("\x1b[A\r"), at), tr.Output([]byte("\r\n"), at)...); len(got) > 1 {
				t.Errorf("entered %+v", got)
			}
		}
	}
	if !skipped {
		t.Error("nothing was skipped")
	}
}
