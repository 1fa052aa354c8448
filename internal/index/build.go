package index

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"

	"github.com/oklog/ulid/v2"
	"syscall"

	"github.com/sandtrap/sandtrap/internal/evidence"
)

// Rebuild makes the index anew from the sessions and puts it in the place of the old
// one, also beside the service, which then goes on with the new one. progress, which
// may be nil, is told how many sessions were read. The problems are of sessions that
// could not be read.
func Rebuild(ctx context.Context, store *evidence.Store, progress func(sessions int)) (sessions int, problems []evidence.Problem, err error) {
	b := builder{store: store, step: func(n int) {
		if progress != nil {
			progress(n)
		}
	}}
	sessions, err = b.build(ctx)
	return sessions, b.problems, err
}

// place is where a record lies in an index.
type place struct {
	stamp uint64
	at    int64 // of its frame
	size  int32 // of the record
}

// builder makes a whole index.
type builder struct {
	store    *evidence.Store
	old      *os.File // nil, or what records of unchanged sessions are taken from
	places   map[ulid.ULID]place
	step     func(sessions int) // called after each session
	problems []evidence.Problem

	buffer []byte
	record []byte
}

// writeBytes is how much is written at a time.
const writeBytes = 256 << 10

// maxProblems bounds what is told of sessions that cannot be read.
const maxProblems = 1000

func (b *builder) problem(p evidence.Problem) {
	if len(b.problems) < maxProblems {
		b.problems = append(b.problems, p)
	}
}

// build writes a new file and renames it. Nobody waits for the disk: an index that a
// power failure spoils is made again.
func (b *builder) build(ctx context.Context) (int, error) {
	root, err := os.OpenRoot(b.store.Path())
	if err != nil {
		return 0, fmt.Errorf("build index: %w", err)
	}
	defer root.Close()
	f, name, err := create(root)
	if err != nil {
		return 0, fmt.Errorf("build index: %w", err)
	}
	n, err := b.fill(ctx, f)
	if err = errors.Join(err, f.Close()); err == nil {
		err = root.Rename(name, path.Join(directory, fileName))
	}
	if err != nil {
		_ = root.Remove(name) // the service does when it starts
		return 0, fmt.Errorf("build index: %w", err)
	}
	return n, nil
}

// create makes an empty index under a name of its own. Whoever makes it, it belongs to
// whom the state directory belongs to: the service goes on with it.
func create(root *os.Root) (*os.File, string, error) {
	owner, err := root.Stat(".")
	if err != nil {
		return nil, "", err
	}
	if err := root.Mkdir(directory, 0o750); err == nil {
		err = own(owner, func(uid, gid int) error { return root.Lchown(directory, uid, gid) }, func() error { return root.Chmod(directory, 0o750) })
		if err != nil {
			return nil, "", err
		}
	} else if !errors.Is(err, fs.ErrExist) {
		return nil, "", err
	}
	name := path.Join(directory, newPrefix+rand.Text())
	f, err := root.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o640)
	if err != nil {
		return nil, "", err
	}
	if err := own(owner, f.Chown, func() error { return f.Chmod(0o640) }); err != nil {
		_ = root.Remove(name)
		return nil, "", errors.Join(err, f.Close())
	}
	return f, name, nil
}

// own gives what root has made to an owner, for others of its group to read whatever
// the umask is.
func own(owner fs.FileInfo, chown func(uid, gid int) error, chmod func() error) error {
	if st, ok := owner.Sys().(*syscall.Stat_t); ok && os.Geteuid() == 0 {
		if err := chown(int(st.Uid), int(st.Gid)); err != nil {
			return err
		}
	}
	return chmod()
}

func (b *builder) fill(ctx context.Context, f *os.File) (n int, err error) {
	b.buffer = append(b.buffer[:0], header...)
	flush := func() error {
		_, err := f.Write(b.buffer)
		b.buffer = b.buffer[:0]
		return err
	}
	var failed error
	err = b.store.Directories(ctx, noTime, noTime, nil, func(dir string) bool {
		var added bool
		if added, failed = b.add(dir); failed != nil {
			return false
		}
		if added {
			n++
		}
		if len(b.buffer) >= writeBytes {
			failed = flush()
		}
		b.step(n)
		return failed == nil
	})
	return n, errors.Join(err, failed, flush())
}

// add takes one session's record from the old index, or makes it.
func (b *builder) add(dir string) (bool, error) {
	id, err := ulid.ParseStrict(idOf(dir))
	if err != nil {
		return false, nil
	}
	if p, ok := b.places[id]; ok && p.stamp == currentStamp(b.store, dir) {
		record := make([]byte, frameBytes+p.size)
		if _, err := b.old.ReadAt(record, p.at); err != nil {
			return false, err
		}
		b.buffer = append(b.buffer, record...)
		return true, nil
	}
	e, err := read(b.store, dir)
	if err != nil {
		b.problem(evidence.Problem{Path: dir, Err: err})
	}
	if e.ID == "" || e.State == evidence.StateOpen {
		return false, nil
	}
	if b.record, err = appendEntry(b.record[:0], &e); err != nil {
		b.problem(evidence.Problem{Path: dir, Err: err})
		return false, nil // too large: it is read when somebody asks
	}
	b.buffer = appendRecord(b.buffer, b.record)
	return true, nil
}

// removeUnfinished removes what builders left that were killed.
func removeUnfinished(root *os.Root) error {
	d, err := root.Open(directory)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer d.Close()
	names, err := d.Readdirnames(-1)
	for _, name := range names {
		if strings.HasPrefix(name, newPrefix) {
			err = errors.Join(err, root.Remove(path.Join(directory, name)))
		}
	}
	return err
}
