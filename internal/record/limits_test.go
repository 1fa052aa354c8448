package record

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// Recordings with one budget take no more than that together, but for how they say
// that they end.
func TestBudget(t *testing.T) {
	const most, ends = 64 << 10, 8 * 1000
	root, budget := newRoot(t), NewBudget(most)
	var wg sync.WaitGroup
	var recorders []*Recorder
	for _, name := range strings.Fields("a b c d e f g h") {
		r, err := Create(Options{Dir: root, Name: name, Budget: budget, MaxBytes: most})
		must(t, err)
		recorders = append(recorders, r)
	}
	if budget.Spent() {
		t.Fatal("spent before anything was recorded")
	}
	for _, r := range recorders {
		wg.Go(func() {
			for {
				if err := r.Output(bytes.Repeat([]byte("x"), 1000)); err != nil {
					if !errors.Is(err, ErrBudget) {
						t.Error(err)
					}
					return
				}
			}
		})
	}
	wg.Wait()
	if err := recorders[0].Input([]byte("small")); !errors.Is(err, ErrBudget) {
		t.Errorf("after the end: %v", err)
	}
	var sum, recorded int64
	for _, r := range recorders {
		s, err := r.Close()
		must(t, err)
		if !s.Truncated {
			t.Errorf("%+v", s)
		}
		sum += s.RawBytes + s.CastBytes
		recorded += s.OutputBytes
		all, err := frames(t, content(t, root, s.Raw))
		if !errors.Is(err, io.EOF) {
			t.Error(err)
		}
		if got := string(joined(all, KindMarker)); got != "recording ends here: "+ErrBudget.Error() {
			t.Errorf("marker %q", got)
		}
		if got := string(joined(all, KindTruncated)); got != "\x00\x00\x00\x00\x00\x01\x00\x00" {
			t.Errorf("limit %q", got)
		}
		if !bytes.Contains(content(t, root, s.Cast), []byte(ErrBudget.Error())) {
			t.Errorf("%s has no marker", s.Cast)
		}
	}
	if sum > most+ends || recorded < most/4 {
		t.Errorf("%d bytes in all, %d of them recorded, with a budget of %d", sum, recorded, most)
	}
	if got := budget.used.Load(); got != sum {
		t.Errorf("the budget has counted %d bytes of %d", got, sum)
	}
}

func TestNoBudget(t *testing.T) {
	none := NewBudget(0)
	none.spend(1)
	if none.Spent() || !none.take(1<<40) {
		t.Error("no budget is a bound")
	}
}

// A full file system ends a recording within a second, is told of once, and looked at
// no more than once in one.
func TestSpace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var free atomic.Int64
		var looks, lows, highs int
		free.Store(100)
		s := NewSpace(100, func() (int64, error) { looks++; return free.Load(), nil }, func(low bool, now int64, err error) {
			if now != free.Load() || err != nil {
				t.Errorf("told %d, %v", now, err)
			}
			if low {
				lows++
			} else {
				highs++
			}
		})
		root := newRoot(t)
		r, err := Create(Options{Dir: root, Name: "a", Space: s})
		must(t, err)
		for range 1000 {
			must(t, r.Output([]byte("x")))
		}
		if looks != 1 {
			t.Errorf("looked %d times at once", looks)
		}
		free.Store(99)
		time.Sleep(lookEvery)
		if err := r.Output([]byte("y")); !errors.Is(err, ErrSpace) {
			t.Errorf("with too little: %v", err)
		}
		for range 100 {
			if !s.Low() {
				t.Error("there is enough")
			}
		}
		sum, err := r.Close()
		must(t, err)
		all, _ := frames(t, content(t, root, "a.raw"))
		if !sum.Truncated || sum.OutputBytes != 1000 || !strings.Contains(string(joined(all, KindMarker)), ErrSpace.Error()) {
			t.Errorf("%+v, marker %q", sum, joined(all, KindMarker))
		}
		free.Store(100)
		time.Sleep(lookEvery)
		if s.Low() || looks != 3 || lows != 1 || highs != 1 {
			t.Errorf("looked %d times, told %d and %d times", looks, lows, highs)
		}
	})
}

func TestSpaceFailsClosed(t *testing.T) {
	broken := errors.New("input/output error")
	var told error
	s := NewSpace(1, func() (int64, error) { return 1 << 40, broken }, func(_ bool, _ int64, err error) { told = err })
	if !s.Low() || !errors.Is(told, broken) {
		t.Errorf("low is %v, told %v", s.Low(), told)
	}
	if none := NewSpace(0, nil, nil); none.Low() {
		t.Error("no floor is a bound")
	}
}

// The remark about a cut goes in although nothing else does.
func TestCut(t *testing.T) {
	root := newRoot(t)
	r, err := Create(Options{Dir: root, Name: "a", MaxBytes: 1})
	must(t, err)
	must(t, r.Cut("ended here: silence"))
	sum, err := r.Close()
	must(t, err)
	all, _ := frames(t, content(t, root, "a.raw"))
	if got := string(joined(all, KindMarker)); got != "ended here: silence" || sum.Truncated {
		t.Errorf("marker %q, %+v", got, sum)
	}
	if err := r.Cut("again"); err == nil {
		t.Error("recorded after the end")
	}
}
