package leader

import (
	"io"
	"syscall"

	"github.com/sandtrap/sandtrap/internal/frame"
)

// stream is the worker's end of the link: a socket. The front end always reads, so
// a write does not take long.
type stream int

// Read implements io.Reader.
func (s stream) Read(b []byte) (int, error) {
	n, err := retry(func() (int, error) { return syscall.Read(int(s), b) })
	if err != nil {
		return 0, err
	}
	if n == 0 {
		return 0, io.EOF
	}
	return n, nil
}

// send writes a frame, and descriptors with it; see unix(7), SCM_RIGHTS.
func (s stream) send(f frame.Frame, fds ...int) error {
	header, err := f.Header()
	if err != nil {
		return err
	}
	var rights []byte
	if len(fds) > 0 {
		rights = syscall.UnixRights(fds...)
	}
	b := append(header[:], f.Payload...)
	n, err := retry(func() (int, error) { return syscall.SendmsgN(int(s), b, rights, nil, 0) })
	if err != nil {
		return err
	}
	return writeAll(int(s), b[n:]) // when a signal came in between
}
