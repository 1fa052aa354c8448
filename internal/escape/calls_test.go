package escape

import (
	"os"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// callRows are made so that nothing happens where they are let through: with
// descriptors and names that are not there, or the value that is set already.
var callRows = append([]row{
	{name: "init_module", try: calls(unix.SYS_INIT_MODULE, 0, 0, 0), want: "EPERM", outside: "modules"},
	{name: "finit_module", try: calls(unix.SYS_FINIT_MODULE, badDescriptor, 0, 0), want: "EPERM", outside: "modules"},
	{name: "delete_module", try: textCall(unix.SYS_DELETE_MODULE, "attempt", unix.O_NONBLOCK), want: "EPERM", outside: "modules"},
	{name: "kexec_load", try: calls(unix.SYS_KEXEC_LOAD, 0, 9999, 0, 0), want: "EPERM", outside: "settings"},
	{name: "kexec_file_load", try: calls(unix.SYS_KEXEC_FILE_LOAD, badDescriptor, badDescriptor, 0, 0, 0), want: "EPERM", outside: "settings"},
	{name: "reboot", try: reboots, want: "EPERM", outside: "processes"},
	{name: "swapon", try: textCall(unix.SYS_SWAPON, "/nowhere", 0), want: "EPERM", outside: "settings"},
	{name: "swapoff", try: textCall(unix.SYS_SWAPOFF, "/nowhere"), want: "EPERM", outside: "settings"},
	{name: "acct", try: textCall(unix.SYS_ACCT, "/nowhere"), want: "EPERM", outside: "settings"},
	{name: "quotactl", try: calls(unix.SYS_QUOTACTL, 0x80000100, 0, 0, 0), want: "EPERM", outside: "settings"},
	{name: "quotactl_fd", try: calls(unix.SYS_QUOTACTL_FD, badDescriptor, 0x80000700, 0, 0), want: "EPERM", outside: "settings"},
	{name: "settimeofday", try: setsTimeOfDay, want: "EPERM", outside: "clock"},
	{name: "clock_settime", try: setsClock, want: "EPERM", outside: "clock"},
	{name: "adjtimex", try: adjusts, want: "EPERM", outside: "clock"},
	{name: "clock_adjtime", try: adjustsClock, want: "EPERM", outside: "clock"},
	{name: "sethostname", try: setsHostname, want: "EPERM", outside: "hostname"},
	{name: "setdomainname", try: textCall(unix.SYS_SETDOMAINNAME, "(none)", 6), want: "EPERM", outside: "hostname"},
	{name: "syslog: read the kernel's log", try: readsLog, want: "EPERM", outside: "settings"},
	{name: "vhangup", try: calls(unix.SYS_VHANGUP), want: "EPERM", outside: "processes"},
	{name: "bpf: load a program", try: loadsProgram, want: "EPERM", outside: "settings"},
	{name: "bpf: make a map", try: makesMap, want: "EPERM", outside: "settings"},
	{name: "perf_event_open", try: counts, want: "EPERM", outside: "settings"},
	{name: "userfaultfd", try: calls(unix.SYS_USERFAULTFD, 0), want: "EPERM", outside: "settings"},
	{name: "io_uring_setup", try: setsRingUp, want: "EPERM", outside: "settings"},
	{name: "io_uring_enter", try: calls(unix.SYS_IO_URING_ENTER, badDescriptor, 0, 0, 0, 0, 0), want: "EPERM", outside: "settings"},
	{name: "io_uring_register", try: calls(unix.SYS_IO_URING_REGISTER, badDescriptor, 0, 0, 0), want: "EPERM", outside: "settings"},
	{name: "keyctl", try: calls(unix.SYS_KEYCTL, 0, 0xfffffffd, 0, 0, 0), want: "EPERM", outside: "settings"},
	{name: "add_key", try: addsKey, want: "EPERM", outside: "settings"},
	{name: "request_key", try: requestsKey, want: "EPERM", outside: "settings"},
	{name: "fanotify_init", try: calls(unix.SYS_FANOTIFY_INIT, 0, 0), want: "EPERM", outside: "files"},
	{name: "fanotify_mark", try: calls(unix.SYS_FANOTIFY_MARK, badDescriptor, 1, 1, 0, 0), want: "EPERM", outside: "files"},
	{name: "name_to_handle_at", try: namesHandle, want: "EPERM", outside: "canaries"},
	{name: "open_by_handle_at: the file system's root", try: opensHandle, want: "EPERM", outside: "canaries"},
	{name: "move_pages: of process 1", try: calls(unix.SYS_MOVE_PAGES, 1, 0, 0, 0, 0, 0), want: "EPERM", outside: "processes"},
	{name: "migrate_pages: of process 1", try: calls(unix.SYS_MIGRATE_PAGES, 1, 0, 0, 0), want: "EPERM", outside: "processes"},
	{name: "a system call of tomorrow", try: calls(1000), want: "ENOSYS", outside: "settings", unshown: "no kernel has it yet"},
}, foreignRows...)

const rebootMagic = 0xfee1dead

// reboots asks for what the kernel refuses to know: only whether it looks is shown.
func reboots(facts) string {
	if tame() {
		return call(unix.SYS_REBOOT, 1, 2, 3, 0)
	}
	return call(unix.SYS_REBOOT, rebootMagic, 672274793, unix.LINUX_REBOOT_CMD_RESTART, 0)
}

func setsTimeOfDay(facts) string { return call(unix.SYS_SETTIMEOFDAY, 0, 0) }

// setsClock sets the clock to what it says. A tame one sets one that nobody can set,
// which is EINVAL where it is let through.
func setsClock(facts) string {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_REALTIME, &now); err != nil {
		return outcome(err)
	}
	clock := uintptr(unix.CLOCK_REALTIME)
	if tame() {
		clock = unix.CLOCK_MONOTONIC
	}
	return call(unix.SYS_CLOCK_SETTIME, clock, uintptr(unsafe.Pointer(&now)))
}

