package leader

import (
	"strings"
	"syscall"
)

// plantBait leaves a script in the home directory of an account, as old as the accounts
// are. A file that exists stays as it is.
func plantBait(root string, a account, name, content string) bool {
	if name == "" || name == "." || name == ".." || strings.ContainsRune(name, '/') {
		return false
	}
	path := root + a.home + "/" + name
	var st syscall.Stat_t
	if syscall.Lstat(path, &st) == nil || createFile(path, []byte(content), 0o700) != nil {
		return false
	}
	modified := databases{root}.modified("passwd")
	if syscall.Lchown(path, int(a.uid), int(a.gid)) != nil {
		_ = syscall.Unlink(path)
		return false
	}
	_ = syscall.UtimesNano(path, []syscall.Timespec{modified, modified})
	return true
}
