package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/sandtrap/sandtrap/internal/evidence"
	"github.com/sandtrap/sandtrap/internal/term"
)

// shownTimeline is how many entries of the timeline the text form of show lists.
const shownTimeline = 200

// moment is one entry of a timeline.
type moment struct {
	at   time.Time
	text string
}

// timeline tells in the order of time what somebody did: what was started, entered,
// transferred and forwarded.
func timeline(s evidence.Session) []moment {
	var all []moment
	add := func(at time.Time, format string, a ...any) {
		if !at.IsZero() {
			all = append(all, moment{at, fmt.Sprintf(format, a...)})
		}
	}
	for _, c := range s.Channels {
		add(c.Start, "channel %s", channelHeading(c))
		for _, l := range c.Commands {
			switch {
			case l.NotEchoed:
				add(l.Time, "  not echoed: %q", l.Text)
			default:
				add(l.Time, "  %q", l.Text)
			}
		}
		for _, t := range c.Transfers {
			add(t.Time, "  %s %q %s", term.Safe(t.Direction), t.Name, byteWords(t.Size))
		}
		if c.End != nil && !c.Start.IsZero() {
			add(*c.End, "channel %d ended", c.ID)
		}
	}
	for _, f := range s.Forwards {
		add(f.Start, "forward %d to %q port %d", f.ID, f.Destination, f.DestinationPort)
	}
	slices.SortStableFunc(all, func(a, b moment) int { return a.at.Compare(b.at) })
	return all
}

func describeTimeline(b *strings.Builder, s evidence.Session, zone *time.Location) {
	all := timeline(s)
	if len(all) == 0 {
		return
	}
	b.WriteString("Timeline\n")
	for i, m := range all {
		if i == shownTimeline {
			fmt.Fprintf(b, "  and %d more\n", len(all)-i)
			break
		}
		fmt.Fprintf(b, "  %s %s\n", m.at.In(zone).Format(time.TimeOnly), m.text)
	}
	for _, c := range s.Channels {
		if c.CommandsOmitted > 0 {
			fmt.Fprintf(b, "  and %d more lines of channel %d, which the events and the recording have\n", c.CommandsOmitted, c.ID)
		}
	}
}

// channelHeading is a channel's number, kind, command and terminal.
func channelHeading(c evidence.Channel) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d %s", c.ID, term.Safe(c.Kind))
	if c.Command != "" {
		fmt.Fprintf(&b, " %q", c.Command)
	}
	if c.Terminal != "" {
		fmt.Fprintf(&b, ", terminal %q %dx%d", c.Terminal, c.Size.Columns, c.Size.Rows)
	}
	return b.String()
}
