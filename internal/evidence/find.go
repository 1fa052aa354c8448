package evidence

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/oklog/ulid/v2"
)

// minPrefix is how much of an id is needed to name a session.
const minPrefix = 4

// maxCandidates is how many sessions an ambiguous prefix is answered with.
const maxCandidates = 5

// ErrNotFound means that no session answers to a name.
var ErrNotFound = errors.New("no such session")

// ErrAmbiguous means that several sessions answer to a name.
var ErrAmbiguous = errors.New("more than one session")

// ErrTooShort means that too little of an id was given to search for.
var ErrTooShort = fmt.Errorf("at least %d characters of the session id are needed", minPrefix)

// Find returns the session a name stands for, and the path of its directory.
// A name is an id, the beginning of one in any case, or -1 for the latest
// session, -2 for the one before and so on. The error wraps ErrNotFound,
// ErrAmbiguous or ErrTooShort, or says why the session cannot be read.
func (s *Store) Find(name string) (Session, string, error) {
	if back, err := strconv.Atoi(name); err == nil && back < 0 && strings.HasPrefix(name, "-") {
		return s.findBack(-back)
	}
	if len(name) < minPrefix {
		return Session{}, "", fmt.Errorf("find session %q: %w", name, ErrTooShort)
	}
	found, err := s.findPrefix(strings.ToUpper(name))
	switch {
	case err != nil:
		return Session{}, "", fmt.Errorf("find session %q: %w", name, err)
	case len(found) == 0:
		return Session{}, "", fmt.Errorf("find session %q: %w", name, ErrNotFound)
	case len(found) > 1:
		return Session{}, "", fmt.Errorf("find session %q: %w: %s", name, ErrAmbiguous, candidates(found))
	}
	session, err := s.load(found[0])
	if errors.Is(err, errForeign) {
		return Session{}, "", fmt.Errorf("find session %q: %w", name, ErrNotFound)
	}
	if err != nil {
		return Session{}, "", fmt.Errorf("read session %s: %w", filepath.Base(found[0]), err)
	}
	return session, filepath.Join(s.path, found[0]), nil
}

// findPrefix returns the directories of the sessions whose ids begin so, not many more
// than maxCandidates. They lie in the directories of the days that such ids are of.
func (s *Store) findPrefix(prefix string) (found []string, err error) {
	missing := ulid.EncodedSize - len(prefix)
	if missing < 0 || s.root == nil {
		return nil, nil
	}
	first, err := ulid.ParseStrict(prefix + strings.Repeat("0", missing))
	if err != nil {
		return nil, nil // no id begins so
	}
	if missing == 0 {
		dir := dirOf(Session{ID: prefix, Start: first.Timestamp()})
		switch _, err := s.root.Lstat(dir); {
		case errors.Is(err, os.ErrNotExist):
			return nil, nil
		case err != nil:
			return nil, err
		}
		return []string{dir}, nil
	}
	last, _ := ulid.ParseStrict(prefix + strings.Repeat("Z", missing)) // first is one
	err = s.walk(context.Background(), first.Timestamp(), last.Timestamp(), nil, func(dir string) bool {
		if strings.HasPrefix(filepath.Base(dir), prefix) {
			found = append(found, dir)
		}
		return len(found) <= maxCandidates
	})
	return found, err
}

// findBack returns the n-th session from the end of those that can be read.
func (s *Store) findBack(n int) (Session, string, error) {
	var (
		session Session
		dir     string
		left    = n
	)
	err := s.walk(context.Background(), noTime, noTime, nil, func(d string) bool {
		one, err := s.load(d)
		if err != nil {
			return true
		}
		if left--; left == 0 {
			session, dir = one, filepath.Join(s.path, d)
		}
		return left > 0
	})
	switch {
	case err != nil:
		return Session{}, "", fmt.Errorf("find session -%d: %w", n, err)
	case dir == "":
		return Session{}, "", fmt.Errorf("find session -%d: %w", n, ErrNotFound)
	}
	return session, dir, nil
}

func candidates(dirs []string) string {
	var ids []string
	for _, d := range dirs[:min(len(dirs), maxCandidates)] {
		ids = append(ids, filepath.Base(d))
	}
	if len(dirs) > maxCandidates {
		ids = append(ids, "…")
	}
	return strings.Join(ids, ", ")
}
