// Package descriptor takes file descriptors that come over a unix(7) socket from
// somebody who may not mean well.
package descriptor

import (
	"os"

	"golang.org/x/sys/unix"
)

// FromMessage returns the descriptors of control messages, which are open now and
// the caller's.
func FromMessage(control []byte) []int {
	messages, err := unix.ParseSocketControlMessage(control)
	if err != nil {
		return nil
	}
	var all []int
	for _, m := range messages {
		if fds, err := unix.ParseUnixRights(&m); err == nil {
			all = append(all, fds...)
		}
	}
	return all
}

// Close closes all of them.
func Close(fds []int) {
	for _, fd := range fds {
		unix.Close(fd)
	}
}

// IsStream reports whether a descriptor is a connected unix(7) socket of type
// SOCK_STREAM.
func IsStream(fd int) bool {
	domain, err1 := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN)
	kind, err2 := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE)
	_, err3 := unix.Getpeername(fd)
	return err1 == nil && err2 == nil && err3 == nil && domain == unix.AF_UNIX && kind == unix.SOCK_STREAM
}

// IsTerminal reports whether a descriptor is the master of a pseudo-terminal; see
// pty(7).
func IsTerminal(fd int) bool {
	st, ok := look(fd, unix.O_RDWR)
	return ok && st.Mode&unix.S_IFMT == unix.S_IFCHR && st.Rdev_major == 5 && st.Rdev_minor == 2 // /dev/ptmx
}

// IsPipe reports whether a descriptor is an end of a pipe(7) that was opened for
// access: O_RDONLY or O_WRONLY.
func IsPipe(fd, access int) bool {
	st, ok := look(fd, access)
	return ok && st.Mode&unix.S_IFMT == unix.S_IFIFO
}

// look tells what a descriptor is if it was opened for that access. It never asks
// a file system that would have to ask somebody else, such as FUSE.
func look(fd, access int) (st unix.Statx_t, ok bool) {
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
	if err != nil || flags&(unix.O_ACCMODE|unix.O_PATH) != access {
		return st, false
	}
	err = unix.Statx(fd, "", unix.AT_EMPTY_PATH|unix.AT_STATX_DONT_SYNC, unix.STATX_TYPE, &st)
	return st, err == nil
}

// File makes a file of a descriptor whose reads and writes wait in the runtime, as
// long as nobody who shares it makes them wait in the kernel; see O_NONBLOCK in
// open(2).
func File(fd int, name string) (*os.File, error) {
	if err := unix.SetNonblock(fd, true); err != nil {
		return nil, os.NewSyscallError("fcntl", err)
	}
	return os.NewFile(uintptr(fd), name), nil
}

// IsRegular reports whether a descriptor is a regular file that was opened for reading
// only.
func IsRegular(fd int) bool {
	st, ok := look(fd, unix.O_RDONLY)
	return ok && st.Mode&unix.S_IFMT == unix.S_IFREG
}
