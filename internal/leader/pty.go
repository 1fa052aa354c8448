package leader

import (
	"syscall"
	"unsafe"

	"github.com/sandtrap/sandtrap/internal/frame"
)

// pty is a pseudo-terminal; see pty(7).
type pty struct {
	number int
	master int // does not block
	slave  int // -1 once the program has it
}

// line is the terminal's name as in utmp(5).
func (p *pty) line() string { return "pts/" + itoa(p.number) }

// openPTY makes a terminal that belongs to an account, or to whom it belongs
// anyway when the caller is not root.
func openPTY(a *account, size frame.Size, modes string) (*pty, error) {
	master, err := syscall.Open("/dev/ptmx", syscall.O_RDWR|syscall.O_NOCTTY|syscall.O_NONBLOCK|syscall.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	p := &pty{master: master, slave: -1}
	var number uint32
	var unlocked int32
	err = ioctl(master, syscall.TIOCGPTN, unsafe.Pointer(&number))
	if err == nil {
		err = ioctl(master, syscall.TIOCSPTLCK, unsafe.Pointer(&unlocked))
	}
	if err == nil {
		p.number = int(number)
		p.slave, err = syscall.Open("/dev/"+p.line(), syscall.O_RDWR|syscall.O_NOCTTY|syscall.O_CLOEXEC, 0)
	}
	if err != nil {
		closeAll(master)
		return nil, err
	}
	if a.uid != 0 {
		// devpts does so itself for whoever opens it.
		_ = syscall.Fchown(p.slave, int(a.uid), -1)
	}
	_ = syscall.Fchmod(p.slave, 0o620)
	p.resize(size)
	setModes(p.slave, modes)
	return p, nil
}

// say writes a text to the terminal as a program would. It does not wait: what
// does not fit is lost.
func (p *pty) say(text []byte) {
	fd, err := syscall.Open("/dev/"+p.line(), syscall.O_WRONLY|syscall.O_NOCTTY|syscall.O_NONBLOCK|syscall.O_CLOEXEC, 0)
	if err == nil {
		_ = writeAll(fd, text)
		_ = syscall.Close(fd)
	}
}
