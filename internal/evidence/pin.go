package evidence

import (
	"errors"
	"fmt"
	"io/fs"
	"path"

	"github.com/oklog/ulid/v2"
)

// PinFile marks a session that is kept, with its container and what it brought, whatever
// their age. It comes and goes, and no seal covers it.
const PinFile = "pinned"

// Pin keeps a session, with its container and what it brought, from being removed to make
// room, until Unpin. name is as for Find; the session's id is returned. Pinning twice is no
// error.
func (s *Store) Pin(name string) (id string, err error) {
	return s.atPin(name, func(pin string) error {
		f, err := s.root.Create(pin)
		if err != nil {
			return err
		}
		return f.Close()
	})
}

// Unpin takes back Pin. A session that is not pinned is no error.
func (s *Store) Unpin(name string) (id string, err error) {
	return s.atPin(name, func(pin string) error {
		if err := s.root.Remove(pin); !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	})
}

// atPin calls do with the path of a session's pin below the state directory.
func (s *Store) atPin(name string, do func(pin string) error) (id string, err error) {
	session, _, err := s.Find(name)
	if err != nil {
		return "", err
	}
	if err := do(path.Join(dirOf(session), PinFile)); err != nil {
		return "", fmt.Errorf("pin or unpin session %s: %w", session.ID, err)
	}
	return session.ID, nil
}

func dirOf(s Session) string {
	return path.Join(sessionsDir, dayOf(s.Start), s.ID)
}

// Keeps reports whether the container of a session must not be removed: it is
// pinned, or its evidence is not complete. A session that cannot be read is kept;
// one that is not there at all has nothing to keep.
func (s *Store) Keeps(id string) bool {
	if !isID(id) {
		return false
	}
	// The directory is named after the start, which is the id's own time.
	parsed, _ := ulid.ParseStrict(id)
	session, err := s.load(dirOf(Session{ID: id, Start: parsed.Timestamp()}))
	if errors.Is(err, fs.ErrNotExist) {
		return false
	}
	if err != nil || session.State == StateOpen {
		return true
	}
	_, err = s.root.Lstat(path.Join(dirOf(session), PinFile))
	return err == nil
}
