package main

import (
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/sandtrap/sandtrap/internal/evidence"
	"github.com/sandtrap/sandtrap/internal/report"
)

// The output formats of report beside text and json.
const (
	formatMarkdown = "markdown"
	formatHTML     = "html"
)

// reportOptions are the flags and the argument of report.
type reportOptions struct {
	format string
	output string // a file that must not exist; empty for standard output
	id     string
	zone   *time.Location
}

func newReport(g *globals) *cobra.Command {
	var (
		o    reportOptions
		back sessionsBack
	)
	cmd := &cobra.Command{
		Use:   "report ID",
		Short: "Tell a session as text, Markdown, JSON or a web page",
		Long: `Tell one session for people to read: who came, what they did and when, the files
they brought. The format html is one page with the recordings and a player in it;
it needs no network and loads nothing.

` + sessionArgument + `

Exit status is 0 if all is well, 1 for an error, 2 for wrong usage, 4 if there
is no such session.`,
		Args: back.args,
		RunE: func(cmd *cobra.Command, args []string) error {
			o.id, o.zone = back.id(args), time.Local
			return withStore(g, func(s *evidence.Store) error {
				return runReport(s, o, g.out, g.err)
			})
		},
	}
	cmd.Flags().StringVar(&o.format, "format", formatText, "text, markdown, json or html")
	cmd.Flags().StringVarP(&o.output, "output", "o", "", "write to `FILE`, which must not exist")
	back.addFlags(cmd)
	return cmd
}

func runReport(s *evidence.Store, o reportOptions, out, diagnostics io.Writer) error {
	forms := map[string]func(*report.Report, io.Writer) error{
		formatText: (*report.Report).Text, formatMarkdown: (*report.Report).Markdown, formatJSON: (*report.Report).JSON, formatHTML: (*report.Report).HTML,
	}
	form, ok := forms[o.format]
	if !ok {
		return usageError{fmt.Errorf("%q is not a format, want text, markdown, json or html", o.format)}
	}
	session, dir, err := findSession(s, o.id, diagnostics)
	if err != nil {
		return err
	}
	r := report.New(session, dir, nil, o.zone)
	if o.format == formatHTML {
		r.AddRecordings()
	}
	return toFile(o.output, out, func(w io.Writer) error { return form(r, w) })
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
