package handover

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sandtrap/sandtrap/internal/descriptor"
	"github.com/sandtrap/sandtrap/internal/frame"
	"github.com/sandtrap/sandtrap/internal/helper"
)

// Pauses between two looks at a container that starts.
const (
	firstPause  = time.Millisecond
	longestLook = 5 * time.Millisecond
)

// Server hands out streams.
type Server struct {
	// RunRoot is Podman's runroot, see containers-storage.conf(5).
	RunRoot string
	// Patience is how long a container may take to offer a stream; 0 is 45 seconds,
	// more than the pool waits: it tells what is wrong with the image.
	Patience time.Duration
}

// Answer is a helper.Answer.
func (s *Server) Answer(ctx context.Context, client *net.UnixConn, container string) {
	ctx, cancel := context.WithTimeout(ctx, s.patience())
	defer cancel()
	fd, err := s.find(ctx, container)
	if err != nil {
		helper.Refuse(client, err)
		return
	}
	defer unix.Close(fd)
	_ = client.SetWriteDeadline(time.Now().Add(writeTimeout))
	_, _, _ = client.WriteMsgUnix([]byte{0}, unix.UnixRights(fd), nil)
}

// writeTimeout bounds how long an answer may take to be taken.
const writeTimeout = 5 * time.Second

func (s *Server) patience() time.Duration {
	if s.Patience > 0 {
		return s.Patience
	}
	return 45 * time.Second
}

var (
	errNotYet = errors.New("the container offers no stream")
	errEnded  = errors.New("the container has ended")
)

// find looks until a container offers a stream.
func (s *Server) find(ctx context.Context, container string) (int, error) {
	for pause := firstPause; ; pause = min(pause+pause/2, longestLook) {
		fd, err := s.look(container)
		if !errors.Is(err, errNotYet) {
			return fd, err
		}
		select {
		case <-ctx.Done():
			return -1, err
		case <-time.After(pause):
		}
	}
}

// look takes the stream that a container's first process offers, or says that it
// does not yet.
func (s *Server) look(container string) (int, error) {
	text, err := os.ReadFile(filepath.Join(s.RunRoot, "overlay-containers", container, "userdata", "pidfile"))
	if err != nil {
		return -1, fmt.Errorf("%w: %w", errNotYet, err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil || pid <= 1 {
		return -1, fmt.Errorf("%w: no process", errNotYet) // being written
	}
	process, err := unix.PidfdOpen(pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return -1, errEnded
	}
	if err != nil {
		return -1, fmt.Errorf("open process %d: %w", pid, err)
	}
	defer unix.Close(process)
	if !isInit(pid) || hasEnded(process) { // in this order: then it was that process
		return -1, errEnded
	}
	fd, err := unix.PidfdGetfd(process, frame.Descriptor, 0) // close-on-exec
	switch {
	case errors.Is(err, unix.ESRCH):
		return -1, errEnded
	case err != nil: // EBADF, or EPERM as long as it is the OCI runtime
		return -1, fmt.Errorf("%w: take descriptor %d of process %d: %w", errNotYet, frame.Descriptor, pid, err)
	case !descriptor.IsStream(fd): // of the OCI runtime, which becomes the leader
		unix.Close(fd)
		return -1, errNotYet
	}
	return fd, nil
}

// isInit reports whether a process is the first of a process id namespace below
// ours, see proc_pid_status(5).
func isInit(pid int) bool {
	status, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	if err != nil {
		return false
	}
	_, rest, _ := strings.Cut(string(status), "\nNSpid:")
	line, _, _ := strings.Cut(rest, "\n")
	ids := strings.Fields(line)
	return len(ids) > 1 && ids[len(ids)-1] == "1"
}

// hasEnded reports whether the process of a pidfd has.
func hasEnded(process int) bool {
	fds := []unix.PollFd{{Fd: int32(process), Events: unix.POLLIN}}
	for {
		n, err := unix.Poll(fds, 0)
		if !errors.Is(err, unix.EINTR) { // which comes even of a poll that does not wait
			return err != nil || n > 0
		}
	}
}
