package transcript

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestPlain(t *testing.T) {
	at := time.Unix(100, 0)
	tr := New(Options{Plain: true})
	got := tr.Input([]byte("uname -a\n\n  \nid"), at)
	got = append(got, tr.Output([]byte("Linux\n"), at)...)
	got = append(got, tr.Input([]byte(" -u\n"), at.Add(1))...)
	got = append(got, tr.Input([]byte(strings.Repeat("x", maxLine+1)+"\nbinary\x00\nafter\n"), at)...)
	got = append(got, tr.Close()...)
	want := []Line{{Time: at, Text: "uname -a"}, {Time: at.Add(1), Text: "id -u"}, {Time: at, Text: strings.Repeat("x", maxLine), Cut: true}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// TestBounds floods a terminal that never answers.
func TestBounds(t *testing.T) {
	tr := New(Options{})
	var lines []Line
	for range 100 {
		lines = append(lines, tr.Input([]byte(strings.Repeat("a", 3000)+"\r"), time.Time{})...)
		bounded(t, tr)
	}
	for range 1000 {
		lines = append(lines, tr.Input([]byte("b\r"), time.Time{})...)
		bounded(t, tr)
	}
	lines = append(lines, tr.Input([]byte(strings.Repeat("c", 2*maxLine)+"\r"), time.Time{})...)
	lines = append(lines, tr.Close()...)
	if len(lines) != 1101 || !lines[1100].Cut || lines[0].Echoed {
		t.Errorf("%d lines, the last %+v", len(lines), lines[len(lines)-1].Cut)
	}
	// One that nothing answers is given up when much has gone by.
	tr.Input([]byte("secret\r"), time.Time{})
	if got := tr.Output([]byte(strings.Repeat("line\r\n", maxPatience+2)), time.Time{}); len(got) != 1 || got[0].Text != "secret" || got[0].Echoed {
		t.Errorf("got %+v", got)
	}
}
