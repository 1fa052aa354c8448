package escape

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// kept is the bounding set of nine capabilities that internal/podman gives a target:
// chown, dac_override, fowner, fsetid, kill, setgid, setuid, net_bind_service,
// sys_chroot; see capabilities(7).
const kept = "00000000000404fb"

var rightRows = []row{
	{name: "no new privileges", try: reportsStatus("NoNewPrivs"), want: "1", outside: "processes"},
	{name: "a filter of system calls", try: reportsStatus("Seccomp"), want: "2", outside: "processes"},
	{name: "effective capabilities", try: reportsStatus("CapEff"), want: kept, user: "0000000000000000", outside: "processes"},
	{name: "permitted capabilities", try: reportsStatus("CapPrm"), want: kept, user: "0000000000000000", outside: "processes"},
	{name: "inheritable capabilities", try: reportsStatus("CapInh"), want: "0000000000000000", outside: "processes", unshown: "no process begins with any"},
	{name: "bounding set", try: reportsStatus("CapBnd"), want: kept, outside: "processes"},
	{name: "ambient capabilities", try: reportsStatus("CapAmb"), want: "0000000000000000", outside: "processes", unshown: "no process begins with any"},
	{name: "root is a subordinate id", try: looksAtMap, want: confined, outside: "processes"},
	{name: "capset: all", try: setsCapabilities, want: "EPERM", outside: "processes"},
	{name: "prctl: a capability into the bounding set", try: readsBounding, want: "0", outside: "processes"},
	{name: "prctl: ambient CAP_SYS_ADMIN", try: calls(unix.SYS_PRCTL, unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_RAISE, unix.CAP_SYS_ADMIN, 0, 0), want: "EPERM", outside: "processes",
		unshown: "it has to be inheritable first"},
	{name: "prctl: new privileges again", try: calls(unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 0, 0, 0, 0), want: "EINVAL", outside: "processes", unshown: "the kernel has no way back"},
	{name: "prctl: no filter any more", try: calls(unix.SYS_PRCTL, unix.PR_SET_SECCOMP, 0, 0, 0, 0), want: "EINVAL", outside: "processes", unshown: "the kernel has no way back"},
	{name: "prctl: security bits", try: calls(unix.SYS_PRCTL, unix.PR_SET_SECUREBITS, 0, 0, 0, 0), want: "EPERM", outside: "processes"},
	{name: "prctl: memory map of the program", try: movesProgram, want: "EPERM", outside: "processes", unshown: lacksResource},
	{name: "personality: READ_IMPLIES_EXEC", try: calls(unix.SYS_PERSONALITY, 0x0400000), want: "ENOSYS|EPERM", outside: "processes"},
	{name: "personality: MMAP_PAGE_ZERO", try: calls(unix.SYS_PERSONALITY, 0x0100000), want: "ENOSYS|EPERM", outside: "processes"},
	{name: "mmap: page zero", try: mapsZero, want: "EPERM|EACCES", outside: "processes"},
	{name: "setuid: an id outside the namespace", try: changesUser, want: "EINVAL", user: "EINVAL|EPERM", outside: "processes"},
	{name: "chown: to an id outside the namespace", try: changesOwner, want: "EINVAL", user: "EINVAL|EPERM", outside: "files"},
	{name: "a file with capabilities", try: setsFileCapability, want: "EPERM", outside: "files"},
	{name: "a set-user-ID program of root's", try: runsSetUserID, want: "uid 1000, CapEff 0000000000000000, NoNewPrivs 1", user: "EPERM", outside: "processes"},
	{name: "sudo", try: runsAsUser("sudo", "-n", "cat", "/etc/shadow"), want: "refused", outside: "processes", unshown: "a machine need not have it"},
	{name: "su", try: runsAsUser("su", "-c", "cat /etc/shadow"), want: "refused", outside: "processes", unshown: "asks for a password everywhere"},
	{name: "passwd", try: runsAsUser("passwd", "-d", "root"), want: "refused", outside: "processes", unshown: "refuses everywhere"},
	{name: "mount, the program, for an ordinary account", try: runsAsUser("mount", "-t", "tmpfs", "x", "/mnt"), want: "refused", outside: "mounts", unshown: "refuses everywhere"},
	{name: "hard limit of open files raised", try: raises(unix.RLIMIT_NOFILE), want: "EPERM", outside: "processes", unshown: lacksResource},
	{name: "hard limit of processes raised", try: raises(unix.RLIMIT_NPROC), want: "EPERM|unlimited", outside: "processes", unshown: "may be unlimited, and then the group's limit holds"},
	{name: "nice -20", try: calls(unix.SYS_SETPRIORITY, unix.PRIO_PROCESS, 0, uintptr(^uint32(19))), want: "EACCES|EPERM", outside: "processes"},
	{name: "real-time scheduling", try: schedules, want: "EPERM", outside: "processes", unshown: "a group may have no time for it"},
	{name: "real-time I/O", try: calls(unix.SYS_IOPRIO_SET, 1, 0, 1<<13), want: "EPERM", outside: "processes"},
}

