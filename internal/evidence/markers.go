package evidence

import (
	"cmp"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/sandtrap/sandtrap/internal/record"
)

// maxCaptureMarkers bounds the captured files that one cast names.
const maxCaptureMarkers = 100

// clockTick is by how much the time of a file may be behind that of a recording: the
// kernel takes the time of its latest tick.
const clockTick = 20 * time.Millisecond

// MarkCaptured has the casts of a session that has ended name the files that were
// captured from its target, and session say so, for the caller to save; root is its
// directory. It reports whether there was anything to do. A call whose outcome was not
// saved is as one that never was.
func MarkCaptured(root *os.Root, session *Session) (marked bool, err error) {
	channels := session.Channels
	if slices.ContainsFunc(channels, func(c Channel) bool { return c.Recording.CaptureMarkers > 0 }) {
		return false, nil
	}
	markers := make([][]string, len(channels))
	more := make([]int, len(channels))
	err = ReadCapture(root, func(e *CaptureEntry, _ []byte) bool {
		i := witness(channels, e.Altered)
		switch {
		case i < 0 || !IsHash(e.SHA256):
		case len(markers[i]) == maxCaptureMarkers:
			more[i]++
		default:
			markers[i] = append(markers[i], captureMarker(e))
		}
		return true
	}, nil)
	for i, texts := range markers {
		if len(texts) == 0 || err != nil {
			continue
		}
		if more[i] > 0 {
			texts = append(texts, fmt.Sprintf("file: captured %d more", more[i]))
		}
		r := &channels[i].Recording
		var size int64
		if size, err = record.AddMarkers(root, r.Cast, r.CastBytes, texts); size > r.CastBytes {
			r.CastBytes, r.CaptureMarkers, marked = size, len(texts), true
		}
	}
	return marked, err
}

// captureMarker is the marker of a file of which content was kept. The hash comes last:
// whatever is in the name, it cannot be taken for that.
func captureMarker(e *CaptureEntry) string {
	what := "file: captured "
	if e.Complete == nil || !*e.Complete {
		what += "in part "
	}
	return what + record.Brief(string(e.Path)) + " sha256:" + e.SHA256
}

// witness is the channel whose cast shows best how a file came to be that last changed
// at some time: one that was open then, rather one with a terminal, rather one that
// began later. It is -1 where no channel has a cast.
func witness(channels []Channel, changed *time.Time) int {
	best := -1
	for i := range channels {
		if channels[i].Recording.Cast != "" && (best < 0 || compareWitnesses(&channels[i], &channels[best], changed) > 0) {
			best = i
		}
	}
	return best
}

func compareWitnesses(a, b *Channel, changed *time.Time) int {
	is := func(yes bool) int {
		if yes {
			return 1
		}
		return 0
	}
	open := func(c *Channel) int {
		r := &c.Recording
		return is(changed != nil && !changed.Before(r.Start.Add(-clockTick)) && !changed.After(r.End))
	}
	return cmp.Or(open(a)-open(b), is(a.HasTerminal())-is(b.HasTerminal()), a.Recording.Start.Compare(b.Recording.Start))
}
