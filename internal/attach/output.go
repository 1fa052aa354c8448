package attach

import (
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sandtrap/sandtrap/internal/descriptor"
)

const (
	// The buffer of an output, in bytes: it grows with what comes at once, up to
	// the largest piece that Copy hands on.
	firstBuffer = 4 << 10
	maxChunk    = 64 << 10
	// maxHeld bounds what is still read of a terminal whose program has ended, in
	// bytes: more than a terminal holds, but no more than others write to it.
	maxHeld = 256 << 10
	// letGo is how long Copy waits for a read after the program was closed. The
	// leader may have made reads wait in the kernel, see O_NONBLOCK in open(2);
	// they end with the target then.
	letGo = time.Second
)

// files are the streams of a program. in and out are the same for a terminal, which
// has no err.
type files struct{ in, out, err *os.File }

// newFiles takes over the descriptors that a leader gave for a program, if they are
// what they must be. Reading from anything else might do anything.
func newFiles(fds []int, pty bool) (f files, err error) {
	switch {
	case pty && len(fds) == 1 && descriptor.IsTerminal(fds[0]):
	case !pty && len(fds) == 3 && descriptor.IsPipe(fds[0], unix.O_WRONLY) &&
		descriptor.IsPipe(fds[1], unix.O_RDONLY) && descriptor.IsPipe(fds[2], unix.O_RDONLY):
	default:
		descriptor.Close(fds)
		return files{}, violation("a program with %d descriptors, or not with those of a program", len(fds))
	}
	var all [3]*os.File
	for i, fd := range fds {
		if all[i], err = descriptor.File(fd, "program"); err != nil {
			descriptor.Close(fds[i:])
			break
		}
	}
	f = files{all[0], all[1], all[2]}
	if pty {
		f.out = f.in
	}
	if err != nil {
		f.close()
		return files{}, fmt.Errorf("take a program's streams: %w", err)
	}
	return f, nil
}

// hurry ends reads that wait for more, and writes.
func (f *files) hurry() {
	for _, one := range []*os.File{f.in, f.out, f.err} {
		if one != nil {
			_ = one.SetDeadline(time.Unix(1, 0))
		}
	}
}

// endInput closes a pipe to standard input.
func (f *files) endInput() {
	shut(f.in)
	f.in = nil
}

// endOutput closes a pipe from standard output.
func (f *files) endOutput() {
	shut(f.out) // and again by close, which does no harm
}

// close closes all of them.
func (f *files) close() {
	shut(f.in)
	if f.out != f.in {
		shut(f.out)
	}
	shut(f.err)
	*f = files{}
}

// shut closes a file. Closing waits for reads and writes that wait in the kernel,
// so nobody waits for it.
func shut(f *os.File) {
	if f != nil {
		_ = f.SetDeadline(time.Unix(1, 0))
		go f.Close()
	}
}

// Copy implements Stream.
func (c *channel) Copy(stdout, stderr func([]byte) error) error {
	c.mu.Lock()
	f, cause := c.files, c.failure
	c.mu.Unlock()
	if f.out == nil {
		return fmt.Errorf("read program output: %w", cause)
	}
	outputs := 1
	ends := make(chan error, 2)
	go func() { ends <- c.unlessUnwanted(c.read(f.out, stdout)) }()
	if f.err != nil {
		outputs++
		go func() { ends <- c.read(f.err, stderr) }()
	}
	var first error
	var giveUp <-chan time.Time
	ended := c.ended
	for outputs > 0 {
		select {
		case err := <-ends:
			outputs--
			if err != nil && first == nil {
				first = err
				f.hurry()
			}
		case <-ended:
			ended = nil
			timer := time.NewTimer(letGo)
			defer timer.Stop()
			giveUp = timer.C
		case <-giveUp:
			return fmt.Errorf("read program output: %w", c.cause())
		}
	}
	return first
}

// unlessUnwanted is how standard output has ended: by CloseRead, or with err.
func (c *channel) unlessUnwanted(err error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.noOutput && c.failure == nil {
		return nil
	}
	return err
}

// read hands on one output until it has ended or to fails.
func (c *channel) read(f *os.File, to func([]byte) error) error {
	buffer := make([]byte, firstBuffer)
	for {
		n, err := f.Read(buffer)
		if n > 0 {
			if err := to(buffer[:n]); err != nil {
				return err
			}
			if n == len(buffer) && n < maxChunk {
				buffer = make([]byte, 2*n)
			}
		}
		switch {
		case err == nil:
		case errors.Is(err, io.EOF), errors.Is(err, syscall.EIO): // a terminal that nobody has open any more
			return nil
		case errors.Is(err, os.ErrDeadlineExceeded):
			return c.rest(f, buffer, to)
		default:
			return c.lost(err)
		}
	}
}

// rest hands on what there is now: nothing more is waited for.
func (c *channel) rest(f *os.File, buffer []byte, to func([]byte) error) error {
	raw, err := f.SyscallConn()
	if err != nil {
		return c.lost(err)
	}
	for held := 0; held < maxHeld; {
		if cause := c.cause(); errors.Is(cause, ErrClosed) { // nobody wants it
			return c.lost(cause)
		}
		n := 0
		controlErr := raw.Control(func(fd uintptr) { n, err = unix.Read(int(fd), buffer) })
		switch {
		case controlErr != nil:
			return c.lost(controlErr)
		case errors.Is(err, unix.EINTR):
			continue
		case err == nil && n > 0:
			if err := to(buffer[:n]); err != nil {
				return err
			}
			held += n
			continue
		case err != nil && !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EIO):
			return c.lost(err)
		}
		break
	}
	if cause := c.cause(); cause != nil {
		return c.lost(cause)
	}
	return nil
}

// lost is the error of output that has not ended by itself.
func (c *channel) lost(err error) error {
	if cause := c.cause(); cause != nil {
		err = cause
	}
	return fmt.Errorf("read program output: %w", err)
}
