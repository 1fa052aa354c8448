package escape

import (
	"os"
	"path/filepath"
	"sort"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

var deviceRows = append(deviceFileRows(
	"mem", "kmem", "port", "kmsg", "sda", "vda", "xvda", "nvme0n1", "loop0", "loop-control", "dm-0", "mapper/control",
	"fuse", "net/tun", "kvm", "vhost-net", "vhost-vsock", "vsock", "uinput", "input/event0", "snapshot", "userfaultfd", "rtc0", "hpet",
	"btrfs-control", "vfio/vfio", "cuse", "autofs", "cpu/0/msr", "ttyS0", "tty0", "tty1", "vcs", "dri/card0",
	"ptp0", "nvram", "mcelog", "udmabuf", "snd/seq", "raw/rawctl", "binder", "sgx_enclave", "tpm0",
), []row{
	{name: "mknod: a disk", try: makesNode(unix.S_IFBLK, 8, 0), want: "EPERM", outside: "files"},
	{name: "mknod: memory", try: makesNode(unix.S_IFCHR, 1, 1), want: "EPERM", outside: "files"},
	{name: "mknod: the kernel's log", try: makesNode(unix.S_IFCHR, 1, 11), want: "EPERM", outside: "files"},
	{name: "mknod: a TUN device", try: makesNode(unix.S_IFCHR, 10, 200), want: "EPERM", outside: "files"},
	{name: "mknod: FUSE", try: makesNode(unix.S_IFCHR, 10, 229), want: "EPERM", outside: "files"},
	{name: "mknod: even null", try: makesNode(unix.S_IFCHR, 1, 3), want: "EPERM", outside: "files"},
	{name: "devices that are there", try: listsDevices, want: "full null ptmx random tty urandom zero", outside: "files"},
	{name: "TIOCSTI: into another's terminal", try: simulatesInput, want: "EPERM|EIO", outside: "canaries"},
	{name: "TIOCLINUX", try: terminalCall(unix.TIOCLINUX), want: "ENOTTY|EINVAL|EPERM", outside: "canaries", unshown: "for consoles only"},
	{name: "TIOCCONS: messages of the console", try: terminalCall(unix.TIOCCONS), want: "EPERM|ENOTTY", outside: "canaries", unshown: "would take the machine's console"},
	{name: "TIOCSCTTY: a terminal in use", try: terminalCall(unix.TIOCSCTTY), want: "EPERM", outside: "canaries", unshown: "nothing to take where nobody has one"},
	{name: "terminals of others are seen", try: listsTerminals, want: confined, outside: "canaries", unshown: "a test system may have none"},
}...)

// shownDevices are those that test systems have.
const shownDevices = " fuse net/tun "

func deviceFileRows(names ...string) []row {
	var all []row
	for _, name := range names {
		r := row{name: "open /dev/" + name, try: opens("/dev/"+name, os.O_RDWR), want: "ENOENT|EPERM|EACCES", outside: "files"}
		if !strings.Contains(shownDevices, " "+name+" ") {
			r.unshown = "not every machine has it"
		}
		all = append(all, r)
	}
	return all
}

func makesNode(kind uint32, major, minor uint32) func(facts) string {
	return func(facts) string {
		dir, remove := scratch()
		defer remove()
		return outcome(unix.Mknod(filepath.Join(dir, "node"), kind|0o600, int(unix.Mkdev(major, minor))))
	}
}

// listsDevices lists device nodes below /dev but for terminals that a session has.
func listsDevices(facts) string {
	var all []string
	entries, err := os.ReadDir("/dev")
	if err != nil {
		return outcome(err)
	}
	for _, e := range entries {
		// Single devices are mounts over plain files, so that the entry says nothing.
		if info, err := os.Lstat(filepath.Join("/dev", e.Name())); err == nil && info.Mode()&os.ModeDevice != 0 && e.Name() != "ptmx" {
			all = append(all, e.Name())
		}
	}
	if target, err := os.Readlink("/dev/ptmx"); err == nil {
		all = append(all, map[bool]string{true: "ptmx", false: target}[target == "pts/ptmx"])
	}
	sort.Strings(all)
	return strings.Join(all, " ")
}

// simulatesInput types into a terminal that does not control this process.
func simulatesInput(facts) string {
	terminal, err := openTerminal()
	if err != nil {
		return outcome(err)
	}
	character := byte('x')
	return call(unix.SYS_IOCTL, uintptr(terminal), unix.TIOCSTI, uintptr(unsafe.Pointer(&character)))
}

func terminalCall(request uintptr) func(facts) string {
	return func(facts) string {
		terminal, err := openTerminal()
		if err != nil {
			return outcome(err)
		}
		// Arguments in memory: one byte for TIOCLINUX; 1 would steal, for TIOCSCTTY.
		argument := byte(1)
		if request == unix.TIOCCONS && tame() {
			return "ENOTTY"
		}
		if request == unix.TIOCSCTTY {
			return call(unix.SYS_IOCTL, uintptr(terminal), request, 1)
		}
		return call(unix.SYS_IOCTL, uintptr(terminal), request, uintptr(unsafe.Pointer(&argument)))
	}
}

// listsTerminals looks whether /dev/pts is one of the target's own: no session on
// it has a terminal while attempts are made.
func listsTerminals(facts) string {
	entries, err := os.ReadDir("/dev/pts")
	if err != nil {
		return outcome(err)
	}
	for _, e := range entries {
		if e.Name() != "ptmx" {
			return "there is " + e.Name()
		}
	}
	return confined
}
