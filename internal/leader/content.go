package leader

import (
	"iter"
	"syscall"

	"github.com/sandtrap/sandtrap/internal/frame"
)

// file tells of a regular file, with its content when nobody had the same inode
// before. Whatever lies there now does not make it wait.
func (c *capturer) file(path string, m frame.ItemMessage, flags int) {
	var st syscall.Stat_t
	look := syscall.Stat
	if flags != 0 {
		look = syscall.Lstat
	}
	if look(path, &st) != nil || st.Mode&syscall.S_IFMT != syscall.S_IFREG {
		return // before it is opened: to open a device may do something
	}
	describe(&m, &st)
	which := inode{m.Device, m.Inode}
	if c.seen[which] {
		if m.Origin != frame.OriginProcess { // a process may hold it a hundred times
			m.Note = frame.NoteHardLink
			c.tell(&m)
		}
		return
	}
	fd, err := syscall.Open(path, syscall.O_RDONLY|syscall.O_NONBLOCK|syscall.O_NOCTTY|syscall.O_CLOEXEC|flags, 0)
	if err != nil {
		m.Note = frame.NoteUnreadable
		c.tell(&m)
		return
	}
	defer closeAll(fd)
	if syscall.Fstat(fd, &st) != nil || st.Mode&syscall.S_IFMT != syscall.S_IFREG || uint64(st.Dev) != m.Device || st.Ino != m.Inode {
		return // changed under our eyes
	}
	end := m.Size
	if st.Size >= bigFile && st.Blocks*512 < st.Size/2 {
		hole, err := syscall.Seek(fd, 0, seekHole)
		if err == nil && uint64(hole) < end {
			end, m.Note = uint64(hole), sparse(m.Note)
		}
	}
	m.Content = true
	if c.tell(&m) {
		c.seen[which] = true
		c.content(fd, end)
	}
}

// sparse is a note with which the front end knows where content ends.
func sparse(n frame.Note) frame.Note {
	if n == 0 {
		return frame.NoteSparse
	}
	return n // that the size is not reached tells the same
}

// content sends a file's bytes up to end, within what the front end wants.
func (c *capturer) content(fd int, end uint64) {
	left := min(end, c.m.FileBytes, c.m.Bytes)
	var offset int64
	for left > 0 && !c.over() {
		n, err := retry(func() (int, error) { return syscall.Pread(fd, c.chunk[:min(left, uint64(len(c.chunk)))], offset) })
		if err != nil || n <= 0 {
			return
		}
		c.w.send(frame.Content, 0, c.chunk[:n])
		offset += int64(n)
		left -= uint64(n)
		c.m.Bytes -= uint64(n)
	}
}

// names yields the names in a directory, in no order, however many there are.
func names(path string) iter.Seq[string] {
	return func(yield func(string) bool) {
		fd, err := syscall.Open(path, syscall.O_RDONLY|syscall.O_DIRECTORY|syscall.O_NOFOLLOW|syscall.O_CLOEXEC, 0)
		if err != nil {
			return
		}
		defer closeAll(fd)
		b := make([]byte, 16<<10)
		for {
			n, err := retry(func() (int, error) { return syscall.ReadDirent(fd, b) })
			if err != nil || n <= 0 {
				return
			}
			_, _, found := syscall.ParseDirent(b[:n], -1, nil)
			for _, name := range found {
				if !yield(name) {
					return
				}
			}
		}
	}
}

// readPath is where a link of /proc points, which may be as long as a path.
func readPath(link string) (string, error) {
	b := make([]byte, frame.MaxItemPath)
	n, err := syscall.Readlink(link, b)
	if err != nil {
		return "", err
	}
	return string(b[:n]), nil
}
