package leader

import (
	"syscall"
	"unsafe"
)

// Everything in this file may run after clone(2), see listener.go: no function
// may call another one that is not in this file or a raw system call.

// sys is a system call; errors are small negative numbers.
//
//go:nosplit
//go:norace
func sys(number, a, b, c, d uintptr) uintptr {
	r, _, errno := syscall.RawSyscall6(number, a, b, c, d, 0, 0)
	if errno != 0 {
		return -uintptr(errno)
	}
	return r
}

// failed reports whether sys returned an error.
//
//go:nosplit
//go:norace
func failed(r uintptr) bool { return r > ^uintptr(4095) }

// fork makes the decoy. It returns in the caller only.
//
//go:nosplit
//go:norace
//go:noinline
func fork(p *plan, flags uintptr) uintptr {
	pid := sys(syscall.SYS_CLONE, flags, 0, 0, 0)
	if pid != 0 {
		return pid
	}
	become(p)
	return 0
}

// become is the life of a decoy. All signals are blocked.
//
//go:nosplit
//go:norace
func become(p *plan) {
	for number := uintptr(1); number <= 64; number++ {
		sys(syscall.SYS_RT_SIGACTION, number, uintptr(unsafe.Pointer(&p.reset)), 0, 8)
	}
	var none uint64
	sys(syscall.SYS_RT_SIGPROCMASK, 2, uintptr(unsafe.Pointer(&none)), 0, 8)
	sys(syscall.SYS_PRCTL, prSetName, uintptr(unsafe.Pointer(&p.name)), 0, 0)
	if p.worker.path != 0 && sys(syscall.SYS_CLONE, uintptr(syscall.SIGCHLD), 0, 0, 0) == 0 {
		sys(syscall.SYS_SETSID, 0, 0, 0, 0)
		shrink(p)
		doze(p)
	}
	sys(syscall.SYS_SETSID, 0, 0, 0, 0)
	ownFiles(p)
	shrink(p)
	if p.delay.Sec != 0 {
		linger(p)
	}
	// Who is dead needs no burial.
	sys(syscall.SYS_RT_SIGACTION, uintptr(syscall.SIGCHLD), uintptr(unsafe.Pointer(&p.ignore)), 0, 8)
	serve(p)
}

// linger waits until the worker opens the gate, which is the only socket, and for a
// while more, and becomes the server.
//
//go:nosplit
//go:norace
func linger(p *plan) {
	var b byte
	gate := uintptr(p.polled[0].fd)
	for -sys(syscall.SYS_READ, gate, uintptr(unsafe.Pointer(&b)), 1, 0) == uintptr(syscall.EINTR) {
	}
	sys(syscall.SYS_NANOSLEEP, uintptr(unsafe.Pointer(&p.delay)), 0, 0, 0)
	sys(syscall.SYS_EXECVE, p.server.path, p.server.argv, p.server.env, 0)
	sys(syscall.SYS_EXIT_GROUP, 1, 0, 0, 0)
}

// ownFiles arranges descriptors as sshd has them: nothing at 0, 1 and 2, the
// sockets from 3 on, and no others, least of all the worker's.
//
//go:nosplit
//go:norace
func ownFiles(p *plan) {
	for i := range p.sockets {
		if p.sockets[i] >= 0 { // out of the way
			p.sockets[i] = int(sys(syscall.SYS_FCNTL, uintptr(p.sockets[i]), fDupfdCloexec, 16, 0))
		}
	}
	path := [...]byte{'/', 'd', 'e', 'v', '/', 'n', 'u', 'l', 'l', 0}
	at := -100 // AT_FDCWD
	null := sys(syscall.SYS_OPENAT, uintptr(at), uintptr(unsafe.Pointer(&path)), syscall.O_RDWR, 0)
	for fd := uintptr(0); fd < 3; fd++ {
		if failed(null) {
			sys(syscall.SYS_CLOSE, fd, 0, 0, 0)
		} else if fd != null {
			sys(syscall.SYS_DUP3, null, fd, 0, 0)
		}
	}
	next := uintptr(3)
	for i := range p.sockets {
		p.polled[i].fd = -1
		if p.sockets[i] >= 16 {
			sys(syscall.SYS_DUP3, uintptr(p.sockets[i]), next, syscall.O_CLOEXEC, 0)
			p.polled[i].fd, p.polled[i].events = int32(next), pollIn
			next++
		}
	}
	sys(sysCloseRange, next, uintptr(^uint32(0)), 0, 0)
}

