package evidence

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"time"

	"github.com/oklog/ulid/v2"
)

// Usage is what a session takes on disk.
type Usage struct {
	ID     string
	Dir    string    // below the state directory
	Start  time.Time // by its id, to the millisecond
	Bytes  int64     // of all its files, but for artifacts
	Open   bool      // it goes on, or cannot be read
	Pinned bool
}

// Usages returns what each session takes, the newest first.
func (s *Store) Usages(ctx context.Context) ([]Usage, error) {
	var (
		all  []Usage
		errs []error
	)
	err := s.walk(ctx, noTime, noTime, nil, func(dir string) bool {
		u, err := s.usage(dir)
		switch {
		case errors.Is(err, fs.ErrNotExist): // removed meanwhile
		case err != nil:
			errs = append(errs, err)
		default:
			all = append(all, u)
		}
		return true
	})
	if err = errors.Join(append(errs, err)...); err != nil {
		return all, fmt.Errorf("measure sessions: %w", err)
	}
	return all, nil
}

func (s *Store) usage(dir string) (Usage, error) {
	id, err := ulid.ParseStrict(path.Base(dir))
	if err != nil {
		return Usage{}, err
	}
	u := Usage{ID: id.String(), Dir: dir, Start: id.Timestamp()}
	session, err := s.load(dir)
	u.Open = err != nil || session.State == StateOpen
	err = fs.WalkDir(s.root.FS(), dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		u.Pinned = u.Pinned || name == path.Join(dir, PinFile)
		if !d.Type().IsRegular() {
			return nil
		}
		st, err := d.Info()
		if err != nil {
			return err
		}
		u.Bytes += st.Size()
		return nil
	})
	return u, err
}

// ArtifactUsage is what an artifact takes on disk.
type ArtifactUsage struct {
	SHA256  string
	Brought time.Time // when it was brought last
	Bytes   int64
}

// ArtifactUsages returns what each artifact takes, in the order of their hashes.
func (s *Store) ArtifactUsages(ctx context.Context) ([]ArtifactUsage, error) {
	if s.root == nil {
		return nil, nil
	}
	var all []ArtifactUsage
	err := fs.WalkDir(s.root.FS(), hashesDir, func(_ string, d fs.DirEntry, err error) error {
		if err := errors.Join(ctx.Err(), err); err != nil {
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			return err
		}
		if !d.Type().IsRegular() || !IsHash(d.Name()) {
			return nil
		}
		st, err := d.Info()
		if err != nil {
			return err
		}
		all = append(all, ArtifactUsage{d.Name(), st.ModTime(), st.Size()})
		return nil
	})
	if err != nil {
		return all, fmt.Errorf("measure artifacts: %w", err)
	}
	return all, nil
}

// Brought returns when an artifact was brought last. The error wraps fs.ErrNotExist
// where it is gone.
func (s *Store) Brought(sha256 string) (time.Time, error) {
	st, err := s.root.Lstat(ArtifactPath(sha256))
	if err != nil {
		return time.Time{}, fmt.Errorf("look at artifact: %w", err)
	}
	return st.ModTime(), nil
}
