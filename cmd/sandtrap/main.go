// Command sandtrap is an SSH honeypot that gives every attacker a container of
// their own. The service is "sandtrap serve"; every other verb reads what it
// recorded. See sandtrap(1).
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/sandtrap/sandtrap/internal/control"
	"github.com/sandtrap/sandtrap/internal/evidence"
	"github.com/sandtrap/sandtrap/internal/hint"
	"github.com/sandtrap/sandtrap/internal/term"
)

// Exit codes, the same for every verb; see sandtrap(1), EXIT STATUS.
const (
	exitOK          = 0
	exitError       = 1
	exitUsage       = 2
	exitNotFound    = 4
	exitUnreachable = 5
	exitUnverified  = 6
	exitInterrupted = 130
)

// globals are what every verb shares.
type globals struct {
	configPath string
	out, err   io.Writer
}

func main() {
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

// run executes one command line. Output goes to out; errors, one line each with
// at most one hint, go to err.
func run(args []string, out, err io.Writer) int {
	g := &globals{out: out, err: err}
	root := newRoot(g)
	root.SetArgs(args)
	root.SetOut(out)
	root.SetErr(err)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	return conclude(root.ExecuteContext(ctx), err)
}

// conclude writes what went wrong, if anything did, and returns the exit code.
func conclude(failure error, err io.Writer) int {
	if failure != nil && !errors.Is(failure, context.Canceled) {
		fmt.Fprintf(err, "sandtrap: %s\n", term.Printable(failure.Error()))
		if text := hint.Of(failure); text != "" {
			fmt.Fprintf(err, "hint: %s\n", term.Printable(text))
		}
	}
	return exitCode(failure)
}

// usageError marks a command line that cannot be understood.
type usageError struct{ error }

func (u usageError) Unwrap() error { return u.error }

func exitCode(err error) int {
	var usage usageError
	switch {
	case err == nil:
		return exitOK
	case errors.Is(err, context.Canceled):
		return exitInterrupted
	case errors.Is(err, evidence.ErrNotFound), errors.Is(err, control.ErrNotFound):
		return exitNotFound
	case errors.Is(err, errUnverified):
		return exitUnverified
	case errors.Is(err, control.ErrUnreachable):
		return exitUnreachable
	case errors.As(err, &usage):
		return exitUsage
	default:
		return exitError
	}
}

func newRoot(g *globals) *cobra.Command {
	root := &cobra.Command{
		Use:           "sandtrap",
		Short:         "SSH honeypot that gives every attacker a container of their own",
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          cobra.NoArgs,
		RunE:          func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	root.PersistentFlags().StringVar(&g.configPath, "config", "", "configuration file (default /etc/sandtrap/sandtrap.yaml)")
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	root.AddCommand(newServe(g), newHostKeys(g), newSealKey(g),
		newList(g), newArtifacts(g), newStats(g), newIndex(g), newShow(g), newReplay(g), newReport(g), newExport(g), newVerify(g), newEvents(g), newPin(g), newUnpin(g), newGC(g),
		newStatus(g), newWatch(g), newTerminate(g), newReload(g), newPool(g), newMetrics(g),
		newConfig(g), newDoctor(g), newVersion(g))
	asUsageErrors(root)
	completeIDs(root, g)
	return root
}

// asUsageErrors gives wrong arguments the exit code of wrong flags.
func asUsageErrors(c *cobra.Command) {
	if check := c.Args; check != nil {
		c.Args = func(c *cobra.Command, args []string) error {
			if err := check(c, args); err != nil {
				return usageError{err}
			}
			return nil
		}
	}
	for _, sub := range c.Commands() {
		asUsageErrors(sub)
	}
}
