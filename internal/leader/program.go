package leader

import (
	"strings"
	"syscall"

	"github.com/sandtrap/sandtrap/internal/frame"
)

// pipeSize is how much a program's output may be ahead, in bytes.
const pipeSize = 256 << 10

// open starts a program on a new channel and answers.
func (w *worker) open(number uint16, payload []byte) error {
	var m frame.OpenMessage
	if err := m.Decode(payload); err != nil {
		return err
	}
	c, err := w.start(number, &m)
	if err != nil {
		w.send(frame.Failed, number, []byte(errorText(err)))
		return nil
	}
	w.send(frame.Opened, number, nil)
	w.channels[number] = c
	w.order = append(w.order, c)
	return nil
}

// start starts a program. When it runs at all it has a channel, even if it cannot
// be executed: the message about that is its output.
func (w *worker) start(number uint16, m *frame.OpenMessage) (*channel, error) {
	_, twice := w.channels[number]
	l := w.login
	if twice || len(w.order) >= maxChannels || l == nil || len(m.Argv) == 0 {
		return nil, syscall.EAGAIN
	}
	c := &channel{
		number: number, pidfd: -1, in: -1, out: -1, err: -1,
		credit: frame.InitialWindow, window: frame.InitialWindow,
	}
	var theirs [3]int
	var err error
	if m.PTY {
		theirs, err = w.terminal(c, l, m)
	} else {
		theirs, err = c.pipes()
	}
	if err != nil {
		return nil, err
	}
	defer func() { closeTheirs(theirs) }()
	if err := w.execute(c, l, m, theirs); err != nil {
		w.showTitle(nil)
		closeAll(c.in, c.err)
		if c.out != c.in {
			closeAll(c.out)
		}
		return nil, err
	}
	return c, nil
}

// closeTheirs closes what belongs to the program, each descriptor once.
func closeTheirs(fds [3]int) {
	if fds[0] == fds[1] {
		closeAll(fds[0])
		return
	}
	closeAll(fds[:]...)
}

// terminal gives a channel a terminal and returns the program's descriptors.
func (w *worker) terminal(c *channel, l *login, m *frame.OpenMessage) ([3]int, error) {
	p, err := openPTY(&l.account, m.Size, m.Modes)
	if err != nil {
		return [3]int{}, err
	}
	c.pty, c.in, c.out = p, p.master, p.master
	return [3]int{p.slave, p.slave, p.slave}, nil
}

// pipes gives a channel pipes, which is what Debian's sshd uses, and returns the
// program's ends.
func (c *channel) pipes() (theirs [3]int, err error) {
	ours := [3]int{-1, -1, -1}
	theirs = ours
	for i := range theirs {
		r, wr, err := pipe()
		if err != nil {
			closeAll(ours[:]...)
			closeAll(theirs[:]...)
			return theirs, err
		}
		if ours[i], theirs[i] = r, wr; i == 0 {
			ours[i], theirs[i] = wr, r
		}
		_ = syscall.SetNonblock(ours[i], true)
	}
	_, _ = fcntl(ours[1], fSetPipeSize, pipeSize) // more at a time, if allowed
	c.in, c.out, c.err = ours[0], ours[1], ours[2]
	return theirs, nil
}

// execute starts the program itself. Its working directory is the worker's
// meanwhile: nothing else depends on that.
func (w *worker) execute(c *channel, l *login, m *frame.OpenMessage, theirs [3]int) error {
	path, argv, env := cString(m.Path), cStrings(m.Argv), cStrings(m.Env)
	if c.pty != nil {
		env = append(env, "SSH_TTY=/dev/"+c.pty.line())
	}
	w.showTitle(c)
	if m.PTY && m.Interactive {
		c.pty.say(l.greeting())
	}
	if err := syscall.Chdir(cString(m.Dir)); err != nil {
		c.complain(theirs, "Could not chdir to home directory "+cString(m.Dir)+": "+errorText(err)+"\n")
	}
	attr := &syscall.ProcAttr{
		Env: env, Files: []uintptr{uintptr(theirs[0]), uintptr(theirs[1]), uintptr(theirs[2])},
		Sys: &syscall.SysProcAttr{Setsid: true, Setctty: m.PTY, PidFD: &c.pidfd, Credential: l.credential()},
	}
	pid, err := syscall.ForkExec(path, argv, attr)
	_ = syscall.Chdir("/")
	switch err {
	case nil:
		c.pid = pid
		if c.pidfd < 0 { // a kernel before 5.3
			_ = syscall.Kill(-pid, syscall.SIGKILL)
			_, _ = syscall.Wait4(pid, nil, 0, nil)
			return syscall.ENOSYS
		}
		if c.pty != nil {
			l.logIn(c)
		}
		return nil
	case syscall.EAGAIN, syscall.ENOMEM, syscall.EMFILE, syscall.ENFILE:
		return err
	}
	// As the child of sshd, which calls perror(3).
	c.pidfd = -1
	c.complain(theirs, path+": "+errorText(err)+"\n")
	c.exit = &frame.ExitMessage{Status: 1}
	c.lastOutput = c.pty != nil
	return nil
}

// complain says what sshd's child says on standard error, before the program
// does.
func (c *channel) complain(theirs [3]int, text string) {
	if c.pty != nil {
		c.pty.say([]byte(text))
		return
	}
	_ = writeAll(theirs[2], []byte(text)) // into an empty pipe
}

// cString is what C makes of a string.
func cString(s string) string {
	s, _, _ = strings.Cut(s, "\x00")
	return s
}

func cStrings(list []string) []string {
	out := make([]string, len(list), len(list)+1)
	for i, s := range list {
		out[i] = cString(s)
	}
	return out
}
