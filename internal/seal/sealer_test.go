package seal

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// queue is the directory of a session as Queue wants it.
func (y *yard) queue(id string) string { return strings.TrimPrefix(y.pathOf(id), y.dir+"/") }

// TestRun: what was left is sealed, then what is queued, and what waits when the service
// stops.
func TestRun(t *testing.T) {
	y := newYard(t, t.TempDir())
	y.session(1)
	draining, done := make(chan struct{}), make(chan struct{})
	y.session(2)
	y.sealer.Queue(y.queue(newID(2)))
	for range 2 * maxWaiting { // more than it remembers
		y.sealer.Queue("sessions/2026/03/31/" + newID(99)) // gone meanwhile
	}
	y.session(3) // queued in vain: nothing remembers it
	y.sealer.Queue(y.queue(newID(3)))
	close(draining)
	go func() {
		defer close(done)
		y.sealer.Run(context.Background(), draining)
	}()
	<-done
	y.restart()
	y.clean(3)
}

// TestRetry: what has failed is tried again, told of once, and ever more seldom.
func TestRetry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		y := newYard(t, t.TempDir())
		y.session(1)
		var tries atomic.Int32
		var failing atomic.Bool
		failing.Store(true)
		y.sealer.step = func(step string) error {
			if step == "compress" {
				tries.Add(1)
				if failing.Load() {
					return syscall.EIO
				}
			}
			return nil
		}
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan struct{})
		go func() {
			defer close(done)
			y.sealer.Run(ctx, nil)
		}()
		time.Sleep(10 * time.Hour)
		synctest.Wait()
		if n := tries.Load(); n < 8 || n > 20 {
			t.Errorf("%d tries in ten hours", n)
		}
		failing.Store(false)
		time.Sleep(2 * time.Hour)
		synctest.Wait()
		cancel()
		<-done
		y.clean(1)
		if n := strings.Count(y.events.String(), "session.fail"); n != 1 {
			t.Errorf("%d events: %s", n, &y.events)
		}
	})
}

// TestInterrupted: a stop in the midst of a session is no failure.
func TestInterrupted(t *testing.T) {
	y := newYard(t, t.TempDir())
	y.session(1)
	ctx, cancel := context.WithCancel(context.Background())
	y.sealer.step = func(string) error { cancel(); return nil }
	if !y.sealer.sealAll(ctx) || y.events.Len() > 0 {
		t.Errorf("events: %s", &y.events)
	}
	if y.store.Sealed(y.queue(newID(1))) {
		t.Error("it was sealed nevertheless")
	}
	y.restart()
	y.clean(1)
}

// TestStrange: what cannot be sealed is told of, and keeps nothing else from it.
func TestStrange(t *testing.T) {
	y := newYard(t, t.TempDir())
	for n := range 4 {
		y.session(n + 1)
	}
	must(t, os.WriteFile(y.pathOf(newID(1), "session.json"), []byte("{"), 0o600))
	must(t, syscall.Mkfifo(y.pathOf(newID(2), "pipe"), 0o600))
	must(t, os.MkdirAll(y.pathOf(newID(3), strings.Repeat("d/", maxDepth+2)), 0o700))
	must(t, os.MkdirAll(y.pathOf(newID(4), "below"), 0o700))
	must(t, os.WriteFile(y.pathOf(newID(4), "below", "a\\b\nc"), []byte("x"), 0o600))
	if y.sealer.sealAll(context.Background()) {
		t.Error("all was sealed")
	}
	for n := range 4 {
		if y.store.Sealed(y.queue(newID(n+1))) != (n == 3) {
			t.Errorf("session %d", n+1)
		}
	}
	if n := strings.Count(y.events.String(), "session.fail"); n != 3 {
		t.Errorf("%d events: %s", n, &y.events)
	}
	if b := read(t, y.pathOf(newID(4), sumsFile)); !strings.Contains(string(b), `  below/a\\b\nc`+"\n") || b[0] == '\\' {
		t.Errorf("sums:\n%s", b)
	}
	if found, sum := y.verify(VerifyOptions{IDs: []string{newID(4)}}); len(found) != 0 || sum.Sealed != 1 {
		t.Errorf("found %q", found)
	}
	// A chain that cannot be opened is an error of the start.
	must(t, os.Remove(filepath.Join(y.dir, chainFile)))
	must(t, os.Mkdir(filepath.Join(y.dir, chainFile), 0o700))
	if _, err := NewSealer(Config{Store: y.store, Key: y.key, Log: y.sealer.log}); err == nil {
		t.Error("a directory was taken for the chain")
	}
}
