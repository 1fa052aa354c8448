package record

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// timeline is a raw log with frames at the given seconds.
func timeline(kind func(i int) Kind, at ...time.Duration) *Reader {
	b := appendHeader(nil, time.Unix(0, 0))
	for i, t := range at {
		b = appendFrame(b, kind(i), t, []byte{byte(i)})
	}
	r, err := NewReader(bytes.NewReader(b))
	if err != nil {
		panic(err)
	}
	return r
}

func TestPlay(t *testing.T) {
	const s = time.Second
	output := func(int) Kind { return KindOutput }
	even := func(i int) Kind { return []Kind{KindOutput, KindInput}[i%2] }
	show := func(f Frame) bool { return f.Kind == KindOutput }
	for _, tt := range []struct {
		name string
		kind func(int) Kind
		at   []time.Duration
		o    PlayOptions
		want []time.Duration
	}{
		{"as recorded", output, []time.Duration{5 * s, 6 * s, 9 * s}, PlayOptions{Speed: 1}, []time.Duration{0, s, 4 * s}},
		{"twice as fast", output, []time.Duration{0, s, 4 * s}, PlayOptions{Speed: 2}, []time.Duration{0, s / 2, 2 * s}},
		{"at once", output, []time.Duration{0, s, 4 * s}, PlayOptions{}, []time.Duration{0, 0, 0}},
		{"idle limit", output, []time.Duration{0, 60 * s, 61 * s}, PlayOptions{Speed: 2, IdleLimit: 4 * s}, []time.Duration{0, 2 * s, 2*s + s/2}},
		{"hidden frames", even, []time.Duration{0, 30 * s, 60 * s, 70 * s}, PlayOptions{Speed: 1, IdleLimit: 40 * s, Show: show}, []time.Duration{0, 40 * s}},
		{"back in time", output, []time.Duration{5 * s, 3 * s, 4 * s}, PlayOptions{Speed: 1}, []time.Duration{0, 0, s}},
		{"for ever", output, []time.Duration{0, math.MaxInt64}, PlayOptions{Speed: 0.001}, []time.Duration{0, 100 * 365 * 24 * time.Hour}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				begin := time.Now()
				var got []time.Duration
				err := Play(t.Context(), timeline(tt.kind, tt.at...), tt.o, func(Frame) error {
					got = append(got, time.Since(begin))
					return nil
				})
				must(t, err)
				if diff := cmp.Diff(tt.want, got); diff != "" {
					t.Errorf("times (-want +got):\n%s", diff)
				}
			})
		})
	}
}

func TestPlayEndsEarly(t *testing.T) {
	output := func(int) Kind { return KindOutput }
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		n := 0
		err := Play(ctx, timeline(output, 0, time.Second, time.Hour), PlayOptions{Speed: 1}, func(Frame) error { n++; return nil })
		if !errors.Is(err, context.DeadlineExceeded) || n != 2 {
			t.Errorf("interrupted: %v after %d frames", err, n)
		}
		if err := Play(ctx, timeline(output, 0), PlayOptions{}, nil); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("interrupted before: %v", err)
		}
	})
	broken := errors.New("broken pipe")
	if err := Play(t.Context(), timeline(output, 0), PlayOptions{}, func(Frame) error { return broken }); !errors.Is(err, broken) {
		t.Errorf("broken sink: %v", err)
	}
	log, _ := sample()
	r, err := NewReader(bytes.NewReader(log[:len(log)-1]))
	must(t, err)
	if err := Play(t.Context(), r, PlayOptions{}, func(Frame) error { return nil }); err != io.ErrUnexpectedEOF {
		t.Errorf("torn log: %v", err)
	}
}