// statusField is a field of /proc/self/status, as proc_pid_status(5) has it.
func statusField(name string) string {
	text, _ := os.ReadFile("/proc/self/status")
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, name+":"); ok {
			return strings.TrimSpace(rest)
		}
	}
	return "none"
}

func reportsStatus(name string) func(facts) string {
	return func(facts) string { return statusField(name) }
}

// looksAtMap reads the uid_map of user_namespaces(7). It tells of the namespace above,
// that of rootless Podman, in which 0 is the account of the containers.
func looksAtMap(facts) string {
	text, err := os.ReadFile("/proc/self/uid_map")
	if err != nil {
		return outcome(err)
	}
	for line := range strings.Lines(string(text)) {
		var inside, outside, count uint64
		if _, err := fmt.Sscan(line, &inside, &outside, &count); err != nil || outside == 0 || count >= 1<<31 {
			return "the map has " + strings.TrimSpace(line)
		}
	}
	return confined
}

func setsCapabilities(facts) string {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var now [2]unix.CapUserData
	if err := unix.Capget(&header, &now[0]); err != nil {
		return outcome(err)
	}
	now[0].Permitted |= 1 << unix.CAP_SYS_ADMIN
	now[0].Effective |= 1 << unix.CAP_SYS_ADMIN
	return outcome(unix.Capset(&header, &now[0]))
}

func readsBounding(facts) string {
	n, err := unix.PrctlRetInt(unix.PR_CAPBSET_READ, unix.CAP_SYS_ADMIN, 0, 0, 0)
	if err != nil {
		return outcome(err)
	}
	return fmt.Sprint(n)
}

func movesProgram(facts) string {
	return call(unix.SYS_PRCTL, unix.PR_SET_MM, unix.PR_SET_MM_BRK, 0, 0, 0)
}

func mapsZero(facts) string {
	return call(unix.SYS_MMAP, 0, 4096, unix.PROT_READ, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_FIXED, uintptr(^uint(0)), 0)
}

func changesUser(facts) string {
	return call(unix.SYS_SETUID, 4_000_000_000)
}

func changesOwner(facts) string {
	dir, remove := scratch()
	defer remove()
	return outcome(os.Chown(dir, 2_000_000_000, 2_000_000_000))
}

// setsFileCapability gives a file CAP_SYS_ADMIN: struct vfs_cap_data, version 2.
func setsFileCapability(facts) string {
	dir, remove := scratch()
	defer remove()
	path := dir + "/file"
	if err := os.WriteFile(path, nil, 0o755); err != nil {
		return err.Error()
	}
	data := []byte{1, 0, 0, 2, 0, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
	return outcome(unix.Setxattr(path, "security.capability", data, 0))
}

// ordinary is how root starts something as an account without rights.
var ordinary = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 1000, Gid: 1000}}

// runsSetUserID has an ordinary account run a set-user-ID copy of this program.
func runsSetUserID(facts) string {
	if os.Getuid() != 0 {
		return "EPERM" // it could not make one that is root's
	}
	// Not in /tmp, which may be mounted without rights for such programs.
	dir, err := os.MkdirTemp("/var/tmp", "attempt")
	if err != nil {
		return outcome(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if err := os.Chmod(dir, 0o755); err != nil {
		return outcome(err)
	}
	path := dir + "/" + programName
	if err := copyProgram(path); err != nil {
		return outcome(err)
	}
	c := exec.Command(path, "who")
	c.SysProcAttr = ordinary
	out, err := c.Output()
	if err != nil {
		return outcome(err)
	}
	return string(out)
}

func copyProgram(path string) error {
	from, err := os.Open("/proc/self/exe")
	if err != nil {
		return err
	}
	defer from.Close()
	to, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o755)
	if err != nil {
		return err
	}
	if _, err := io.Copy(to, from); err != nil {
		return err
	}
	if err := to.Close(); err != nil {
		return err
	}
	return os.Chmod(path, 0o755|os.ModeSetuid)
}

// who is what the copy says of itself.
func who() string {
	return fmt.Sprintf("uid %d, CapEff %s, NoNewPrivs %s", os.Geteuid(), statusField("CapEff"), statusField("NoNewPrivs"))
}

// runsAsUser runs a set-user-ID program of the target as an ordinary account.
func runsAsUser(name string, args ...string) func(facts) string {
	return func(facts) string {
		c := exec.Command(name, args...)
		c.Dir = "/"
		if os.Getuid() == 0 {
			c.SysProcAttr = ordinary
		}
		if out, err := c.CombinedOutput(); err == nil {
			return fmt.Sprintf("it ran: %.100q", out)
		}
		return "refused"
	}
}

// raises sets a hard limit one higher, and back.
func raises(what int) func(facts) string {
	return func(facts) string {
		var now unix.Rlimit
		if err := unix.Prlimit(0, what, nil, &now); err != nil {
			return outcome(err)
		}
		if now.Max == ^uint64(0) {
			return "unlimited"
		}
		return outcome(unix.Prlimit(0, what, &unix.Rlimit{Cur: now.Cur, Max: now.Max + 1}, nil))
	}
}

func schedules(facts) string {
	priority := int32(1)
	return call(unix.SYS_SCHED_SETSCHEDULER, 0, 1, uintptr(unsafe.Pointer(&priority))) // SCHED_FIFO
}
