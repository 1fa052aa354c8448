package layer

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sandtrap/sandtrap/internal/frame"
	"github.com/sandtrap/sandtrap/internal/helper"
)

// Server tells what layers hold.
type Server struct {
	// Layers is the directory of Podman's overlay driver, where each layer has a
	// directory that its id names.
	Layers string
}

const (
	// maxItems bounds the items of one layer: more than the share of a target's has
	// inodes by default, several times.
	maxItems = 1 << 20
	// maxDepth bounds directories below each other, and with it open descriptors.
	maxDepth = 64
	// maxTime bounds one answer, and sendTimeout the client's taking of one record.
	maxTime     = 10 * time.Minute
	sendTimeout = time.Minute
)

// Answer is a helper.Answer.
func (s *Server) Answer(ctx context.Context, client *net.UnixConn, layer string) {
	ctx, cancel := context.WithTimeout(ctx, maxTime)
	defer cancel()
	w := &walk{ctx: ctx, client: client, seen: map[uint64]bool{}}
	if err := s.tell(w, layer); err != nil && !w.begun {
		helper.Refuse(client, fmt.Errorf("%c%w", refused, err))
	}
}

func (s *Server) tell(w *walk, layer string) error {
	layers, err := openDir(unix.AT_FDCWD, s.Layers)
	if err != nil {
		return fmt.Errorf("open %s: %w", s.Layers, err)
	}
	defer unix.Close(layers)
	own, err := openDir(layers, layer)
	if err != nil {
		return fmt.Errorf("open the layer: %w", err)
	}
	defer unix.Close(own)
	top, err := openDir(own, "diff")
	if err != nil {
		return fmt.Errorf("open the layer's files: %w", err)
	}
	defer unix.Close(top)
	below, err := imageOf(layers, own)
	defer closeAll(below)
	if err != nil {
		return fmt.Errorf("open the layers of its image: %w", err)
	}
	if err := w.begin(top, below); err != nil {
		return err
	}
	if err := w.tellAccounts(top, below); err != nil {
		return err
	}
	w.directory(top, below, "", 0)
	return w.send(frame.Captured, w.end.Encode(), -1)
}

// walk tells one layer.
type walk struct {
	ctx    context.Context
	client *net.UnixConn
	begun  bool // something was sent
	end    frame.CapturedMessage
	items  int
	device uint64
	base   [2]uint32       // what root of the container is outside: uid and gid
	seen   map[uint64]bool // inodes with several names whose content was sent
}

// begin learns what ids mean. The image's root directory is root's; that of the layer is
// whose the attacker says.
func (w *walk) begin(top int, image []int) error {
	var st, root unix.Stat_t
	if err := unix.Fstat(top, &st); err != nil {
		return fmt.Errorf("look at the layer: %w", err)
	}
	root = st
	if len(image) > 0 {
		if err := unix.Fstat(image[0], &root); err != nil {
			return fmt.Errorf("look at the image: %w", err)
		}
	}
	w.device, w.base = st.Dev, [2]uint32{root.Uid, root.Gid}
	return nil
}

// over reports whether to stop.
func (w *walk) over() bool {
	if w.end.Stop == 0 && w.ctx.Err() != nil {
		w.end.Stop = frame.StopTime
	}
	return w.end.Stop != 0
}

// item sends an item, with a descriptor or -1.
func (w *walk) item(m *frame.ItemMessage, fd int) {
	if w.over() {
		w.end.Omitted++
		return
	}
	if w.items++; w.items > maxItems {
		w.end.Stop = frame.StopItems
		w.end.Omitted++
		return
	}
	m.Content = fd >= 0
	if err := w.send(frame.Item, m.Encode(), fd); err != nil {
		w.end.Stop = frame.StopError // the client has gone
	}
}

func (w *walk) send(kind frame.Type, payload []byte, fd int) error {
	w.begun = true
	b := make([]byte, headerSize, headerSize+len(payload))
	binary.BigEndian.PutUint32(b, uint32(len(payload)))
	b[4] = byte(kind)
	var rights []byte
	if fd >= 0 {
		rights = unix.UnixRights(fd)
	}
	if err := w.client.SetWriteDeadline(time.Now().Add(sendTimeout)); err != nil {
		return err
	}
	for {
		n, _, err := w.client.WriteMsgUnix(append(b, payload...), rights, nil)
		if errors.Is(err, unix.ETOOMANYREFS) { // the client has not taken those before
			time.Sleep(time.Millisecond)
			if w.ctx.Err() == nil {
				continue
			}
		}
		if err == nil && n < len(b)+len(payload) {
			err = errors.New("a record was torn")
		}
		return err
	}
}

// openDir opens the directory of that name in another, without following links there.
func openDir(dir int, name string) (int, error) {
	for {
		fd, err := unix.Openat(dir, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
		if !errors.Is(err, unix.EINTR) {
			return fd, err
		}
	}
}

// openFile opens a regular file of that name in a directory. Whatever lies there by now,
// opening it does nothing but that.
func openFile(dir int, name string) (fd int, st unix.Stat_t, err error) {
	fd, err = unix.Openat(dir, name, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if err != nil {
		return -1, st, err
	}
	if err = unix.Fstat(fd, &st); err == nil && st.Mode&unix.S_IFMT != unix.S_IFREG {
		err = errors.New("not a regular file")
	}
	if err != nil {
		unix.Close(fd)
	}
	return fd, st, err
}

func closeAll(fds []int) {
	for _, fd := range fds {
		unix.Close(fd)
	}
}
