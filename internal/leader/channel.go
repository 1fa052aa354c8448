package leader

import (
	"syscall"
	"unsafe"

	"github.com/sandtrap/sandtrap/internal/frame"
)

// channel is one program. Its streams are the front end's.
type channel struct {
	number uint16
	pid    int
	pidfd  int  // -1 when the program has ended
	pty    *pty // nil without a terminal
	fresh  bool // the terminal is to be entered in utmp
	shown  bool // it is there

	exit *frame.ExitMessage // what is to be told
	over bool               // nothing more is to be done for it
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
