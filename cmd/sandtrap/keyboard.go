package main

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"sync"

	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

// keyboard reads single keys from a terminal. Signals are still made by it; what is
// typed is not shown. Close puts it back in order, and so does stopping by ^Z meanwhile.
type keyboard struct {
	file    *os.File
	saved   unix.Termios
	pressed chan byte      // what was typed
	stops   chan os.Signal // somebody wants us to stop, see suspend
	wake    *os.File       // closed to end read
	done    chan struct{}
	readers sync.WaitGroup
}

// openKeyboard takes over a terminal. It returns nil for anything else.
func openKeyboard(f *os.File) (*keyboard, error) {
	saved, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	if errors.Is(err, unix.ENOTTY) || errors.Is(err, unix.EINVAL) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("look at the terminal: %w", err)
	}
	sleeper, wake, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("read keys: %w", err)
	}
	k := &keyboard{file: f, saved: *saved, pressed: make(chan byte), stops: make(chan os.Signal, 1), wake: wake, done: make(chan struct{})}
	if err := k.takeOver(); err != nil {
		return nil, errors.Join(err, sleeper.Close(), wake.Close())
	}
	signal.Notify(k.stops, unix.SIGTSTP)
	k.readers.Go(func() {
		defer sleeper.Close()
		k.read(sleeper)
	})
	return k, nil
}

// isTerminal reports whether f is one.
func isTerminal(f *os.File) bool { return term.IsTerminal(int(f.Fd())) }

// takeOver has keys come one by one and unseen; see termios(3). A key that would make
// us dump core is none.
func (k *keyboard) takeOver() error {
	t := k.saved
	t.Lflag &^= unix.ICANON | unix.ECHO
	t.Cc[unix.VMIN], t.Cc[unix.VTIME], t.Cc[unix.VQUIT] = 1, 0, 0
	if err := unix.IoctlSetTermios(int(k.file.Fd()), unix.TCSETSW, &t); err != nil {
		return fmt.Errorf("set up the terminal: %w", err)
	}
	return nil
}

func (k *keyboard) giveBack() error {
	if err := unix.IoctlSetTermios(int(k.file.Fd()), unix.TCSETSW, &k.saved); err != nil {
		return fmt.Errorf("put the terminal back in order: %w", err)
	}
	return nil
}

// suspend stops the process, as ^Z does, and returns when it goes on.
func (k *keyboard) suspend() error {
	if err := k.giveBack(); err != nil {
		return err
	}
	goesOn := make(chan os.Signal, 1)
	signal.Notify(goesOn, unix.SIGCONT)
	defer signal.Stop(goesOn)
	if err := unix.Kill(os.Getpid(), unix.SIGSTOP); err != nil {
		return fmt.Errorf("stop: %w", err)
	}
	<-goesOn // this thread may run on for a moment after the call
	return k.takeOver()
}

// read reads keys until sleeper can be read, which is at its end.
func (k *keyboard) read(sleeper *os.File) {
	// One at a time: what is typed ahead is for whoever reads the terminal next.
	var key [1]byte
	fds := []unix.PollFd{{Fd: int32(k.file.Fd()), Events: unix.POLLIN}, {Fd: int32(sleeper.Fd()), Events: unix.POLLIN}}
	for {
		if _, err := unix.Poll(fds, -1); err != nil && !errors.Is(err, unix.EINTR) || fds[1].Revents != 0 {
			return
		}
		if fds[0].Revents == 0 {
			continue
		}
		switch n, err := unix.Read(int(k.file.Fd()), key[:]); {
		case errors.Is(err, unix.EINTR), errors.Is(err, unix.EAGAIN):
			continue
		case err != nil || n == 0: // the terminal is gone
			return
		}
		select {
		case k.pressed <- key[0]:
		case <-k.done:
			return
		}
	}
}

// Close gives the terminal back.
func (k *keyboard) Close() error {
	signal.Stop(k.stops)
	close(k.done)
	err := k.wake.Close()
	k.readers.Wait()
	return errors.Join(err, k.giveBack())
}
