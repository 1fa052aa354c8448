package evidence

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/sandtrap/sandtrap/internal/record"
	"github.com/sandtrap/sandtrap/internal/transcript"
)

// What is kept of the lines that were entered in one session: session.json must stay
// within what can be read back. As JSON a byte may take six.
const (
	maxCommands    = 3000
	maxCommandText = 256 << 10
)

// CommandRoom counts the lines that are kept of one session. The zero value has room for
// as many as there may be. It is not safe for concurrent use.
type CommandRoom struct{ lines, text int }

// Take reports whether there is room for a line of so many bytes, and takes it.
func (r *CommandRoom) Take(text int) bool {
	if r.lines >= maxCommands || r.text+text > maxCommandText {
		return false
	}
	r.lines++
	r.text += text
	return true
}

// Entered describes a line that was entered.
func Entered(l transcript.Line) Command {
	return Command{Time: l.Time.UTC(), Text: Text(l.Text), NotEchoed: !l.Echoed, Cut: l.Cut}
}

// TypesLines reports whether somebody types lines on a channel: at a terminal, or into a
// shell without one, where plain is true.
func TypesLines(terminal bool, kind string) (types, plain bool) {
	return terminal || kind == "shell", !terminal
}

// addCommands fills in the lines that were entered, from the recording.
func addCommands(root *os.Root, c *Channel, room *CommandRoom) error {
	c.Commands, c.CommandsOmitted = nil, 0
	types, plain := TypesLines(c.HasTerminal(), c.Kind)
	if !types || c.Recording.Raw == "" {
		return nil
	}
	columns, rows := c.Size.Cells()
	tracker := transcript.New(transcript.Options{Columns: columns, Rows: rows, Plain: plain})
	return Follow(root, c.Recording.Raw, tracker, func(l transcript.Line) {
		if !room.Take(len(l.Text)) {
			c.CommandsOmitted++
			return
		}
		c.Commands = append(c.Commands, Entered(l))
	})
}

// Follow has a Tracker look at a raw log, and line take what was entered. A log that ends
// early is followed as far as it goes; the error wraps record.ErrCorrupt or
// record.ErrFormat for other damage.
func Follow(root *os.Root, raw string, tracker *transcript.Tracker, line func(transcript.Line)) (err error) {
	r, closer, err := record.Open(root, raw)
	if err != nil {
		return err
	}
	defer closer.Close()
	take := func(lines []transcript.Line) {
		for _, l := range lines {
			line(l)
		}
	}
	var damage error // the first
	for {
		f, err := r.NextIntact(func(err error) { damage = cmp.Or(damage, fmt.Errorf("follow %s: %w", raw, err)) })
		switch {
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			take(tracker.Close())
			return damage
		case err != nil:
			take(tracker.Close())
			return fmt.Errorf("follow %s: %w", raw, err)
		}
		take(follow(tracker, f, r.Start()))
	}
}

// follow hands one frame on.
func follow(tracker *transcript.Tracker, f record.Frame, start time.Time) []transcript.Line {
	switch f.Kind {
	case record.KindInput:
		return tracker.Input(f.Data, start.Add(f.Time))
	case record.KindOutput, record.KindStderr:
		return tracker.Output(f.Data, start.Add(f.Time))
	case record.KindResize:
		if s, ok := f.Size(); ok {
			tracker.Resize(s.Cells())
		}
	}
	return nil
}
