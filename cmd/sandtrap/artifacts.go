package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/sandtrap/sandtrap/internal/evidence"
	"github.com/sandtrap/sandtrap/internal/index"
	"github.com/sandtrap/sandtrap/internal/term"
)

// artifactOptions are the flags of artifacts.
type artifactOptions struct {
	tableFlags
	filter filterOptions
	now    time.Time
}

func newArtifacts(g *globals) *cobra.Command {
	var o artifactOptions
	cmd := &cobra.Command{
		Use:   "artifacts",
		Short: "List files that sessions brought or left, the newest last",
		Long: `List the files that sessions transferred, or that were found in their targets,
each hash once: when it was first seen, in how many sessions, how large it is
and what it was called first. The size is that of the content that was kept, - if
none was. "sandtrap list --artifact HASH" lists the sessions.

Filters choose sessions, as those of "sandtrap list" do, and by that the files
that are counted.

Exit status is 0 if all is well, 1 for an error, 2 for wrong usage, 130 if
interrupted.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.now = time.Now()
			return withStore(g, func(s *evidence.Store) error {
				return runArtifacts(cmd.Context(), s, o, g.out, g.err)
			})
		},
	}
	o.tableFlags.add(cmd.Flags(), 0, "only the newest `N` files")
	o.filter.addFlags(cmd)
	return cmd
}

// artifact is one content and where it was met.
type artifact struct {
	SHA256   string        `json:"sha256"`
	First    time.Time     `json:"first_seen"`
	Last     time.Time     `json:"last_seen"`
	Sessions int           `json:"sessions"`
	Session  string        `json:"first_session"`
	Name     evidence.Text `json:"name"`
	Size     *int64        `json:"size_bytes,omitempty"` // nil: it was not kept
	Path     string        `json:"path,omitempty"`       // below the state directory
}

func runArtifacts(ctx context.Context, s *evidence.Store, o artifactOptions, out, diagnostics io.Writer) error {
	f, err := o.filter.filter(o.now)
	if err = cmp.Or(err, o.check()); err != nil {
		return err
	}
	all := artifactList{prefix: f.Artifact, met: map[string]*artifact{}}
	found, err := index.Each(ctx, s, f, all.add)
	if err != nil {
		return err
	}
	tellProblems(found, diagnostics)
	list := all.sorted(o.lines)
	if err := addSizes(s.Path(), list); err != nil {
		return err
	}
	if o.format == formatJSON {
		return writeIndented(out, list)
	}
	t := term.NewTable(term.Column{Heading: "SHA256"}, term.Column{Heading: "FIRST SEEN"}, term.Column{Heading: "SESSIONS"},
		term.Column{Heading: "SIZE"}, term.Column{Heading: "NAME", Width: 60})
	for _, a := range list {
		size := "-"
		if a.Size != nil {
			size = byteWords(*a.Size)
		}
		t.Add(a.SHA256, a.First.In(o.now.Location()).Format(time.DateTime), fmt.Sprint(a.Sessions), size, string(a.Name))
	}
	return t.Print(out)
}

// artifactList collects artifacts. There is one for each content, which disk space
// bounds, or each transfer that a session remembers.
type artifactList struct {
	prefix string
	met    map[string]*artifact
}

func (l *artifactList) add(e *index.Entry) {
	for _, f := range e.Files {
		if len(f.SHA256) < len(l.prefix) || f.SHA256[:len(l.prefix)] != l.prefix {
			continue
		}
		a := l.met[f.SHA256]
		if a == nil {
			hash := string([]byte(f.SHA256)) // not a part of the record
			a = &artifact{SHA256: hash, First: f.Time, Last: f.Time, Session: e.ID, Name: evidence.Text([]byte(f.Name))}
			l.met[hash] = a
		}
		a.Sessions++
		if f.Time.Before(a.First) {
			a.First, a.Session, a.Name = f.Time, e.ID, evidence.Text([]byte(f.Name))
		}
		if f.Time.After(a.Last) {
			a.Last = f.Time
		}
	}
}

// sorted returns the newest so many, the newest last.
func (l *artifactList) sorted(limit int) []*artifact {
	list := make([]*artifact, 0, len(l.met))
	for _, a := range l.met {
		list = append(list, a)
	}
	slices.SortFunc(list, func(a, b *artifact) int { return cmp.Or(a.First.Compare(b.First), cmp.Compare(a.SHA256, b.SHA256)) })
	if limit > 0 && len(list) > limit {
		list = list[len(list)-limit:]
	}
	return list
}

// addSizes looks at what was kept.
func addSizes(state string, list []*artifact) error {
	if len(list) == 0 {
		return nil
	}
	root, err := os.OpenRoot(state)
	if err != nil {
		return fmt.Errorf("look at artifacts: %w", err)
	}
	defer root.Close()
	for _, a := range list {
		name := filepath.FromSlash(evidence.ArtifactPath(a.SHA256))
		st, err := root.Lstat(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return fmt.Errorf("look at artifacts: %w", err)
		}
		size := st.Size()
		a.Size, a.Path = &size, name
	}
	return nil
}
