package record

import (
	"context"
	"errors"
	"io"
	"math"
	"time"
)

// PlayOptions say how a recording is played.
type PlayOptions struct {
	Speed     float64          // 2 is twice as fast; 0 plays without waiting
	IdleLimit time.Duration    // longest pause at recorded speed; 0 for no limit
	Show      func(Frame) bool // which frames to play; pauses are between those
	Damaged   func(error)      // is told of frames that are passed over, see Reader.Skip; may be nil
}

// Play calls sink for the shown frames at the times they were recorded, counted
// from the first one. It returns nil at the end of the recording, the context's
// error when that is done first, and otherwise what reading or sink returned;
// io.ErrUnexpectedEOF means that the recording's tail is missing.
func Play(ctx context.Context, r *Reader, o PlayOptions, sink func(Frame) error) error {
	begin := time.Now()
	var due, last time.Duration
	for first := true; ; {
		if err := ctx.Err(); err != nil {
			return err
		}
		f, err := r.NextIntact(o.Damaged)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if o.Show != nil && !o.Show(f) {
			continue
		}
		if !first {
			due += o.Pause(f.Time - last)
		}
		first, last = false, f.Time
		if err := sleep(ctx, due-time.Since(begin)); err != nil {
			return err
		}
		if err := sink(f); err != nil {
			return err
		}
	}
}

// Pause returns how long to wait for something recorded gap later.
func (o PlayOptions) Pause(gap time.Duration) time.Duration {
	if o.Speed <= 0 || gap <= 0 {
		return 0
	}
	if o.IdleLimit > 0 {
		gap = min(gap, o.IdleLimit)
	}
	// Hostile logs may name any time; a century is as good as for ever.
	const century = 100 * 365 * 24 * time.Hour
	return time.Duration(math.Min(float64(gap)/o.Speed, float64(century)))
}

func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
