package record

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

// followEvery is how often a follower looks whether more has been recorded.
const followEvery = 25 * time.Millisecond

// Following says how a recording that goes on is followed.
type Following struct {
	Dir  *os.Root
	Name string // file name of the raw log
	// FromNow leaves out what has been recorded before, but for the terminal and the
	// latest size of its window.
	FromNow bool
	// Over reports whether nothing is recorded any more.
	Over func() bool
	// Begin is called first, with what times of frames count from; Frame for each
	// frame; Idle when there is no further one yet. An error of theirs is the end.
	Begin func(start time.Time) error
	Frame func(Frame) error
	Idle  func() error
}

// Follow reads a raw log from the beginning and goes on with what is added to it, until
// its last frame, until Over, or until ctx ends. It reads the file and has nothing to
// do with the Recorder, which so never waits for who follows. It returns nil at the
// log's end, io.ErrUnexpectedEOF where the last frame is missing, or else as Play.
func Follow(ctx context.Context, o Following) error {
	f, err := openRegular(o.Dir, o.Name, os.O_RDONLY)
	if err != nil {
		return err
	}
	defer f.Close()
	past := int64(0)
	if o.FromNow {
		st, err := f.Stat()
		if err != nil {
			return fmt.Errorf("follow %s: %w", o.Name, err)
		}
		past = st.Size()
	}
	r, err := NewReader(&tail{ctx: ctx, file: f, over: o.Over, idle: o.Idle})
	if err != nil {
		return fmt.Errorf("follow %s: %w", o.Name, err)
	}
	if err := o.Begin(r.Start()); err != nil {
		return err
	}
	var size *Frame // that was left out
	for {
		frame, err := r.Next()
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, io.EOF):
			return io.ErrUnexpectedEOF
		case err != nil:
			return err
		}
		if r.Offset() <= past && frame.Kind != KindTerminal && frame.Kind != KindEnd {
			if frame.Kind == KindResize {
				size = &frame
			}
			continue
		}
		if size != nil && frame.Kind != KindTerminal {
			if err := o.Frame(*size); err != nil {
				return err
			}
			size = nil
		}
		if err := o.Frame(frame); err != nil || frame.Kind == KindEnd {
			return err
		}
	}
}

// tail reads a file that grows: at its end it waits for more.
type tail struct {
	ctx  context.Context
	file io.Reader
	over func() bool
	idle func() error
	last bool // over was true before the latest read
}

// Read implements io.Reader.
func (t *tail) Read(p []byte) (int, error) {
	for {
		n, err := t.file.Read(p)
		if n > 0 || err != nil && !errors.Is(err, io.EOF) {
			return n, err
		}
		if t.last {
			return 0, io.EOF
		}
		if t.last = t.over(); t.last {
			continue // what came before that was said
		}
		if err := t.idle(); err != nil {
			return 0, err
		}
		if err := sleep(t.ctx, followEvery); err != nil {
			return 0, err
		}
	}
}

// AppendHeader appends the header of a raw log whose times count from start.
func AppendHeader(b []byte, start time.Time) []byte { return appendHeader(b, start) }

// AppendFrame appends a frame of a raw log. Its data must not be longer than those that
// a Reader returns.
func AppendFrame(b []byte, f Frame) []byte { return appendFrame(b, f.Kind, f.Time, f.Data) }
