package leader

import (
	"strings"
	"syscall"

	"github.com/sandtrap/sandtrap/internal/frame"
)

// pipeSize is how much a program's output may be ahead, in bytes.
const pipeSize = 256 << 10

// smallestPipe is what every empty pipe takes without waiting for a reader, in
// bytes; see pipe(7).
const smallestPipe = 4096

// streams are descriptors of one side of a program: its standard input, output and
// error, or three times its terminal. They are -1 when closed.
type streams [3]int

var noStreams = streams{-1, -1, -1}

// close closes each descriptor once.
func (s *streams) close() {
	if s[0] == s[1] {
		closeAll(s[0])
	} else {
		closeAll(s[:]...)
	}
	*s = noStreams
}

// list is each descriptor once.
func (s *streams) list() []int {
	if s[0] == s[1] {
		return s[:1]
	}
	return s[:]
}

// open starts a program on a new channel and answers with its streams. They are
// the front end's alone then, so that a terminal is hung up when it closes it.
func (w *worker) open(number uint16, payload []byte) error {
	var m frame.OpenMessage
	if err := m.Decode(payload); err != nil {
		return err
	}
	c, ours, err := w.start(number, &m)
	if err != nil {
		w.send(frame.Failed, number, []byte(errorText(err)))
		return nil
	}
	defer ours.close()
	switch err := w.stream.send(frame.Frame{Type: frame.Opened, Channel: number}, ours.list()...); err {
	case nil:
	case syscall.ETOOMANYREFS: // somebody has descriptors on their way by the thousand
		w.abandon(c)
		w.send(frame.Failed, number, []byte(errorText(err)))
		return nil
	default:
		w.broken = err
	}
	w.channels[number] = c
	w.order = append(w.order, c)
	c.fresh = c.pty != nil && c.pid > 0
	return nil
}

// abandon ends a program that the front end cannot have.
func (w *worker) abandon(c *channel) {
	if c.pidfd >= 0 {
		_ = syscall.Kill(-c.pid, syscall.SIGKILL)
	}
	w.forget(c)
	w.showTitle(nil)
}

// start starts a program and returns the front end's ends of its streams. When it
// runs at all it has a channel, even if it cannot be executed: the message about
// that is its output.
func (w *worker) start(number uint16, m *frame.OpenMessage) (*channel, streams, error) {
	_, twice := w.channels[number]
	l := w.login
	if twice || len(w.order) >= maxChannels || l == nil || len(m.Argv) == 0 {
		return nil, noStreams, syscall.EAGAIN
	}
	c := &channel{number: number, pidfd: -1}
	var ours, theirs streams
	var err error
	if m.PTY {
		ours, theirs, err = c.terminal(l, m)
	} else {
		ours, theirs, err = pipes()
	}
	if err != nil {
		return nil, noStreams, err
	}
	defer theirs.close()
	if err := w.execute(c, l, m, theirs); err != nil {
		w.showTitle(nil)
		ours.close()
		return nil, noStreams, err
	}
	return c, ours, nil
}

// terminal gives a channel a terminal.
func (c *channel) terminal(l *login, m *frame.OpenMessage) (ours, theirs streams, err error) {
	p, err := openPTY(&l.account, m.Size, m.Modes)
	if err != nil {
		return noStreams, noStreams, err
	}
	c.pty = p
	return streams{p.master, p.master, p.master}, streams{p.slave, p.slave, p.slave}, nil
}

// pipes are what Debian's sshd uses without a terminal.
func pipes() (ours, theirs streams, err error) {
	ours, theirs = noStreams, noStreams
	for i := range theirs {
		r, wr, err := pipe()
		if err != nil {
			ours.close()
			theirs.close()
			return ours, theirs, err
		}
		if ours[i], theirs[i] = r, wr; i == 0 {
			ours[i], theirs[i] = wr, r
		}
	}
	_, _ = fcntl(ours[1], fSetPipeSize, pipeSize) // more at a time, if allowed
	return ours, theirs, nil
}

// execute starts the program itself. Its working directory is the worker's
// meanwhile: nothing else depends on that.
func (w *worker) execute(c *channel, l *login, m *frame.OpenMessage, theirs streams) error {
	path, argv, env := cString(m.Path), cStrings(m.Argv), cStrings(m.Env)
	if c.pty != nil {
		env = append(env, "SSH_TTY=/dev/"+c.pty.line())
	}
	w.showTitle(c)
	if m.Interactive && !l.hushed() {
		c.greet(l, theirs)
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
		return nil
	case syscall.EAGAIN, syscall.ENOMEM, syscall.EMFILE, syscall.ENFILE:
		return err
	}
	// As the child of sshd, which calls perror(3).
	c.pidfd = -1
	c.complain(theirs, path+": "+errorText(err)+"\n")
	c.exit = &frame.ExitMessage{Status: 1}
	return nil
}

// greet says what comes before a login shell's own output. Without a terminal that
// is the message of the day alone.
func (c *channel) greet(l *login, theirs streams) {
	if c.pty != nil {
		c.pty.say(l.greeting())
		return
	}
	text := l.motd()
	_ = writeAll(theirs[1], text[:min(len(text), smallestPipe)]) // into an empty pipe
}

// complain says what sshd's child says on standard error, before the program
// does.
func (c *channel) complain(theirs streams, text string) {
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