// shrink gives memory back, all but the pages of the stack that is in use.
//
//go:nosplit
//go:norace
func shrink(p *plan) {
	var here byte
	low := uintptr(unsafe.Pointer(&here)) &^ (pageSize - 1)
	high := low + stackKept*pageSize
	low -= stackKept * pageSize
	for i := 0; i < p.drops && i < len(p.drop); i++ {
		e := p.drop[i]
		if e.to <= low || e.from >= high {
			sys(syscall.SYS_MUNMAP, e.from, e.to-e.from, 0, 0)
			continue
		}
		if e.from < low {
			sys(syscall.SYS_MUNMAP, e.from, low-e.from, 0, 0)
		}
		if e.to > high {
			sys(syscall.SYS_MUNMAP, high, e.to-high, 0, 0)
		}
	}
}

// doze is the worker for as long as nobody has logged in: it answers pings. With
// anything else that comes it becomes the worker, which reads that itself.
//
//go:nosplit
//go:norace
func doze(p *plan) {
	stream := sys(syscall.SYS_FCNTL, p.stream, fDupfdCloexec, 16, 0) // out of the way
	gate := sys(syscall.SYS_FCNTL, p.gate, fDupfdCloexec, 16, 0)
	sys(syscall.SYS_DUP3, stream, link, 0, 0)
	sys(syscall.SYS_DUP3, gate, loginGate, 0, 0)
	sys(sysCloseRange, loginGate+1, uintptr(^uint32(0)), 0, 0)
	waiting := pollFd{fd: link, events: pollIn}
	for {
		sys(syscall.SYS_PPOLL, uintptr(unsafe.Pointer(&waiting)), 1, 0, 0)
		var came [len(p.ping)]byte
		n := sys(syscall.SYS_RECVFROM, link, uintptr(unsafe.Pointer(&came)), uintptr(len(came)), syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		switch {
		case -n == uintptr(syscall.EAGAIN) || -n == uintptr(syscall.EINTR):
			continue
		case n == 0 || failed(n): // the front end is gone
			sys(syscall.SYS_EXIT_GROUP, 0, 0, 0, 0)
		case n != uintptr(len(came)) || came != p.ping:
			sys(syscall.SYS_EXECVE, p.worker.path, p.worker.argv, p.worker.env, 0)
			sys(syscall.SYS_EXIT_GROUP, 1, 0, 0, 0)
		}
		sys(syscall.SYS_RECVFROM, link, uintptr(unsafe.Pointer(&came)), uintptr(len(came)), syscall.MSG_WAITALL)
		sys(syscall.SYS_SENDTO, link, uintptr(unsafe.Pointer(&p.pong)), uintptr(len(p.pong)), syscall.MSG_NOSIGNAL)
	}
}

// serve has the real sshd talk to whoever connects, and otherwise waits for ever.
//
//go:nosplit
//go:norace
func serve(p *plan) {
	for {
		if failed(sys(syscall.SYS_PPOLL, uintptr(unsafe.Pointer(&p.polled)), uintptr(len(p.polled)), 0, 0)) {
			continue
		}
		for i := range p.polled {
			if p.polled[i].revents == 0 {
				continue
			}
			c := sys(syscall.SYS_ACCEPT4, uintptr(p.polled[i].fd), 0, 0, syscall.SOCK_CLOEXEC)
			if failed(c) {
				continue
			}
			if sys(syscall.SYS_CLONE, uintptr(syscall.SIGCHLD), 0, 0, 0) == 0 {
				sys(syscall.SYS_RT_SIGACTION, uintptr(syscall.SIGCHLD), uintptr(unsafe.Pointer(&p.reset)), 0, 8)
				sys(syscall.SYS_SETSID, 0, 0, 0, 0)
				sys(syscall.SYS_DUP3, c, 0, 0, 0)
				sys(syscall.SYS_DUP3, c, 1, 0, 0)
				sys(syscall.SYS_EXECVE, p.server.path, p.server.argv, p.server.env, 0)
				sys(syscall.SYS_EXIT_GROUP, 255, 0, 0, 0)
			}
			sys(syscall.SYS_CLOSE, c, 0, 0, 0)
		}
	}
}
