package main

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/spf13/cobra"

	"github.com/sandtrap/sandtrap/internal/evidence"
	"github.com/sandtrap/sandtrap/internal/hint"
)

func newPin(g *globals) *cobra.Command {
	return newPinVerb(g, "pin", "Keep a session, what it brought and its container, whatever their age", (*evidence.Store).Pin)
}

func newUnpin(g *globals) *cobra.Command {
	return newPinVerb(g, "unpin", "Let a session and what belongs to it go in their turn", (*evidence.Store).Unpin)
}

func newPinVerb(g *globals, verb, short string, do func(*evidence.Store, string) (string, error)) *cobra.Command {
	return &cobra.Command{
		Use:   verb + " ID...",
		Short: short,
		Long: short + `. An ID is as in "sandtrap show".

Exit status is 0 if all is well, 1 for an error, 2 for wrong usage, 4 if there is
no such session.`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(_ *cobra.Command, ids []string) error {
			return withStore(g, func(s *evidence.Store) error {
				for _, name := range ids {
					id, err := do(s, name)
					if errors.Is(err, fs.ErrPermission) {
						err = hint.Wrap(err, "only root and the account of the service may change evidence")
					}
					if err != nil {
						return err
					}
					fmt.Fprintf(g.out, "%sned %s\n", verb, id)
				}
				return nil
			})
		},
	}
}
