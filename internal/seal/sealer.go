package seal

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"path"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/crypto/ssh"

	"github.com/sandtrap/sandtrap/internal/event"
	"github.com/sandtrap/sandtrap/internal/evidence"
)

// Bounds of a Sealer.
const (
	// maxWaiting is how many sessions it remembers; those beyond it finds on the disk.
	maxWaiting = 1024

	// Pauses after which it tries again what has failed.
	firstRetry = time.Minute
	lastRetry  = time.Hour
)

// Config is what a Sealer needs.
type Config struct {
	Store   *evidence.Store
	Key     ssh.Signer
	Version string // of the program
	Events  *event.Emitter
	Log     hclog.Logger
}

// Sealer seals sessions, one after the other, in the order in which they ended. Its
// methods are safe for concurrent use.
type Sealer struct {
	store   *evidence.Store
	key     ssh.Signer
	version string
	events  *event.Emitter
	log     hclog.Logger
	now     func() time.Time
	// step is called when something was done that a crash may follow. Tests fail there.
	step func(name string) error

	waiting chan string   // directories of sessions
	look    chan struct{} // there are more than waiting holds

	mu    sync.Mutex // guards the chain, and is held while a session is sealed or removed
	chain *chain

	told map[string]bool // failures that were reported; of Run alone
}

// NewSealer opens the chain and ends a removal that a crash has cut off.
func NewSealer(c Config) (*Sealer, error) {
	s := &Sealer{
		store: c.Store, key: c.Key, version: c.Version, events: c.Events, log: c.Log, now: time.Now, step: func(string) error { return nil },
		waiting: make(chan string, maxWaiting), look: make(chan struct{}, 1), told: make(map[string]bool),
	}
	var err error
	if s.chain, err = openChain(c.Store.Root()); err != nil {
		return nil, err
	}
	if err := s.finishRemoval(); err != nil {
		s.log.Warn("cannot end a removal", "error", err)
	}
	return s, nil
}

// Close releases the chain. Run must have returned.
func (s *Sealer) Close() error { return s.chain.close() }

// reached is called behind every step.
func (s *Sealer) reached(step string) error { return s.step(step) }

// Queue has a session sealed that is closed, by the path of its directory; it returns
// at once.
func (s *Sealer) Queue(dir string) {
	select {
	case s.waiting <- dir:
	default:
		s.lookAgain()
	}
}

func (s *Sealer) lookAgain() {
	select {
	case s.look <- struct{}{}:
	default:
	}
}

// Run seals what an earlier process has left, then what is queued, until draining is
// closed and nothing waits, or ctx ends. What is not sealed by then is at the next start.
func (s *Sealer) Run(ctx context.Context, draining <-chan struct{}) {
	s.lookAgain()
	pause := firstRetry
	var retry <-chan time.Time
	again := func(failed bool) {
		if failed && retry == nil {
			retry = time.After(pause)
			pause = min(2*pause, lastRetry)
		}
	}
	for ctx.Err() == nil {
		select { // what has ended goes before what has failed
		case dir := <-s.waiting:
			again(!s.Seal(ctx, dir))
			continue
		default:
		}
		select {
		case dir := <-s.waiting:
			again(!s.Seal(ctx, dir))
		case <-s.look:
			again(!s.sealAll(ctx))
		case <-retry:
			retry = nil
			if s.sealAll(ctx) {
				pause = firstRetry
			} else {
				again(true)
			}
		case <-draining:
			if len(s.waiting) == 0 {
				return
			}
		case <-ctx.Done():
		}
	}
}

// sealAll seals all sessions that are closed and not sealed, the oldest first, and
// reports whether it could.
func (s *Sealer) sealAll(ctx context.Context) bool {
	var dirs, ids []string
	err := s.store.Dirs(ctx, nil, func(dir string) bool {
		if !s.store.Sealed(dir) {
			dirs, ids = append(dirs, dir), append(ids, path.Base(dir))
		}
		return true
	})
	var known map[string]found
	if err == nil && len(dirs) > 0 {
		s.mu.Lock()
		known, err = s.chain.find(ids...)
		s.mu.Unlock()
	}
	if err != nil {
		s.failed(ctx, "", "", err)
		return false
	}
	done := true
	for _, dir := range slices.Backward(dirs) {
		if ctx.Err() != nil {
			return true
		}
		before := known[path.Base(dir)]
		done = s.seal(ctx, dir, &before) && done
	}
	return done
}

// Seal seals one session by the path of its directory and reports whether that is done,
// or needs not be: the session is open, or gone. It tells by an event and in the log.
func (s *Sealer) Seal(ctx context.Context, dir string) bool { return s.seal(ctx, dir, nil) }

func (s *Sealer) seal(ctx context.Context, dir string, before *found) bool {
	s.mu.Lock()
	session, e, hash, err := s.sealDir(ctx, dir, before)
	s.mu.Unlock()
	switch {
	case errors.Is(err, ErrOpen), errors.Is(err, fs.ErrNotExist) && !s.exists(dir), err == nil && hash == "":
		return true
	case err != nil:
		s.failed(ctx, path.Base(dir), dir, err)
		return ctx.Err() != nil
	}
	s.events.Bind(identity(session)).Emit(event.SessionSeal, event.F("sequence", e.Sequence), event.F("sha256", e.SHA256), event.F("chain_sha256", hash))
	return true
}

func (s *Sealer) exists(dir string) bool {
	_, err := s.store.Root().Lstat(dir)
	return err == nil
}

