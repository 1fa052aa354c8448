package layer

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/sandtrap/sandtrap/internal/frame"
)

// An answer begins with a record of this type. Its one byte is 'y' if the lists of
// accounts are regular files, as sound reports, and 'n' if not.
const accounts frame.Type = 'a'

// ErrAccounts is that of a container which must not be started again.
var ErrAccounts = errors.New("its lists of accounts are not regular files")

// Accounts asks the server at socket whether a container whose layer this is can be
// started again, as far as its lists of accounts go: Podman opens them then, whatever
// root of the container has put there. Its error is ErrAccounts, or says why nobody
// knows.
func Accounts(ctx context.Context, socket, layer string) error {
	_, sound, hangUp, err := ask(ctx, socket, layer)
	if err != nil {
		return err
	}
	hangUp()
	if !sound {
		return ErrAccounts
	}
	return nil
}

// sound reports whether the lists of accounts are regular files, in the layer at top or,
// where that has none, in the image.
func sound(top int, image []int) bool {
	etc := descend(append([]int{top}, image...), "etc")
	defer closeAll(etc)
	for _, name := range []string{"passwd", "group"} {
		if !isRegular(etc, name) {
			return false
		}
	}
	return true
}

// isRegular reports whether a name in a directory, of which dirs has the layers' parts,
// is a regular file.
func isRegular(dirs []int, name string) bool {
	for _, dir := range dirs {
		var st unix.Stat_t
		err := unix.Fstatat(dir, name, &st, unix.AT_SYMLINK_NOFOLLOW)
		if err == nil || !errors.Is(err, unix.ENOENT) {
			return err == nil && st.Mode&unix.S_IFMT == unix.S_IFREG
		}
	}
	return false
}

// tellAccounts sends the record.
func (w *walk) tellAccounts(sound bool) error {
	answer := byte('n')
	if sound {
		answer = 'y'
	}
	return w.send(accounts, []byte{answer}, -1)
}

// accounts reads the record and reports what it says.
func (r *reader) accounts() (sound bool, err error) {
	payload, kind, content, err := r.record()
	if content != nil {
		content.Close()
	}
	if err == nil && (kind != accounts || content != nil || len(payload) != 1) {
		err = fmt.Errorf("%w: it does not begin with the lists of accounts", errMalformed)
	}
	return err == nil && payload[0] == 'y', err
}