// adjusts sets the status bits that are set; they are no one's who has no right to
// the clock.
func adjusts(facts) string {
	var now unix.Timex
	if _, err := unix.Adjtimex(&now); err != nil {
		return outcome(err)
	}
	now.Modes = 0x10 // ADJ_STATUS
	_, err := unix.Adjtimex(&now)
	return outcome(err)
}

func adjustsClock(facts) string {
	var now unix.Timex
	if _, err := unix.ClockAdjtime(unix.CLOCK_REALTIME, &now); err != nil {
		return outcome(err)
	}
	now.Modes = 0x10
	_, err := unix.ClockAdjtime(unix.CLOCK_REALTIME, &now)
	return outcome(err)
}

func setsHostname(facts) string {
	name := "attempt"
	if tame() {
		name, _ = os.Hostname()
	}
	return outcome(unix.Sethostname([]byte(name)))
}

func readsLog(facts) string {
	_, err := unix.Klogctl(unix.SYSLOG_ACTION_READ_ALL, make([]byte, 64))
	return outcome(err)
}

// loadsProgram loads the shortest program, r0 = 0; exit.
func loadsProgram(facts) string {
	code := []uint64{0x00000000000000b7, 0x0000000000000095}
	license := []byte("GPL\x00")
	attr := make([]byte, 128)
	*(*uint32)(unsafe.Pointer(&attr[0])) = unix.BPF_PROG_TYPE_SOCKET_FILTER
	*(*uint32)(unsafe.Pointer(&attr[4])) = uint32(len(code))
	*(*uint64)(unsafe.Pointer(&attr[8])) = uint64(uintptr(unsafe.Pointer(&code[0])))
	*(*uint64)(unsafe.Pointer(&attr[16])) = uint64(uintptr(unsafe.Pointer(&license[0])))
	answer := call(unix.SYS_BPF, unix.BPF_PROG_LOAD, uintptr(unsafe.Pointer(&attr[0])), 48)
	runtime.KeepAlive(code)
	runtime.KeepAlive(license)
	return answer
}

func makesMap(facts) string {
	attr := [32]uint32{unix.BPF_MAP_TYPE_ARRAY, 4, 4, 1}
	return call(unix.SYS_BPF, unix.BPF_MAP_CREATE, uintptr(unsafe.Pointer(&attr)), 16)
}

func counts(facts) string {
	attr := unix.PerfEventAttr{Type: unix.PERF_TYPE_SOFTWARE, Config: unix.PERF_COUNT_SW_CPU_CLOCK, Size: unix.PERF_ATTR_SIZE_VER0}
	_, err := unix.PerfEventOpen(&attr, 0, -1, -1, 0)
	return outcome(err)
}

func setsRingUp(facts) string {
	var params [120]byte
	return call(unix.SYS_IO_URING_SETUP, 1, uintptr(unsafe.Pointer(&params)))
}

func addsKey(facts) string {
	_, err := unix.AddKey("user", "attempt", []byte("x"), unix.KEY_SPEC_PROCESS_KEYRING)
	return outcome(err)
}

func requestsKey(facts) string {
	_, err := unix.RequestKey("user", "attempt", "", unix.KEY_SPEC_PROCESS_KEYRING)
	return outcome(err)
}

func namesHandle(facts) string {
	_, _, err := unix.NameToHandleAt(unix.AT_FDCWD, "/", 0)
	return outcome(err)
}

// opensHandle guesses the handle of a file system's root, inode 2: shocker.c.
func opensHandle(facts) string {
	fd, err := unix.Open("/", unix.O_RDONLY, 0)
	if err != nil {
		return outcome(err)
	}
	_, err = unix.OpenByHandleAt(fd, unix.NewFileHandle(1, []byte{2, 0, 0, 0, 0, 0, 0, 0}), unix.O_RDONLY)
	return outcome(err)
}
