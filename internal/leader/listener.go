package leader

import (
	"runtime"
	"strings"
	"syscall"
	"time"
	"unsafe"

	"github.com/sandtrap/sandtrap/internal/frame"
)

// A decoy is a process that is there to be seen and costs next to nothing: a copy
// of this one, made by clone(2), that gives back nearly all of its memory. There
// is one for the listening sshd, which is the worker's parent and has the real
// sshd serve whoever connects from inside, one for each command that waits for a login,
// and one for the "[priv]" process of an account other than root.
//
// After clone the copy has one thread and a Go runtime that cannot run. So all it
// executes is here: functions marked nosplit, which never call into the runtime,
// with system calls that do not tell the scheduler. All they need is in a plan,
// outside the heap, as the heap goes.

// plan is what a decoy does.
type plan struct {
	drop  [128]extent // memory to give back
	drops int

	worker  program // which is to be executed when somebody logs in
	stream  uintptr // the worker's, and what it closes at the login
	gate    uintptr
	ping    [8]byte // a frame, and the answer to it
	pong    [8]byte
	sockets [2]int // or -1
	server  program
	delay   syscall.Timespec // how long after the login to become server, if not 0
	name    [16]byte         // of the thread, see PR_SET_NAME in prctl(2)

	// Used by the decoy.
	polled [2]pollFd
	reset  [8]uint64 // struct sigaction of zeros: the default
	ignore [8]uint64 // SIG_IGN
}

// extent is a piece of the address space.
type extent struct{ from, to uintptr }

// program holds the addresses of arguments for execve(2); all zero is none.
type program struct{ path, argv, env uintptr }

const (
	planSize  = 32 << 10 // bytes, the strings included
	pageSize  = 4096     // or a multiple of it
	stackKept = 4        // pages around the stack pointer that a decoy keeps
)

// planner fills the memory of a plan.
type planner struct {
	*plan
	memory []byte
	used   int
}

func newPlanner(name string) (*planner, error) {
	memory, err := syscall.Mmap(-1, 0, planSize, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_PRIVATE|syscall.MAP_ANON)
	if err != nil {
		return nil, err
	}
	p := &planner{plan: (*plan)(unsafe.Pointer(&memory[0])), memory: memory, used: int(unsafe.Sizeof(plan{}))}
	p.sockets = [2]int{-1, -1}
	p.ignore[0] = 1 // SIG_IGN
	copy(p.name[:len(p.name)-1], name)
	return p, nil
}

func (p *planner) close() { _ = syscall.Munmap(p.memory) }

// take is so many bytes of the plan's memory, aligned for pointers.
func (p *planner) take(n int) ([]byte, error) {
	start := (p.used + 7) &^ 7
	if start+n > len(p.memory) {
		return nil, syscall.E2BIG
	}
	p.used = start + n
	return p.memory[start:p.used], nil
}

func (p *planner) string(s string) (uintptr, error) {
	b, err := p.take(len(s) + 1)
	if err != nil {
		return 0, err
	}
	copy(b, s)
	return uintptr(unsafe.Pointer(&b[0])), nil
}

// strings stores a list as execve(2) takes it.
func (p *planner) strings(list []string) (uintptr, error) {
	b, err := p.take((len(list) + 1) * int(unsafe.Sizeof(uintptr(0))))
	if err != nil {
		return 0, err
	}
	pointers := unsafe.Slice((*uintptr)(unsafe.Pointer(&b[0])), len(list)+1)
	for i, s := range list {
		if pointers[i], err = p.string(s); err != nil {
			return 0, err
		}
	}
	return uintptr(unsafe.Pointer(&pointers[0])), nil
}

func (p *planner) program(path string, argv, env []string) (x program, err error) {
	if x.path, err = p.string(path); err != nil {
		return x, err
	}
	if x.argv, err = p.strings(argv); err != nil {
		return x, err
	}
	x.env, err = p.strings(env)
	return x, err
}

// clone starts a decoy with the flags of clone(2) and returns its process id.
func (p *planner) clone(flags uintptr) (int, error) {
	defer runtime.KeepAlive(p)
	p.findMemory()
	// A signal that the copy gets before it has dropped the handlers would be
	// handled by a runtime that is not there. Nothing from here on lets the
	// goroutine move to another thread.
	all, before := ^uint64(0), uint64(0)
	_, _, _ = syscall.RawSyscall6(syscall.SYS_RT_SIGPROCMASK, 2, uintptr(unsafe.Pointer(&all)), uintptr(unsafe.Pointer(&before)), 8, 0, 0)
	pid := fork(p.plan, flags)
	_, _, _ = syscall.RawSyscall6(syscall.SYS_RT_SIGPROCMASK, 2, uintptr(unsafe.Pointer(&before)), 0, 8, 0, 0)
	if failed(pid) {
		return 0, syscall.Errno(-pid)
	}
	return int(pid), nil
}

