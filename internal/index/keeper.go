package index

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/sandtrap/sandtrap/internal/evidence"
)

var noTime time.Time

const (
	// settle is how long a session that has ended waits for others, and lets what is
	// more urgent go first.
	settle = 250 * time.Millisecond
	// retryAfter is how long an index that cannot be written rests.
	retryAfter = time.Minute
	// maxPending is how many sessions wait to be written. Beyond it the keeper forgets
	// which and looks at all.
	maxPending = 4096
)

// Keeper is the service's side: it brings the index in line with the sessions at start,
// and adds each session that ends. It never makes anybody wait, and what it cannot
// write is missing from the index and from nothing else.
type Keeper struct {
	store *evidence.Store
	log   hclog.Logger

	mu      sync.Mutex // guards pending and behind
	pending map[string]bool
	behind  bool          // not all that changed is pending
	wake    chan struct{} // holds one

	// The rest belongs to Run's goroutine.
	file    *os.File // the index, for appending; nil if there is none
	size    int64
	compact int64 // from which size on it is built anew
	room    int64 // see roomToGrow
	rest    func(context.Context, time.Duration)
}

// NewKeeper returns the keeper of a store's index. Nothing happens until Run.
func NewKeeper(store *evidence.Store, log hclog.Logger) *Keeper {
	return &Keeper{store: store, log: log, pending: map[string]bool{}, behind: true, wake: make(chan struct{}, 1), room: roomToGrow, rest: sleep}
}

// Changed tells that a session changed, by its directory below the state directory. It
// does not wait; see evidence.Store.OnChange.
func (k *Keeper) Changed(dir string) {
	k.mu.Lock()
	if len(k.pending) < maxPending {
		k.pending[dir] = true
	} else {
		k.behind = true
	}
	k.mu.Unlock()
	select {
	case k.wake <- struct{}{}:
	default:
	}
}

// Run keeps the index until ctx ends, and then writes what is pending.
func (k *Keeper) Run(ctx context.Context) {
	defer k.close()
	if root, err := os.OpenRoot(k.store.Path()); err == nil {
		if err := removeUnfinished(root); err != nil {
			k.log.Warn("cannot remove an unfinished index", "error", err)
		}
		root.Close()
	}
	next := time.NewTimer(0)
	defer next.Stop()
	for {
		select {
		case <-ctx.Done():
			k.work(context.WithoutCancel(ctx), false)
			return
		case <-k.wake:
			k.rest(ctx, settle)
		case <-next.C:
		}
		if !k.work(ctx, true) {
			next.Reset(retryAfter)
		}
	}
}

// work writes what is pending, and catches up if asked to and needed. A mistake of ours
// ends neither the service nor other sessions.
func (k *Keeper) work(ctx context.Context, catchUp bool) (done bool) {
	defer func() {
		if p := recover(); p != nil {
			k.log.Error("the index's keeper panicked", "panic", fmt.Sprint(p), "stack", hclog.Stacktrace())
			k.close()
		}
	}()
	err := k.update(ctx, catchUp)
	if err != nil && ctx.Err() == nil {
		k.log.Warn("cannot keep the index of sessions; what it lacks is read from their files", "error", err)
	}
	return err == nil
}

func (k *Keeper) update(ctx context.Context, catchUp bool) error {
	dirs, behind := k.take()
	if !behind && len(dirs) > 0 && (!k.current() || k.size > k.compact) {
		behind = true
	}
	if behind && !catchUp {
		return nil // the next start does
	}
	var err error
	if behind {
		err = k.catchUp(ctx)
	} else {
		err = k.append(ctx, dirs)
	}
	switch {
	case err == nil:
	case ctx.Err() != nil && !behind: // told to stop: they are the last that is done
		for _, dir := range dirs {
			k.Changed(dir)
		}
	default:
		k.mu.Lock()
		k.behind = true
		k.mu.Unlock()
	}
	return err
}

// take takes what is pending.
func (k *Keeper) take() (dirs []string, behind bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for dir := range k.pending {
		dirs = append(dirs, dir)
	}
	clear(k.pending)
	behind, k.behind = k.behind, false
	return dirs, behind
}

// append adds sessions at the end. Each write(2) holds whole records.
func (k *Keeper) append(ctx context.Context, dirs []string) error {
	b := builder{store: k.store}
	for i, dir := range dirs {
		if err := ctx.Err(); err != nil {
			return err
		}
		if _, err := b.add(dir); err != nil {
			return err
		}
		if len(b.buffer) < writeBytes && i < len(dirs)-1 {
			continue
		}
		n, err := k.file.Write(b.buffer)
		if err != nil {
			// Half a record would hide all after it.
			return errors.Join(fmt.Errorf("write index: %w", err), k.file.Truncate(k.size))
		}
		k.size += int64(n)
		b.buffer = b.buffer[:0]
	}
	k.report(b.problems)
	return nil
}

func (k *Keeper) report(problems []evidence.Problem) {
	for _, p := range problems {
		if !errors.Is(p.Err, fs.ErrNotExist) { // removed meanwhile
			k.log.Warn("cannot put all of a session into the index", "session", p.Path, "error", p.Err)
		}
	}
}

// open opens the index for appending, where it is.
func (k *Keeper) open() error {
	k.close()
	root, err := os.OpenRoot(k.store.Path())
	if err != nil {
		return err
	}
	defer root.Close()
	name := path.Join(directory, fileName)
	if st, err := root.Lstat(name); err == nil && !st.Mode().IsRegular() {
		return fmt.Errorf("%s is no regular file", name)
	}
	f, err := root.OpenFile(name, os.O_RDWR|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	st, err := f.Stat()
	if err != nil {
		return errors.Join(err, f.Close())
	}
	k.file, k.size = f, st.Size()
	return nil
}

func (k *Keeper) close() {
	if k.file != nil {
		k.file.Close()
		k.file = nil
	}
}

// current reports whether the file that we write is still the index, and as we left it.
func (k *Keeper) current() bool {
	if k.file == nil {
		return false
	}
	ours, err := k.file.Stat()
	if err != nil || ours.Size() != k.size {
		return false
	}
	there, err := os.Stat(path.Join(k.store.Path(), directory, fileName))
	return err == nil && os.SameFile(ours, there)
}

func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
