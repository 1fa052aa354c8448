package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sandtrap/sandtrap/internal/config"
	"github.com/sandtrap/sandtrap/internal/evidence"
	"github.com/sandtrap/sandtrap/internal/hint"
	"github.com/sandtrap/sandtrap/internal/term"
)

// The output formats of the verbs that read evidence.
const (
	formatTable = "table"
	formatText  = "text"
	formatJSON  = "json"
)

// listOptions are the flags of list.
type listOptions struct {
	format  string // table or json
	limit   int    // 0 for all
	since   string // a duration or a time; empty for all
	reverse bool
	quiet   bool
	now     time.Time // with the zone that times are shown in
}

func newList(g *globals) *cobra.Command {
	var o listOptions
	cmd := &cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   "List recorded sessions, the newest last",
		Long: `List the sessions in the state directory, live ones included. The service need
not run. What cannot be read is named on standard error and left out.

Exit status is 0 if all is well, 1 for an error, 2 for wrong usage, 130 if
interrupted.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.now = time.Now()
			return withStore(g, func(s *evidence.Store) error {
				return runList(cmd.Context(), s, o, g.out, g.err)
			})
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&o.format, "format", formatTable, "table or json")
	flags.IntVarP(&o.limit, "lines", "n", 0, "only the newest `N` sessions")
	flags.StringVar(&o.since, "since", "", "only sessions since `TIME`: 90m, 7d, today, yesterday, 2026-03-31, \"2026-03-31 12:00\" or RFC 3339")
	flags.BoolVarP(&o.reverse, "reverse", "r", false, "the newest first")
	flags.BoolVarP(&o.quiet, "quiet", "q", false, "print ids only")
	return cmd
}

// withStore opens the evidence store of the configuration for reading.
func withStore(g *globals, use func(*evidence.Store) error) error {
	loaded, err := config.Load(config.LoadOptions{Path: g.configPath, Environ: os.Environ()})
	if err != nil {
		return explain(err, g.err)
	}
	store, err := evidence.OpenReadOnly(loaded.Config.StateDir)
	if err == nil {
		defer store.Close()
		err = use(store)
	}
	if errors.Is(err, fs.ErrPermission) && hint.Of(err) == "" {
		return hint.Wrap(err, "recordings are for root and for members of the group sandtrap")
	}
	return err
}

// runList prints the chosen sessions to out and what could not be read to
// diagnostics.
func runList(ctx context.Context, s *evidence.Store, o listOptions, out, diagnostics io.Writer) error {
	since, err := parseSince(o.since, o.now)
	switch {
	case err != nil:
		return usageError{err}
	case o.format != formatTable && o.format != formatJSON:
		return usageError{fmt.Errorf("%q is not a format, want table or json", o.format)}
	case o.limit < 0:
		return usageError{fmt.Errorf("%d is not a number of sessions", o.limit)}
	}
	sessions, problems, err := s.List(ctx, evidence.ListOptions{Since: since, Limit: o.limit})
	if err != nil {
		return err
	}
	for _, p := range problems {
		fmt.Fprintf(diagnostics, "sandtrap: skip %s\n", term.Printable(p.Error()))
	}
	if o.reverse {
		slices.Reverse(sessions)
	}
	switch {
	case o.quiet:
		for _, session := range sessions {
			if _, err := fmt.Fprintln(out, session.ID); err != nil {
				return err
			}
		}
		return nil
	case o.format == formatJSON:
		return writeIndented(out, append([]evidence.Session{}, sessions...))
	}
	return listTable(sessions, o.now).Print(out)
}

func listTable(sessions []evidence.Session, now time.Time) *term.Table {
	t := term.NewTable(term.Column{Heading: "ID"}, term.Column{Heading: "START"}, term.Column{Heading: "DURATION"},
		term.Column{Heading: "SOURCE"}, term.Column{Heading: "USER", Width: 20},
		term.Column{Heading: "CHANNELS", Width: 44}, term.Column{Heading: "STATE"})
	for _, s := range sessions {
		t.Add(s.ID, s.Start.In(now.Location()).Format(time.DateTime), lasted(s.Start, s.End, now),
			s.Source.IP, string(s.Login.User), channelWords(s), string(s.State))
	}
	return t
}

// channelWords says in a few words what a session's channels were for.
func channelWords(s evidence.Session) string {
	words := "-"
	if n := len(s.Forwards); n > 0 {
		words = fmt.Sprintf("(%d) %s port %d", n, s.Forwards[0].Destination, s.Forwards[0].DestinationPort)
	}
	if len(s.Channels) > 0 {
		words = channelWord(s.Channels[0])
	}
	if n := len(s.Channels) - 1; n > 0 {
		words = fmt.Sprintf("(%d more) %s", n, words)
	}
	return words
}

func channelWord(c evidence.Channel) string {
	if c.Command == "" {
		return c.Kind
	}
	return c.Kind + ": " + string(c.Command)
}

// lasted tells a duration in one or two units; without an end it runs to now.
func lasted(start time.Time, end *time.Time, now time.Time) string {
	if end == nil {
		end = &now
	}
	d := max(0, end.Sub(start))
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%.1fs", d.Truncate(100*time.Millisecond).Seconds())
	case d < time.Hour:
		return fmt.Sprintf("%dm%02ds", d/time.Minute, d%time.Minute/time.Second)
	case d < 24*time.Hour:
		return fmt.Sprintf("%dh%02dm", d/time.Hour, d%time.Hour/time.Minute)
	}
	return fmt.Sprintf("%dd%02dh", d/(24*time.Hour), d%(24*time.Hour)/time.Hour)
}

// parseSince reads a duration before now or a time in now's zone. Empty is the
// zero time.
func parseSince(s string, now time.Time) (time.Time, error) {
	midnight := time.Date(now.Year(), now.Month(), now.Day(), 0, 0, 0, 0, now.Location())
	switch s {
	case "":
		return time.Time{}, nil
	case "today":
		return midnight, nil
	case "yesterday":
		return midnight.AddDate(0, 0, -1), nil
	}
	if days, ok := strings.CutSuffix(s, "d"); ok {
		if n, err := strconv.ParseUint(days, 10, 16); err == nil {
			return now.AddDate(0, 0, -int(n)), nil
		}
	}
	if d, err := time.ParseDuration(s); err == nil && d >= 0 {
		return now.Add(-d), nil
	}
	for _, layout := range []string{time.RFC3339, time.DateTime, "2006-01-02 15:04", time.DateOnly} {
		if t, err := time.ParseInLocation(layout, s, now.Location()); err == nil {
			return t, nil
		}
	}
	return time.Time{}, fmt.Errorf("%q is not a time or duration, want one like 90m, 7d, today or 2026-03-31", s)
}
