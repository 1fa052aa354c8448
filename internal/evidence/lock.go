package evidence

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// lockFile is held by the one service that writes in a state directory.
const lockFile = "lock"

// ErrInUse means that another service writes in the state directory.
var ErrInUse = errors.New("another service uses the state directory")

// Lock is the right to write in a state directory.
type Lock struct{ file *os.File }

// LockState takes the right to write in a state directory, which must exist. It ends
// with Unlock, or with the process. The error wraps ErrInUse where another has it.
func LockState(dir string) (*Lock, error) {
	f, err := os.OpenFile(filepath.Join(dir, lockFile), os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o640)
	if err != nil {
		return nil, fmt.Errorf("lock state directory: %w", err)
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		err = fmt.Errorf("%w %s", ErrInUse, dir)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("lock state directory: %w", err)
	}
	return &Lock{f}, nil
}

// Unlock gives the right back.
func (l *Lock) Unlock() error { return l.file.Close() }
