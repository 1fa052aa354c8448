package index

import (
	"encoding/binary"
	"errors"
	"hash/fnv"
	"io/fs"
	"os"

	"github.com/sandtrap/sandtrap/internal/evidence"
)

// sessionFile is where a session's record lies in its directory.
const sessionFile = "session.json"

// read makes the entry of a session from its files. The entry counts unless its ID is
// empty; the error may only tell of a part of it.
func read(store *evidence.Store, dir string) (Entry, error) {
	d, err := store.OpenDir(dir)
	if err != nil {
		return Entry{}, err
	}
	defer d.Close()
	stamp := stampOf(d.Root()) // before, so that what is written meanwhile is read again
	session, err := store.Load(dir)
	if err != nil {
		return Entry{}, err
	}
	files, err := captured(d.Root())
	e := Summarise(dir, session, files)
	e.stamp = stamp
	return e, err
}

// currentStamp is that of a session's files as they are now.
func currentStamp(store *evidence.Store, dir string) uint64 {
	d, err := store.OpenDir(dir)
	if err != nil {
		return 0
	}
	defer d.Close()
	return stampOf(d.Root())
}

// stampOf is a number that changes with the files that an entry is made from. Both are
// replaced or written once, so size and time tell.
func stampOf(root *os.Root) uint64 {
	h := fnv.New64a()
	for _, name := range []string{sessionFile, evidence.CaptureFile} {
		var b [16]byte
		st, err := root.Lstat(name)
		if err == nil {
			binary.LittleEndian.PutUint64(b[:], uint64(st.Size()))
			binary.LittleEndian.PutUint64(b[8:], uint64(st.ModTime().UnixNano()))
		} else if !errors.Is(err, fs.ErrNotExist) {
			b[0] = 1
		}
		h.Write(b[:])
	}
	return h.Sum64()
}
