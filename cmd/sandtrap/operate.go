package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sandtrap/sandtrap/internal/control"
	"github.com/sandtrap/sandtrap/internal/term"
)

func newTerminate(g *globals) *cobra.Command {
	return &cobra.Command{
		Use:   "terminate ID...",
		Short: "End live sessions",
		Long: `End live sessions: to the client the connection is lost, as from a server whose
process for it was killed. The evidence is completed and kept. An ID is that of a live
session, or at least its first four characters.

Exit status is 0 if all is well, 1 for an error, 2 for wrong usage, 4 if there is
no such live session, 5 if the service does not run, 130 if interrupted.`,
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: completeLive(g),
		RunE: func(cmd *cobra.Command, ids []string) error {
			return withService(g, func(c *control.Client) error {
				return runTerminate(cmd.Context(), c, ids, g.out)
			})
		},
	}
}

// runTerminate ends sessions one after the other; it goes on after an error.
func runTerminate(ctx context.Context, c *control.Client, ids []string, out io.Writer) error {
	sessions, err := c.Sessions(ctx)
	if err != nil {
		return err
	}
	var failed error
	for _, name := range ids {
		session, err := chooseLive(sessions, name)
		if name == "" {
			err = usageError{errors.New("a session id is needed")}
		}
		var done control.Terminated
		if err == nil {
			done, err = c.Terminate(ctx, session.ID)
		}
		switch {
		case err != nil:
			failed = errors.Join(failed, err)
		case done.Closed:
			fmt.Fprintf(out, "terminated %s\n", done.ID)
		default:
			fmt.Fprintf(out, "terminating %s, whose evidence is not complete yet\n", done.ID)
		}
	}
	return failed
}

func newReload(g *globals) *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use:   "reload",
		Short: "Have the running service read its configuration again",
		Long: `Have the running service read its configuration again, and tell what counts now and
what needs a restart. A configuration with mistakes changes nothing: what is wrong is
told and the exit status is 1.

` + liveExit,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return withService(g, func(c *control.Client) error {
				return runReload(cmd.Context(), c, format, g.out)
			})
		},
	}
	cmd.Flags().StringVar(&format, "format", formatText, "text or json")
	return cmd
}

func runReload(ctx context.Context, c *control.Client, format string, out io.Writer) error {
	if err := checkFormat(format, formatText, formatJSON); err != nil {
		return err
	}
	r, err := c.Reload(ctx)
	if err != nil {
		return err
	}
	if format == formatJSON {
		if err := writeIndented(out, r); err != nil {
			return err
		}
	} else if r.Error == "" {
		fmt.Fprintf(out, "applied: %s\nrestart needed: %s\n", orNothing(r.Applied), orNothing(r.RestartNeeded))
	}
	if r.Error != "" {
		return errors.New("nothing was changed: " + r.Error)
	}
	return nil
}

func orNothing(names []string) string {
	if len(names) == 0 {
		return "nothing"
	}
	return strings.Join(names, " ")
}

func newPool(g *globals) *cobra.Command {
	pool := &cobra.Command{
		Use:   "pool",
		Short: "Look at the targets of the running service",
		Args:  cobra.NoArgs,
		RunE:  func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	pool.AddCommand(
		newPoolVerb(g, "status", "Tell how many targets there are", "Tell how many targets there are in each state.",
			func(ctx context.Context, c *control.Client) (control.Pool, error) {
				s, err := c.Status(ctx)
				return s.Pool, err
			}),
		newPoolVerb(g, "drain", "Remove the warm targets and make no others",
			`Remove the warm targets and make no others until "sandtrap pool refill" or a restart.
Sessions that have a target keep it; new ones get none, which an attacker sees.`,
			func(ctx context.Context, c *control.Client) (control.Pool, error) { return c.Drain(ctx) }),
		newPoolVerb(g, "refill", "Make the missing targets now",
			`Make the missing targets now: after "sandtrap pool drain", or where something that kept
them from being made has been repaired.`,
			func(ctx context.Context, c *control.Client) (control.Pool, error) { return c.Refill(ctx) }))
	return pool
}

func newPoolVerb(g *globals, verb, short, long string, ask func(context.Context, *control.Client) (control.Pool, error)) *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use: verb, Short: short, Long: long + "\n\n" + liveExit,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := checkFormat(format, formatTable, formatJSON); err != nil {
				return err
			}
			return withService(g, func(c *control.Client) error {
				p, err := ask(cmd.Context(), c)
				if err != nil {
					return err
				}
				return printPool(p, format, g.out)
			})
		},
	}
	cmd.Flags().StringVar(&format, "format", formatTable, "table or json")
	return cmd
}

func printPool(p control.Pool, format string, out io.Writer) error {
	if format == formatJSON {
		return writeIndented(out, p)
	}
	t := term.NewTable(term.Column{Heading: "TARGET"}, term.Column{Heading: "WARM"}, term.Column{Heading: "GOAL"}, term.Column{Heading: "LEASED"},
		term.Column{Heading: "STOPPING"}, term.Column{Heading: "KEPT"}, term.Column{Heading: "WAITING"}, term.Column{Heading: "STATE"})
	n := func(v int) string { return fmt.Sprint(v) }
	for _, one := range p.Targets {
		t.Add(one.Name, n(one.Warm), n(one.Goal), n(one.Leased), n(one.Stopping), n(one.Retained), n(one.Waiting), stateOf(one.Stock, p.Drained))
	}
	return t.Print(out)
}

func stateOf(s control.Stock, drained bool) string {
	switch {
	case drained:
		return "drained"
	case s.Failure != "":
		return "failing: " + s.Failure
	case s.Warm >= s.Goal:
		return "full"
	}
	return "filling"
}

func newMetrics(g *globals) *cobra.Command {
	return &cobra.Command{
		Use:   "metrics",
		Short: "Print the metrics of the running service",
		Long: `Print the metrics of the running service in the text format of Prometheus, for the
textfile collector of its node exporter.

` + liveExit,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return withService(g, func(c *control.Client) error {
				text, err := c.Metrics(cmd.Context())
				if err != nil {
					return err
				}
				_, err = g.out.Write(text)
				return err
			})
		},
	}
}
