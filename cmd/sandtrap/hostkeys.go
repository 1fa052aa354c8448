package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sandtrap/sandtrap/internal/sshd"
)

// hostKeysOptions are the flags of hostkeys.
type hostKeysOptions struct {
	dir  string
	from string // of an earlier version
}

func newHostKeys(g *globals) *cobra.Command {
	o := hostKeysOptions{dir: "/etc/sandtrap/hostkeys", from: "/var/lib/sandtrap/hostkeys"}
	cmd := &cobra.Command{
		Use:   "hostkeys",
		Short: "Make the host keys if there are none (started by systemd)",
		Long: `Make a host key of each kind, and take over those that an earlier version had made.
Does nothing where keys are. Whoever runs it owns them: root, not the service's account.`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error { return runHostKeys(o, g.out) },
	}
	cmd.Flags().StringVar(&o.dir, "directory", o.dir, "where they are kept")
	cmd.Flags().StringVar(&o.from, "from", o.from, "where an earlier version kept them")
	return cmd
}

func runHostKeys(o hostKeysOptions, out io.Writer) error {
	made, moved, err := sshd.MakeHostKeys(o.dir, o.from)
	if len(moved) > 0 {
		fmt.Fprintf(out, "took over host keys of %s: %s\n", o.from, strings.Join(moved, " "))
	}
	if len(made) > 0 {
		fmt.Fprintf(out, "made host keys in %s: %s\n", o.dir, strings.Join(made, " "))
	}
	return err
}
