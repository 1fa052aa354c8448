package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/sandtrap/sandtrap/internal/seal"
)

// allowedSigners is where the package has the public keys of all seals.
const allowedSigners = "/etc/sandtrap/" + seal.AllowedSigners

// sealKeyOptions are the flags of sealkey.
type sealKeyOptions struct {
	dir     string
	signers string
	rotate  bool
}

func newSealKey(g *globals) *cobra.Command {
	o := sealKeyOptions{dir: "/etc/sandtrap/sealkey", signers: allowedSigners}
	cmd := &cobra.Command{
		Use:   "sealkey",
		Short: "Make the key that seals evidence if there is none (started by systemd)",
		Long: `Make the Ed25519 key that signs the evidence of every session, and add its public half
to the file of allowed signers. Does nothing where a key is. Whoever runs it owns it:
root, not the service's account.`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error { return runSealKey(o, g.out) },
	}
	cmd.Flags().StringVar(&o.dir, "directory", o.dir, "where it is kept")
	cmd.Flags().StringVar(&o.signers, "allowed-signers", o.signers, "file of public keys, to which its own is added")
	cmd.Flags().BoolVar(&o.rotate, "rotate", false, "make a new one in its place, which takes effect when the service is restarted")
	return cmd
}

func runSealKey(o sealKeyOptions, out io.Writer) error {
	made, err := seal.MakeKey(o.dir, o.signers, o.rotate)
	if made {
		fmt.Fprintf(out, "made a key that seals evidence in %s; %s has its public half\n", o.dir, o.signers)
	}
	return err
}
