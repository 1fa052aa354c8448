package escape

import (
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// kinds are all namespaces there are; see namespaces(7).
var kinds = []struct {
	name, file string
	flag       uintptr
}{
	{"mount", "mnt", unix.CLONE_NEWNS},
	{"UTS", "uts", unix.CLONE_NEWUTS},
	{"IPC", "ipc", unix.CLONE_NEWIPC},
	{"user", "user", unix.CLONE_NEWUSER},
	{"PID", "pid", unix.CLONE_NEWPID},
	{"network", "net", unix.CLONE_NEWNET},
	{"cgroup", "cgroup", unix.CLONE_NEWCGROUP},
	{"time", "time", unix.CLONE_NEWTIME},
}

var namespaceRows = makeNamespaceRows()

func makeNamespaceRows() []row {
	var all []row
	for _, k := range kinds {
		all = append(all, row{name: "unshare: " + k.name + " namespace", try: unshares(k.flag), want: "EPERM", outside: "processes"})
	}
	for _, k := range kinds {
		if k.flag != unix.CLONE_NEWTIME { // clone(2) has no flag for it
			all = append(all, row{name: "clone: " + k.name + " namespace", try: clones(k.flag), want: "EPERM", outside: "processes"})
		}
	}
	for _, k := range kinds {
		all = append(all, row{name: "clone3: " + k.name + " namespace", try: clones3(k.flag), want: "ENOSYS", outside: "processes"})
	}
	for _, k := range kinds {
		all = append(all, row{name: "setns: " + k.name + " namespace of process 1", try: enters(k.file), want: "EPERM", user: "EACCES|EPERM", outside: "processes"})
	}
	return append(all,
		row{name: "setns: all of process 1, by pidfd", try: entersByDescriptor, want: "EPERM", outside: "processes"},
		row{name: "ioctl: the user namespace above", try: asksParent("user"), want: "EPERM", outside: "processes",
			unshown: "nobody sees one above their own"},
		row{name: "ioctl: the PID namespace above", try: asksParent("pid"), want: "EPERM", outside: "processes",
			unshown: "nobody sees one above their own"},
		row{name: "write /proc/self/uid_map", try: writes("/proc/self/uid_map", "0 0 1"), want: "EPERM|EACCES", outside: "processes",
			unshown: "it is written once, by whoever made the namespace"},
	)
}

func unshares(flag uintptr) func(facts) string {
	return func(facts) string {
		runtime.LockOSThread()
		if flag != unix.CLONE_NEWUSER {
			return call(unix.SYS_UNSHARE, flag)
		}
		// The kernel refuses a process with threads; its child has none.
		return forked(flag, true)
	}
}

// clones starts a process that ends at once.
func clones(flag uintptr) func(facts) string {
	return func(facts) string { return forked(flag, false) }
}

// forked runs this program, which ends at once, in a namespace of that kind.
func forked(flag uintptr, unshare bool) string {
	attr := &syscall.SysProcAttr{}
	if unshare {
		attr.Unshareflags = flag
	} else {
		attr.Cloneflags = flag
	}
	p, err := os.StartProcess("/proc/self/exe", []string{programName, "nothing"}, &os.ProcAttr{Sys: attr})
	if err != nil {
		return outcome(err)
	}
	_, _ = p.Wait()
	return done
}

func clones3(flag uintptr) func(facts) string {
	return func(facts) string {
		runtime.LockOSThread()
		var args [11]uint64 // struct clone_args
		args[0], args[4] = uint64(flag), uint64(unix.SIGCHLD)
		pid, _, errno := syscall.RawSyscall(unix.SYS_CLONE3, uintptr(unsafe.Pointer(&args)), unsafe.Sizeof(args), 0)
		if errno != 0 {
			return outcome(errno)
		}
		if pid == 0 { // the child, in which nothing of Go may run
			syscall.RawSyscall(unix.SYS_EXIT_GROUP, 0, 0, 0)
		}
		_, _ = syscall.Wait4(int(pid), nil, 0, nil)
		return done
	}
}

func enters(kind string) func(facts) string {
	return func(facts) string {
		runtime.LockOSThread()
		fd, err := unix.Open("/proc/1/ns/"+kind, unix.O_RDONLY, 0)
		if err != nil {
			return outcome(err)
		}
		return outcome(unix.Setns(fd, 0))
	}
}

func entersByDescriptor(facts) string {
	runtime.LockOSThread()
	fd, err := unix.PidfdOpen(1, 0)
	if err != nil {
		return outcome(err)
	}
	return outcome(unix.Setns(fd, unix.CLONE_NEWUTS|unix.CLONE_NEWIPC|unix.CLONE_NEWNET))
}

// asksParent asks for the namespace above: NS_GET_PARENT in ioctl_nsfs(2).
func asksParent(kind string) func(facts) string {
	return func(facts) string {
		fd, err := unix.Open(filepath.Join("/proc/self/ns", kind), unix.O_RDONLY, 0)
		if err != nil {
			return outcome(err)
		}
		return call(unix.SYS_IOCTL, uintptr(fd), 0xb702, 0)
	}
}
