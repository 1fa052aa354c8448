package session

import (
	"context"
	"errors"
	"os"
	"time"

	"github.com/sandtrap/sandtrap/internal/capture"
	"github.com/sandtrap/sandtrap/internal/event"
	"github.com/sandtrap/sandtrap/internal/evidence"
	"github.com/sandtrap/sandtrap/internal/frame"
	"github.com/sandtrap/sandtrap/internal/layer"
	"github.com/sandtrap/sandtrap/internal/pool"
)

// Capture says how what is left in targets is captured.
type Capture struct {
	capture.Limits
	Socket string // of the helper that reads layers; see package layer
	// Stopping ends when the service is told to stop: captures are cut short then.
	Stopping context.Context
	workers  chan struct{}
}

const (
	// captureWorkers bounds the layers that are read at once.
	captureWorkers = 2
	// volatileTime bounds what a leader may take; nobody else can have the lease
	// meanwhile.
	volatileTime = 10 * time.Second
	// yieldCapture is how long a capture goes on once its source waits for the
	// target, or the service for its end.
	yieldCapture = time.Second
)

// errStops is why a capture is cut short.
var errStops = errors.New("the service stops")

// NewCapture returns what sessions share. Nil in its place captures nothing.
func NewCapture(limits capture.Limits, socket string, stopping context.Context) *Capture {
	return &Capture{Limits: limits, Socket: socket, Stopping: stopping, workers: make(chan struct{}, captureWorkers)}
}

// capturing is the capture of one session.
type capturing struct {
	*capture.Capture
	session *Session
	lease   *pool.Lease
	file    *os.File
	ctx     context.Context // ends with capture.max_time, or when it is to yield
	end     func()
}

// beginCapture captures what goes with a target, which must still run. It returns nil
// where there is nothing to capture: no program was started in this session.
func (s *Session) beginCapture(lease *pool.Lease) *capturing {
	settings := s.service.Capture
	if settings == nil || !lease.Started() {
		return nil
	}
	file, err := s.dir.CreateCapture()
	if err != nil {
		s.captureFailed(err)
		s.mu.Lock()
		defer s.mu.Unlock()
		s.record.Capture = &evidence.Capture{Volatile: "not tried", Layer: "not tried", Error: err.Error()}
		return nil
	}
	c := &capturing{session: s, lease: lease, file: file}
	c.Capture = capture.New(capture.Options{
		Limits: settings.Limits, Since: lease.Began, To: file, Low: s.service.Space.Low, Kept: s.keptFile,
		NewArtifact: func() (capture.Artifact, error) {
			artifact, err := s.service.Store.NewArtifact()
			if err != nil {
				return nil, err // not artifact: a nil *Artifact is not a nil Artifact
			}
			return artifact, nil
		},
	})
	timed, cancel := context.WithTimeout(context.Background(), settings.Time)
	served, endServed := after(timed, settings.Stopping.Done(), errStops)
	yielding, endYielding := after(served, lease.Wanted(), capture.ErrYield)
	c.ctx, c.end = yielding, func() { endYielding(); endServed(); cancel() }
	// A leader that hangs leaves time for the rest. Who waits for the target waits for
	// this: it is gone with the processes, and the layer is not.
	volatile, cancelVolatile := context.WithTimeout(served, min(settings.Time/2, volatileTime))
	defer cancelVolatile()
	c.Volatile(volatile, lease)
	return c
}

// after is a context that ends a little after something has happened, for that cause.
func after(parent context.Context, happened <-chan struct{}, cause error) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(parent)
	done := make(chan struct{})
	go func() {
		defer close(done)
		select {
		case <-ctx.Done():
			return
		case <-happened:
		}
		select {
		case <-ctx.Done():
		case <-time.After(yieldCapture):
			cancel(cause)
		}
	}()
	return ctx, func() {
		cancel(nil)
		<-done
	}
}

// finish captures what the target has written, now that it has stopped, and adds the
// summary to the record.
func (c *capturing) finish() {
	defer c.end()
	s := c.session
	c.Layer(c.ctx, c.read)
	sum, err := c.Close()
	err = errors.Join(err, c.file.Sync(), c.file.Close(), s.service.Store.SyncArtifacts(c.Hashes()))
	if err != nil {
		s.captureFailed(err)
	}
	s.events.Emit(event.CaptureEnd, event.F("volatile", sum.Volatile), event.F("layer", sum.Layer), event.F("processes", sum.Processes),
		event.F("files", sum.Files), event.F("added", sum.Added), event.F("changed", sum.Changed), event.F("deleted", sum.Deleted),
		event.F("artifacts", sum.Artifacts), event.F("captured_bytes", sum.Captured), event.F("entries_omitted", sum.Omitted), event.F("duration_ms", sum.Duration))
	s.mu.Lock()
	defer s.mu.Unlock()
	s.record.Capture = &sum
}

// read reads the layer when it is this session's turn.
func (c *capturing) read(ctx context.Context, each func(frame.ItemMessage, *os.File) error) (end frame.CapturedMessage, err error) {
	settings := c.session.service.Capture
	select {
	case settings.workers <- struct{}{}:
		defer func() { <-settings.workers }()
	case <-ctx.Done():
		return end, context.Cause(ctx)
	}
	id, err := c.lease.Layer(ctx)
	if err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return end, err
	}
	return layer.Read(ctx, settings.Socket, id, each)
}

// captureFailed reports what keeps a capture from being whole.
func (s *Session) captureFailed(err error) {
	s.service.Log.Error("cannot capture all that is left in a target", "session", s.login.ID, "error", err)
	s.events.Emit(event.SessionFail, event.F("stage", "capture"), event.F("error", err.Error()))
}

// keptFile writes the event of a file of which content was kept.
func (s *Session) keptFile(e evidence.CaptureEntry) {
	fields := []event.Field{
		event.F("where", e.Where), event.F("path", string(e.Path)), event.F("size_bytes", *e.Size), event.F("sha256", e.SHA256),
		event.F("captured_bytes", e.Captured), event.F("complete", *e.Complete), event.F("mode", e.Mode), event.F("uid", *e.UID), event.F("gid", *e.GID),
		event.F("content_type", e.Type),
	}
	optional := func(name, value string) {
		if value != "" {
			fields = append(fields, event.F(name, value))
		}
	}
	optional("change", e.Change)
	optional("reason", e.Reason)
	s.events.Emit(event.FileCapture, fields...)
}
