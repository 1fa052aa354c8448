package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/sandtrap/sandtrap/internal/evidence"
	"github.com/sandtrap/sandtrap/internal/export"
	"github.com/sandtrap/sandtrap/internal/hint"
	"github.com/sandtrap/sandtrap/internal/index"
)

// exportOptions are the flags and arguments of export.
type exportOptions struct {
	output string   // "-" for standard output
	ids    []string // as Store.Find takes them
	query  filterOptions
	asked  bool // query chooses sessions
	now    time.Time
}

func newExport(g *globals) *cobra.Command {
	var o exportOptions
	cmd := &cobra.Command{
		Use:   "export [ID...]",
		Short: "Put sessions and what they brought into one archive",
		Long: `Write sessions, with their recordings, seals and the artifacts they brought, as a
bag (BagIt, RFC 8493) in a tar file that is compressed with zstd. tar and sha256sum
open and check it.

ID is as for show, but not a number. The other options choose sessions as for list,
beside those that are named; those that are still open are left out then.

Exit status is 0 if all is well, 1 for an error, 2 for wrong usage, 4 if there
is no such session.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			o.ids, o.now = args, time.Now()
			cmd.Flags().Visit(func(f *pflag.Flag) { o.asked = o.asked || f.Name != "output" && f.Name != "config" })
			return withStore(g, func(s *evidence.Store) error {
				return runExport(cmd.Context(), s, o, g.out, g.err)
			})
		},
	}
	cmd.Flags().StringVarP(&o.output, "output", "o", "", "write to `FILE`, which must not exist; - is standard output (default sandtrap-ID.tar.zst)")
	o.query.addFlags(cmd)
	return cmd
}

// exported is a session that goes into a bag.
type exported struct {
	evidence.Session
	dir string // below the state directory
}

func runExport(ctx context.Context, s *evidence.Store, o exportOptions, out, diagnostics io.Writer) error {
	if len(o.ids) == 0 && !o.asked {
		return usageError{errors.New("name a session, or choose some, such as with --since")}
	}
	sessions, err := chooseExported(ctx, s, o, diagnostics)
	if err != nil {
		return err
	}
	name := "sandtrap-" + sessions[0].ID
	if len(sessions) > 1 {
		name = "sandtrap-" + o.now.UTC().Format("20060102T150405Z")
	}
	switch o.output {
	case "":
		o.output = name + ".tar.zst"
	case "-":
		if f, ok := out.(*os.File); ok && isTerminal(f) {
			return usageError{errors.New("an archive is no text: name a file with -o, or redirect the output")}
		}
		o.output = ""
	}
	return toFile(o.output, out, func(w io.Writer) error {
		return writeBag(ctx, w, name, s.Root(), sessions, o.now, diagnostics)
	})
}

// chooseExported finds the sessions to export, at least one.
func chooseExported(ctx context.Context, s *evidence.Store, o exportOptions, diagnostics io.Writer) (chosen []exported, err error) {
	for _, id := range o.ids {
		session, dir, err := s.Find(id)
		if err != nil {
			return nil, err
		}
		chosen = append(chosen, exported{session, relative(s, dir)})
	}
	if !o.asked {
		return chosen, nil
	}
	f, err := o.query.filter(o.now)
	if err != nil {
		return nil, err
	}
	entries, err := query(ctx, s, f, index.Options{}, diagnostics)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if e.State == evidence.StateOpen {
			continue
		}
		session, err := s.Load(e.Dir)
		if err != nil {
			return nil, fmt.Errorf("read session %s: %w", e.ID, err)
		}
		chosen = append(chosen, exported{session, e.Dir})
	}
	if len(chosen) == 0 {
		return nil, notFoundError{"no session that has ended is like that"}
	}
	return chosen, nil
}

// relative is the path of a session's directory below the state directory.
func relative(s *evidence.Store, dir string) string {
	name, err := filepath.Rel(s.Path(), dir)
	if err != nil {
		return dir // which the root refuses
	}
	return name
}

func writeBag(ctx context.Context, w io.Writer, name string, state *os.Root, sessions []exported, now time.Time, diagnostics io.Writer) error {
	bag, err := export.NewBag(w, name, now)
	if err != nil {
		return err
	}
	info := []export.Info{{Label: "Bag-Software-Agent", Value: "sandtrap " + version}}
	for _, s := range sessions {
		if err := ctx.Err(); err != nil {
			return err
		}
		missing, err := export.AddSession(bag, state, s.dir, s.Session)
		if errors.Is(err, export.ErrOpen) {
			return hint.Wrap(err, "wait until it has ended, or end it: sandtrap terminate")
		}
		if err != nil {
			return err
		}
		for _, hash := range missing {
			fmt.Fprintf(diagnostics, "sandtrap: artifact %s of session %s is not there any more\n", hash, s.ID)
		}
		info = append(info, export.Info{Label: "External-Identifier", Value: s.ID})
	}
	return bag.Close(info...)
}
