package export

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/sandtrap/sandtrap/internal/evidence"
)

// ErrOpen means that a session still goes on, so that nothing of it is final.
var ErrOpen = errors.New("session is still open")

// AddSession adds a session's directory and the artifacts it brought, below the names
// that they have in the state directory. dir is the session's directory below that.
// It returns the artifacts that are not there any more.
func AddSession(b *Bag, state *os.Root, dir string, s evidence.Session) (missing []string, err error) {
	if s.State == evidence.StateOpen {
		return nil, fmt.Errorf("export session %s: %w", s.ID, ErrOpen)
	}
	err = fs.WalkDir(state.FS(), dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err // what else is there is not ours
		}
		return addFile(b, state, name)
	})
	if err != nil {
		return nil, fmt.Errorf("export session %s: %w", s.ID, err)
	}
	root, err := state.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("export session %s: %w", s.ID, err)
	}
	defer root.Close()
	hashes, err := evidence.Artifacts(root, s)
	if err != nil {
		return nil, fmt.Errorf("export session %s: %w", s.ID, err)
	}
	for _, hash := range hashes {
		name := evidence.ArtifactPath(hash)
		switch err := addFile(b, state, name); {
		case errors.Is(err, fs.ErrNotExist):
			missing = append(missing, hash)
		case err != nil:
			return missing, fmt.Errorf("export session %s: %w", s.ID, err)
		}
	}
	return missing, nil
}

func addFile(b *Bag, state *os.Root, name string) error {
	if b.Has(name) {
		return nil
	}
	f, err := evidence.OpenRegular(state, name)
	if err != nil {
		return err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return err
	}
	return b.Add(name, st.Size(), st.ModTime(), f)
}
