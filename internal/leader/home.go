package leader

import "syscall"

// Bounds of what is copied into a new home directory.
const (
	maxSkelFile    = 256 << 10 // bytes
	maxSkelEntries = 64        // of a directory
	maxSkelDepth   = 3
)

// makeHome makes a home directory from /etc/skel. Until all is there it belongs to
// root and nobody else can enter it. One that exists stays as it is.
func makeHome(root, home string, id int, modified syscall.Timespec) {
	times := []syscall.Timespec{modified, modified}
	if syscall.Mkdir(root+home, 0o700) == nil {
		copySkel(root+"/etc/skel", root+home, id, times, maxSkelDepth)
		finish(root+home, id, times)
	}
}

// copySkel copies regular files and directories.
func copySkel(from, to string, id int, times []syscall.Timespec, depth int) {
	if depth == 0 {
		return
	}
	for i, name := range entries(from) {
		var st syscall.Stat_t
		source, target := from+"/"+name, to+"/"+name
		if i == maxSkelEntries || syscall.Lstat(source, &st) != nil {
			return
		}
		switch st.Mode & syscall.S_IFMT {
		case syscall.S_IFREG:
			if text, err := readFile(source, maxSkelFile); err == nil && createFile(target, text, st.Mode&0o777) == nil {
				finish(target, id, times)
			}
		case syscall.S_IFDIR:
			if syscall.Mkdir(target, st.Mode&0o777) == nil {
				copySkel(source, target, id, times, depth-1)
				finish(target, id, times)
			}
		}
	}
}

// finish hands a path over to the account.
func finish(path string, id int, times []syscall.Timespec) {
	_ = syscall.Lchown(path, id, id)
	_ = syscall.UtimesNano(path, times)
}
