package seal

import (
	"bytes"
	"errors"
	"io/fs"

	"github.com/sandtrap/sandtrap/internal/evidence"
)

// files compares the files of a session with their sums.
func (s *subject) files(text []byte) error {
	sums, err := readSums(bytes.NewReader(text))
	if err != nil {
		s.fail("seal", sumsFile, "%v", err)
		return nil
	}
	listed := make(map[string]bool, len(sums))
	for _, one := range sums {
		listed[one.name] = true
		if !plain(one.name) || exempt(one.name) {
			s.fail("seal", sumsFile, "it names %q, which cannot be", one.name)
			continue
		}
		hash, err := hashFile(s.ctx, s.root, one.name, false)
		switch {
		case s.ctx.Err() != nil:
			return s.ctx.Err()
		case errors.Is(err, fs.ErrNotExist):
			s.fail("file", one.name, "it is missing")
		case err != nil:
			s.fail("file", one.name, "it cannot be read: %s", reason(err))
		case hash != one.hash:
			s.fail("file", one.name, "it was altered")
		}
	}
	if !listed[sealFile] || !listed[sessionJSON] {
		s.fail("seal", sumsFile, "it does not name %s and %s", sealFile, sessionJSON)
	}
	s.added(listed)
	return nil
}

// added looks for files that the sums do not name.
func (s *subject) added(listed map[string]bool) {
	names, err := covered(s.root)
	if err != nil {
		s.fail("file", "", "the directory is not as it was left: %s", reason(err))
	}
	for _, name := range names {
		if !listed[name] {
			s.fail("file", name, "it was added after the session was sealed")
		}
	}
}

// brought compares the artifacts of a session with their names.
func (s *subject) brought() error {
	f, err := evidence.OpenRegular(s.root, artifactsFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // there are none, or files has told of it
	}
	if err != nil {
		s.fail("file", artifactsFile, "it cannot be read: %s", reason(err))
		return nil
	}
	defer f.Close()
	sums, err := readSums(f)
	if err != nil {
		s.fail("seal", artifactsFile, "%v", err)
		return nil
	}
	for _, one := range sums {
		hash, ok := artifactOf(one)
		if !ok {
			s.fail("seal", artifactsFile, "it names %q, which is no artifact", one.name)
			continue
		}
		if err := s.artifact(hash); err != nil {
			return err
		}
	}
	return nil
}

// artifact compares one with its name, once.
func (s *subject) artifact(hash string) error {
	if _, known := s.artifacts[hash]; known {
		return nil // told of with the session that came first
	}
	name := evidence.ArtifactPath(hash)
	sum, err := hashFile(s.ctx, s.Store.Root(), name, false)
	if s.ctx.Err() != nil {
		return s.ctx.Err()
	}
	if len(s.artifacts) < maxArtifacts {
		s.artifacts[hash] = err == nil && sum == hash
	}
	switch {
	case errors.Is(err, fs.ErrNotExist) && s.led.artifacts[hash]:
		s.report(Finding{Level: Notice, Check: "artifact-removed", Session: s.id, File: name, Text: "it was removed on purpose"})
	case errors.Is(err, fs.ErrNotExist):
		s.fail("artifact", name, "it is missing; nobody has removed it on purpose")
	case err != nil:
		s.fail("artifact", name, "it cannot be read: %s", reason(err))
	case sum != hash:
		s.fail("artifact", name, "it was altered")
	}
	return nil
}
