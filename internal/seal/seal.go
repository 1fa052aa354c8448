// Package seal closes the evidence of sessions that have ended, so that anyone can tell
// later whether something of it was altered or is missing. Directories of closed
// sessions come in; compressed recordings, checksums, signatures and an entry in a
// chain over all sessions go out. Verify is the way back. docs/evidence.md describes
// the files and what they prove.
package seal

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"time"

	"github.com/hiddeco/sshsig"
	"golang.org/x/crypto/ssh"

	"github.com/sandtrap/sandtrap/internal/evidence"
	"github.com/sandtrap/sandtrap/internal/record"
)

// version is that of seal.json and of the chain.
const version = 1

// draftSuffix follows the names of files that are being written.
const draftSuffix = ".new"

const maxSeal = 1 << 20 // bytes of seal.json

// maxMissing bounds Seal.MissingArtifacts.
const maxMissing = 1000

// Seal is seal.json: the session's place among all others.
type Seal struct {
	Version  int       `json:"version"`
	Session  string    `json:"session"`
	Sequence int64     `json:"sequence"` // of its entry in the chain
	Time     time.Time `json:"time"`     // when it was sealed
	// Previous is the session that was sealed before; nil for the first.
	Previous *Previous `json:"previous,omitempty"`
	Chain    string    `json:"chain,omitempty"` // hash of the chain's line before its own
	Key      string    `json:"key"`             // fingerprint of the key that signs
	SandTrap string    `json:"sandtrap"`        // version of the program
	// MissingArtifacts are those that the session names and that are lost.
	MissingArtifacts []string `json:"missing_artifacts,omitempty"`
}

// Previous is an earlier sealed session.
type Previous struct {
	Sequence int64  `json:"sequence"`
	Session  string `json:"session"`
	SHA256   string `json:"sha256"` // of its SHA256SUMS
}

// Errors of sessions that cannot be sealed now.
var (
	// ErrOpen means that the session goes on.
	ErrOpen = errors.New("the session is open")
	// ErrSealedBefore means that the chain has another seal of the session: what is
	// there was altered after it had been sealed.
	ErrSealedBefore = errors.New("the session was sealed before, and is not what it was")
)

// sealDir seals one session by the path of its directory. Whatever ends it, at any
// step, a later call goes on. Where the session is sealed already nothing is done, and
// the hash of the entry is empty. before is what the chain says about the session, or
// nil to have it looked up where there was an earlier try.
func (s *Sealer) sealDir(ctx context.Context, path string, before *found) (session evidence.Session, e Entry, hash string, err error) {
	if s.store.Sealed(path) {
		return session, e, "", nil
	}
	d, err := s.store.OpenDir(path)
	if err != nil {
		return session, e, "", err
	}
	defer d.Close()
	session, err = d.Load()
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return session, e, "", err
	}
	if err != nil || session.State == evidence.StateOpen { // or it begins right now
		return session, e, "", ErrOpen
	}
	if before == nil {
		if before, err = s.earlier(d); err != nil {
			return session, e, "", err
		}
	}
	if before.hash != "" { // all but the signature was done, or it is not what it was
		return session, before.entry, before.hash, s.signSums(d, before.entry)
	}
	marked, err := evidence.MarkCaptured(d.Root(), &session)
	if err == nil && marked {
		err = s.reached("markers")
	}
	if err != nil {
		return session, e, "", err
	}
	if err := s.compress(ctx, d, &session, marked); err != nil {
		return session, e, "", err
	}
	e, hash, err = s.chain.append(s.key, func(at position) (Entry, error) { return s.write(ctx, d, session, at) })
	if err != nil {
		return session, e, "", err
	}
	if err := s.reached("chain"); err != nil {
		return session, e, hash, err
	}
	return session, e, hash, s.signSums(d, e)
}

// earlier looks a session up in the chain that has ended in this process. Without
// seal.json nobody has tried to seal it: no need to read the chain.
func (s *Sealer) earlier(d *evidence.Dir) (*found, error) {
	if _, err := d.Root().Lstat(sealFile); errors.Is(err, fs.ErrNotExist) {
		return &found{}, nil
	}
	all, err := s.chain.find(d.ID())
	before := all[d.ID()]
	return &before, err
}

// compress has all recordings compressed, and session.json say so; changed says that it
// is to be written in any case.
func (s *Sealer) compress(ctx context.Context, d *evidence.Dir, session *evidence.Session, changed bool) error {
	names, err := record.Names(d.Root())
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := record.Compress(ctx, d.Root(), name); err != nil {
			return err
		}
		if err := s.reached("compress"); err != nil {
			return err
		}
	}
	for i := range session.Channels {
		changed = nameFinal(d.Root(), &session.Channels[i].Recording) || changed
	}
	for i := range session.Forwards {
		changed = nameFinal(d.Root(), &session.Forwards[i].Recording) || changed
	}
	if changed {
		err = d.Save(*session)
	}
	if err = errors.Join(err, d.Sync()); err != nil {
		return err
	}
	if err := s.reached("session"); err != nil {
		return err
	}
	for _, name := range names {
		raw := name + ".raw"
		if _, err := d.Root().Lstat(raw + record.CompressedSuffix); err != nil {
			continue // too long to be compressed
		}
		if err := d.Root().Remove(raw); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err := s.reached("remove"); err != nil {
			return err
		}
	}
	return evidence.SyncDir(d.Root(), ".")
}

