package record

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// follower collects what Follow gives until a frame says stop.
type follower struct {
	log  bytes.Buffer
	text chan string
}

func (f *follower) following(root *os.Root, over func() bool) Following {
	f.text = make(chan string, 100)
	return Following{
		Dir: root, Name: "channel-0.raw", Over: over,
		Begin: func(start time.Time) error { f.log.Write(AppendHeader(nil, start)); return nil },
		Frame: func(frame Frame) error {
			f.log.Write(AppendFrame(nil, frame))
			f.text <- string(frame.Kind) + string(frame.Data)
			return nil
		},
		Idle: func() error { return nil },
	}
}

func (f *follower) expect(t *testing.T, want ...string) {
	t.Helper()
	for _, w := range want {
		select {
		case got := <-f.text:
			if !strings.HasPrefix(got, w) {
				t.Fatalf("followed %q, want %q", got, w)
			}
		case <-time.After(10 * time.Second):
			t.Fatalf("%q did not come", w)
		}
	}
}

func followed(t *testing.T) (*Recorder, *os.Root, string) {
	t.Helper()
	dir := t.TempDir()
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = root.Close() })
	r, err := Create(Options{Dir: root, Name: "channel-0", Terminal: "xterm", Size: Size{80, 24}})
	if err != nil {
		t.Fatal(err)
	}
	return r, root, filepath.Join(dir, "channel-0.raw")
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// What is followed from the start is the raw log, byte for byte.
func TestFollowFromTheStart(t *testing.T) {
	r, root, path := followed(t)
	check(t, r.Output([]byte("before")))
	var f follower
	o := f.following(root, func() bool { return false })
	done := make(chan error, 1)
	go func() { done <- Follow(t.Context(), o) }()
	f.expect(t, "t", "r", "obefore")
	check(t, r.Output([]byte("during\xff")))
	f.expect(t, "oduring\xff")
	check(t, r.Input([]byte("typed")))
	_, err := r.Close()
	check(t, err)
	f.expect(t, "ityped", ".")
	check(t, <-done)
	want, err := os.ReadFile(path)
	check(t, err)
	if !bytes.Equal(f.log.Bytes(), want) {
		t.Errorf("followed\n%q\nwant\n%q", f.log.Bytes(), want)
	}
}

// From now on: of what was before only what the terminal looks like.
func TestFollowFromNow(t *testing.T) {
	r, root, _ := followed(t)
	check(t, r.Output([]byte("before")))
	check(t, r.Resize(Size{100, 30}))
	var f follower
	o := f.following(root, func() bool { return false })
	idle := make(chan struct{}, 100)
	o.FromNow, o.Idle = true, func() error {
		select {
		case idle <- struct{}{}:
		default:
		}
		return nil
	}
	done := make(chan error, 1)
	go func() { done <- Follow(t.Context(), o) }()
	<-idle
	check(t, r.Output([]byte("during")))
	f.expect(t, "t", "r\x00\x00\x00\x64\x00\x00\x00\x1e", "oduring")
	_, err := r.Close()
	check(t, err)
	f.expect(t, ".")
	check(t, <-done)
}

// A recording that is broken off ends too, with all that is there.
func TestFollowUntilOver(t *testing.T) {
	r, root, _ := followed(t)
	var over atomic.Bool
	var f follower
	o := f.following(root, over.Load)
	done := make(chan error, 1)
	go func() { done <- Follow(t.Context(), o) }()
	f.expect(t, "t", "r")
	check(t, r.Output([]byte("last")))
	over.Store(true)
	if err := <-done; !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("ended with %v", err)
	}
	f.expect(t, "olast")
}

func TestFollowEnds(t *testing.T) {
	_, root, path := followed(t)
	ctx, cancel := context.WithCancel(t.Context())
	var f follower
	o := f.following(root, func() bool { return false })
	o.Idle = func() error { cancel(); return nil }
	if err := Follow(ctx, o); !errors.Is(err, context.Canceled) {
		t.Errorf("a context that ends: %v", err)
	}
	gone := errors.New("client gone")
	o.Idle = func() error { return gone }
	if err := Follow(t.Context(), o); !errors.Is(err, gone) {
		t.Errorf("Idle: %v", err)
	}
	o.Frame = func(Frame) error { return gone }
	if err := Follow(t.Context(), o); !errors.Is(err, gone) {
		t.Errorf("Frame: %v", err)
	}
	o.Begin = func(time.Time) error { return gone }
	if err := Follow(t.Context(), o); !errors.Is(err, gone) {
		t.Errorf("Begin: %v", err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	check(t, os.Symlink("/etc/passwd", path))
	if err := Follow(t.Context(), o); err == nil || !strings.Contains(err.Error(), "no regular file") {
		t.Errorf("a link: %v", err)
	}
}

// A frame that was damaged ends it, whatever follows.
func TestFollowDamaged(t *testing.T) {
	r, root, path := followed(t)
	check(t, r.Output([]byte("damaged")))
	raw, err := os.ReadFile(path)
	check(t, err)
	raw[len(raw)-1] ^= 1
	check(t, os.WriteFile(path, raw, 0o600))
	var f follower
	if err := Follow(t.Context(), f.following(root, func() bool { return false })); !errors.Is(err, ErrCorrupt) {
		t.Errorf("ended with %v", err)
	}
}

// Nobody who follows makes recording slower than it is.
func BenchmarkRecordWhileFollowed(b *testing.B) {
	for _, followers := range []int{0, 1, 8} {
		b.Run(string(rune('0'+followers)), func(b *testing.B) {
			root, err := os.OpenRoot(b.TempDir())
			if err != nil {
				b.Fatal(err)
			}
			defer root.Close()
			r, err := Create(Options{Dir: root, Name: "channel-0", Terminal: "xterm"})
			if err != nil {
				b.Fatal(err)
			}
			ctx, cancel := context.WithCancel(b.Context())
			done := make(chan error, followers)
			for range followers {
				go func() {
					done <- Follow(ctx, Following{
						Dir: root, Name: "channel-0.raw", Over: func() bool { return false }, Begin: func(time.Time) error { return nil },
						Frame: func(Frame) error { <-ctx.Done(); return ctx.Err() }, Idle: func() error { return nil }, // it takes nothing
					})
				}()
			}
			chunk := bytes.Repeat([]byte("x"), 256)
			b.SetBytes(int64(len(chunk)))
			for b.Loop() {
				if err := r.Output(chunk); err != nil {
					b.Fatal(err)
				}
			}
			cancel()
			for range followers {
				<-done
			}
			_, _ = r.Close()
		})
	}
}
