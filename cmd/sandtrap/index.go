package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/spf13/cobra"

	"github.com/sandtrap/sandtrap/internal/evidence"
	"github.com/sandtrap/sandtrap/internal/hint"
	"github.com/sandtrap/sandtrap/internal/index"
	"github.com/sandtrap/sandtrap/internal/term"
)

func newIndex(g *globals) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "index",
		Short: "Look after the index of sessions",
		Args:  cobra.NoArgs,
		RunE:  func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	cmd.AddCommand(&cobra.Command{
		Use:   "rebuild",
		Short: "Make the index anew from the sessions",
		Long: `Make the index of sessions anew from their files and put it in the place of the
old one. The service may run, and goes on with the new one. Nothing depends on
the index but time: what it lacks is read from the sessions themselves.

Exit status is 0 if all is well, 1 for an error, 2 for wrong usage, 130 if
interrupted.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return withStore(g, func(s *evidence.Store) error {
				return runIndexRebuild(cmd.Context(), s, g.out, g.err)
			})
		},
	})
	return cmd
}

// rebuildProgress is after how many sessions a rebuild says how far it is.
const rebuildProgress = 10_000

func runIndexRebuild(ctx context.Context, s *evidence.Store, out, diagnostics io.Writer) error {
	told := 0
	n, problems, err := index.Rebuild(ctx, s, func(n int) {
		if n >= told+rebuildProgress {
			told = n
			fmt.Fprintf(diagnostics, "%d sessions so far\n", n)
		}
	})
	if errors.Is(err, fs.ErrPermission) {
		err = hint.Wrap(err, "only root and the account of the service may write the index")
	}
	if err != nil {
		return err
	}
	for _, p := range problems {
		fmt.Fprintf(diagnostics, "sandtrap: skip %s\n", term.Printable(p.Error()))
	}
	_, err = fmt.Fprintf(out, "%d sessions\n", n)
	return err
}
