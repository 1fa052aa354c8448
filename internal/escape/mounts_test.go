package escape

import (
	"os"
	"path/filepath"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

var mountRows = []row{
	{name: "mount: proc", try: mounts("proc", "proc", 0, ""), want: "EPERM", outside: "mounts"},
	{name: "mount: sysfs", try: mounts("sysfs", "sysfs", 0, ""), want: "EPERM", outside: "mounts"},
	{name: "mount: tmpfs", try: mounts("tmpfs", "tmpfs", 0, ""), want: "EPERM", outside: "mounts"},
	{name: "mount: cgroup2", try: mounts("cgroup2", "cgroup2", 0, ""), want: "EPERM", outside: "mounts"},
	{name: "mount: devpts", try: mounts("devpts", "devpts", 0, "newinstance"), want: "EPERM", outside: "mounts"},
	{name: "mount: mqueue", try: mounts("mqueue", "mqueue", 0, ""), want: "EPERM", outside: "mounts"},
	{name: "mount: overlay", try: mountsOverlay, want: "EPERM", outside: "mounts"},
	{name: "mount: bind the root directory", try: mounts("/", "", unix.MS_BIND|unix.MS_REC, ""), want: "EPERM", outside: "mounts"},
	{name: "mount: move a mount", try: movesMount, want: "EPERM", outside: "mounts"},
	{name: "mount: /sys writable", try: remounts("/sys", unix.MS_REMOUNT|unix.MS_BIND), want: "EPERM", outside: "mounts"},
	{name: "mount: /proc/sys writable", try: remounts("/proc/sys", unix.MS_REMOUNT|unix.MS_BIND), want: "EPERM", outside: "mounts",
		unshown: "a system without a mount there has nothing to remount"},
	{name: "mount: / shared with its peers", try: remounts("/", unix.MS_SHARED|unix.MS_REC), want: "EPERM", outside: "mounts"},
	{name: "umount2: what covers a part of /proc", try: unmounts("/proc/kcore"), want: "EPERM", outside: "mounts"},
	{name: "umount2: /proc", try: unmounts("/proc"), want: "EPERM", outside: "mounts"},
	{name: "fsopen", try: textCall(unix.SYS_FSOPEN, "tmpfs"), want: "EPERM", outside: "mounts"},
	{name: "fsconfig", try: calls(unix.SYS_FSCONFIG, badDescriptor, 6), want: "EPERM", outside: "mounts"},
	{name: "fsmount", try: calls(unix.SYS_FSMOUNT, badDescriptor), want: "EPERM", outside: "mounts"},
	{name: "fspick", try: pathCall(unix.SYS_FSPICK, "/", 0), want: "EPERM", outside: "mounts"},
	{name: "open_tree: a copy of /", try: pathCall(unix.SYS_OPEN_TREE, "/", 1), want: "EPERM", outside: "mounts"},
	{name: "move_mount", try: movesTree, want: "EPERM", outside: "mounts"},
	{name: "mount_setattr: / writable", try: setsAttributes, want: "EPERM", outside: "mounts"},
	{name: "pivot_root", try: pivots, want: "EPERM", outside: "mounts"},
	{name: "chroot twice and fchdir", try: chrootsTwice, want: confined, user: "EPERM", outside: "canaries"},
	{name: "a path of many dot-dots", try: climbs, want: confined, outside: "canaries"},
}

// badDescriptor is one that no process has.
const badDescriptor = 1 << 20

// pathCall is a call that takes a directory, a path and flags.
func pathCall(number uintptr, path string, flags uintptr) func(facts) string {
	return func(facts) string {
		p, _ := unix.BytePtrFromString(path)
		cwd := unix.AT_FDCWD
		return call(number, uintptr(cwd), uintptr(unsafe.Pointer(p)), flags)
	}
}

// textCall is a call that takes a text and then numbers.
func textCall(number uintptr, text string, args ...uintptr) func(facts) string {
	return func(facts) string {
		p, _ := unix.BytePtrFromString(text)
		return call(number, append([]uintptr{uintptr(unsafe.Pointer(p))}, args...)...)
	}
}

// mountPoint is a new directory, and what removes it with nothing in it: whatever is
// mounted there stays whole.
func mountPoint() (string, func()) {
	dir, err := os.MkdirTemp("/tmp", "attempt")
	if err != nil {
		return "/nowhere", func() {}
	}
	return dir, func() { _ = unix.Rmdir(dir) }
}

func mounts(source, kind string, flags uintptr, data string) func(facts) string {
	return func(facts) string {
		dir, remove := mountPoint()
		defer remove()
		err := unix.Mount(source, dir, kind, flags, data)
		if err == nil {
			_ = unix.Unmount(dir, unix.MNT_DETACH)
		}
		return outcome(err)
	}
}

func mountsOverlay(facts) string {
	dir, remove := mountPoint()
	defer remove()
	defer func() {
		for _, d := range []string{"lower", "upper", "work/work", "work", "all"} {
			_ = unix.Rmdir(filepath.Join(dir, d))
		}
	}()
	for _, d := range []string{"lower", "upper", "work", "all"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o755); err != nil {
			return err.Error()
		}
	}
	if err := unix.Chdir(dir); err != nil {
		return err.Error()
	}
	// Where the directory is on an overlay itself, a tmpfs takes its place.
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, ""); err == nil {
		defer func() { _ = unix.Unmount(dir, unix.MNT_DETACH) }()
		_ = unix.Chdir(dir)
		for _, d := range []string{"lower", "upper", "work", "all"} {
			_ = os.Mkdir(d, 0o755)
		}
	}
	err := unix.Mount("overlay", "all", "overlay", 0, "lowerdir=lower,upperdir=upper,workdir=work")
	if err == nil {
		_ = unix.Unmount("all", unix.MNT_DETACH)
	}
	return outcome(err)
}

