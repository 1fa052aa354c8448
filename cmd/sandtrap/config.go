package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/sandtrap/sandtrap/internal/config"
	"github.com/sandtrap/sandtrap/internal/term"
)

func newConfig(g *globals) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "config",
		Short: "Check or show the configuration",
		Args:  cobra.NoArgs,
		// Runnable, or cobra would answer a misspelt verb with help and success.
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newConfigCheck(g), newConfigShow(g), newConfigGet(g), newConfigImport(g))
	return cmd
}

func newConfigCheck(g *globals) *cobra.Command {
	return &cobra.Command{
		Use:   "check [FILE]",
		Short: "Report everything wrong with the configuration, one line each",
		Long: `Read the configuration as the service would: FILE or the usual file, the
drop-ins in conf.d beside it, and the environment.

Exit status is 0 if all is well, 1 if anything is wrong, 2 for wrong usage.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			o := config.LoadOptions{Path: g.configPath, Environ: os.Environ()}
			if len(args) > 0 {
				o.Path = args[0]
			}
			return runConfigCheck(cmd.Context(), o, g.out, g.err)
		},
	}
}

// runConfigCheck writes "FILE: ok" for each file read, or the problems.
func runConfigCheck(_ context.Context, o config.LoadOptions, out, diagnostics io.Writer) error {
	loaded, err := config.Load(o)
	if err != nil {
		return explain(err, diagnostics)
	}
	if len(loaded.Files) == 0 {
		_, err = fmt.Fprintf(out, "%s: ok (no such file, the defaults apply)\n", config.DefaultPath)
		return err
	}
	for _, path := range loaded.Files {
		if _, err := fmt.Fprintf(out, "%s: ok\n", path); err != nil {
			return err
		}
	}
	return nil
}

// explain writes the lines of a configuration's problems and returns what sums
// them up.
func explain(err error, diagnostics io.Writer) error {
	var problems config.Problems
	if !errors.As(err, &problems) {
		return err
	}
	if _, err := fmt.Fprintln(diagnostics, problems); err != nil {
		return err
	}
	if len(problems) == 1 {
		return errors.New("the configuration has 1 problem")
	}
	return fmt.Errorf("the configuration has %d problems", len(problems))
}

// configShowOptions are the flags of config show.
type configShowOptions struct {
	origin bool
	format string // yaml or json
}

func newConfigShow(g *globals) *cobra.Command {
	var o configShowOptions
	cmd := &cobra.Command{
		Use:   "show",
		Short: "Show the configuration in effect",
		Long: `Show every key with the value it has after defaults, files and environment.
Credentials are bait and shown as they are.

Exit status is 0 if all is well, 1 if the configuration is wrong, 2 for wrong
usage.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			load := config.LoadOptions{Path: g.configPath, Environ: os.Environ()}
			return runConfigShow(cmd.Context(), o, load, g.out, g.err)
		},
	}
	cmd.Flags().BoolVar(&o.origin, "origin", false, "one line a key: its value and where that comes from")
	cmd.Flags().StringVar(&o.format, "format", "yaml", "yaml or json")
	return cmd
}

func runConfigShow(_ context.Context, o configShowOptions, load config.LoadOptions, out, diagnostics io.Writer) error {
	if err := checkFormat(o.format, "yaml", formatJSON); err != nil {
		return err
	}
	loaded, err := config.Load(load)
	if err != nil {
		return explain(err, diagnostics)
	}
	switch {
	case o.origin:
		return showOrigins(loaded, o.format, out)
	case o.format == "json":
		return writeIndented(out, loaded.Config)
	default:
		return loaded.Config.WriteYAML(out)
	}
}

func showOrigins(loaded *config.Loaded, format string, out io.Writer) error {
	settings, err := loaded.Settings()
	if err != nil {
		return err
	}
	if format == "json" {
		return writeIndented(out, settings)
	}
	table := tabwriter.NewWriter(out, 0, 0, 4, ' ', 0)
	for _, setting := range settings {
		fmt.Fprintf(table, "%s\t%s\n", setting, setting.Origin)
	}
	return table.Flush()
}

func writeIndented(out io.Writer, value any) error {
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetIndent("", "  ")
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		return err
	}
	_, err := out.Write(term.Document(text.Bytes()))
	return err
}

func newConfigGet(g *globals) *cobra.Command {
	return &cobra.Command{
		Use:   "get KEY",
		Short: "Print one key's value for scripts",
		Long: `Print the value that one key has after defaults, files and environment: text as
it is, sizes in bytes, durations as in the file, lists as JSON.

Exit status is 0 if all is well, 1 if the configuration is wrong, 2 for a key that
does not exist.`,
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			return runConfigGet(args[0], config.LoadOptions{Path: g.configPath, Environ: os.Environ()}, g.out, g.err)
		},
	}
}

func runConfigGet(key string, load config.LoadOptions, out, diagnostics io.Writer) error {
	loaded, err := config.Load(load)
	if err != nil {
		return explain(err, diagnostics)
	}
	value, ok := loaded.Config.Get(key)
	if !ok {
		return usageError{fmt.Errorf("there is no key %q", key)}
	}
	_, err = fmt.Fprintln(out, value)
	return err
}
