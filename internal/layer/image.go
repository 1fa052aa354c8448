package layer

import (
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"

	"golang.org/x/sys/unix"
)

// maxImage bounds the layers of an image; the kernel's overlay takes 500.
const maxImage = 128

// The overlay driver's files: "lower" of a layer lists those below it, the next one
// first, as short names; each is a link to where the layer's files are.
var (
	lowerName = regexp.MustCompile(`^l/[A-Z0-9]{26}$`)
	lowerLink = regexp.MustCompile(`^\.\./([0-9a-f]{64})/diff$`)
)

// imageOf opens the layers below one, the next one first. Those that it opened are
// returned with an error, too.
func imageOf(layers, layer int) (opened []int, err error) {
	fd, err := unix.Openat(layer, "lower", unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	file := os.NewFile(uintptr(fd), "lower")
	defer file.Close()
	list, err := io.ReadAll(io.LimitReader(file, maxImage*30))
	if err != nil {
		return nil, err
	}
	names := strings.Split(strings.TrimSpace(string(list)), ":")
	if len(names) > maxImage {
		return nil, errors.New("they are too many")
	}
	for _, name := range names {
		files, err := openLower(layers, name)
		if err != nil {
			return opened, err
		}
		opened = append(opened, files)
	}
	return opened, nil
}

func openLower(layers int, name string) (int, error) {
	if !lowerName.MatchString(name) {
		return -1, fmt.Errorf("%.60q names no layer", name)
	}
	b := make([]byte, 128)
	n, err := unix.Readlinkat(layers, name, b)
	if err != nil {
		return -1, err
	}
	m := lowerLink.FindStringSubmatch(string(b[:n]))
	if m == nil {
		return -1, fmt.Errorf("%.100q is no layer", b[:n])
	}
	dir, err := openDir(layers, m[1])
	if err != nil {
		return -1, err
	}
	defer unix.Close(dir)
	return openDir(dir, "diff")
}

// has reports whether an image has a name in a directory, of which image has the
// layers' parts, the next one first.
func has(image []int, name string) bool {
	for _, dir := range image {
		var st unix.Stat_t
		err := unix.Fstatat(dir, name, &st, unix.AT_SYMLINK_NOFOLLOW)
		switch {
		case err != nil:
		case isWhiteout(&st):
			return false
		default:
			return true
		}
	}
	return false
}

// descend opens a directory in the layers of an image, as far as they have it.
func descend(image []int, name string) (opened []int) {
	for _, dir := range image {
		var st unix.Stat_t
		if unix.Fstatat(dir, name, &st, unix.AT_SYMLINK_NOFOLLOW) != nil {
			continue
		}
		if st.Mode&unix.S_IFMT != unix.S_IFDIR {
			break // a whiteout, or it was no directory: that hides the layers below
		}
		fd, err := openDir(dir, name)
		if err != nil {
			break
		}
		opened = append(opened, fd)
		if isOpaque(fd) {
			break
		}
	}
	return opened
}

// isWhiteout reports whether a file says that a name is gone; see "Overlay Filesystem"
// in the kernel's documentation.
func isWhiteout(st *unix.Stat_t) bool {
	return st.Mode&unix.S_IFMT == unix.S_IFCHR && st.Rdev == 0
}

// isOpaque reports whether a directory hides what lower layers have in it.
func isOpaque(dir int) bool {
	b := make([]byte, 8)
	for _, name := range []string{"user.overlay.opaque", "trusted.overlay.opaque"} {
		if n, err := unix.Fgetxattr(dir, name, b); err == nil && n == 1 && b[0] == 'y' {
			return true
		}
	}
	return false
}
