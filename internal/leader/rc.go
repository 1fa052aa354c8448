package leader

import (
	"strings"
	"syscall"

	"github.com/sandtrap/sandtrap/internal/frame"
)

// What sshd runs before a program: the account's file or else the machine's; see
// sshd(8), SSHRC.
const (
	userRC   = "/.ssh/rc"
	systemRC = "/etc/ssh/sshrc"
)

// ownProgram is this program, for a child of ours.
const ownProgram = "/proc/self/exe"

// rcOption tells a child that it is to run an rc file first. It follows the title to
// show, and after it come the file's command, what to say then, the program and its
// arguments.
const rcOption = "-r"

// rcCommand is what runs before the program of m, if anything does.
func (l *login) rcCommand(m *frame.OpenMessage) string {
	var st syscall.Stat_t
	if !m.Subsystem && syscall.Stat(l.home+userRC, &st) == nil {
		return l.shell + " -c '/bin/sh " + l.home + userRC + "'"
	}
	if syscall.Stat(l.root+systemRC, &st) == nil {
		return "/bin/sh " + l.root + systemRC
	}
	return ""
}

// runRC is the child that runs an rc file, as popen(3) does, and becomes the
// program then. It returns an exit status where it cannot.
func runRC(args []string) int {
	t := newTitle(args)
	args = keep(args)
	nameThreads("sshd")
	t.set(args[0])
	command, greeting, path, argv := args[2], args[3], args[4], args[5:]
	if stdin, w, err := pipe(); err == nil {
		closeAll(w) // nothing is to be read, without X11
		attr := &syscall.ProcAttr{Env: syscall.Environ(), Files: []uintptr{uintptr(stdin), 1, 2}}
		if pid, err := syscall.ForkExec("/bin/sh", []string{"sh", "-c", command}, attr); err == nil {
			_, _ = retry(func() (int, error) { return syscall.Wait4(pid, nil, 0, nil) })
		}
		closeAll(stdin)
	}
	_ = writeAll(1, []byte(greeting))
	err := syscall.Exec(path, argv, syscall.Environ())
	_ = writeAll(2, []byte(path+": "+errorText(err)+"\n"))
	return 1
}

// isWorker reports whether a process shows the title of a worker, whose program an
// account may not look at.
func isWorker(pid int) bool {
	shown, err := readProc("/proc/" + itoa(pid) + "/cmdline")
	return err == nil && strings.HasPrefix(string(shown), "sshd: ")
}
