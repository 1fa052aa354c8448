package session

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sandtrap/sandtrap/internal/attach"
	"github.com/sandtrap/sandtrap/internal/capture"
	"github.com/sandtrap/sandtrap/internal/event"
	"github.com/sandtrap/sandtrap/internal/evidence"
	"github.com/sandtrap/sandtrap/internal/frame"
	"github.com/sandtrap/sandtrap/internal/layer"
	"github.com/sandtrap/sandtrap/internal/pool"
	"github.com/sandtrap/sandtrap/internal/sshd"
	"github.com/sandtrap/sandtrap/internal/testhelper"
)

var layerID = strings.Repeat("a", 64)

// capturing has a stage capture what a layer on disk holds.
func (st *stage) capturing(change func(*capture.Limits)) context.CancelFunc {
	st.Helper()
	layers := st.TempDir()
	image := strings.Repeat("b", 64)
	for path, content := range map[string]string{
		image + "/diff/etc/hosts": "old", layerID + "/diff/etc/hosts": "new", layerID + "/diff/root/x": "dropped", layerID + "/lower": "l/" + strings.Repeat("B", 26),
	} {
		if err := errors.Join(os.MkdirAll(filepath.Join(layers, filepath.Dir(path)), 0o755), os.WriteFile(filepath.Join(layers, path), []byte(content), 0o644)); err != nil {
			st.Fatal(err)
		}
	}
	if err := errors.Join(os.Mkdir(filepath.Join(layers, "l"), 0o755), os.Symlink("../"+image+"/diff", filepath.Join(layers, "l", strings.Repeat("B", 26)))); err != nil {
		st.Fatal(err)
	}
	st.podman.layer = layerID
	limits := capture.Limits{FileBytes: 1 << 20, SessionBytes: 1 << 20, Files: 100, Time: 10 * time.Second}
	if change != nil {
		change(&limits)
	}
	ctx, stop := context.WithCancel(context.Background())
	st.Cleanup(stop)
	st.service.Capture = NewCapture(limits, testhelper.Serve(st.T, (&layer.Server{Layers: layers}).Answer), ctx)
	st.touch = func() {
		for _, path := range []string{layerID + "/diff/etc/hosts", layerID + "/diff/root/x", layerID + "/diff/root"} {
			_ = os.Chmod(filepath.Join(layers, path), 0o700)
		}
	}
	return stop
}

// session runs a program and ends.
func (st *stage) session() {
	st.Helper()
	st.runs(newStream(0, func(*fakeStream, func([]byte) error, func([]byte) error) error { return nil }))
	s := st.open(st.login())
	r := st.start(s, sshd.Program{Kind: sshd.Exec, Command: "x"})
	st.touch()
	r.Serve(st.Context(), new(client).stream())
	s.Close("client left")
}

// lines are those of the session's capture, by path.
func (st *stage) lines() map[string]evidence.CaptureEntry {
	st.Helper()
	names, err := filepath.Glob(filepath.Join(st.dir, "sessions/*/*/*/*", evidence.CaptureFile))
	if err != nil || len(names) != 1 {
		st.Fatalf("%v, %v", names, err)
	}
	f, err := os.Open(names[0])
	if err != nil {
		st.Fatal(err)
	}
	defer f.Close()
	all := map[string]evidence.CaptureEntry{}
	for d := json.NewDecoder(f); d.More(); {
		var e evidence.CaptureEntry
		if err := d.Decode(&e); err != nil {
			st.Fatal(err)
		}
		all[string(e.Path)] = e
	}
	return all
}

func TestCaptureAtTheEnd(t *testing.T) {
	st := setUp(t)
	st.capturing(nil)
	st.podman.items = func(_ context.Context, to attach.Captured) (frame.CapturedMessage, error) {
		if len(st.podman.stopped) != 0 {
			t.Error("the target has been stopped before")
		}
		return frame.CapturedMessage{}, to.Item(frame.ItemMessage{Kind: frame.KindProcess, Origin: frame.OriginProcess, Path: "/bin/sh", Text: "sh\x00", PID: 7})
	}
	st.session()
	c := st.saved().Capture
	if c == nil || c.Volatile != "complete" || c.Layer != "complete" || c.Processes != 1 || c.Artifacts != 2 || c.Error != "" {
		t.Fatalf("capture %+v", c)
	}
	all := st.lines()
	if x := all["/root/x"]; x.Change != "added" || x.SHA256 == "" || all["/etc/hosts"].Change != "changed" || all["/bin/sh"].PID != 7 {
		t.Errorf("lines %+v", all)
	}
	if b, err := os.ReadFile(filepath.Join(st.dir, evidence.ArtifactPath(all["/root/x"].SHA256))); string(b) != "dropped" {
		t.Errorf("artifact %q, %v", b, err)
	}
	files, ends := st.events.of(event.FileCapture), st.events.of(event.CaptureEnd)
	if len(files) != 2 || len(ends) != 1 || ends[0]["artifacts"] != 2 || ends[0]["layer"] != "complete" {
		t.Errorf("events %v, %v", files, ends)
	}
}

