package evidence

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"sync"
	"sync/atomic"

	"github.com/sandtrap/sandtrap/internal/term"
)

const (
	sessionFile = "session.json"
	newFile     = "session.json.new"

	// SealFile is the last file that a session gets: one that has it is sealed.
	SealFile = "SHA256SUMS.sig"

	// maxSession bounds session.json, in bytes.
	maxSession = 16 << 20
)

// errTooLarge means that a session.json is over its bound.
var errTooLarge = fmt.Errorf("session.json is larger than %d bytes", maxSession)

// Dir is one session's directory. Its methods are safe for concurrent use.
type Dir struct {
	id    string
	path  string   // below the state directory
	root  *os.Root // of the session
	store *Store
	mu    sync.Mutex  // held while session.json is replaced
	named atomic.Bool // its own name is on disk
	saved atomic.Bool // and nobody was told yet
}

// Root confines access to the directory.
func (d *Dir) Root() *os.Root { return d.root }

// Path returns the directory's path below the state directory.
func (d *Dir) Path() string { return d.path }

// ID returns the session's.
func (d *Dir) ID() string { return d.id }

// Load reads session.json.
func (d *Dir) Load() (Session, error) {
	s, err := load(d.root, d.id)
	if err != nil {
		return Session{}, fmt.Errorf("read session %s: %w", d.id, err)
	}
	return s, nil
}

// Save replaces session.json, with Version and ID filled in; when it fails the
// old one is whole. A process that dies loses nothing that was saved. A machine
// that dies may: see Sync.
func (d *Dir) Save(s Session) error {
	s.Version, s.ID = Version, d.id
	if s.Attempts == nil {
		s.Attempts = []Attempt{}
	}
	if s.Channels == nil {
		s.Channels = []Channel{}
	}
	b, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return fmt.Errorf("save session %s: %w", d.id, err)
	}
	b = term.Document(b)
	if len(b) >= maxSession {
		return fmt.Errorf("save session %s: %w", d.id, errTooLarge)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := replace(d.root, append(b, '\n')); err != nil {
		return fmt.Errorf("save session %s: %w", d.id, err)
	}
	d.saved.Store(true)
	return nil
}

// Sync waits until session.json and the names of all files beside it are on
// disk, which takes milliseconds: no attacker waits for it.
func (d *Dir) Sync() error {
	f, err := d.root.Open(sessionFile)
	if err == nil { // without the lock: a Save need not wait, and wants a Sync of its own
		err = errors.Join(f.Sync(), f.Close())
	}
	err = errors.Join(err, SyncDir(d.root, "."))
	if !d.named.Load() {
		parents := d.store.syncNames(path.Dir(d.path))
		d.named.Store(parents == nil)
		err = errors.Join(err, parents)
	}
	if err != nil {
		return fmt.Errorf("sync session %s: %w", d.id, err)
	}
	return nil
}

// Close releases the directory, and tells who wants to know that it was changed.
func (d *Dir) Close() error {
	err := d.root.Close()
	if tell := d.store.changed.Load(); tell != nil && d.saved.Swap(false) {
		(*tell)(d.path)
	}
	return err
}

// replace puts b in the place of session.json.
func replace(root *os.Root, b []byte) (err error) {
	// A crash may have left one; it is never the newest whole state.
	if err := root.Remove(newFile); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	f, err := root.OpenFile(newFile, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o640)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err = errors.Join(err, f.Close()); err == nil {
		err = root.Rename(newFile, sessionFile)
	}
	if err != nil {
		_ = root.Remove(newFile) // it may not be there, and Save overwrites it
	}
	return err
}

// SyncDir makes the names in a directory durable, see fsync(2).
func SyncDir(root *os.Root, name string) error {
	d, err := root.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// OpenRegular opens a file to read, but no symbolic link, pipe or device.
func OpenRegular(root *os.Root, name string) (*os.File, error) {
	st, err := root.Lstat(name)
	if err != nil {
		return nil, err
	}
	if !st.Mode().IsRegular() {
		return nil, &os.PathError{Op: "open", Path: name, Err: errors.New("no regular file")}
	}
	return root.Open(name)
}

// load reads session.json of the directory with the given id.
func load(root *os.Root, id string) (Session, error) {
	st, err := root.Lstat(sessionFile)
	switch {
	case err != nil:
		return Session{}, err
	case !st.Mode().IsRegular():
		return Session{}, errors.New("session.json is no regular file")
	case st.Size() > maxSession:
		return Session{}, errTooLarge
	}
	f, err := root.Open(sessionFile)
	if err != nil {
		return Session{}, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxSession))
	if err != nil {
		return Session{}, err
	}
	var s Session
	if err := json.Unmarshal(b, &s); err != nil {
		return Session{}, fmt.Errorf("read session.json: %w", err)
	}
	switch {
	case s.Version != Version:
		return Session{}, fmt.Errorf("session.json has version %d, known is %d", s.Version, Version)
	case s.ID != id:
		return Session{}, fmt.Errorf("session.json belongs to session %q", s.ID)
	}
	return s, nil
}
