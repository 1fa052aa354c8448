package leader

import "syscall"

// A container's file system is its own, and so is what the kernel remembers of it:
// the first to look a path up in one waits until all layers were searched. A login
// looks at dozens of paths, and its prompt would be the later for it than on a
// machine that somebody has logged in to before. So the leader looks at them while
// nobody waits.

// familiar are the directories and files that a login of Debian's looks at, in the
// target's home of root and elsewhere, whether they exist or not.
var familiar = [...]string{
	"/dev/null", "/dev/tty", "/etc/ld.so.cache", "/etc/ld.so.preload", "/etc/localtime", "/etc/nsswitch.conf",
	"/lib/x86_64-linux-gnu/libc.so.6", "/lib/x86_64-linux-gnu/libtinfo.so.6", "/lib64/ld-linux-x86-64.so.2",
	"/lib/aarch64-linux-gnu/libc.so.6", "/lib/aarch64-linux-gnu/libtinfo.so.6", "/lib/ld-linux-aarch64.so.1",
	"/bin/bash", "/bin/sh", "/usr/bin/id", "/usr/bin/mesg", "/usr/local/bin/id", "/usr/local/bin/mesg", "/usr/local/sbin/id",
	"/usr/local/sbin/mesg", "/usr/sbin/id", "/usr/sbin/mesg",
	"/etc/profile", "/etc/profile.d", "/etc/bash.bashrc", "/etc/debian_chroot", "/etc/inputrc", "/etc/motd",
	"/root/.bash_history", "/root/.bash_login", "/root/.bash_profile", "/root/.bashrc", "/root/.hushlogin", "/root/.inputrc",
	"/root/.profile", "/root/.terminfo", "/etc/terminfo/x/xterm", "/lib/terminfo/x/xterm", "/usr/share/terminfo",
	"/usr/lib/command-not-found", "/usr/lib/locale/C.utf8/LC_CTYPE", "/usr/lib/locale/locale-archive",
	"/usr/lib/x86_64-linux-gnu/gconv/gconv-modules.cache", "/usr/share/command-not-found", "/usr/share/locale/locale.alias",
	"/run/utmp", "/var/log/lastlog", "/var/log/wtmp",
}

// rehearse looks at what the first login will look at.
func rehearse(root string) {
	var st syscall.Stat_t
	for _, path := range familiar {
		_ = syscall.Stat(root+path, &st)
	}
	for _, name := range []string{"passwd", "shadow", "group"} {
		_, _ = readFile(databases{root}.path(name), maxDatabase)
	}
}