// TestCaptureForOneWhoWaits: what would be gone with the processes is captured first,
// however soon the source is back; the layer is not waited for.
func TestCaptureForOneWhoWaits(t *testing.T) {
	st := setUpPool(t, func(c *pool.Config) { c.Sticky, c.StickyWindow = pool.StickySource, time.Minute })
	st.capturing(nil)
	back := make(chan *pool.Lease, 1)
	st.podman.items = func(ctx context.Context, _ attach.Captured) (frame.CapturedMessage, error) {
		go func() {
			l := st.login()
			l.ID = "01JQ0000000000000000000002"
			lease, err := st.service.Pool.Lease(context.Background(), claim(l))
			if err != nil {
				t.Error(err)
			}
			back <- lease
		}()
		select {
		case <-ctx.Done():
			t.Errorf("cut short: %v", context.Cause(ctx))
		case <-time.After(yieldCapture + 300*time.Millisecond):
		}
		return frame.CapturedMessage{}, nil
	}
	st.runs(newStream(0, func(*fakeStream, func([]byte) error, func([]byte) error) error { return nil }))
	s := st.open(st.login())
	st.start(s, sshd.Program{Kind: sshd.Exec, Command: "x"}).Serve(t.Context(), new(client).stream())
	s.Leave()
	s.Close("client left")
	lease := <-back
	if lease.Previous != testID {
		t.Errorf("came back to %+v", lease)
	}
	lease.Release(t.Context())
	if c := st.saved().Capture; c == nil || c.Volatile != "complete" {
		t.Errorf("capture %+v", c)
	}
}

// TestNothingToCapture: no program, no capture.
func TestNothingToCapture(t *testing.T) {
	st := setUp(t)
	st.capturing(nil)
	s := st.open(st.login())
	if _, err := s.target(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.Close("client left")
	if c := st.saved().Capture; c != nil || len(st.events.of(event.CaptureEnd)) != 0 {
		t.Errorf("capture %+v", c)
	}
}

// TestCaptureFails: the session is closed all the same, and says so.
func TestCaptureFails(t *testing.T) {
	for name, tt := range map[string]struct {
		spoil           func(st *stage, stop func())
		volatile, layer string
	}{
		"leader": {func(st *stage, _ func()) {
			st.podman.items = func(context.Context, attach.Captured) (frame.CapturedMessage, error) {
				return frame.CapturedMessage{}, errors.New("it lies")
			}
		}, "it lies", "complete"},
		"hanging leader": {func(st *stage, _ func()) {
			st.service.Capture.Time = 4 * time.Second // half of it is the leader's
			st.podman.items = func(ctx context.Context, _ attach.Captured) (frame.CapturedMessage, error) {
				<-ctx.Done()
				return frame.CapturedMessage{}, context.Cause(ctx)
			}
		}, "more than capture.max_time", "complete"},
		"podman":    {func(st *stage, _ func()) { st.podman.layerErr = errors.New("no such container") }, "complete", "no such container"},
		"no helper": {func(st *stage, _ func()) { st.service.Capture.Socket = filepath.Join(st.dir, "none") }, "complete", "no such file"},
		"busy": {func(st *stage, _ func()) {
			st.service.Capture.Time = 200 * time.Millisecond
			for range captureWorkers {
				st.service.Capture.workers <- struct{}{}
			}
		}, "complete", "more than capture.max_time"},
		"service stops": {func(st *stage, stop func()) {
			stop()
			st.podman.items = func(ctx context.Context, _ attach.Captured) (frame.CapturedMessage, error) {
				<-ctx.Done()
				return frame.CapturedMessage{}, context.Cause(ctx)
			}
		}, errStops.Error(), errStops.Error()},
	} {
		t.Run(name, func(t *testing.T) {
			st := setUp(t)
			stop := st.capturing(nil)
			tt.spoil(st, stop)
			st.session()
			saved := st.saved()
			c := saved.Capture
			if saved.State != evidence.StateClosed || c == nil || !strings.Contains(c.Volatile, tt.volatile) || !strings.Contains(c.Layer, tt.layer) {
				t.Errorf("state %s, capture %+v", saved.State, c)
			}
			if name != "no helper" && len(st.podman.stopped) != 1 {
				t.Errorf("stopped %v", st.podman.stopped)
			}
		})
	}
}

// TestCaptureFileFails: where nothing can be written, that is an event.
func TestCaptureFileFails(t *testing.T) {
	st := setUp(t)
	st.capturing(nil)
	st.runs(newStream(0, func(*fakeStream, func([]byte) error, func([]byte) error) error { return nil }))
	s := st.open(st.login())
	r := st.start(s, sshd.Program{Kind: sshd.Exec, Command: "x"})
	if _, err := s.dir.CreateCapture(); err != nil { // it is there already
		t.Fatal(err)
	}
	r.Serve(t.Context(), new(client).stream())
	s.Close("client left")
	if c := st.saved().Capture; c == nil || c.Error == "" || len(st.events.of(event.SessionFail)) != 1 {
		t.Errorf("capture %+v, events %v", c, st.events.of(event.SessionFail))
	}
}
