package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/sandtrap/sandtrap/internal/config"
	"github.com/sandtrap/sandtrap/internal/doctor"
	"github.com/sandtrap/sandtrap/internal/term"
)

func newDoctor(g *globals) *cobra.Command {
	format := "text"
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Look whether this machine can run SandTrap, and tell what to do",
		Long: `Look at the kernel, accounts, Podman, units, files and disks: one line a check,
and a hint where something is to be done. It changes nothing, and is best run by root.

Exit status is 0 if nothing failed, 1 if anything did, 2 for wrong usage.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			loaded, err := config.Load(config.LoadOptions{Path: g.configPath, Environ: os.Environ()})
			if err != nil {
				return explain(err, g.err)
			}
			return runDoctor(cmd.Context(), format, doctor.Local(loaded.Config), g.out)
		},
	}
	cmd.Flags().StringVar(&format, "format", format, "text or json")
	return cmd
}

// errUnfit is the outcome when a check failed; its line says what.
var errUnfit = errors.New("this machine is not ready")

func runDoctor(ctx context.Context, format string, m doctor.Machine, out io.Writer) error {
	if err := checkFormat(format, formatText, formatJSON); err != nil {
		return err
	}
	findings := doctor.Examine(ctx, m)
	if err := ctx.Err(); err != nil {
		return err
	}
	var err error
	if format == "json" {
		err = writeIndented(out, findings)
	} else {
		err = writeFindings(findings, out)
	}
	for _, f := range findings {
		if f.Level == doctor.Failure && err == nil {
			err = errUnfit
		}
	}
	return err
}

func writeFindings(findings []doctor.Finding, out io.Writer) error {
	for _, f := range findings {
		if _, err := fmt.Fprintf(out, "%-8s %-16s %s\n", f.Level, f.Check, term.Safe(f.Detail)); err != nil {
			return err
		}
		if f.Hint == "" {
			continue
		}
		if _, err := fmt.Fprintf(out, "%25s %s\n", "hint:", term.Printable(f.Hint)); err != nil {
			return err
		}
	}
	return nil
}