// findMemory lists what a decoy can do without: what is neither program text nor
// the stack that the kernel made nor the plan.
func (p *planner) findMemory() {
	maps, err := readProc("/proc/self/maps")
	if err != nil {
		return // only memory is lost
	}
	p.drops = 0
	own := uintptr(unsafe.Pointer(p.plan))
	for line := range lines(maps) {
		e, permissions, name := parseMapping(line)
		if e.to <= e.from || permissions[0] != '-' && permissions[1] != 'w' || len(name) > 0 && name[0] == '[' {
			continue
		}
		if own >= e.from && own < e.to { // the kernel joins neighbours
			p.give(extent{e.from, own})
			e.from = own + planSize
		}
		p.give(e)
	}
}

func (p *planner) give(e extent) {
	if e.from < e.to && p.drops < len(p.drop) {
		p.drop[p.drops] = e
		p.drops++
	}
}

// startListener starts the decoy of the listening sshd, and through it the worker,
// whose stream is s, and which closes gate at the login.
func startListener(leader string, s stream, gate int) (int, error) {
	p, err := newPlanner("sshd")
	if err != nil {
		return 0, err
	}
	defer p.close()
	if p.worker, err = p.program(leader, []string{"/usr/sbin/sshd", "-R"}, workerEnv()); err != nil {
		return 0, err
	}
	p.stream, p.gate = uintptr(s), uintptr(gate)
	ping, pong := frame.Frame{Type: frame.Ping}, frame.Frame{Type: frame.Pong}
	if p.ping, err = ping.Header(); err != nil {
		return 0, err
	}
	if p.pong, err = pong.Header(); err != nil {
		return 0, err
	}
	env := []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
	if p.server, err = p.program("/usr/sbin/sshd", []string{"/usr/sbin/sshd", "-i"}, env); err != nil {
		return 0, err
	}
	p.sockets = [2]int{listen4(), listen6()}
	defer closeAll(p.sockets[:]...)
	return p.clone(uintptr(syscall.SIGCHLD))
}

// commandDelay is how long the commands of the image wait after the login, so that they
// do not compete with prompts. The front end often tells of a login before the client may
// know.
const commandDelay = time.Second

// startLater starts a command some time after the other end of gate is closed. Until then
// a decoy stands for it, with the title of the caller.
func startLater(argv []string, gate int) {
	if len(argv) == 0 {
		return
	}
	p, err := newPlanner(argv[0][strings.LastIndexByte(argv[0], '/')+1:])
	if err != nil {
		return
	}
	defer p.close()
	env := []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
	if p.server, err = p.program(argv[0], argv, env); err != nil {
		return
	}
	p.sockets[0] = gate
	p.delay = syscall.NsecToTimespec(int64(commandDelay))
	_, _ = p.clone(uintptr(syscall.SIGCHLD))
}

// startPrivileged starts the decoy of the process that would keep root's rights
// for an account without them. Its parent is the caller's.
func startPrivileged() (int, error) {
	p, err := newPlanner("sshd")
	if err != nil {
		return 0, err
	}
	defer p.close()
	return p.clone(uintptr(syscall.SIGCHLD) | syscall.CLONE_PARENT)
}

// listen4 and listen6 return a listening socket for port 22, or -1.
func listen4() int {
	return listen(syscall.AF_INET, &syscall.SockaddrInet4{Port: 22})
}

func listen6() int {
	return listen(syscall.AF_INET6, &syscall.SockaddrInet6{Port: 22})
}

func listen(family int, address syscall.Sockaddr) int {
	fd, err := syscall.Socket(family, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC|syscall.SOCK_NONBLOCK, 0)
	if err != nil {
		return -1
	}
	_ = syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1)
	if family == syscall.AF_INET6 {
		_ = syscall.SetsockoptInt(fd, syscall.IPPROTO_IPV6, syscall.IPV6_V6ONLY, 1)
	}
	if err = syscall.Bind(fd, address); err == nil {
		err = syscall.Listen(fd, 128)
	}
	if err != nil {
		_ = syscall.Close(fd)
		return -1
	}
	return fd
}
