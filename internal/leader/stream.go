package leader

import (
	"io"
	"runtime"
	"sync"
	"syscall"
)

// stream is a pair of descriptors that can be closed while somebody waits for
// them.
type stream struct {
	in, out int
	stop    [2]int // a pipe whose writing end is closed by Close
	once    sync.Once
}

func newStream(in, out int) (*stream, error) {
	s := &stream{in: in, out: out}
	var err error
	if s.stop[0], s.stop[1], err = pipe(); err == nil {
		err = syscall.SetNonblock(in, true)
	}
	if err == nil {
		err = syscall.SetNonblock(out, true)
	}
	return s, err
}

// wait waits until fd is ready or the stream closed.
func (s *stream) wait(fd int, events int16) error {
	// With one processor, whoever is ready has to run before this thread waits.
	runtime.Gosched()
	fds := [2]pollFd{{fd: int32(fd), events: events}, {fd: int32(s.stop[0]), events: pollIn}}
	if err := poll(fds[:], -1); err != nil {
		return err
	}
	if fds[1].revents != 0 {
		return io.ErrClosedPipe
	}
	return nil
}

// Read implements io.Reader.
func (s *stream) Read(b []byte) (int, error) {
	for {
		if err := s.wait(s.in, pollIn); err != nil {
			return 0, err
		}
		n, err := syscall.Read(s.in, b)
		switch {
		case err == syscall.EAGAIN || err == syscall.EINTR:
		case err != nil:
			return 0, err
		case n == 0:
			return 0, io.EOF
		default:
			return n, nil
		}
	}
}

// Write implements io.Writer.
func (s *stream) Write(b []byte) (written int, err error) {
	for written < len(b) {
		n, err := syscall.Write(s.out, b[written:])
		switch {
		case err == syscall.EAGAIN:
			if err := s.wait(s.out, pollOut); err != nil {
				return written, err
			}
		case err == syscall.EINTR:
		case err != nil:
			return written, err
		default:
			written += n
		}
	}
	return written, nil
}

// Close ends waiting calls and those to come.
func (s *stream) Close() error {
	s.once.Do(func() { closeAll(s.stop[1]) })
	return nil
}

// free gives the descriptors back, after all calls have returned.
func (s *stream) free() {
	closeAll(s.in, s.stop[0])
	if s.out != s.in {
		closeAll(s.out)
	}
}
