package evidence

import (
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path"
	"strings"
	"time"
)

// Content that attackers transferred lies in artifacts/sha256/XX/HASH, once
// whoever sent it how often; XX is the beginning of its hash. What is still on its
// way lies in artifacts/tmp.
const (
	artifactsDir = "artifacts"
	hashesDir    = artifactsDir + "/sha256"
	tempsDir     = artifactsDir + "/tmp"
)

// IsHash reports whether s is what artifacts are called: SHA-256 in lower-case
// hexadecimal.
func IsHash(s string) bool {
	return len(s) == 2*sha256.Size && strings.Trim(s, "0123456789abcdef") == ""
}

// ArtifactPath returns the path below the state directory of the artifact with a
// hash in lower-case hexadecimal.
func ArtifactPath(sha256 string) string {
	return path.Join(hashesDir, sha256[:min(2, len(sha256))], sha256)
}

// Artifact is content that is being written. It implements transfer.Temp; one
// goroutine at a time may change it.
type Artifact struct {
	store *Store
	name  string
	file  *os.File
}

// NewArtifact makes an empty artifact.
func (s *Store) NewArtifact() (*Artifact, error) {
	name := path.Join(tempsDir, rand.Text())
	f, err := s.root.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o640)
	if err != nil {
		return nil, fmt.Errorf("make artifact: %w", err)
	}
	return &Artifact{store: s, name: name, file: f}, nil
}

// Write appends p.
func (a *Artifact) Write(p []byte) (int, error) {
	n, err := a.file.Write(p)
	if err != nil {
		return n, fmt.Errorf("write artifact: %w", err)
	}
	return n, nil
}

// ReadAt reads what was written.
func (a *Artifact) ReadAt(p []byte, offset int64) (int, error) { return a.file.ReadAt(p, offset) }

// Discard removes the artifact.
func (a *Artifact) Discard() {
	a.file.Close()
	_ = a.store.root.Remove(a.name) // the next start does, if this fails
}

// Commit puts the first size bytes into the store under their hash. Content that
// is there already stays, unless a power failure has spoilt it. Nobody waits for the
// disk, see SyncArtifact.
func (a *Artifact) Commit(hash string, size int64) error {
	if err := a.commit(hash, size); err != nil {
		a.Discard()
		return fmt.Errorf("keep artifact: %w", err)
	}
	return nil
}

func (a *Artifact) commit(hash string, size int64) error {
	if !IsHash(hash) {
		return fmt.Errorf("%q is no hash", hash)
	}
	root, name := a.store.root, ArtifactPath(hash)
	if st, err := root.Lstat(name); err == nil && st.Mode().IsRegular() && st.Size() == size {
		a.Discard()
		now := time.Now()
		return root.Chtimes(name, now, now) // its age counts from when it was brought last
	}
	if err := root.Mkdir(path.Dir(name), 0o750); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	if err := errors.Join(a.file.Truncate(size), a.file.Close()); err != nil {
		return err
	}
	return root.Rename(a.name, name)
}

// SyncArtifact waits until an artifact and its name are on disk.
func (s *Store) SyncArtifact(sha256 string) error {
	name := ArtifactPath(sha256)
	f, err := s.root.Open(name)
	if err != nil {
		return fmt.Errorf("sync artifact: %w", err)
	}
	if err := errors.Join(f.Sync(), f.Close(), SyncDir(s.root, path.Dir(name)), SyncDir(s.root, hashesDir)); err != nil {
		return fmt.Errorf("sync artifact: %w", err)
	}
	return nil
}

// makeArtifacts makes the directories of artifacts.
func (s *Store) makeArtifacts() error {
	for _, dir := range []string{hashesDir, tempsDir} {
		if err := s.root.MkdirAll(dir, 0o750); err != nil {
			return err
		}
	}
	return nil
}

// removeTemps removes what a crash left of artifacts.
func (s *Store) removeTemps() error {
	d, err := s.root.Open(tempsDir)
	if err != nil {
		return fmt.Errorf("remove unfinished artifacts: %w", err)
	}
	defer d.Close()
	names, err := d.Readdirnames(-1)
	for _, name := range names {
		err = errors.Join(err, s.root.Remove(path.Join(tempsDir, name)))
	}
	if err != nil {
		return fmt.Errorf("remove unfinished artifacts: %w", err)
	}
	return nil
}
