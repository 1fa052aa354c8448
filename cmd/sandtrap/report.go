package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/sandtrap/sandtrap/internal/evidence"
	"github.com/sandtrap/sandtrap/internal/index"
	"github.com/sandtrap/sandtrap/internal/report"
	"github.com/sandtrap/sandtrap/internal/stats"
	"github.com/sandtrap/sandtrap/internal/term"
)

// The output formats of report beside text and json.
const (
	formatMarkdown = "markdown"
	formatHTML     = "html"
)

// reportOptions are the flags and the argument of report.
type reportOptions struct {
	timeFlags
	format string
	output string    // a file that must not exist; empty for standard output
	id     string    // empty for a time
	now    time.Time // with the zone that times are shown in
}

func newReport(g *globals) *cobra.Command {
	var (
		o    reportOptions
		back sessionsBack
	)
	cmd := &cobra.Command{
		Use:   "report [ID]",
		Short: "Tell a session, or some time, as text, Markdown, JSON or a web page",
		Long: `Tell one session for people to read: who came, what they did and when, the files
they brought or left. The format html is one page with the recordings and a player
in it; it needs no network and loads nothing.

Without ID, tell what came in some time, or ever: counts, what was most frequent, and
the newest sessions. There is no page of that.

` + sessionArgument + `

Exit status is 0 if all is well, 1 for an error, 2 for wrong usage, 4 if there
is no such session, 130 if interrupted.`,
		Args: func(_ *cobra.Command, args []string) error {
			if n := len(args); n > 1 || n == 1 && back.digits != "" {
				return fmt.Errorf("want one session id at most")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if o.now = time.Now(); len(args) > 0 || back.digits != "" {
				o.id = back.id(args)
			}
			return withStore(g, func(s *evidence.Store) error {
				if o.id == "" {
					return reportPeriod(cmd.Context(), s, o, g.out, g.err)
				}
				return reportSession(s, o, g.out, g.err)
			})
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&o.format, "format", formatText, "text, markdown, json or html")
	flags.StringVarP(&o.output, "output", "o", "", "write to `FILE`, which must not exist")
	flags.StringVar(&o.since, "since", "", "without ID: only since `TIME`: "+timeWords)
	flags.StringVar(&o.until, "until", "", "without ID: only before `TIME`")
	back.addFlags(cmd)
	return cmd
}

func reportSession(s *evidence.Store, o reportOptions, out, diagnostics io.Writer) error {
	forms := map[string]func(*report.Report, io.Writer) error{
		formatText: (*report.Report).Text, formatMarkdown: (*report.Report).Markdown, formatJSON: (*report.Report).JSON, formatHTML: (*report.Report).HTML,
	}
	form, ok := forms[o.format]
	switch {
	case !ok:
		return usageError{fmt.Errorf("%q is not a format, want text, markdown, json or html", o.format)}
	case o.since != "" || o.until != "":
		return usageError{fmt.Errorf("--since and --until are for a report without a session")}
	}
	session, dir, err := findSession(s, o.id, diagnostics)
	if err != nil {
		return err
	}
	found, err := leftFiles(dir)
	if err != nil {
		fmt.Fprintf(diagnostics, "sandtrap: %s\n", term.Printable(err.Error()))
	}
	r := report.New(session, dir, found, o.now.Location())
	if o.format == formatHTML {
		r.AddRecordings()
	}
	return toFile(o.output, out, func(w io.Writer) error { return form(r, w) })
}

// leftFiles are the files that a session has left in its target.
func leftFiles(dir string) (files []report.File, err error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("open session directory: %w", err)
	}
	defer root.Close()
	err = evidence.ReadCapture(root, func(e *evidence.CaptureEntry, _ []byte) bool {
		if e.Kind != "file" {
			return true
		}
		f := report.File{How: cmp.Or(e.Change, e.Where), Path: e.Path, SHA256: e.SHA256}
		if e.Size != nil {
			f.Size = *e.Size
		}
		files = append(files, f)
		return true
	}, nil)
	return files, err
}

// Bounds of the report of some time.
const (
	reportRows     = 10  // of each table
	reportSessions = 100 // that are named
	reportCommands = 5   // of each
)

func reportPeriod(ctx context.Context, s *evidence.Store, o reportOptions, out, diagnostics io.Writer) error {
	forms := map[string]func(*report.Period, io.Writer) error{
		formatText: (*report.Period).Text, formatMarkdown: (*report.Period).Markdown, formatJSON: (*report.Period).JSON,
	}
	form, ok := forms[o.format]
	if !ok {
		return usageError{fmt.Errorf("%q is not a format of a report without a session, want text, markdown or json", o.format)}
	}
	f := index.Filter{Now: o.now}
	var err error
	f.Since, f.Until, err = o.bounds(o.now)
	if err != nil {
		return err
	}
	sums, found, err := stats.Collect(ctx, s, stats.Options{Since: f.Since, Until: f.Until, Now: o.now})
	if err != nil {
		return err
	}
	tellProblems(found, diagnostics)
	newest, err := index.Query(ctx, s, f, index.Options{Limit: reportSessions, Lists: true})
	if err != nil {
		return err
	}
	p := periodOf(sums, newest.Entries)
	p.Since, p.Until, p.Zone = f.Since, f.Until, o.now.Location()
	return toFile(o.output, out, func(w io.Writer) error { return form(p, w) })
}

// periodOf puts counts and sessions into a report, the newest session first.
func periodOf(sums *stats.Stats, entries []*index.Entry) *report.Period {
	p := &report.Period{
		Numbers: []report.Number{{Name: "Connections", N: sums.Connections}, {Name: "Attempts", N: sums.Attempts}, {Name: "Logins", N: sums.Logins}, {Name: "Sessions", N: sums.Sessions}},
		Tables:  []report.Table{}, Sessions: []report.Line{}, Omitted: int(sums.Sessions) - len(entries),
	}
	for _, one := range statsTables(sums) {
		table := report.Table{Name: one.heading, Count: one.count}
		for _, c := range one.top.Most(reportRows) {
			table.Rows = append(table.Rows, report.Row{Value: evidence.Text(c.Value), N: c.N, About: c.Over > 0})
		}
		if len(table.Rows) > 0 {
			p.Tables = append(p.Tables, table)
		}
	}
	for _, e := range slices.Backward(entries) {
		line := report.Line{ID: e.ID, Start: e.Start, Source: e.Source, User: evidence.Text(e.User)}
		for _, c := range e.Commands[:min(len(e.Commands), reportCommands)] {
			line.Commands = append(line.Commands, evidence.Text(c))
		}
		p.Sessions = append(p.Sessions, line)
	}
	return p
}

// toFile has write fill a new file, or out when there is no name. A file that could
// not be filled is removed.
func toFile(name string, out io.Writer, write func(io.Writer) error) error {
	if name == "" {
		return write(out)
	}
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("make output file: %w", err)
	}
	err = write(f)
	if closing := f.Close(); err == nil && closing != nil {
		err = fmt.Errorf("write output file: %w", closing)
	}
	if err != nil {
		_ = os.Remove(name) // the error that counts is told
	}
	return err
}
