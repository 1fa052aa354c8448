package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/sandtrap/sandtrap/internal/evidence"
	"github.com/sandtrap/sandtrap/internal/report"
	"github.com/sandtrap/sandtrap/internal/term"
)

// shownTimeline is how many entries of the timeline the text form of show lists.
const shownTimeline = 200

func describeTimeline(b *strings.Builder, s evidence.Session, zone *time.Location) {
	all := report.Timeline(s)
	if len(all) == 0 {
		return
	}
	b.WriteString("Timeline\n")
	for i, e := range all {
		if i == shownTimeline {
			fmt.Fprintf(b, "  and %d more\n", len(all)-i)
			break
		}
		fmt.Fprintf(b, "  %s ", e.Time.In(zone).Format(time.TimeOnly))
		if e.Channel >= 0 {
			fmt.Fprintf(b, "channel %d ", e.Channel)
		}
		b.WriteString(term.Safe(e.What))
		if e.Text != "" {
			fmt.Fprintf(b, " %q", e.Text)
		}
		b.WriteByte('\n')
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
