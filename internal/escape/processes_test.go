package escape

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Root owns its target, the session leader and init included, so that much of this
// is allowed to it and must stay inside. Where Yama is set to, not even that.
var processRows = []row{
	{name: "ptrace: process 1", try: traces, want: done + "|EPERM", user: "EPERM", outside: "processes"},
	{name: "process_vm_readv: process 1", try: readsMemory(unix.SYS_PROCESS_VM_READV), want: "EFAULT|EPERM", user: "EPERM", outside: "processes"},
	{name: "process_vm_writev: process 1", try: readsMemory(unix.SYS_PROCESS_VM_WRITEV), want: "EFAULT|EPERM", user: "EPERM", outside: "processes"},
	{name: "/proc/1/mem for writing", try: opens("/proc/1/mem", os.O_RDWR), want: done + "|EACCES", user: "EACCES", outside: "processes"},
	{name: "/proc/1/root is this root", try: followsRoot, want: confined + "|EACCES", user: "EACCES", outside: "processes"},
	{name: "/proc/1/cwd leads no further", try: followsWorkingDirectory, want: confined + "|EACCES", user: "EACCES", outside: "processes"},
	{name: "/proc/1/environ tells nothing", try: readsEnvironment, want: confined + "|EACCES", user: "EACCES", outside: "processes",
		unshown: "depends on what started the machine's own process 1"},
	{name: "/proc/1/exe is a file of the target", try: looksAtProgram, want: confined + "|EACCES", user: "EACCES", outside: "processes"},
	{name: "/proc/self/exe for writing", try: opens("/proc/self/exe", os.O_WRONLY), want: "ETXTBSY", outside: "processes",
		unshown: "the kernel refuses it for every running program"},
	{name: "open directories of any process", try: opensDirectories, want: confined, outside: "processes"},
	{name: "roots and programs of any process", try: followsAllRoots, want: confined, outside: "processes"},
	{name: "processes of the machine are seen", try: looksForProcesses, want: confined, outside: "processes"},
	{name: "processes of the machine take signals", try: signals, want: "ESRCH", outside: "processes"},
	{name: "pidfd_open: a process of the machine", try: opensProcess, want: "ESRCH", outside: "processes"},
	{name: "pidfd_getfd: process 1", try: takesDescriptor, want: "EPERM", outside: "processes"},
	{name: "kcmp: process 1", try: calls(unix.SYS_KCMP, 1, 1, 0, 0, 0), want: "EPERM", outside: "processes"},
	{name: "process_madvise: process 1", try: advises, want: "EPERM|EINVAL|EACCES", user: "EPERM|EACCES|EINVAL", outside: "processes",
		unshown: "without something to advise it is a mistake anywhere"},
	{name: "kill process 1", try: kills, want: confined, user: "EPERM", outside: "processes",
		unshown: "the kernel keeps process 1 of every PID namespace from its own"},
	{name: "oom_score_adj: never me", try: writes("/proc/self/oom_score_adj", "-1000"), want: "EACCES", outside: "processes", unshown: lacksResource},
}

// lacksResource is why what takes CAP_SYS_RESOURCE is not shown.
const lacksResource = "root of the appliance's test system has no CAP_SYS_RESOURCE"

func traces(facts) string {
	runtime.LockOSThread()
	// Seized and not attached to, so that nothing stops.
	answer := call(unix.SYS_PTRACE, unix.PTRACE_SEIZE, 1, 0, 0)
	if answer == done {
		call(unix.SYS_PTRACE, unix.PTRACE_DETACH, 1, 0, 0)
	}
	return answer
}

// readsMemory moves one byte at an address that no process has, so that nothing is
// changed: EFAULT says that the kernel would have done it.
func readsMemory(number uintptr) func(facts) string {
	return func(facts) string {
		var b [1]byte
		local := unix.Iovec{Base: &b[0], Len: 1}
		remote := unix.RemoteIovec{Base: 8, Len: 1}
		return call(number, 1, uintptr(unsafe.Pointer(&local)), 1, uintptr(unsafe.Pointer(&remote)), 1, 0)
	}
}

