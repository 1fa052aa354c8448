package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/sandtrap/sandtrap/internal/config"
	"github.com/sandtrap/sandtrap/internal/control"
	"github.com/sandtrap/sandtrap/internal/evidence"
	"github.com/sandtrap/sandtrap/internal/retention"
	"github.com/sandtrap/sandtrap/internal/term"
)

// gcOptions are the flags of gc.
type gcOptions struct {
	dryRun bool
	format string // text or json
	zone   *time.Location
}

func newGC(g *globals) *cobra.Command {
	o := gcOptions{zone: time.Local}
	cmd := &cobra.Command{
		Use:   "gc",
		Short: "Remove evidence that is beyond its bounds",
		Long: `Have the running service remove what is beyond the bounds of the section retention
of the configuration, and list it. sandtrap-gc.timer does so every hour. With --dry-run
nothing is removed, and the service need not run.

` + liveExit,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := checkFormat(o.format, formatText, formatJSON); err != nil {
				return err
			}
			if o.dryRun {
				return previewGC(cmd.Context(), g, o)
			}
			return withService(g, func(c *control.Client) error {
				r, err := c.Collect(cmd.Context())
				if err != nil {
					return err
				}
				err = writeCollected(g.out, r.Result, o)
				if r.Error != "" {
					err = errors.Join(err, errors.New(r.Error))
				}
				return err
			})
		},
	}
	cmd.Flags().BoolVar(&o.dryRun, "dry-run", false, "only list what would be removed")
	cmd.Flags().StringVar(&o.format, "format", formatText, "text or json")
	return cmd
}

// previewGC lists what the bounds of the configuration would remove now.
func previewGC(ctx context.Context, g *globals, o gcOptions) error {
	loaded, err := config.Load(config.LoadOptions{Path: g.configPath, Environ: os.Environ()})
	if err != nil {
		return operatorsOnly(explain(err, g.err))
	}
	return withStore(g, func(s *evidence.Store) error {
		r, err := retention.Preview(ctx, s, policyOf(loaded.Config.Retention), time.Now())
		if err != nil {
			return err
		}
		return writeCollected(g.out, r, o)
	})
}

// writeCollected lists what went, or would.
func writeCollected(out io.Writer, r retention.Result, o gcOptions) error {
	if o.format == formatJSON {
		return writeIndented(out, struct {
			retention.Result
			DryRun bool `json:"dry_run"`
		}{r, o.dryRun})
	}
	t := term.NewTable(term.Column{Heading: "WHAT"}, term.Column{Heading: "NAME"}, term.Column{Heading: "TIME"}, term.Column{Heading: "SIZE"}, term.Column{Heading: "REASON"})
	for _, kind := range []struct {
		what    string
		removed []retention.Removal
	}{{"session", r.Sessions}, {"artifact", r.Artifacts}} {
		for _, one := range kind.removed {
			t.Add(kind.what, one.Name, one.Time.In(o.zone).Format("2006-01-02 15:04"), byteWords(one.Bytes), string(one.Reason))
		}
	}
	if len(r.Sessions)+len(r.Artifacts) > 0 {
		if err := t.Print(out); err != nil {
			return err
		}
	}
	verb := "removed"
	if o.dryRun {
		verb = "would be removed"
	}
	_, err := fmt.Fprintf(out, "%s: %s, %s\n", verb, share("sessions", r.Sessions, r.AllSessions), share("artifacts", r.Artifacts, r.AllArtifacts))
	return err
}

// share tells how much of what there is goes.
func share(what string, removed []retention.Removal, all retention.Total) string {
	var bytes int64
	for _, one := range removed {
		bytes += one.Bytes
	}
	return fmt.Sprintf("%d of %d %s (%s of %s)", len(removed), all.Count, what, byteWords(bytes), byteWords(all.Bytes))
}
