package leader

import (
	"errors"
	"syscall"
	"unsafe"

	"github.com/sandtrap/sandtrap/internal/frame"
)

// grantEvery is how much input is consumed, in bytes, before the front end hears
// of it.
const grantEvery = frame.InitialWindow / 4

// channel is one program and its streams.
type channel struct {
	number uint16
	pid    int
	pidfd  int // -1 when the program has ended
	pty    *pty
	in     int // standard input, -1 when closed; with a terminal its master, as out
	out    int // -1 when ended
	err    int // -1 when ended

	pending    []byte // input that the program does not take yet
	inputEnded bool   // after pending there is no more
	credit     int    // input that the front end may still send, in bytes
	consumed   int    // input taken since the last grant, in bytes
	window     int    // output that may still be sent, in bytes
	closing    bool   // by the front end

	exit       *frame.ExitMessage // what is to be told
	ended      bool               // the end of the output was told
	lastOutput bool               // the program has ended: only what the terminal holds
}

// input takes what the front end sends.
func (c *channel) input(p []byte) error {
	if c.credit -= len(p); c.credit < 0 {
		return errors.Join(frame.ErrMalformed, errors.New("more input than was granted"))
	}
	if len(c.pending) > 0 {
		c.pending = append(c.pending, p...)
		return nil
	}
	n := c.write(p)
	if n < len(p) {
		c.pending = append(c.pending, p[n:]...)
	}
	c.consumed += n
	return nil
}

// feed gives the program pending input, and the end when it has it all.
func (c *channel) feed() {
	if n := c.write(c.pending); n > 0 {
		c.pending = c.pending[n:]
		c.consumed += n
	}
	if len(c.pending) > 0 {
		return
	}
	c.pending = nil
	if c.inputEnded && c.pty == nil {
		// As sshd, nothing for a terminal: it has no end of its input.
		closeAll(c.in)
		c.in = -1
	}
}

// write writes what the program takes without waiting. A program that takes no
// more input, ever, seems to take all.
func (c *channel) write(p []byte) int {
	for written := 0; ; {
		if c.in < 0 || written == len(p) {
			return len(p)
		}
		n, err := syscall.Write(c.in, p[written:])
		switch {
		case err == syscall.EAGAIN:
			return written
		case err == syscall.EINTR:
		case err != nil:
			if c.pty == nil {
				_ = syscall.Close(c.in)
			}
			c.in = -1
		default:
			written += n
		}
	}
}

func (c *channel) resize(s frame.Size) {
	if c.pty != nil && c.out >= 0 {
		c.pty.resize(s)
	}
}

// signal signals the program's process group, as sshd does. Names that it does
// not know are ignored.
func (c *channel) signal(name string) {
	if number, ok := signalNumber(name); ok && c.pidfd >= 0 {
		_ = syscall.Kill(-c.pid, number)
	}
}

// winsize is struct winsize of ioctl_tty(2).
type winsize struct{ rows, columns, width, height uint16 }

func (p *pty) resize(s frame.Size) {
	size := winsize{s.Rows, s.Columns, s.Width, s.Height}
	_ = ioctl(p.master, syscall.TIOCSWINSZ, unsafe.Pointer(&size))
}
