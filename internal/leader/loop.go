package leader

import (
	"errors"
	"syscall"
	"time"

	"github.com/sandtrap/sandtrap/internal/frame"
)

// orphanPeriod is how often the loop looks whether programs without a channel
// have ended, in milliseconds.
const orphanPeriod = 1000

// breath is a pause for a kernel that lacks memory.
const breath = 20 * time.Millisecond

// interest says what a poll of the loop found for a channel.
type interest struct {
	c    *channel
	what byte // 'i'nput, 'o'utput, 'e'rror, e'x'it
}

var errNobody = errors.New("no front end came")

// run is the loop: it does what the front end asks for, passes on what programs
// write and how they end, and feeds those that were busy. It ends with the link.
func (w *worker) run() error {
	for w.broken == nil {
		timeout := -1
		switch {
		case !w.greeted:
			timeout = int(w.patience / time.Millisecond)
		case len(w.orphans) > 0:
			timeout = orphanPeriod
		}
		w.watch()
		n, err := poll(w.fds, timeout)
		if err != nil {
			time.Sleep(breath)
			continue
		}
		if n == 0 && !w.greeted {
			return errNobody
		}
		if w.fds[0].revents != 0 {
			if err := w.receive(); err != nil {
				return err
			}
		}
		for i, f := range w.fds[1:] {
			if f.revents != 0 {
				w.react(w.interests[i])
			}
		}
		w.settle()
	}
	return w.broken
}

// receive handles the frames that have arrived.
func (w *worker) receive() error {
	if err := w.in.Fill(); err != nil {
		return err
	}
	for {
		f, ok, err := w.in.Next()
		if err != nil || !ok {
			return err
		}
		if err := w.handle(f); err != nil {
			return err
		}
	}
}

// watch lists what to wait for: the link, then what the channels are interested in.
func (w *worker) watch() {
	w.fds = append(w.fds[:0], pollFd{fd: int32(w.stream), events: pollIn})
	w.interests = w.interests[:0]
	add := func(fd int, events int16, i interest) {
		if fd >= 0 {
			w.fds, w.interests = append(w.fds, pollFd{fd: int32(fd), events: events}), append(w.interests, i)
		}
	}
	for _, c := range w.order {
		add(c.pidfd, pollIn, interest{c, 'x'})
		if len(c.pending) > 0 {
			add(c.in, pollOut, interest{c, 'i'})
		}
		if c.window > 0 {
			add(c.out, pollIn, interest{c, 'o'})
			add(c.err, pollIn, interest{c, 'e'})
		}
	}
}

// react does what has become possible.
func (w *worker) react(i interest) {
	switch c := i.c; i.what {
	case 'i':
		c.feed()
	case 'o':
		w.output(c, &c.out, frame.Data)
	case 'e':
		w.output(c, &c.err, frame.Stderr)
	case 'x':
		w.reapProgram(c)
	}
}

// output passes on what there is, as much as one frame and the window take. A
// terminal gives it in small pieces.
func (w *worker) output(c *channel, fd *int, t frame.Type) {
	if c.closing {
		return
	}
	b := w.buffer[:min(len(w.buffer), c.window)]
	n, ended := 0, false
	for *fd >= 0 && n < len(b) && !ended {
		got, err := retry(func() (int, error) { return syscall.Read(*fd, b[n:]) })
		if err == syscall.EAGAIN {
			// Nothing comes to a terminal any more whose session has ended.
			ended = c.lastOutput
			break
		}
		ended = err != nil || got == 0
		n += max(got, 0)
		if c.pty == nil {
			break
		}
	}
	if n > 0 {
		c.window -= n
		w.send(t, c.number, b[:n])
	}
	if ended {
		w.closeOutput(c, fd)
	}
}

// closeOutput closes a stream that has ended.
func (w *worker) closeOutput(c *channel, fd *int) {
	if *fd < 0 {
		return
	}
	if c.pty != nil {
		c.in = -1 // the same
		w.login.logOut(c)
	}
	_ = syscall.Close(*fd)
	*fd = -1
}

// reapProgram notes how a program has ended.
func (w *worker) reapProgram(c *channel) {
	var status syscall.WaitStatus
	pid, err := retry(func() (int, error) { return syscall.Wait4(c.pid, &status, syscall.WNOHANG, nil) })
	if err == nil && pid == 0 {
		return
	}
	_ = syscall.Close(c.pidfd)
	c.pidfd = -1
	if c.pty != nil {
		c.lastOutput = true
	} else if c.in >= 0 {
		// As sshd: nobody is interested in what else would be written.
		_ = syscall.Close(c.in)
		c.in = -1
	}
	if c.exit = exitMessage(status); err != nil {
		c.exit = &frame.ExitMessage{Status: 255} // cannot be: it is our child
	}
}

// settle tells what is due and forgets what is over.
func (w *worker) settle() {
	kept := w.order[:0]
	for _, c := range w.order {
		if c.lastOutput && c.out >= 0 {
			w.output(c, &c.out, frame.Data)
		}
		w.tell(c)
		if c.closing || c.ended && c.exit == nil && c.pidfd < 0 {
			w.forget(c)
		} else {
			kept = append(kept, c)
		}
	}
	fewer := len(kept) != len(w.order)
	clear(w.order[len(kept):])
	if w.order = kept; fewer {
		w.showTitle(nil)
	}
	w.reapOrphans()
}

// tell sends what the front end waits for, but no output.
func (w *worker) tell(c *channel) {
	if c.closing {
		return
	}
	if c.consumed >= grantEvery {
		w.send(frame.Window, c.number, frame.EncodeWindow(uint32(c.consumed)))
		c.credit += c.consumed
		c.consumed = 0
	}
	if c.out < 0 && c.err < 0 && !c.ended {
		c.ended = true
		w.send(frame.EOF, c.number, nil)
	}
	if c.exit != nil {
		w.send(frame.Exit, c.number, c.exit.Encode())
		c.exit = nil
	}
}

// forget hangs up. A program that still runs is an orphan from now on.
func (w *worker) forget(c *channel) {
	if c.pty != nil && c.out >= 0 {
		w.login.logOut(c)
		c.in = -1
	}
	closeAll(c.in, c.out, c.err, c.pidfd)
	c.in, c.out, c.err = -1, -1, -1
	if c.pidfd >= 0 {
		c.pidfd = -1
		w.orphans = append(w.orphans, c.pid)
	}
	if w.channels[c.number] == c {
		delete(w.channels, c.number)
	}
	c.pending = nil
}

// reapOrphans forgets the orphans that have ended.
func (w *worker) reapOrphans() {
	kept := w.orphans[:0]
	for _, pid := range w.orphans {
		if got, err := syscall.Wait4(pid, nil, syscall.WNOHANG, nil); got == 0 && err == nil || err == syscall.EINTR {
			kept = append(kept, pid)
		}
	}
	w.orphans = kept
}

// hangUp ends everything, as sshd does when its connection ends.
func (w *worker) hangUp() {
	for _, c := range w.order {
		if c.pidfd >= 0 {
			_ = syscall.Kill(-c.pid, syscall.SIGHUP)
		}
		w.forget(c)
	}
	w.order = nil
}
