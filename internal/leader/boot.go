package leader

import (
	"errors"
	"io"
	"strings"
	"syscall"
	"time"

	"github.com/sandtrap/sandtrap/internal/frame"
)

// openFiles is the soft limit of open files in a session, as on any Debian
// server. Without it programs would see what Go makes of it.
const openFiles = 1024

// greetFor is how long process 1 waits for a front end.
const greetFor = 60 * time.Second

var errNobody = errors.New("no front end came")

// boot is process 1. Its arguments are those of the image's command:
//
//	LEADER [INIT [ARGUMENT...]] [-- COMMAND...]
//
// It greets the front end, starts the listener, which starts the worker, and becomes
// INIT. What each COMMAND says, its arguments divided by blanks, runs after the login.
// Without an INIT, or when it cannot be executed, process 1 stays and reaps.
func boot(args []string) int {
	t := newTitle(args)
	args = keep(args)
	init, commands := args[1:], []string(nil)
	for i, a := range init {
		if a == "--" {
			init, commands = init[:i], init[i+1:]
			break
		}
	}
	closeOnExec(3)
	limitFiles()
	syscall.Umask(0o022)
	// Nobody is logged in yet, whoever was when the container ran before.
	var utmp syscall.Stat_t
	if syscall.Stat(utmpPath, &utmp) == nil && utmp.Size > 0 { // or the file would be copied for nothing
		_ = syscall.Truncate(utmpPath, 0)
	}
	t.set("sshd: /usr/sbin/sshd [listener] 0 of 10-100 startups")
	s, err := offer()
	if err != nil || nullStdio() != nil || greet(s, greetFor) != nil {
		return 1
	}
	closeAll(frame.Descriptor) // the front end has its own
	closed, gate, err := pipe()
	if err != nil {
		return 1
	}
	listener, err := startListener(args[0], s, gate)
	if err != nil {
		return 1
	}
	closeAll(int(s), gate) // now the worker alone has them
	for _, c := range commands {
		t.set(c)
		startLater(strings.Fields(c), closed)
	}
	closeAll(closed)
	_ = createFile("/run/sshd.pid", []byte(itoa(listener)+"\n"), 0o644)
	openRoot()
	rehearse("")
	if len(init) > 0 {
		// As the kernel starts it.
		_ = syscall.Exec(init[0], init, []string{"HOME=/", "TERM=linux"})
	}
	nameThreads("init")
	t.set("init")
	reap()
	return 1
}

// offer makes the leader's stream and returns our end. The other lies where the front
// end finds it: it takes a copy, see pidfd_getfd(2).
func offer() (stream, error) {
	pair, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	defer closeAll(pair[1])
	return stream(pair[0]), syscall.Dup3(pair[1], frame.Descriptor, syscall.O_CLOEXEC)
}

// greet waits for the front end's Hello and answers it. It takes nothing of what comes
// behind, which is the worker's.
func greet(s stream, patience time.Duration) error {
	in := frame.FromFront(io.LimitReader(s, frame.HelloSize))
	for fds := []pollFd{{fd: int32(s), events: pollIn}}; ; {
		if _, ok, err := in.Next(); ok || err != nil {
			if err != nil {
				return err
			}
			m := frame.HelloMessage{Version: frame.Version}
			return s.send(frame.Frame{Type: frame.Hello, Payload: m.Encode()})
		}
		if n, err := poll(fds, int(patience/time.Millisecond)); n == 0 {
			return errors.Join(errNobody, err)
		}
		if err := in.Fill(); err != nil {
			return err
		}
	}
}

// keep copies strings that a title will be written over.
func keep(list []string) []string {
	kept := make([]string, len(list))
	for i, s := range list {
		kept[i] = strings.Clone(s)
	}
	return kept
}

// openRoot gives "/" the mode that it has on every machine, where Podman made it as it
// does: an image cannot say.
func openRoot() {
	const podmans, usual = 0o555, 0o755
	var st syscall.Stat_t
	if syscall.Stat("/", &st) == nil && st.Mode&0o7777 == podmans {
		_ = syscall.Chmod("/", usual)
	}
}

// limitFiles sets the limit that programs inherit. Go has raised it already.
func limitFiles() {
	var l syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l) == nil {
		l.Cur = min(openFiles, l.Max)
		_ = syscall.Setrlimit(syscall.RLIMIT_NOFILE, &l)
	}
}

// reap waits for children, of which process 1 has many that it did not start.
func reap() {
	for {
		if _, err := syscall.Wait4(-1, nil, 0, nil); err == syscall.ECHILD {
			_, _ = poll(nil, -1) // nobody can come any more
		}
	}
}

// createFile writes a small file in place of what is there.
func createFile(path string, content []byte, mode uint32) error {
	_ = syscall.Unlink(path)
	fd, err := syscall.Open(path, syscall.O_WRONLY|syscall.O_CREAT|syscall.O_EXCL|syscall.O_CLOEXEC, mode)
	if err != nil {
		return err
	}
	defer closeAll(fd)
	return writeAll(fd, content)
}

// workerEnv is the worker's environment. With one processor the runtime goes to
// sleep as soon as the loop waits; with two its monitor would look around every 0.1 ms
// for some milliseconds more, just when a shell starts. GOGC has what memory there is
// used again soon, and the rest is room for a long title.
func workerEnv() []string {
	return []string{"GOMAXPROCS=1", "GOGC=25", "_=" + strings.Repeat(" ", 512)}
}
