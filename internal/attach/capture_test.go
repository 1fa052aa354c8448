package attach

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/sandtrap/sandtrap/internal/frame"
)

// kept is what a leader told.
type kept struct {
	items   []frame.ItemMessage
	content string
	err     error
}

func (k *kept) Item(m frame.ItemMessage) error { k.items = append(k.items, m); return k.err }
func (k *kept) Content(p []byte) error         { k.content += string(p); return k.err }

var asked = frame.CaptureMessage{Items: 3, FileBytes: 10, Bytes: 15, Milliseconds: 1000}

func itemOf(change func(*frame.ItemMessage)) frame.Frame {
	m := frame.ItemMessage{Kind: frame.KindFile, Origin: frame.OriginTmpfs, Path: "/dev/shm/x", Size: 100, Content: true}
	if change != nil {
		change(&m)
	}
	return frame.Frame{Type: frame.Item, Payload: m.Encode()}
}

func contentOf(s string) frame.Frame { return of(frame.Content, 0, s) }

func captured(m frame.CapturedMessage) frame.Frame {
	return frame.Frame{Type: frame.Captured, Payload: m.Encode()}
}

// telling is a leader that answers a Capture with frames.
func telling(t *testing.T, frames ...frame.Frame) (*fake, *Leader) {
	s := newFake(t, func(s *fake, f frame.Frame) error {
		if f.Type == frame.Capture {
			s.say(frames...)
		}
		return nil
	})
	return s, s.connect()
}

func TestCapture(t *testing.T) {
	_, l := telling(t, itemOf(nil), contentOf("0123"), contentOf("456789"), itemOf(func(m *frame.ItemMessage) { m.Size = 3 }), contentOf("abc"),
		captured(frame.CapturedMessage{Omitted: 4}))
	var k kept
	end, err := l.Capture(t.Context(), asked, &k)
	if err != nil || end.Omitted != 4 || len(k.items) != 2 || k.content != "0123456789abc" {
		t.Errorf("%+v, %v, %+v", end, err, k)
	}
	if _, err := l.Capture(t.Context(), asked, &k); err == nil {
		t.Error("it may be asked twice")
	}
}

func TestLyingCaptures(t *testing.T) {
	for name, frames := range map[string][]frame.Frame{
		"content of nothing":     {contentOf("x")},
		"no content":             {itemOf(nil), contentOf("")},
		"content of a process":   {itemOf(func(m *frame.ItemMessage) { m.Kind, m.Content = frame.KindProcess, false }), contentOf("x")},
		"more than of one file":  {itemOf(nil), contentOf("0123456789x")},
		"more than its size":     {itemOf(func(m *frame.ItemMessage) { m.Size = 2 }), contentOf("012")},
		"more than of all":       {itemOf(nil), contentOf("0123456789"), itemOf(nil), contentOf("012345")},
		"more items":             {itemOf(nil), itemOf(nil), itemOf(nil), itemOf(nil)},
		"an item of the layer":   {itemOf(func(m *frame.ItemMessage) { m.Origin = frame.OriginLayer })},
		"garbled item":           {of(frame.Item, 0, "x")},
		"garbled end":            {of(frame.Captured, 0, "x")},
		"two ends, then content": {captured(frame.CapturedMessage{}), itemOf(nil)},
	} {
		t.Run(name, func(t *testing.T) {
			_, l := telling(t, frames...)
			var k kept
			if _, err := l.Capture(t.Context(), asked, &k); err == nil && name != "two ends, then content" {
				t.Error("no error")
			}
			<-l.Done()
			if len(k.items) > 3 || len(k.content) > 15 {
				t.Errorf("%d items, %q", len(k.items), k.content)
			}
		})
	}
	t.Run("nobody asked", func(t *testing.T) {
		s := newFake(t, nil)
		l := s.connect()
		s.say(itemOf(nil))
		<-l.Done()
	})
}

// TestCaptureThatHangs costs its time and no more.
func TestCaptureThatHangs(t *testing.T) {
	_, l := telling(t, itemOf(nil), contentOf("x"))
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	var k kept
	if _, err := l.Capture(ctx, asked, &k); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Capture = %v", err)
	}
	<-l.Done()
	if k.content != "x" {
		t.Errorf("what was told is %q", k.content)
	}
	if _, err := l.Capture(t.Context(), asked, &k); err == nil {
		t.Error("a leader that is gone tells")
	}
}

// TestCaptureNotTaken: who cannot keep what is told ends it.
func TestCaptureNotTaken(t *testing.T) {
	_, l := telling(t, itemOf(nil), captured(frame.CapturedMessage{}))
	if _, err := l.Capture(t.Context(), asked, &kept{err: errTest}); !errors.Is(err, errTest) {
		t.Errorf("Capture = %v", err)
	}
}