// identity is whose events those of a session's seal are.
func identity(s evidence.Session) event.Identity {
	endpoint := func(e evidence.Endpoint) netip.AddrPort {
		a, err := netip.ParseAddr(e.IP)
		if err != nil {
			return netip.AddrPort{}
		}
		return netip.AddrPortFrom(a, e.Port)
	}
	return event.Identity{Session: s.ID, Source: endpoint(s.Source), Local: endpoint(s.Local)}
}

// failed tells of a session that could not be sealed, once.
func (s *Sealer) failed(ctx context.Context, id, dir string, err error) {
	if ctx.Err() != nil {
		return
	}
	if s.told[dir] {
		s.log.Debug("cannot seal a session", "session", id, "error", err)
		return
	}
	if len(s.told) >= maxWaiting {
		clear(s.told)
	}
	s.told[dir] = true
	s.log.Error("cannot seal a session; it is tried again", "session", id, "error", err)
	s.events.Bind(event.Identity{Session: id}).Emit(event.SessionFail, event.F("stage", "seal"), event.F("error", err.Error()))
}

// Removal names a session to remove, and the reason, one of our words.
type Removal struct{ Session, Reason string }

// RemoveAll removes sealed sessions, one after the other, and calls done with what came
// of each. The chain says so first: a session that is missing without such an entry was
// lost. An error of one wraps fs.ErrNotExist where it is gone already; that of all says
// why none was tried, or not the rest.
func (s *Sealer) RemoveAll(ctx context.Context, removals []Removal, done func(Removal, error)) error {
	ids := make([]string, len(removals))
	for i, r := range removals {
		ids[i] = r.Session
	}
	s.mu.Lock()
	known, err := s.chain.find(ids...) // all of it is read, once
	s.mu.Unlock()
	if err != nil {
		return fmt.Errorf("remove sessions: %w", err)
	}
	for _, r := range removals {
		if ctx.Err() != nil {
			return fmt.Errorf("remove sessions: %w", ctx.Err())
		}
		dir, err := evidence.PathOf(r.Session)
		if err == nil {
			s.mu.Lock() // what has ended meanwhile gets its seal in between
			err = s.remove(r, dir, known[r.Session])
			s.mu.Unlock()
		}
		if err != nil {
			err = fmt.Errorf("remove session %s: %w", r.Session, err)
		}
		done(r, err)
	}
	return nil
}

// ErrNotSealed means that a session cannot be removed yet.
var ErrNotSealed = errors.New("the session is not sealed")

func (s *Sealer) remove(r Removal, dir string, before found) error {
	switch {
	case !s.exists(dir):
		return fs.ErrNotExist
	case !s.store.Sealed(dir), before.hash == "": // without an entry it was put there
		return ErrNotSealed
	}
	if before.entry.Action == ActionSeal {
		e, hash, err := s.chain.append(s.key, func(position) (Entry, error) {
			return Entry{Time: s.now().UTC(), Action: ActionRemove, Session: r.Session, SHA256: before.entry.SHA256, Reason: r.Reason}, nil
		})
		if err != nil {
			return err
		}
		s.events.Bind(event.Identity{Session: r.Session}).Emit(event.SessionRemove, event.F("reason", r.Reason), event.F("sequence", e.Sequence),
			event.F("sha256", e.SHA256), event.F("chain_sha256", hash))
		if err := s.reached("remove-chain"); err != nil {
			return err
		}
	}
	return s.clear(r.Session, dir)
}

// trashDir holds what is being removed, out of the way of whoever reads.
const trashDir = "trash"

// clear removes the files of a session that the chain has let go.
func (s *Sealer) clear(id, dir string) error {
	root := s.store.Root()
	if err := root.Mkdir(trashDir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	gone := path.Join(trashDir, id)
	if err := root.RemoveAll(gone); err != nil {
		return err
	}
	if err := root.Rename(dir, gone); err != nil {
		return err
	}
	if err := s.reached("remove-rename"); err != nil {
		return err
	}
	return errors.Join(evidence.SyncDir(root, path.Dir(dir)), root.RemoveAll(gone))
}

// finishRemoval does what is left of a removal that a crash has cut off. Only the
// chain's last entry can be of one whose directory is still in its place. An artifact
// is left alone: somebody may have brought it again since.
func (s *Sealer) finishRemoval() error {
	var err error
	if e := s.chain.ended; e.Action == ActionRemove {
		if dir, bad := evidence.PathOf(e.Session); bad == nil && s.exists(dir) {
			err = s.clear(e.Session, dir)
		}
	}
	return errors.Join(err, s.store.Root().RemoveAll(trashDir))
}

// RemoveArtifact removes an artifact for a reason, one of our words; the chain says so
// first. The error wraps fs.ErrNotExist where it is gone already.
func (s *Sealer) RemoveArtifact(sha256, reason string) error {
	if !evidence.IsHash(sha256) {
		return fmt.Errorf("remove artifact: %q is no hash", sha256)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	name := evidence.ArtifactPath(sha256)
	_, err := s.store.Root().Lstat(name)
	var e Entry
	var hash string
	if err == nil {
		e, hash, err = s.chain.append(s.key, func(position) (Entry, error) {
			return Entry{Time: s.now().UTC(), Action: ActionRemoveArtifact, SHA256: sha256, Reason: reason}, nil
		})
	}
	if err == nil {
		s.events.Emit(event.ArtifactRemove, event.F("artifact", sha256), event.F("reason", reason), event.F("sequence", e.Sequence), event.F("chain_sha256", hash))
		err = errors.Join(s.reached("remove-chain"), s.store.Root().Remove(name))
	}
	if err != nil {
		return fmt.Errorf("remove artifact %s: %w", sha256, err)
	}
	return nil
}
