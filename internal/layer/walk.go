package layer

import (
	"errors"

	"golang.org/x/sys/unix"

	"github.com/sandtrap/sandtrap/internal/frame"
)

// directory tells what a directory of the layer holds, and below it. image has the same
// directory in the layers of the image, path its name in the container.
func (w *walk) directory(dir int, image []int, path string, depth int) {
	b := make([]byte, 16<<10)
	for !w.over() {
		n, err := unix.ReadDirent(dir, b)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil || n <= 0 {
			if err != nil {
				w.end.Omitted++
			}
			return
		}
		_, _, names := unix.ParseDirent(b[:n], -1, nil)
		for _, name := range names {
			w.entry(dir, image, name, path+"/"+name, depth)
		}
	}
}

// entry tells of one name.
func (w *walk) entry(dir int, image []int, name, path string, depth int) {
	var st unix.Stat_t
	err := unix.Fstatat(dir, name, &st, unix.AT_SYMLINK_NOFOLLOW)
	if err != nil || len(path) > frame.MaxItemPath || st.Dev != w.device {
		w.end.Omitted++
		return
	}
	m := frame.ItemMessage{Origin: frame.OriginLayer, Change: frame.Added, Path: path}
	if has(image, name) {
		m.Change = frame.Changed
	}
	w.describe(&m, &st)
	switch m.Kind {
	case frame.KindUnknown:
		// What was made and removed again leaves a mark, too, where the image had it.
		m.Change = frame.Deleted
		w.item(&m, -1)
	case frame.KindDirectory:
		w.below(dir, image, name, &m, depth)
	case frame.KindFile:
		w.file(dir, name, &m)
	case frame.KindLink:
		link := make([]byte, frame.MaxItemPath)
		if n, err := unix.Readlinkat(dir, name, link); err == nil {
			m.Link = string(link[:n])
		}
		w.item(&m, -1)
	default:
		w.item(&m, -1)
	}
}

// below tells of a directory and what is in it.
func (w *walk) below(dir int, image []int, name string, m *frame.ItemMessage, depth int) {
	fd, err := openDir(dir, name)
	if err != nil {
		m.Note = frame.NoteUnreadable
		w.item(m, -1)
		return
	}
	defer unix.Close(fd)
	sub := descend(image, name)
	defer closeAll(sub)
	if isOpaque(fd) && len(sub) > 0 {
		m.Note = frame.NoteReplaced
	}
	if m.Note != 0 || m.Change == frame.Added || !w.onlyTheWay(m, sub) {
		w.item(m, -1)
	}
	if depth >= maxDepth {
		w.end.Omitted++
		return
	}
	w.directory(fd, sub, m.Path, depth+1)
}

// onlyTheWay reports whether a directory is in the layer only because something below
// it is: it is as in the image.
func (w *walk) onlyTheWay(m *frame.ItemMessage, image []int) bool {
	var st unix.Stat_t
	if len(image) == 0 || unix.Fstat(image[0], &st) != nil {
		return false
	}
	return m.Mode == st.Mode && m.UID == inside(st.Uid, w.base[0]) && m.GID == inside(st.Gid, w.base[1])
}

// file tells of a regular file.
func (w *walk) file(dir int, name string, m *frame.ItemMessage) {
	if m.Links > 1 && w.seen[m.Inode] {
		m.Note = frame.NoteHardLink
		w.item(m, -1)
		return
	}
	if m.Size == 0 {
		w.item(m, -1)
		return
	}
	fd, st, err := openFile(dir, name)
	if err == nil {
		defer unix.Close(fd)
	}
	if err != nil || st.Dev != w.device || st.Ino != m.Inode {
		m.Note = frame.NoteUnreadable
		w.item(m, -1)
		return
	}
	if m.Links > 1 {
		w.seen[m.Inode] = true
	}
	w.item(m, fd)
}

// kinds are those of what a name can be, by its mode.
var kinds = map[uint32]frame.ItemKind{
	unix.S_IFREG: frame.KindFile, unix.S_IFDIR: frame.KindDirectory, unix.S_IFLNK: frame.KindLink, unix.S_IFIFO: frame.KindFIFO,
	unix.S_IFSOCK: frame.KindSocket, unix.S_IFCHR: frame.KindCharDevice, unix.S_IFBLK: frame.KindBlockDevice,
}

// describe fills in what the kernel tells of a file, with the container's ids.
func (w *walk) describe(m *frame.ItemMessage, st *unix.Stat_t) {
	m.Kind = kinds[st.Mode&unix.S_IFMT]
	if isWhiteout(st) || m.Kind == 0 {
		m.Kind = frame.KindUnknown
	}
	m.Size, m.Device, m.Inode, m.Links = uint64(max(st.Size, 0)), st.Dev, st.Ino, uint32(st.Nlink)
	m.Modified, m.Altered = st.Mtim.Nano(), st.Ctim.Nano()
	if m.Kind != frame.KindUnknown {
		m.Mode, m.UID, m.GID = st.Mode, inside(st.Uid, w.base[0]), inside(st.Gid, w.base[1])
	}
}

// nobody is the id of what has none in a container; see user_namespaces(7).
const nobody = 65534

// inside is an id in the container, whose root is base.
func inside(id, base uint32) uint32 {
	if id < base || id-base > 1<<16 {
		return nobody
	}
	return id - base
}
