package leader

import (
	"strconv"
	"syscall"
	"unsafe"
)

// What package syscall lacks. The numbers of the calls are the same everywhere.
const (
	sysCloseRange = 436

	closeRangeCloexec = 4

	prSetName = 15

	fDupfdCloexec = 0x406
	fSetPipeSize  = 0x407

	pollIn = 0x1
)

// pollFd is struct pollfd of poll(2).
type pollFd struct {
	fd      int32
	events  int16
	revents int16
}

// poll waits until one of fds is ready, for ever when timeout, in milliseconds,
// is negative, and returns how many are. When a signal comes it is -1 without an
// error, at once.
func poll(fds []pollFd, timeout int) (int, error) {
	var limit *syscall.Timespec
	if timeout >= 0 {
		t := syscall.NsecToTimespec(int64(timeout) * 1e6)
		limit = &t
	}
	n, _, errno := syscall.Syscall6(syscall.SYS_PPOLL, uintptr(unsafe.Pointer(unsafe.SliceData(fds))), uintptr(len(fds)),
		uintptr(unsafe.Pointer(limit)), 0, 0, 0)
	switch errno {
	case 0:
		return int(n), nil
	case syscall.EINTR:
		for i := range fds {
			fds[i].revents = 0
		}
		return -1, nil
	}
	return 0, errno
}

func ioctl(fd int, request uintptr, argument unsafe.Pointer) error {
	if _, _, errno := syscall.Syscall(syscall.SYS_IOCTL, uintptr(fd), request, uintptr(argument)); errno != 0 {
		return errno
	}
	return nil
}

func fcntl(fd int, command, argument uintptr) (int, error) {
	r, _, errno := syscall.Syscall(syscall.SYS_FCNTL, uintptr(fd), command, argument)
	if errno != 0 {
		return -1, errno
	}
	return int(r), nil
}

// setComm sets the name of the calling thread, which those that it starts take
// over; see PR_SET_NAME in prctl(2).
func setComm(name string) {
	b := append([]byte(name), 0)
	_, _, _ = syscall.RawSyscall(syscall.SYS_PRCTL, prSetName, uintptr(unsafe.Pointer(&b[0])), 0)
}

// closeAll closes descriptors that are none of -1.
func closeAll(fds ...int) {
	for _, fd := range fds {
		if fd >= 0 {
			_ = syscall.Close(fd)
		}
	}
}

// closeOnExec lets no program inherit the descriptors from fd on. Not all are
// ours to close: the runtime may have some.
func closeOnExec(fd int) {
	_, _, _ = syscall.Syscall(sysCloseRange, uintptr(fd), uintptr(^uint32(0)), closeRangeCloexec)
}

// pipe returns both ends of a pipe that no program inherits.
func pipe() (r, w int, err error) {
	var p [2]int
	if err := syscall.Pipe2(p[:], syscall.O_CLOEXEC); err != nil {
		return -1, -1, err
	}
	return p[0], p[1], nil
}

// retry repeats a call that a signal has interrupted.
func retry(call func() (int, error)) (int, error) {
	for {
		n, err := call()
		if err != syscall.EINTR {
			return n, err
		}
	}
}

func readLink(path string) (string, error) {
	b := make([]byte, 512)
	n, err := syscall.Readlink(path, b)
	if err != nil {
		return "", err
	}
	return string(b[:n]), nil
}

// nullStdio points descriptors 0, 1 and 2 at /dev/null.
func nullStdio() error {
	null, err := syscall.Open("/dev/null", syscall.O_RDWR|syscall.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	for fd := range 3 {
		if err := syscall.Dup3(null, fd, 0); err != nil {
			return err
		}
	}
	if null > 2 {
		_ = syscall.Close(null)
	}
	return nil
}

// readFile returns at most limit bytes of a regular file. Whatever an attacker
// has put in its place does not make it wait.
func readFile(path string, limit int) ([]byte, error) {
	fd, err := syscall.Open(path, syscall.O_RDONLY|syscall.O_NONBLOCK|syscall.O_NOCTTY|syscall.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer closeAll(fd)
	var st syscall.Stat_t
	if err := syscall.Fstat(fd, &st); err != nil {
		return nil, err
	}
	if st.Mode&syscall.S_IFMT != syscall.S_IFREG {
		return nil, syscall.EINVAL
	}
	b := make([]byte, min(int64(limit), max(st.Size, 0)))
	for n := 0; n < len(b); {
		got, err := retry(func() (int, error) { return syscall.Read(fd, b[n:]) })
		if err != nil {
			return nil, err
		}
		if got == 0 {
			return b[:n], nil
		}
		n += got
	}
	return b, nil
}

// writeAll writes all of b to a descriptor that does not block for long.
func writeAll(fd int, b []byte) error {
	for len(b) > 0 {
		n, err := retry(func() (int, error) { return syscall.Write(fd, b) })
		if err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

func itoa(n int) string { return strconv.Itoa(n) }

// errorText is what strerror(3) says.
func errorText(err error) string {
	s := []byte(err.Error())
	if len(s) > 0 && 'a' <= s[0] && s[0] <= 'z' {
		s[0] -= 'a' - 'A'
	}
	return string(s)
}
