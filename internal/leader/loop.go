package leader

import (
	"runtime"
	"syscall"
	"time"

	"github.com/sandtrap/sandtrap/internal/frame"
)

// orphanPeriod is how often the loop looks whether programs without a channel
// have ended, in milliseconds.
const orphanPeriod = 1000

// interest says what a poll of the loop found for a channel.
type interest struct {
	c    *channel
	what byte // 'i'nput, 'o'utput, 'e'rror, e'x'it
}

// run is the loop: it passes on what programs write and how they end, and feeds
// those that were busy.
func (w *worker) run() {
	var fds []pollFd
	var interests []interest
	for {
		// With one processor, whoever is ready has to run before this thread waits.
		runtime.Gosched()
		timeout := -1
		w.mu.Lock()
		if w.dying {
			w.mu.Unlock()
			w.hangUp()
			return
		}
		if len(w.orphans) > 0 {
			timeout = orphanPeriod
		}
		fds, interests = w.interests(fds[:0], interests[:0])
		w.mu.Unlock()
		if poll(fds, timeout) != nil {
			time.Sleep(lookPeriod) // the kernel lacks memory
			continue
		}
		for i, f := range fds {
			if f.revents != 0 {
				w.react(interests[i])
			}
		}
		w.settle()
	}
}

// interests lists what to wait for. w.mu is held.
func (w *worker) interests(fds []pollFd, list []interest) ([]pollFd, []interest) {
	add := func(fd int, events int16, i interest) {
		if fd >= 0 {
			fds, list = append(fds, pollFd{fd: int32(fd), events: events}), append(list, i)
		}
	}
	add(w.waker[0], pollIn, interest{})
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
	return fds, list
}

// react does what has become possible.
func (w *worker) react(i interest) {
	switch c := i.c; {
	case c == nil:
		var b [16]byte
		w.mu.Lock()
		_, _ = syscall.Read(w.waker[0], b[:])
		w.woken = false
		w.mu.Unlock()
	case i.what == 'i':
		w.mu.Lock()
		w.feed(c)
		w.mu.Unlock()
	case i.what == 'o':
		w.output(c, &c.out, frame.Data)
	case i.what == 'e':
		w.output(c, &c.err, frame.Stderr)
	case i.what == 'x':
		w.reapProgram(c)
	}
}

// output passes on what there is, as much as one frame and the window take. A
// terminal gives it in small pieces.
func (w *worker) output(c *channel, fd *int, t frame.Type) {
	w.mu.Lock()
	b, closing := w.buffer[:min(len(w.buffer), c.window)], c.closing
	w.mu.Unlock()
	if closing {
		return
	}
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
		w.mu.Lock()
		c.window -= n
		w.mu.Unlock()
		if w.link.Send(frame.Frame{Type: t, Channel: c.number, Payload: b[:n]}) != nil {
			return // all ends
		}
	}
	if ended {
		w.closeOutput(c, fd)
	}
}

// closeOutput closes a stream that has ended.
func (w *worker) closeOutput(c *channel, fd *int) {
	w.mu.Lock()
	defer w.mu.Unlock()
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
	w.mu.Lock()
	_ = syscall.Close(c.pidfd)
	c.pidfd = -1
	if c.pty != nil {
		c.lastOutput = true
	} else if c.in >= 0 {
		// As sshd: nobody is interested in what else would be written.
		_ = syscall.Close(c.in)
		c.in = -1
	}
	w.mu.Unlock()
	if c.exit = exitMessage(status); err != nil {
		c.exit = &frame.ExitMessage{Status: 255} // cannot be: it is our child
	}
}

// settle tells what is due and forgets what is over.
func (w *worker) settle() {
	w.mu.Lock()
	w.present = append(w.present[:0], w.order...) // more may be opened meanwhile
	w.mu.Unlock()
	for _, c := range w.present {
		if c.lastOutput && c.out >= 0 {
			w.output(c, &c.out, frame.Data)
		}
		w.tell(c)
	}
	clear(w.present)
	w.mu.Lock()
	defer w.mu.Unlock()
	kept := w.order[:0]
	for _, c := range w.order {
		if c.closing || c.ended && c.exit == nil && c.pidfd < 0 {
			w.forget(c)
		} else {
			kept = append(kept, c)
		}
	}
	clear(w.order[len(kept):])
	if len(kept) != len(w.order) {
		w.order = kept
		w.showTitle(nil)
	}
	w.reapOrphans()
}

// tell sends what the front end waits for, but no output.
func (w *worker) tell(c *channel) {
	w.mu.Lock()
	closing, granted := c.closing, 0
	if c.consumed >= grantEvery {
		granted, c.consumed = c.consumed, 0
		c.credit += granted
	}
	w.mu.Unlock()
	if closing {
		return
	}
	if granted > 0 {
		_ = w.link.Send(frame.Frame{Type: frame.Window, Channel: c.number, Payload: frame.EncodeWindow(uint32(granted))})
	}
	if c.out < 0 && c.err < 0 && !c.ended {
		c.ended = true
		_ = w.link.Send(frame.Frame{Type: frame.EOF, Channel: c.number})
	}
	if c.exit != nil {
		_ = w.link.Send(frame.Frame{Type: frame.Exit, Channel: c.number, Payload: c.exit.Encode()})
		c.exit = nil
	}
}

// forget hangs up. A program that still runs is an orphan from now on. w.mu is
// held.
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
	delete(w.channels, c.number)
	c.pending = nil
}

// reapOrphans forgets the orphans that have ended. w.mu is held.
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
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.order {
		if c.pidfd >= 0 {
			_ = syscall.Kill(-c.pid, syscall.SIGHUP)
		}
		w.forget(c)
	}
	w.order = nil
}
