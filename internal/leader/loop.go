package leader

import (
	"slices"
	"syscall"
	"time"

	"github.com/sandtrap/sandtrap/internal/frame"
)

// orphanPeriod is how often the loop looks whether programs without a channel
// have ended, in milliseconds.
const orphanPeriod = 1000

// stepBack is how long the records of a login wait for what the front end does with
// the program, in milliseconds: it may have to share a processor with us.
const stepBack = 1

// breath is a pause for a kernel that lacks memory.
const breath = 20 * time.Millisecond

// run is the loop: it does what the front end asks for, and tells how programs
// end. It ends with the link.
func (w *worker) run() error {
	for w.broken == nil {
		timeout := -1
		switch {
		case slices.ContainsFunc(w.order, func(c *channel) bool { return c.fresh }):
			timeout = stepBack
		case len(w.orphans) > 0:
			timeout = orphanPeriod
		}
		w.watch()
		if _, err := poll(w.fds, timeout); err != nil {
			time.Sleep(breath)
			continue
		}
		w.enterRecords()
		for i, c := range w.watched { // before an Open that needs their place
			if w.fds[1+i].revents != 0 {
				w.reapProgram(c)
			}
		}
		if w.fds[0].revents != 0 {
			if err := w.receive(); err != nil {
				return err
			}
		}
		w.settle()
	}
	return w.broken
}

// enterRecords enters terminals in utmp, before anything else is told of them.
func (w *worker) enterRecords() {
	for _, c := range w.order {
		if c.fresh {
			w.login.logIn(c)
			c.fresh, c.shown = false, true
		}
	}
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

// watch lists what to wait for: the link, then the ends of the programs.
func (w *worker) watch() {
	w.fds = append(w.fds[:0], pollFd{fd: int32(w.stream), events: pollIn})
	w.watched = w.watched[:0]
	for _, c := range w.order {
		if c.pidfd >= 0 {
			w.fds, w.watched = append(w.fds, pollFd{fd: int32(c.pidfd), events: pollIn}), append(w.watched, c)
		}
	}
}

// reapProgram tells how a program has ended.
func (w *worker) reapProgram(c *channel) {
	var status syscall.WaitStatus
	pid, err := retry(func() (int, error) { return syscall.Wait4(c.pid, &status, syscall.WNOHANG, nil) })
	if err == nil && pid == 0 {
		return
	}
	_ = syscall.Close(c.pidfd)
	c.pidfd = -1
	if c.exit = exitMessage(status); err != nil {
		c.exit = &frame.ExitMessage{Status: 255} // cannot be: it is our child
	}
	w.tell(c)
}

// tell sends how a program has ended, which is the last of its channel.
func (w *worker) tell(c *channel) {
	if c.exit != nil && !c.over {
		w.send(frame.Exit, c.number, c.exit.Encode())
		c.over = true
	}
}

// settle forgets what is over.
func (w *worker) settle() {
	kept := w.order[:0]
	for _, c := range w.order {
		w.tell(c)
		if c.over {
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

// forget notes that nobody is at a program's terminal any more. A program that
// still runs is an orphan from now on.
func (w *worker) forget(c *channel) {
	if c.shown {
		w.login.logOut(c)
		c.shown = false
	}
	if c.pidfd >= 0 {
		_ = syscall.Close(c.pidfd)
		c.pidfd = -1
		w.orphans = append(w.orphans, c.pid)
	}
	if w.channels[c.number] == c {
		delete(w.channels, c.number)
	}
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
