package quota

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/sandtrap/sandtrap/internal/helper"
)

// Server makes layers projects.
type Server struct {
	// Layers is the directory of Podman's overlay driver, where each layer has a
	// directory that its id names.
	Layers string
}

// Answer is a helper.Answer.
func (s *Server) Answer(_ context.Context, client *net.UnixConn, layer string) {
	if err := s.bound(layer); err != nil {
		helper.Refuse(client, err)
		return
	}
	helper.Say(client, ok)
}

var (
	errNoStore  = errors.New("the store is no XFS file system with project quotas")
	errNoLimits = errors.New("the store does not limit projects")
)

// bound makes a layer a project, if it is none yet, and checks that this limits it.
// The account that owns the store may be an attacker's by now: links are not followed,
// and nothing of another file system is touched.
func (s *Server) bound(layer string) error {
	layers, err := unix.Open(s.Layers, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
	if err != nil {
		return fmt.Errorf("open %s: %w", s.Layers, err)
	}
	defer unix.Close(layers)
	var store unix.Statfs_t
	if err := unix.Fstatfs(layers, &store); err != nil || store.Type != unix.XFS_SUPER_MAGIC {
		return errNoStore
	}
	dir, err := openBelow(layers, layer)
	if err != nil {
		return fmt.Errorf("open the layer: %w", err)
	}
	defer unix.Close(dir)
	project, err := projectOf(dir)
	if err != nil {
		return err
	}
	if err := assign(dir, project, depth); err != nil {
		return err
	}
	var own unix.Statfs_t
	if err := unix.Fstatfs(dir, &own); err != nil || own.Blocks >= store.Blocks {
		return errNoLimits // XFS tells a limited project its limit in place of the size
	}
	return nil
}

// openBelow opens the directory of that name, which is no path, in another of the same
// file system. (RestrictSUIDSGID= of our unit takes openat2(2) away.)
func openBelow(dir int, name string) (int, error) {
	fd, err := unix.Openat(dir, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
	if err != nil {
		return -1, err
	}
	var above, below unix.Stat_t
	if err = errors.Join(unix.Fstat(dir, &above), unix.Fstat(fd, &below)); err == nil && above.Dev != below.Dev {
		err = errors.New("it is of another file system")
	}
	if err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// projectOf is the number of the layer's project: that of its inode, which no other
// layer has as long as this one exists.
func projectOf(dir int) (uint32, error) {
	var stat unix.Stat_t
	if err := unix.Fstat(dir, &stat); err != nil {
		return 0, fmt.Errorf("look at the layer: %w", err)
	}
	if stat.Ino == 0 || stat.Ino >= 1<<32-1 {
		return 0, fmt.Errorf("the layer's inode %d makes no project: the store is too large", stat.Ino)
	}
	return uint32(stat.Ino), nil
}

const (
	// depth is how far below a layer's directory the ones are that the overlay file
	// system writes to: diff, and work/work.
	depth = 2
	// maxEntries bounds what a layer may hold that was never mounted.
	maxEntries = 64
)

// attributes is struct fsxattr, see ioctl_xfs_fsgetxattr(2).
type attributes struct {
	flags, extent, extents, project, cowExtent uint32
	_                                          [8]byte
}

const (
	getAttributes = 0x801c581f // FS_IOC_FSGETXATTR
	setAttributes = 0x401c5820 // FS_IOC_FSSETXATTR
	inherit       = 0x200      // FS_XFLAG_PROJINHERIT
)

// assign makes a directory part of a project, and then those below it: what is made
// meanwhile inherits it. One that is part of it already is done with.
func assign(dir int, project uint32, levels int) error {
	var a attributes
	if err := ioctl(dir, getAttributes, &a); err != nil {
		return fmt.Errorf("look at the project of the layer: %w", err)
	}
	if a.project == project && a.flags&inherit != 0 {
		return nil
	}
	below, err := directories(dir, levels)
	if err != nil {
		return err
	}
	// The top comes last, so that a layer is done with only when all of it is.
	for _, name := range below {
		sub, err := openBelow(dir, name)
		if err != nil {
			return fmt.Errorf("open %.40q in the layer: %w", name, err)
		}
		err = assign(sub, project, levels-1)
		unix.Close(sub)
		if err != nil {
			return err
		}
	}
	a.project, a.flags = project, a.flags|inherit
	if err := ioctl(dir, setAttributes, &a); err != nil {
		return fmt.Errorf("make the layer a project: %w", err)
	}
	return nil
}

// directories are the names of the directories in another one.
func directories(dir, levels int) ([]string, error) {
	if levels == 0 {
		return nil, nil
	}
	copied, err := unix.FcntlInt(uintptr(dir), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("read the layer: %w", err)
	}
	file := os.NewFile(uintptr(copied), "layer")
	defer file.Close()
	entries, err := file.ReadDir(maxEntries)
	if err != nil && len(entries) == 0 { // the end, too, is an error
		entries = nil
	}
	if len(entries) == maxEntries {
		return nil, errors.New("the layer holds more than a new one does")
	}
	var names []string
	for _, e := range entries {
		if e.IsDir() {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

func ioctl(fd int, request uintptr, a *attributes) error {
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), request, uintptr(unsafe.Pointer(a))); errno != 0 {
		return errno
	}
	return nil
}
