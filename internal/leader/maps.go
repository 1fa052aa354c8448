package leader

import (
	"bytes"
	"iter"
	"strconv"
	"syscall"
)

// readProc returns a file of proc(5), whose size nobody knows before.
func readProc(path string) ([]byte, error) { return readProcUpTo(path, 16<<10) }

// readProcUpTo returns so many bytes of one at most.
func readProcUpTo(path string, limit int) ([]byte, error) {
	fd, err := syscall.Open(path, syscall.O_RDONLY|syscall.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer closeAll(fd)
	b := make([]byte, 0, limit)
	for len(b) < cap(b) {
		n, err := retry(func() (int, error) { return syscall.Read(fd, b[len(b):cap(b)]) })
		if err != nil {
			return nil, err
		}
		if n == 0 {
			break
		}
		b = b[:len(b)+n]
	}
	return b, nil
}

// lines yields the lines of a text without their ends.
func lines(text []byte) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		for len(text) > 0 {
			line, rest, _ := bytes.Cut(text, []byte{'\n'})
			if !yield(line) {
				return
			}
			text = rest
		}
	}
}

// parseMapping reads a line of /proc/PID/maps. What cannot be read has no extent.
func parseMapping(line []byte) (e extent, permissions, name []byte) {
	fields := bytes.Fields(line)
	if len(fields) < 5 || len(fields[1]) < 4 {
		return extent{}, nil, nil
	}
	from, to, _ := bytes.Cut(fields[0], []byte{'-'})
	low, err1 := strconv.ParseUint(string(from), 16, 64)
	high, err2 := strconv.ParseUint(string(to), 16, 64)
	if err1 != nil || err2 != nil {
		return extent{}, nil, nil
	}
	if len(fields) > 5 {
		name = fields[5]
	}
	return extent{uintptr(low), uintptr(high)}, fields[1], name
}