func movesMount(facts) string {
	dir, remove := mountPoint()
	defer remove()
	err := unix.Mount("/dev/shm", dir, "", unix.MS_MOVE, "")
	if err == nil {
		_ = unix.Mount(dir, "/dev/shm", "", unix.MS_MOVE, "")
	}
	return outcome(err)
}

func remounts(path string, flags uintptr) func(facts) string {
	return func(facts) string { return outcome(unix.Mount("", path, "", flags, "")) }
}

func unmounts(path string) func(facts) string {
	return func(facts) string {
		if tame() { // something else, which nobody needs
			dir, remove := mountPoint()
			defer remove()
			_ = unix.Mount("tmpfs", dir, "tmpfs", 0, "")
			return outcome(unix.Unmount(dir, unix.MNT_DETACH))
		}
		return outcome(unix.Unmount(path, unix.MNT_DETACH))
	}
}

func movesTree(facts) string {
	dir, remove := mountPoint()
	defer remove()
	tree, err := unix.OpenTree(unix.AT_FDCWD, "/tmp", unix.OPEN_TREE_CLONE)
	if err != nil {
		tree = badDescriptor // the call itself is to be refused too
	}
	err = unix.MoveMount(tree, "", unix.AT_FDCWD, dir, unix.MOVE_MOUNT_F_EMPTY_PATH)
	if err == nil {
		_ = unix.Unmount(dir, unix.MNT_DETACH)
	}
	return outcome(err)
}

func setsAttributes(facts) string {
	return outcome(unix.MountSetattr(unix.AT_FDCWD, "/", 0, &unix.MountAttr{Attr_clr: unix.MOUNT_ATTR_NODEV}))
}

func pivots(facts) string {
	dir, remove := scratch()
	defer remove()
	if err := unix.PivotRoot(dir, dir); err != nil {
		return outcome(err)
	}
	return done
}

// chrootsTwice is the classic way out of a chroot(2): keep a directory outside
// open, change the root to one below, and climb from the open one.
func chrootsTwice(f facts) string {
	runtime.LockOSThread()
	dir, remove := mountPoint()
	defer remove()
	outside, err := unix.Open("/", unix.O_DIRECTORY, 0)
	if err != nil {
		return outcome(err)
	}
	if err := unix.Chroot(dir); err != nil {
		return outcome(err)
	}
	if err := unix.Fchdir(outside); err != nil {
		return outcome(err)
	}
	for range 100 {
		_ = unix.Chdir("..")
	}
	if err := unix.Chroot("."); err != nil {
		return outcome(err)
	}
	return reads(f.Canary)
}

func climbs(f facts) string {
	path := "/"
	for range 60 {
		path += "../"
	}
	return reads(path + f.Canary)
}

// reads says whether a file of the machine's can be read.
func reads(path string) string {
	if _, err := os.ReadFile(path); err != nil {
		return confined
	}
	return done
}
