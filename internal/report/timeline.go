package report

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/sandtrap/sandtrap/internal/evidence"
)

// Entry is something that happened.
type Entry struct {
	Time    time.Time     `json:"time"`
	What    string        `json:"what"` // one of our words
	Text    evidence.Text `json:"text,omitempty"`
	Channel int           `json:"channel"` // -1 for none

	start  time.Time // of the session
	opened time.Time // of the channel
	zone   *time.Location
}

// Clock is the time of day.
func (e Entry) Clock() string { return e.Time.In(e.zone).Format(time.TimeOnly) }

// After is how long after the start of the session it was.
func (e Entry) After() string { return "+" + e.Time.Sub(e.start).Round(time.Second).String() }

// Seekable reports whether there is a moment of a recording to go to.
func (e Entry) Seekable() bool { return e.Channel >= 0 && !e.opened.IsZero() }

// Seek is that moment, in seconds.
func (e Entry) Seek() string { return fmt.Sprintf("%.2f", max(0, e.Time.Sub(e.opened).Seconds())) }

// Timeline puts in order what the record of a session has times of: what was started,
// typed, transferred and forwarded. Clock, After and Seek are for those of a Report.
func Timeline(s evidence.Session) []Entry {
	all := []Entry{}
	add := func(e Entry) {
		if !e.Time.IsZero() {
			all = append(all, e)
		}
	}
	add(Entry{Time: s.Start, What: "connected", Channel: -1})
	for _, c := range s.Channels {
		of := func(at time.Time, what string, text evidence.Text) {
			add(Entry{Time: at, What: what, Text: text, Channel: c.ID, opened: c.Recording.Start})
		}
		of(c.Start, c.Kind, c.Command)
		for _, line := range c.Commands {
			what := "typed"
			if line.NotEchoed {
				what = "typed, not echoed"
			}
			of(line.Time, what, line.Text)
		}
		for _, t := range c.Transfers {
			of(t.Time, t.Direction, t.Name)
		}
		if c.End != nil {
			of(*c.End, ended(c), "")
		}
	}
	for _, f := range s.Forwards {
		what := strings.TrimSpace(fmt.Sprintf("forward %d %s", f.ID, f.Kind))
		add(Entry{Time: f.Start, What: what, Text: evidence.Text(fmt.Sprintf("%s port %d", f.Destination, f.DestinationPort)), Channel: -1})
	}
	if s.End != nil {
		add(Entry{Time: *s.End, What: "disconnected", Channel: -1})
	}
	slices.SortStableFunc(all, func(a, b Entry) int { return a.Time.Compare(b.Time) })
	return all
}

// ended says how a channel's program did.
func ended(c evidence.Channel) string {
	switch r := c.Recording; {
	case r.ExitSignal != "":
		return "ended by signal " + r.ExitSignal
	case r.ExitStatus != nil:
		return fmt.Sprintf("ended with exit status %d", *r.ExitStatus)
	}
	return strings.TrimSpace("ended " + c.EndReason)
}
