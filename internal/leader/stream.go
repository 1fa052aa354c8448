package leader

import (
	"io"
	"syscall"
	"unsafe"

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

// send writes a frame.
func (s stream) send(f frame.Frame) error {
	header, err := f.Header()
	if err != nil {
		return err
	}
	parts := [2]syscall.Iovec{{Base: &header[0]}, {Base: unsafe.SliceData(f.Payload)}}
	parts[0].SetLen(len(header))
	parts[1].SetLen(len(f.Payload))
	n, err := retry(func() (int, error) {
		n, _, errno := syscall.Syscall(syscall.SYS_WRITEV, uintptr(s), uintptr(unsafe.Pointer(&parts)), uintptr(len(parts)))
		if errno != 0 {
			return 0, errno
		}
		return int(n), nil
	})
	if err != nil || n == len(header)+len(f.Payload) {
		return err
	}
	if n < len(header) { // a signal came in between
		if err := writeAll(int(s), header[n:]); err != nil {
			return err
		}
		n = len(header)
	}
	return writeAll(int(s), f.Payload[n-len(header):])
}
