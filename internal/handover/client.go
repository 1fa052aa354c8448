package handover

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"

	"golang.org/x/sys/unix"

	"github.com/sandtrap/sandtrap/internal/descriptor"
	"github.com/sandtrap/sandtrap/internal/helper"
)

// Take returns the front end's end of the stream to the leader in a container that
// was just started. It waits until there is one, or ctx ends. A stream can be taken
// more than once, until the leader has been spoken to.
func Take(ctx context.Context, socket, container string) (*net.UnixConn, error) {
	stream, err := take(ctx, socket, container)
	if err != nil {
		return nil, fmt.Errorf("take the stream of container %.12s: %w", container, err)
	}
	return stream, nil
}

func take(ctx context.Context, socket, container string) (*net.UnixConn, error) {
	server, stop, err := helper.Ask(ctx, socket, container)
	if err != nil {
		return nil, err
	}
	defer server.Close()
	stream, err := receive(server)
	if !stop() { // the context ended first and has closed the connection
		if stream != nil {
			stream.Close()
		}
		return nil, context.Cause(ctx)
	}
	return stream, err
}

func receive(server *net.UnixConn) (*net.UnixConn, error) {
	answer, rights := make([]byte, helper.MaxAnswer), make([]byte, unix.CmsgSpace(4))
	n, got, flags, _, err := server.ReadMsgUnix(answer, rights) // close-on-exec
	if errors.Is(err, io.EOF) {
		err = errors.New("no answer")
	}
	if err != nil {
		return nil, err
	}
	fds := descriptor.FromMessage(rights[:got])
	switch {
	case answer[0] != 0:
		err = fmt.Errorf("the helper says %q", bytes.TrimSpace(answer[:n]))
	case len(fds) != 1 || flags&unix.MSG_CTRUNC != 0:
		err = errors.New("no descriptor in the answer")
	case !descriptor.IsStream(fds[0]):
		err = errors.New("what was handed over is no stream")
	default:
		return newConn(fds[0])
	}
	descriptor.Close(fds)
	return nil, err
}

// newConn takes a descriptor over.
func newConn(fd int) (*net.UnixConn, error) {
	file := os.NewFile(uintptr(fd), "stream")
	defer file.Close()
	c, err := net.FileConn(file)
	if err != nil {
		return nil, err
	}
	return c.(*net.UnixConn), nil
}
