package layer

import (
	"context"
	"errors"
	"fmt"
	"io"

	"golang.org/x/sys/unix"

	"github.com/sandtrap/sandtrap/internal/frame"
)

// An answer begins with a record of this type. Its one byte is 'y' if the lists of
// accounts, /etc/passwd and /etc/group, are regular files in the layer or, where that has
// none, in the image, and 'n' if not. With 'y' comes a descriptor of the former, unless it
// cannot be read.
const accounts frame.Type = 'a'

// ErrAccounts is that of a container which must not be started again.
var ErrAccounts = errors.New("its lists of accounts are not regular files")

// Accounts asks the server at socket whether a container whose layer this is can be
// started again, as far as its lists of accounts go: Podman opens them then, whatever
// root of the container has put there. Its error is ErrAccounts, or says why nobody
// knows.
func Accounts(ctx context.Context, socket, layer string) error {
	r, err := ask(ctx, socket, layer)
	if err != nil {
		return err
	}
	defer r.hangUp()
	if !r.sound {
		return ErrAccounts
	}
	return nil
}

// Passwd asks it for /etc/passwd, which must not be larger than limit bytes. It costs
// next to nothing, where Podman starts four processes of its own to read a file.
func Passwd(ctx context.Context, socket, layer string, limit int64) ([]byte, error) {
	r, err := ask(ctx, socket, layer)
	if err != nil {
		return nil, err
	}
	defer r.hangUp()
	switch {
	case !r.sound:
		return nil, ErrAccounts
	case r.passwd == nil:
		return nil, errors.New("the helper cannot read /etc/passwd")
	}
	text, err := io.ReadAll(io.LimitReader(r.passwd, limit+1))
	if err == nil && int64(len(text)) > limit {
		err = fmt.Errorf("/etc/passwd is larger than %d bytes", limit)
	}
	return text, err
}

// tellAccounts sends the record about the layer at top and those of its image.
func (w *walk) tellAccounts(top int, image []int) error {
	etc := descend(append([]int{top}, image...), "etc")
	defer closeAll(etc)
	dir, sound := holder(etc, "passwd")
	if _, ok := holder(etc, "group"); !sound || !ok {
		return w.send(accounts, []byte{'n'}, -1)
	}
	passwd, _, err := openFile(dir, "passwd")
	if err != nil {
		passwd = -1
	} else {
		defer unix.Close(passwd)
	}
	return w.send(accounts, []byte{'y'}, passwd)
}

// holder returns in which part of a directory, of which dirs has those of the layers, a
// name is, and reports whether it is a regular file.
func holder(dirs []int, name string) (dir int, regular bool) {
	for _, dir := range dirs {
		var st unix.Stat_t
		err := unix.Fstatat(dir, name, &st, unix.AT_SYMLINK_NOFOLLOW)
		if err == nil || !errors.Is(err, unix.ENOENT) {
			return dir, err == nil && st.Mode&unix.S_IFMT == unix.S_IFREG
		}
	}
	return -1, false
}

// accounts reads the record and keeps what it says.
func (r *reader) accounts() error {
	payload, kind, passwd, err := r.record()
	r.passwd = passwd
	if err == nil && (kind != accounts || len(payload) != 1) {
		err = fmt.Errorf("%w: it does not begin with the lists of accounts", errMalformed)
	}
	r.sound = err == nil && payload[0] == 'y'
	return err
}
