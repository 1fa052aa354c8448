package evidence

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/oklog/ulid/v2"
	"golang.org/x/sys/unix"
)

const sessionsDir = "sessions"

// Store is the sessions below one state directory, each in
// sessions/YYYY/MM/DD/ULID by the UTC date of its start. Its methods are safe
// for concurrent use, and by several processes as far as they only read.
type Store struct {
	path string
	root *os.Root // nil: nothing was ever recorded here

	mu  sync.Mutex // guards day
	day string     // directory whose own name, and those of its parents, are on disk

	// changed is told the directory of a session when whoever changed it is done.
	changed atomic.Pointer[func(dir string)]
}

// Open opens the store in a state directory for writing and makes what is
// missing below it.
func Open(dir string) (*Store, error) {
	s, err := open(dir)
	if err != nil {
		return nil, err
	}
	if err := s.root.Mkdir(sessionsDir, 0o750); err != nil && !errors.Is(err, os.ErrExist) {
		s.Close()
		return nil, fmt.Errorf("open evidence store: %w", err)
	}
	if err := s.makeArtifacts(); err != nil {
		s.Close()
		return nil, fmt.Errorf("open evidence store: %w", err)
	}
	return s, nil
}

// OpenReadOnly opens the store for reading and makes nothing, so that it can be
// used beside the service and by members of its group. A state directory that
// is not there is a store without sessions.
func OpenReadOnly(dir string) (*Store, error) {
	s, err := open(dir)
	if errors.Is(err, os.ErrNotExist) {
		return &Store{path: dir}, nil
	}
	return s, err
}

func open(dir string) (*Store, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("open evidence store: %w", err)
	}
	root, err := os.OpenRoot(abs)
	if err != nil {
		return nil, fmt.Errorf("open evidence store: %w", err)
	}
	return &Store{path: abs, root: root}, nil
}

// Root confines access to the state directory; nil where nothing was ever recorded.
func (s *Store) Root() *os.Root { return s.root }

// Path is the state directory.
func (s *Store) Path() string { return s.path }

// OnChange has changed called with the directory of a session, below the state
// directory, each time that somebody has saved it and closed its Dir. It is called on
// their goroutine and must not wait.
func (s *Store) OnChange(changed func(dir string)) { s.changed.Store(&changed) }

// Free is how much is free for us on the file system of the state directory, in bytes;
// see statvfs(3).
func (s *Store) Free() (int64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(s.path, &st); err != nil {
		return 0, fmt.Errorf("look at the file system of the evidence store: %w", err)
	}
	return int64(min(st.Bavail, math.MaxInt64/uint64(st.Frsize))) * st.Frsize, nil
}

// Close releases the store. Directories opened from it stay usable, but for Sync.
func (s *Store) Close() error {
	if s.root == nil {
		return nil
	}
	return s.root.Close()
}

// Create makes the directory of a new session. The id is a ULID of the caller's.
func (s *Store) Create(id string, start time.Time) (*Dir, error) {
	if !isID(id) {
		return nil, fmt.Errorf("create session directory: %q is no ULID", id)
	}
	day := path.Join(sessionsDir, dayOf(start))
	if err := s.root.MkdirAll(day, 0o750); err != nil {
		return nil, fmt.Errorf("create session directory: %w", err)
	}
	dir := path.Join(day, id)
	if err := s.root.Mkdir(dir, 0o750); err != nil {
		return nil, fmt.Errorf("create session directory: %w", err)
	}
	return s.openDir(dir)
}

// syncNames brings the names in the directory of a day to the disk, and its own name
// if that has not been done.
func (s *Store) syncNames(day string) error {
	err := SyncDir(s.root, day)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.day == day {
		return err
	}
	for parent := path.Dir(day); parent != "."; parent = path.Dir(parent) {
		err = errors.Join(err, SyncDir(s.root, parent))
	}
	if err == nil {
		s.day = day
	}
	return err
}

// OpenDir opens a session's directory by its path below the state directory, which is
// Dir.Path. The error wraps fs.ErrNotExist where it is gone.
func (s *Store) OpenDir(dir string) (*Dir, error) { return s.openDir(dir) }

// PathOf returns the path below the state directory of the session with an id.
func PathOf(id string) (string, error) {
	if !isID(id) {
		return "", fmt.Errorf("%q is no ULID", id)
	}
	parsed, _ := ulid.ParseStrict(id)
	return dirOf(Session{ID: id, Start: parsed.Timestamp()}), nil
}

// openDir opens a session's directory by its path below the state directory.
func (s *Store) openDir(dir string) (*Dir, error) {
	st, err := s.root.Lstat(dir)
	if err != nil {
		return nil, fmt.Errorf("open session directory: %w", err)
	}
	if !st.IsDir() {
		return nil, fmt.Errorf("open session directory: %w", errForeign)
	}
	root, err := s.root.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("open session directory: %w", err)
	}
	return &Dir{id: path.Base(dir), path: dir, root: root, store: s}, nil
}

// load reads the session in a directory below the state directory.
func (s *Store) load(dir string) (Session, error) {
	d, err := s.openDir(dir)
	if err != nil {
		return Session{}, err
	}
	defer d.Close()
	return load(d.root, d.id)
}

// Load reads the session in a directory below the state directory.
func (s *Store) Load(dir string) (Session, error) { return s.load(dir) }

// isID reports whether name is a ULID in its canonical spelling. A list asks this of
// every session, so it makes nothing.
func isID(name string) bool {
	if len(name) != ulid.EncodedSize || name[0] > '7' {
		return false
	}
	for i := range len(name) {
		switch c := name[i]; {
		case c >= '0' && c <= '9':
		case c < 'A' || c > 'Z' || c == 'I' || c == 'L' || c == 'O' || c == 'U':
			return false
		}
	}
	return true
}
