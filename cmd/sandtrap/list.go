package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
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
	"github.com/sandtrap/sandtrap/internal/index"
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
	tableFlags
	reverse bool
	quiet   bool
	filter  filterOptions
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

Of several filters all must hold. Users, passwords and keys count whether they
were accepted or not; texts are compared byte by byte.

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
	o.tableFlags.add(flags, 0, "only the newest `N` sessions")
	flags.BoolVarP(&o.reverse, "reverse", "r", false, "the newest first")
	flags.BoolVarP(&o.quiet, "quiet", "q", false, "print ids only")
	o.filter.addFlags(cmd)
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
	filter, err := o.filter.filter(o.now)
	if err = cmp.Or(err, o.check()); err != nil {
		return err
	}
	entries, err := query(ctx, s, filter, index.Options{Limit: o.lines}, diagnostics)
	if err != nil {
		return err
	}
	if o.reverse {
		slices.Reverse(entries)
	}
	switch {
	case o.quiet:
		for _, e := range entries {
			if _, err := fmt.Fprintln(out, e.ID); err != nil {
				return err
			}
		}
		return nil
	case o.format == formatJSON:
		return listJSON(ctx, s, entries, out, diagnostics)
	}
	return listTable(entries, o.now).Print(out)
}

// listJSON prints whole sessions, one after the other: together they may not fit into
// memory.
func listJSON(ctx context.Context, s *evidence.Store, entries []*index.Entry, out, diagnostics io.Writer) error {
	before := "[\n  "
	for _, e := range entries {
		if err := ctx.Err(); err != nil {
			return err
		}
		session, err := s.Load(e.Dir)
		if err != nil {
			fmt.Fprintf(diagnostics, "sandtrap: skip %s\n", term.Printable(evidence.Problem{Path: e.Dir, Err: err}.Error()))
			continue
		}
		var b bytes.Buffer
		encoder := json.NewEncoder(&b)
		encoder.SetIndent("  ", "  ")
		encoder.SetEscapeHTML(false)
		if err = encoder.Encode(session); err == nil {
			_, err = fmt.Fprintf(out, "%s%s", before, term.Document(bytes.TrimSpace(b.Bytes())))
		}
		if err != nil {
			return fmt.Errorf("print sessions: %w", err)
		}
		before = ",\n  "
	}
	end := "\n]\n"
	if before == "[\n  " {
		end = "[]\n"
	}
	_, err := io.WriteString(out, end)
	return err
}

func listTable(entries []*index.Entry, now time.Time) *term.Table {
	t := term.NewTable(term.Column{Heading: "ID"}, term.Column{Heading: "START"}, term.Column{Heading: "DURATION"},
		term.Column{Heading: "SOURCE"}, term.Column{Heading: "USER", Width: 20},
		term.Column{Heading: "CHANNELS", Width: 44}, term.Column{Heading: "STATE"})
	for _, e := range entries {
		var end *time.Time
		if !e.End.IsZero() {
			end = &e.End
		}
		t.Add(e.ID, e.Start.In(now.Location()).Format(time.DateTime), lasted(e.Start, end, now),
			e.Source, e.User, channelWords(e), string(e.State))
	}
	return t
}

// channelWords says in a few words what a session's channels were for.
func channelWords(e *index.Entry) string {
	words := "-"
	if e.Forwards > 0 {
		words = fmt.Sprintf("(%d) %s port %d", e.Forwards, e.FirstPlace, e.FirstPort)
	}
	if e.Channels > 0 {
		words = e.FirstKind
	}
	if e.FirstWords != "" {
		words += ": " + e.FirstWords
	}
	if n := e.Channels - 1; n > 0 {
		words = fmt.Sprintf("(%d more) %s", n, words)
	}
	return words
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
