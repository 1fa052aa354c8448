package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/sandtrap/sandtrap/internal/evidence"
	"github.com/sandtrap/sandtrap/internal/stats"
	"github.com/sandtrap/sandtrap/internal/term"
)

// statsOptions are the flags of stats.
type statsOptions struct {
	tableFlags // the lines are of each table
	timeFlags
	now time.Time
}

func newStats(g *globals) *cobra.Command {
	var o statsOptions
	cmd := &cobra.Command{
		Use:   "stats",
		Short: "Count who came, what they tried and what they ran",
		Long: `Count sources, client versions and HASSHs of connections; users, passwords and
keys of attempts to log in, refused ones included; targets and commands of
sessions. The most frequent of each come first.

Connections and attempts are counted from the event files, as far back as these
go, sessions from what was recorded. Of each kind 20,000 different values are
counted; where there were more, numbers are marked with ~ and may be too high.

Exit status is 0 if all is well, 1 for an error, 2 for wrong usage, 130 if
interrupted.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.now = time.Now()
			return withStore(g, func(s *evidence.Store) error {
				return runStats(cmd.Context(), s, o, g.out, g.err)
			})
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&o.since, "since", "", "only since `TIME`: "+timeWords)
	flags.StringVar(&o.until, "until", "", "only before `TIME`")
	o.tableFlags.add(flags, 10, "the most frequent `N` of each, 0 for all")
	return cmd
}

func runStats(ctx context.Context, s *evidence.Store, o statsOptions, out, diagnostics io.Writer) error {
	since, until, err := o.bounds(o.now)
	if err = cmp.Or(err, o.check()); err != nil {
		return err
	}
	sums, found, err := stats.Collect(ctx, s, stats.Options{Since: since, Until: until, Now: o.now})
	if err != nil {
		return err
	}
	tellProblems(found, diagnostics)
	if o.format == formatJSON {
		return writeIndented(out, statsDocument(sums, o.lines))
	}
	return printStats(sums, o, out)
}

// statsTables are the counts in the order in which they are shown.
func statsTables(s *stats.Stats) []statsTable {
	return []statsTable{
		{"sources", "CONNECTIONS", "SOURCE", s.Sources},
		{"client_versions", "CONNECTIONS", "CLIENT VERSION", s.Clients},
		{"hasshs", "CONNECTIONS", "HASSH", s.HASSHs},
		{"users", "ATTEMPTS", "USER", s.Users},
		{"passwords", "ATTEMPTS", "PASSWORD", s.Passwords},
		{"keys", "ATTEMPTS", "KEY", s.Keys},
		{"targets", "SESSIONS", "TARGET", s.Targets},
		{"commands", "SESSIONS", "COMMAND", s.Commands},
	}
}

type statsTable struct {
	name           string // in JSON
	count, heading string
	top            *stats.Top
}

func printStats(s *stats.Stats, o statsOptions, out io.Writer) error {
	first := "none"
	if !s.First.IsZero() {
		first = s.First.In(o.now.Location()).Format(time.DateTime)
	}
	fmt.Fprintf(out, "Connections  %d\nAttempts     %d\nLogins       %d\nSessions     %d\nFirst event  %s\n", s.Connections, s.Attempts, s.Logins, s.Sessions, first)
	if s.Omitted > 0 {
		fmt.Fprintf(out, "Left out     %d attempts beyond the limits of events\n", s.Omitted)
	}
	if s.Skipped > 0 {
		fmt.Fprintf(out, "Skipped      %d lines of event files that cannot be read\n", s.Skipped)
	}
	for _, one := range statsTables(s) {
		most := one.top.Most(o.lines)
		if len(most) == 0 {
			continue
		}
		fmt.Fprintln(out)
		t := term.NewTable(term.Column{Heading: one.count}, term.Column{Heading: one.heading, Width: 100})
		for _, c := range most {
			n := fmt.Sprint(c.N)
			if c.Over > 0 {
				n = "~" + n
			}
			value := c.Value
			switch {
			case c.Cut:
				value += "…"
			case value == "":
				value = `""`
			}
			t.Add(n, value)
		}
		if err := t.Print(out); err != nil {
			return err
		}
		if distinct, exact := one.top.Distinct(); exact && distinct > len(most) {
			fmt.Fprintf(out, "and %d more\n", distinct-len(most))
		} else if !exact {
			fmt.Fprintf(out, "and more than %d more\n", distinct-len(most))
		}
	}
	return nil
}

// statsCount is a value in JSON, any bytes.
type statsCount struct {
	Value evidence.Text `json:"value"`
	Cut   bool          `json:"cut,omitempty"`
	stats.Count
}

type statsList struct {
	Total    int64        `json:"total"`
	Distinct int          `json:"distinct"`
	Exact    bool         `json:"exact"` // false: there are more, and counts may be too high
	Most     []statsCount `json:"most"`
}

func statsDocument(s *stats.Stats, lines int) map[string]any {
	document := map[string]any{
		"connections": s.Connections, "attempts": s.Attempts, "logins": s.Logins, "sessions": s.Sessions,
		"attempts_omitted": s.Omitted, "lines_skipped": s.Skipped,
	}
	for name, t := range map[string]time.Time{"since": s.Since, "until": s.Until, "first_event": s.First} {
		if !t.IsZero() {
			document[name] = t.UTC()
		}
	}
	for _, one := range statsTables(s) {
		list := statsList{Total: one.top.Total(), Most: []statsCount{}}
		list.Distinct, list.Exact = one.top.Distinct()
		for _, c := range one.top.Most(lines) {
			list.Most = append(list.Most, statsCount{evidence.Text(c.Value), c.Cut, c})
		}
		document[one.name] = list
	}
	return document
}