// nameFinal makes a summary name the form of the raw log that is there.
func nameFinal(root *os.Root, r *record.Summary) bool {
	name, ok := record.NameOf(r.Raw)
	if !ok || name+".raw" != r.Raw {
		return false
	}
	if _, err := root.Lstat(r.Raw + record.CompressedSuffix); err != nil {
		return false
	}
	r.Raw += record.CompressedSuffix
	return true
}

// write writes all but the signature, and returns the entry for the chain.
func (s *Sealer) write(ctx context.Context, d *evidence.Dir, session evidence.Session, at position) (Entry, error) {
	seal := Seal{
		Version: version, Session: d.ID(), Sequence: at.sequence, Time: s.now().UTC(), Chain: at.previous,
		Key: ssh.FingerprintSHA256(s.key.PublicKey()), SandTrap: s.version,
	}
	if at.sealed.Session != "" {
		seal.Previous = &Previous{at.sealed.Sequence, at.sealed.Session, at.sealed.SHA256}
	}
	artifacts, missing, err := artifactsOf(s.store.Root(), d.Root(), session)
	if err != nil {
		return Entry{}, err
	}
	seal.MissingArtifacts = missing
	if err := s.writeArtifacts(d.Root(), artifacts); err != nil {
		return Entry{}, err
	}
	text, err := json.MarshalIndent(seal, "", "  ")
	if err != nil {
		return Entry{}, err
	}
	if err := put(d.Root(), sealFile, append(text, '\n')); err != nil {
		return Entry{}, err
	}
	if err := s.reached("seal"); err != nil {
		return Entry{}, err
	}
	names, err := covered(d.Root())
	if err != nil {
		return Entry{}, err
	}
	var sums []byte
	for _, name := range names {
		hash, err := hashFile(ctx, d.Root(), name, true)
		if err != nil {
			return Entry{}, err
		}
		sums = appendSum(sums, sum{hash, name})
	}
	if err := errors.Join(put(d.Root(), sumsFile, sums), evidence.SyncDir(d.Root(), ".")); err != nil {
		return Entry{}, err
	}
	return Entry{Time: seal.Time, Action: ActionSeal, Session: d.ID(), SHA256: hashOf(sums)}, s.reached("sums")
}

func (s *Sealer) writeArtifacts(root *os.Root, artifacts []string) error {
	var sums []byte
	for _, hash := range artifacts {
		sums = appendSum(sums, sum{hash, toState + evidence.ArtifactPath(hash)})
	}
	if sums == nil {
		err := root.Remove(artifactsFile) // of an earlier try
		if errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
		return err
	}
	return errors.Join(put(root, artifactsFile, sums), s.reached("artifacts"))
}

// signSums writes the last file. It signs what the chain says was sealed, and nothing
// else.
func (s *Sealer) signSums(d *evidence.Dir, e Entry) error {
	text, err := readFile(d.Root(), sumsFile, maxSums)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if e.Action != ActionSeal || hashOf(text) != e.SHA256 {
		return ErrSealedBefore
	}
	signature, err := sign(s.key, text)
	if err != nil {
		return err
	}
	if err := put(d.Root(), signatureFile, sshsig.Armor(signature)); err != nil {
		return err
	}
	return errors.Join(evidence.SyncDir(d.Root(), "."), s.reached("signature"))
}

// artifactsOf lists the artifacts that a session names, those that are there and those
// that are not.
func artifactsOf(state, dir *os.Root, session evidence.Session) (found, missing []string, err error) {
	named, err := evidence.Artifacts(dir, session)
	if err != nil {
		return nil, nil, err
	}
	for _, hash := range named {
		switch _, err := state.Lstat(evidence.ArtifactPath(hash)); {
		case err == nil:
			found = append(found, hash)
		case !errors.Is(err, fs.ErrNotExist):
			return nil, nil, err
		default:
			missing = append(missing, hash)
		}
	}
	return found, missing[:min(len(missing), maxMissing)], nil
}

// put puts a file in the place of another, whole and on disk but for its name.
func put(root *os.Root, name string, text []byte) error {
	draft := name + draftSuffix
	if err := root.Remove(draft); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := root.OpenFile(draft, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o640)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, bytes.NewReader(text))
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = root.Rename(draft, name)
	}
	if err != nil {
		_ = root.Remove(draft) // the next try does, if this fails
	}
	return err
}
