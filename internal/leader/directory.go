package leader

import (
	"strconv"
	"syscall"
)

// maxEntries bounds the entries that are read of a directory.
const maxEntries = 1024

// entries are the names in a directory, in no order.
func entries(path string) []string {
	fd, err := syscall.Open(path, syscall.O_RDONLY|syscall.O_DIRECTORY|syscall.O_CLOEXEC, 0)
	if err != nil {
		return nil
	}
	defer closeAll(fd)
	var names []string
	b := make([]byte, 4<<10)
	for len(names) < maxEntries {
		n, err := retry(func() (int, error) { return syscall.ReadDirent(fd, b) })
		if err != nil || n <= 0 {
			break
		}
		_, _, names = syscall.ParseDirent(b[:n], maxEntries-len(names), names)
	}
	return names
}

// numbers are the entries that are numbers.
func numbers(path string) []int {
	var list []int
	for _, name := range entries(path) {
		if n, err := strconv.Atoi(name); err == nil {
			list = append(list, n)
		}
	}
	return list
}
