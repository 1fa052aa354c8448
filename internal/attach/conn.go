package attach

import (
	"errors"
	"io"
	"net"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/sandtrap/sandtrap/internal/descriptor"
	"github.com/sandtrap/sandtrap/internal/frame"
)

const (
	// maxWaiting bounds what waits for a leader that does not read, in bytes: all
	// that can be asked of it while it starts a program.
	maxWaiting = 2 << 20
	// maxDescriptors are those of a program.
	maxDescriptors = 3
)

var errDeaf = errors.New("the leader does not read what it is sent")

// conn is a stream to a leader. Reading is one goroutine's; sending anybody's.
//
// The target may share the socket's file description and with it the O_NONBLOCK
// flag, so that no call may rely on that.
type conn struct {
	socket *net.UnixConn
	raw    syscall.RawConn

	came    []int // descriptors that nobody has taken yet; the reader's
	control []byte

	mu      sync.Mutex // guards all below
	err     error      // why the stream was closed
	waiting []byte     // what could not be written at once
	writing bool       // somebody writes it
	writer  sync.WaitGroup
}

func newConn(socket *net.UnixConn) (*conn, error) {
	raw, err := socket.SyscallConn()
	if err != nil {
		return nil, err
	}
	return &conn{socket: socket, raw: raw, control: make([]byte, unix.CmsgSpace(4*maxDescriptors))}, nil
}

// Read implements io.Reader. It keeps the descriptors that come along.
func (c *conn) Read(p []byte) (n int, err error) {
	control, flags := 0, 0
	waitErr := c.raw.Read(func(fd uintptr) bool {
		for {
			n, control, flags, _, err = unix.Recvmsg(int(fd), p, c.control, unix.MSG_DONTWAIT|unix.MSG_CMSG_CLOEXEC)
			if err != unix.EINTR {
				return err != unix.EAGAIN
			}
		}
	})
	switch {
	case waitErr != nil:
		return 0, waitErr
	case err != nil:
		return 0, err
	case control > 0:
		fds := descriptor.FromMessage(c.control[:control])
		if len(c.came) > 0 || flags&unix.MSG_CTRUNC != 0 {
			descriptor.Close(fds)
			return 0, violation("descriptors that belong to nothing")
		}
		c.came = fds
	}
	if n == 0 {
		return 0, io.EOF
	}
	return n, nil
}

// take returns the descriptors that came along with a frame. They are the caller's.
func (c *conn) take() []int {
	fds := c.came
	c.came = nil
	return fds
}

// write writes what there is room for in the socket.
func write(fd uintptr, parts ...[]byte) (int, error) {
	for {
		n, err := unix.SendmsgBuffers(int(fd), parts, nil, nil, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
		if err != unix.EINTR {
			return max(n, 0), err
		}
	}
}

// send sends a frame, or keeps it while the leader does not read. It does not wait:
// a leader that leaves too much unread is gone.
func (c *conn) send(f frame.Frame) error {
	header, err := f.Header()
	if err != nil {
		return err
	}
	if err := c.try(header[:], f.Payload); err != nil {
		if errors.Is(err, errDeaf) {
			c.close(err)
		}
		return err
	}
	return nil
}

// try writes a frame or keeps what cannot be written.
func (c *conn) try(header, payload []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return c.err
	}
	if c.writing {
		if len(c.waiting)+len(header)+len(payload) > maxWaiting {
			return errDeaf
		}
		c.waiting = append(append(c.waiting, header...), payload...)
		return nil
	}
	n := 0
	var writeErr error
	if err := c.raw.Write(func(fd uintptr) bool {
		n, writeErr = write(fd, header, payload)
		return true
	}); err != nil {
		return err
	}
	if writeErr != nil && writeErr != unix.EAGAIN {
		return writeErr // the reader learns why, after what was still said
	}
	if n < len(header)+len(payload) {
		all := append(append([]byte(nil), header...), payload...)
		c.waiting, c.writing = all[n:], true
		c.writer.Go(c.writeRest)
	}
	return nil
}

// writeRest writes what waits, and ends when nothing does.
func (c *conn) writeRest() {
	for {
		c.mu.Lock()
		chunk := c.waiting
		if len(chunk) == 0 || c.err != nil {
			c.waiting, c.writing = nil, false
			c.mu.Unlock()
			return
		}
		c.mu.Unlock()
		n, err := 0, error(nil)
		waitErr := c.raw.Write(func(fd uintptr) bool {
			n, err = write(fd, chunk)
			return err != unix.EAGAIN
		})
		c.mu.Lock()
		if err != nil || waitErr != nil { // the reader learns why
			c.waiting = nil
		} else {
			c.waiting = c.waiting[n:]
		}
		c.mu.Unlock()
	}
}

// close ends everything that waits with cause, of which the first counts.
func (c *conn) close(cause error) {
	c.mu.Lock()
	first := c.err == nil
	if first {
		c.err = cause
	}
	c.mu.Unlock()
	if first {
		_ = c.socket.Close()
	}
}

// reason is why the stream was closed, nil while it is open.
func (c *conn) reason() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}
