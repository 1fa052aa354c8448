package attach

import (
	"errors"
	"io"
	"net"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/sandtrap/sandtrap/internal/frame"
)

// Bounds of what waits for a leader that does not read, in bytes.
const (
	maxWaiting = 512 << 10
	// reserve is for frames that must not wait, beyond maxWaiting.
	reserve = 64 << 10
)

var (
	errStopped = errors.New("no room for a frame")
	errDeaf    = errors.New("the leader does not read what it is sent")
)

// conn is a stream to a leader. Reading is one goroutine's; sending anybody's.
//
// The target may share the socket's file description and with it the O_NONBLOCK
// flag, so that no call may rely on that.
type conn struct {
	socket *net.UnixConn
	raw    syscall.RawConn
	turn   chan struct{} // held by whoever waits for room: first come, first served
	room   chan struct{} // there may be room again, for the holder of turn
	closed chan struct{} // closed when err is set

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
	return &conn{socket: socket, raw: raw, turn: make(chan struct{}, 1), room: make(chan struct{}, 1), closed: make(chan struct{})}, nil
}

// Read implements io.Reader.
func (c *conn) Read(p []byte) (n int, err error) {
	waitErr := c.raw.Read(func(fd uintptr) bool {
		for {
			n, _, err = unix.Recvfrom(int(fd), p, unix.MSG_DONTWAIT)
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
	case n == 0:
		return 0, io.EOF
	}
	return n, nil
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

// send sends a frame, or keeps it while the leader does not read. It waits while
// maxWaiting bytes are kept, until stop is closed; but Ping and Close never wait.
func (c *conn) send(stop <-chan struct{}, f frame.Frame) error {
	header, err := f.Header()
	if err != nil {
		return err
	}
	limit := maxWaiting
	if f.Type == frame.Ping || f.Type == frame.Close {
		limit += reserve
	} else {
		select {
		case c.turn <- struct{}{}:
		case <-stop:
			return errStopped
		case <-c.closed:
			return c.reason()
		}
		defer func() { <-c.turn }()
	}
	for {
		sent, err := c.try(limit, header[:], f.Payload)
		switch {
		case err != nil || sent:
			return err
		case limit > maxWaiting:
			c.close(errDeaf)
			return errDeaf
		}
		select {
		case <-c.room:
		case <-stop:
			return errStopped
		case <-c.closed:
			return c.reason()
		}
	}
}

// try writes a frame or keeps what cannot be written, unless more than limit bytes
// would be kept. A frame may be larger than that, when nothing else is.
func (c *conn) try(limit int, header, payload []byte) (bool, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return false, c.err
	}
	if c.writing {
		if len(c.waiting) > 0 && len(c.waiting)+len(header)+len(payload) > limit {
			return false, nil
		}
		c.waiting = append(append(c.waiting, header...), payload...)
		return true, nil
	}
	n := 0
	var writeErr error
	if err := c.raw.Write(func(fd uintptr) bool {
		n, writeErr = write(fd, header, payload)
		return true
	}); err != nil {
		return false, err
	}
	if writeErr != nil && writeErr != unix.EAGAIN {
		return false, writeErr // the reader learns why, after what was still said
	}
	if n < len(header)+len(payload) {
		all := append(append([]byte(nil), header...), payload...)
		c.waiting, c.writing = all[n:], true
		c.writer.Go(c.writeRest)
	}
	return true, nil
}

// writeRest writes what waits, and ends when nothing does.
func (c *conn) writeRest() {
	for {
		c.mu.Lock()
		chunk := c.waiting
		if len(chunk) == 0 || c.err != nil {
			c.waiting, c.writing = nil, false
			c.mu.Unlock()
			wake(c.room)
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
		wake(c.room)
	}
}

// close ends everything that waits with cause, of which the first counts.
func (c *conn) close(cause error) {
	c.mu.Lock()
	first := c.err == nil
	if first {
		c.err = cause
		close(c.closed)
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