func followsRoot(f facts) string {
	if _, err := os.Stat("/proc/1/root/"); err != nil {
		return outcome(err)
	}
	if !sameRoot("/proc/1/root/") {
		return "another root"
	}
	return reads("/proc/1/root" + f.Canary)
}

func followsWorkingDirectory(f facts) string {
	if _, err := os.Stat("/proc/1/cwd/"); err != nil {
		return outcome(err)
	}
	return reads("/proc/1/cwd/../../../../../.." + f.Canary)
}

func readsEnvironment(facts) string {
	text, err := os.ReadFile("/proc/1/environ")
	if err != nil {
		return outcome(err)
	}
	lower := strings.ToLower(string(text))
	for _, tell := range []string{"podman", "sandtrap", "container", "conmon", "notify_socket", "listen_", "journal_stream", "xdg_runtime"} {
		if strings.Contains(lower, tell) {
			return "it has " + tell
		}
	}
	return confined
}

func looksAtProgram(f facts) string {
	var program, root unix.Stat_t
	if err := unix.Stat("/proc/1/exe", &program); err != nil {
		return outcome(err)
	}
	if err := unix.Stat("/", &root); err != nil {
		return err.Error()
	}
	if program.Dev != root.Dev {
		return "on another file system"
	}
	return reads(f.Canary)
}

// opensDirectories climbs from every directory that any process has open, as when a
// runtime leaves one of the machine's behind.
func opensDirectories(f facts) string {
	fds, _ := filepath.Glob("/proc/[0-9]*/fd/*")
	for _, fd := range fds {
		info, err := os.Stat(fd)
		if err == nil && info.IsDir() && reads(fd+"/../../../../../../../.."+f.Canary) == done {
			return fd + " leads out"
		}
	}
	return reads(f.Canary)
}

func followsAllRoots(f facts) string {
	pids, _ := filepath.Glob("/proc/[0-9]*")
	for _, pid := range pids {
		if reads(pid+"/root"+f.Canary) == done {
			return pid + "/root leads out"
		}
		if reads(pid+"/cwd/../../../../../../.."+f.Canary) == done {
			return pid + "/cwd leads out"
		}
	}
	return confined
}

func looksForProcesses(facts) string {
	found, _ := filepath.Glob("/proc/[0-9]*/comm")
	for _, path := range found {
		name, _ := os.ReadFile(path)
		switch strings.TrimSpace(string(name)) {
		case "conmon", "podman", "sandtrap", "crun", "systemd", "handover", "podman-filter", "catatonit":
			return "there is " + strings.TrimSpace(string(name))
		}
	}
	return confined
}

func signals(f facts) string { return outcome(unix.Kill(f.PID, 0)) }
func opensProcess(f facts) string {
	_, err := unix.PidfdOpen(f.PID, 0)
	return outcome(err)
}

func takesDescriptor(facts) string {
	fd, err := unix.PidfdOpen(1, 0)
	if err != nil {
		return outcome(err)
	}
	_, err = unix.PidfdGetfd(fd, 0, 0)
	return outcome(err)
}

func advises(facts) string {
	fd, err := unix.PidfdOpen(1, 0)
	if err != nil {
		return outcome(err)
	}
	return call(unix.SYS_PROCESS_MADVISE, uintptr(fd), 0, 0, 9999, 0, 0)
}

// kills sends process 1 what it cannot be sent from inside its namespace: it stays.
func kills(facts) string {
	if tame() {
		return outcome(unix.Kill(1, 0))
	}
	for _, s := range []unix.Signal{unix.SIGKILL, unix.SIGSTOP, unix.SIGSEGV} {
		if err := unix.Kill(1, s); err != nil {
			return outcome(err)
		}
	}
	status, err := os.ReadFile("/proc/1/status")
	if err != nil {
		return outcome(err)
	}
	if s := string(status); strings.Contains(s, "State:\tT") || strings.Contains(s, "State:\tZ") {
		return fmt.Sprintf("it took it: %.80q", s)
	}
	return confined
}
