// Package capture keeps what an attacker leaves in a target when a session ends: what
// goes with it, as its session leader tells, and then what was written over the image,
// as the helper of package layer tells. In come items and content, hostile all of it;
// out go one line for each thing (evidence.CaptureEntry), and content to the store of
// artifacts. A name stays a name, and each of Limits is one for all.
package capture

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/sandtrap/sandtrap/internal/attach"
	"github.com/sandtrap/sandtrap/internal/evidence"
	"github.com/sandtrap/sandtrap/internal/frame"
)

// Limits bound a capture.
type Limits struct {
	FileBytes    int64         // kept of one file
	SessionBytes int64         // kept of all
	Files        int           // entries
	Time         time.Duration // of all
}

// Artifact is content that is being written, see evidence.Artifact.
type Artifact interface {
	io.Writer
	Commit(sha256 string, size int64) error
	Discard()
}

// Options are those of one capture.
type Options struct {
	Limits
	// Since is when the session got its target. What has not changed in the layer
	// since then is not of the session.
	Since       time.Time
	To          io.Writer // gets the lines
	NewArtifact func() (Artifact, error)
	Low         func() bool // there is too little space for content
	// Kept is called for each file of which content was kept.
	Kept func(evidence.CaptureEntry)
}

// Capture is one session's. Its methods are called by one goroutine at a time. It
// implements attach.Captured.
type Capture struct {
	o       Options
	since   int64 // nanoseconds since 1970
	out     *bufio.Writer
	encoder *json.Encoder
	sum     evidence.Capture
	entries int
	left    int64 // bytes that may still be kept
	failed  error // why no entries can be written any more
	store   error // why no content is kept any more
	open    *evidence.CaptureEntry
	which   inode // that of open
	spool   *spool
	links   map[inode]linked
	hashes  map[string]bool // artifacts
}

type inode struct{ device, number uint64 }

// linked is a file with several names of which one was captured.
type linked struct {
	sha256, kind string
	size         int64
	complete     bool
}

// ErrYield ends the capture of a layer early: something else wants the container.
var ErrYield = errors.New("the source came back; what is left is captured at the end of its next session")

// clockMargin is by how much a file's time may be behind a clock that was read before:
// the kernel takes the time of its latest tick.
const clockMargin = 20 * time.Millisecond

// New begins a capture.
func New(o Options) *Capture {
	now := time.Now()
	c := &Capture{
		o: o, since: threshold(o.Since, now, now.Sub(o.Since)).UnixNano(), out: bufio.NewWriterSize(o.To, 64<<10), left: o.SessionBytes,
		links: map[inode]linked{}, hashes: map[string]bool{},
	}
	c.encoder = json.NewEncoder(c.out)
	c.encoder.SetEscapeHTML(false)
	c.sum = evidence.Capture{File: evidence.CaptureFile, Volatile: notTried, Layer: notTried}
	return c
}

// threshold is the time from which on changes are of the session. Where the clock was
// set back meanwhile, so are the times of files. passed is by a clock that is not.
func threshold(since, now time.Time, passed time.Duration) time.Time {
	back := passed - now.Round(0).Sub(since.Round(0))
	return since.Add(-clockMargin - max(0, back))
}

// What a summary says of a part.
const (
	complete = "complete"
	notTried = "not tried"
)

// Leader is what tells of a target that still runs.
type Leader interface {
	Capture(ctx context.Context, m frame.CaptureMessage, to attach.Captured) (frame.CapturedMessage, error)
}

// shareOfVolatile is which part of the limits goes to what is in memory, at most.
const shareOfVolatile = 4

// Volatile captures what goes with the target.
func (c *Capture) Volatile(ctx context.Context, leader Leader) {
	m := frame.CaptureMessage{Items: uint32(max(1, c.o.Files/shareOfVolatile)), FileBytes: uint64(c.o.FileBytes), Bytes: uint64(c.left)}
	if deadline, ok := ctx.Deadline(); ok {
		m.Milliseconds = uint32(max(0, time.Until(deadline).Milliseconds()*9/10)) // so that its end arrives
	}
	defer c.spent(time.Now())
	end, err := leader.Capture(ctx, m, c)
	c.finish()
	c.sum.Volatile = c.outcome(end, err)
}

// Layer captures the layer, which read hands on as layer.Read does.
func (c *Capture) Layer(ctx context.Context, read func(context.Context, func(frame.ItemMessage, *os.File) error) (frame.CapturedMessage, error)) {
	defer c.spent(time.Now())
	end, err := read(ctx, func(m frame.ItemMessage, content *os.File) error {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return c.layerItem(ctx, m, content)
	})
	c.finish()
	c.sum.Layer = c.outcome(end, err)
}

// spent adds to how long it took, which a target that is being stopped is not part of.
func (c *Capture) spent(since time.Time) { c.sum.Duration += time.Since(since).Milliseconds() }

// outcome is what the summary says of a part that has ended.
func (c *Capture) outcome(end frame.CapturedMessage, err error) string {
	c.sum.Omitted += int(end.Omitted)
	switch {
	case err != nil && errors.Is(err, ErrYield):
		return ErrYield.Error()
	case err != nil && errors.Is(err, context.DeadlineExceeded):
		return reasonTime
	case err != nil:
		return err.Error()
	case end.Stop == frame.StopTime:
		return reasonTime
	case end.Stop == frame.StopItems, c.entries >= c.o.Files && c.sum.Omitted > 0:
		return reasonFiles
	case end.Stop != 0:
		return reasonTold
	}
	return complete
}

// Hashes are the artifacts that hold what was captured.
func (c *Capture) Hashes() []string {
	list := make([]string, 0, len(c.hashes))
	for h := range c.hashes {
		list = append(list, h)
	}
	return list
}

// Close writes out what is left and returns the summary. The error is that of the lines,
// which the summary has, too.
func (c *Capture) Close() (evidence.Capture, error) {
	c.finish()
	if err := c.out.Flush(); err != nil && c.failed == nil {
		c.failed = err
	}
	if err := errors.Join(c.failed, c.store); err != nil {
		c.sum.Error = err.Error()
		return c.sum, fmt.Errorf("capture: %w", err)
	}
	return c.sum, nil
}

// write writes an entry. When that is not possible nothing more is captured.
func (c *Capture) write(e *evidence.CaptureEntry) error {
	if c.failed == nil {
		c.failed = c.encoder.Encode(e)
	}
	if c.failed != nil {
		c.sum.Omitted++
		return c.failed
	}
	switch {
	case e.Kind == kindProcess:
		c.sum.Processes++
	case e.Kind == kindFile && e.Change != "deleted":
		c.sum.Files++
	}
	switch e.Change {
	case "added":
		c.sum.Added++
	case "changed":
		c.sum.Changed++
	case "deleted":
		c.sum.Deleted++
	}
	if e.SHA256 != "" {
		c.sum.Artifacts++
		if c.o.Kept != nil {
			c.o.Kept(*e)
		}
	}
	return nil
}

// mayTell counts an entry and reports whether there may be one more.
func (c *Capture) mayTell() bool {
	if c.entries >= c.o.Files {
		c.sum.Omitted++
		return false
	}
	c.entries++
	return true
}
