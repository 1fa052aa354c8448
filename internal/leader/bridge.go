package leader

import (
	"strings"
	"syscall"
	"time"
)

// socketPath is where a bridge listens. It is there for a moment only.
const socketPath = "/run/sshd.sock"

// bridgeWait is how long a bridge waits for the worker.
const bridgeWait = 5 * time.Second

// bridge joins its standard input and output with the worker of this container,
// and ends with either.
func bridge(t *title, path string) int {
	in, err1 := fcntl(0, fDupfdCloexec, 3)
	out, err2 := fcntl(1, fDupfdCloexec, 3)
	if err1 != nil || err2 != nil || nullStdio() != nil {
		return 1
	}
	nameThreads("sshd")
	t.set("sshd: [accepted]")
	worker := acceptWorker(path)
	if worker < 0 {
		return 1
	}
	done := make(chan struct{}, 2)
	relay := func(from, to int) {
		pass(from, to)
		done <- struct{}{}
	}
	go relay(in, worker)
	go relay(worker, out)
	<-done
	return 0
}

// acceptWorker waits for the worker to connect and returns the connection, or -1.
// The worker may be any account, so everybody can connect; a process that is
// neither root's nor looks like the worker is sent away. The token in the front
// end's hello is what counts in the end.
func acceptWorker(path string) int {
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1
	}
	defer closeAll(fd)
	_ = syscall.Unlink(path)
	if syscall.Bind(fd, &syscall.SockaddrUnix{Name: path}) != nil {
		return -1
	}
	defer func() { _ = syscall.Unlink(path) }()
	if syscall.Chmod(path, 0o666) != nil || syscall.Listen(fd, 1) != nil {
		return -1
	}
	for end := time.Now().Add(bridgeWait); ; {
		left := time.Until(end)
		fds := []pollFd{{fd: int32(fd), events: pollIn}}
		if left <= 0 || poll(fds, int(left/time.Millisecond)+1) != nil {
			return -1
		}
		if fds[0].revents == 0 {
			continue
		}
		peer, _, err := syscall.Accept4(fd, syscall.SOCK_CLOEXEC)
		if err != nil {
			continue
		}
		if who, err := syscall.GetsockoptUcred(peer, syscall.SOL_SOCKET, syscall.SO_PEERCRED); err == nil &&
			(who.Uid == 0 || sameProgram(parentOf(int(who.Pid)))) {
			return peer
		}
		_ = syscall.Close(peer)
	}
}

// parentOf is the parent of a process, 0 when it has none here. An account's
// worker cannot be looked into, but its parent, the listener, can.
func parentOf(pid int) int {
	status, err := readProc("/proc/" + itoa(pid) + "/status")
	if err != nil {
		return 0
	}
	for line := range lines(status) {
		if text, ok := strings.CutPrefix(string(line), "PPid:\t"); ok {
			return atoi(text)
		}
	}
	return 0
}

// pass copies until either end fails.
func pass(from, to int) {
	b := make([]byte, 32<<10)
	for {
		n, err := retry(func() (int, error) { return syscall.Read(from, b) })
		if err != nil || n == 0 || writeAll(to, b[:n]) != nil {
			return
		}
	}
}
