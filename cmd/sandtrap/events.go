package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/sandtrap/sandtrap/internal/config"
	"github.com/sandtrap/sandtrap/internal/control"
	"github.com/sandtrap/sandtrap/internal/event"
	"github.com/sandtrap/sandtrap/internal/term"
)

// formatCowrie is the format of those who have tools for Cowrie's events.
const formatCowrie = "cowrie"

// followedLines is how many events -f shows of what was before, as journalctl(1).
const followedLines = 10

// eventsOptions are the flags of events.
type eventsOptions struct {
	control.EventQuery
	since  string
	format string // text, json or cowrie
	sensor string // our name, for cowrie
	now    time.Time
}

func newEvents(g *globals) *cobra.Command {
	var o eventsOptions
	cmd := &cobra.Command{
		Use:   "events",
		Short: "Show events",
		Long: `Show what happened, from the event files; see sandtrap-events(7). The service need
not run. What cannot be read is named on standard error and left out.

Exit status is 0 if all is well, 1 for an error, 2 for wrong usage, 130 if
interrupted.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.now = time.Now()
			if o.Follow && o.since == "" && !cmd.Flags().Changed("lines") {
				o.Last = followedLines
			}
			loaded, err := config.Load(config.LoadOptions{Path: g.configPath, Environ: os.Environ()})
			if err != nil {
				return operatorsOnly(explain(err, g.err))
			}
			dir := filepath.Join(loaded.Config.StateDir, event.Dir)
			return operatorsOnly(runEvents(cmd.Context(), dir, o, g.out, g.err))
		},
	}
	flags := cmd.Flags()
	flags.BoolVarP(&o.Follow, "follow", "f", false, "go on with what happens from now on; shows the newest 10 first")
	flags.IntVarP(&o.Last, "lines", "n", -1, "only the newest `N`")
	flags.StringVar(&o.since, "since", "", "only events since `TIME`, as in sandtrap list")
	flags.StringVar(&o.Kind, "kind", "", "only events of a kind, such as auth.attempt or \"transfer.*\"")
	flags.StringVar(&o.Session, "session", "", "only events of the session with this `ID`, or one that begins so")
	flags.StringVar(&o.format, "format", formatText, "text, json, or cowrie for Cowrie's names")
	flags.StringVar(&o.sensor, "sensor", "", "name of this honeypot with --format cowrie (default the host's)")
	return cmd
}

func runEvents(ctx context.Context, dir string, o eventsOptions, out, diagnostics io.Writer) error {
	if err := checkFormat(o.format, formatText, formatJSON, formatCowrie); err != nil {
		return err
	}
	since, err := parseSince(o.since, o.now)
	if err == nil {
		err = o.Check()
	}
	if err != nil {
		return usageError{err}
	}
	if o.Last < -1 {
		return usageError{fmt.Errorf("%d is not a number of events", o.Last)}
	}
	if o.sensor == "" {
		o.sensor, _ = os.Hostname() // empty where there is none
	}
	log, err := event.OpenLog(dir)
	if err != nil {
		return err
	}
	defer log.Close()
	w := bufio.NewWriterSize(out, 64<<10)
	told := map[string]bool{}
	err = log.Read(ctx, event.ReadOptions{
		Since: since, Last: o.Last, Match: o.Match, Follow: o.Follow,
		Skip: func(file string, err error) {
			if line := fmt.Sprintf("sandtrap: skip lines of %s: %v", file, err); !told[line] {
				told[line] = true
				fmt.Fprintln(diagnostics, term.Printable(line))
			}
		},
	}, func(r *event.Record) error {
		line := o.render(r)
		if len(line) == 0 {
			return nil
		}
		if _, err := w.Write(append(line, '\n')); err != nil || !o.Follow {
			return err
		}
		return w.Flush()
	})
	if flushed := w.Flush(); err == nil {
		err = flushed
	}
	return err
}

// render is one event as it is printed, or nothing. None of it steers a terminal.
func (o *eventsOptions) render(r *event.Record) []byte {
	switch o.format {
	case formatJSON:
		var line bytes.Buffer
		if json.Compact(&line, r.Line) != nil { // it was read as JSON
			return nil
		}
		return term.Document(line.Bytes())
	case formatCowrie:
		return r.AppendCowrie(nil, o.sensor)
	}
	return []byte(r.Text(o.now.Location()))
}
