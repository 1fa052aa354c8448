package podman

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"

	"github.com/containers/podman/v5/pkg/bindings/containers"
)

// ErrNotRunning is wrapped by errors of calls that need a running container.
var ErrNotRunning = errors.New("container does not run")

// Attach returns a stream to the main process of a running container that was made
// with Spec.Stdin: what is written becomes its standard input, what is read is its
// standard output. Closing the stream ends the standard input for good: Podman's
// monitor closes it with the client.
func (c *Client) Attach(ctx context.Context, container string) (io.ReadWriteCloser, error) {
	// Attaching to a container that has exited would prepare it to be started again.
	running, err := c.Running(ctx, container)
	if err != nil {
		return nil, err
	}
	if !running {
		return nil, fmt.Errorf("attach to container %.12s: %w", container, ErrNotRunning)
	}
	// Without the empty detachKeys a certain sequence of bytes would end the stream.
	path := "containers/" + container + "/attach?stream=true&stdin=true&stdout=true&stderr=true&detachKeys="
	conn, reader, err := c.upgrade(ctx, path, nil)
	if err != nil {
		return nil, fmt.Errorf("attach to container %.12s: %w", container, err)
	}
	return &stream{UnixConn: conn, reader: reader}, nil
}

// Bridge runs a command as root in a running container and returns its standard
// input and output as a stream.
func (c *Client) Bridge(ctx context.Context, container string, command []string) (io.ReadWriteCloser, error) {
	running, err := c.Running(ctx, container)
	if err != nil {
		return nil, err
	}
	if !running {
		return nil, fmt.Errorf("run a command in container %.12s: %w", container, ErrNotRunning)
	}
	e, err := c.Exec(ctx, container, ExecOptions{User: "root", Command: command})
	if err != nil {
		return nil, err
	}
	return &stream{UnixConn: e.conn, reader: e.reader, forget: func() { _ = e.end(true) }}, nil
}

// upgrade posts to a path below the API's root and asks for the connection itself
// by an HTTP upgrade (RFC 9110, section 7.8), after which it carries a stream.
func (c *Client) upgrade(ctx context.Context, path string, body []byte) (*net.UnixConn, *bufio.Reader, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "unix", c.socket)
	if err != nil {
		return nil, nil, err
	}
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	reader := newReader(conn)
	err = ask(conn, reader, fmt.Sprintf("http://d/v%s/libpod/%s", c.version, path), body)
	if !stop() { // the context ended first and has closed the connection
		err = errors.Join(context.Cause(ctx), err)
	}
	if err != nil {
		conn.Close()
		return nil, nil, err
	}
	return conn.(*net.UnixConn), reader, nil
}

// newReader returns the reader of a stream. Podman's frames have 8 KiB at most.
func newReader(r io.Reader) *bufio.Reader { return bufio.NewReaderSize(r, 32<<10) }

func ask(conn net.Conn, reader *bufio.Reader, url string, body []byte) error {
	req, err := http.NewRequest(http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Connection", "Upgrade")
	req.Header.Set("Upgrade", "tcp")
	if err := req.Write(conn); err != nil {
		return err
	}
	resp, err := http.ReadResponse(reader, req)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusSwitchingProtocols {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 4<<10))
		return fmt.Errorf("answer %s: %q", resp.Status, text)
	}
	return nil
}

// stream is the multiplexed stream of a process without a terminal. Reads take
// its standard output; the beginning of its standard error goes into the error
// that ends them.
type stream struct {
	*net.UnixConn
	reader    *bufio.Reader
	left      uint32 // of the frame that is being read
	ofStderr  bool
	complaint []byte
	forget    func() // what else is to be done at the end, or nil
	once      sync.Once
}

// maxComplaint bounds what is kept of standard error, in bytes.
const maxComplaint = 4 << 10

func (s *stream) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for {
		if s.left == 0 {
			if err := s.header(); err != nil {
				return 0, err
			}
			continue
		}
		part := p[:min(uint64(len(p)), uint64(s.left))]
		n, err := s.reader.Read(part) // a bufio.Reader gives bytes or an error
		if s.left -= uint32(n); err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return 0, s.explain(err)
		}
		if !s.ofStderr {
			return n, nil
		}
		s.complaint = append(s.complaint, part[:min(n, maxComplaint-len(s.complaint))]...)
	}
}

func (s *stream) header() error {
	var header [8]byte
	fd, size, err := containers.DemuxHeader(s.reader, header[:])
	if err != nil {
		return s.explain(err)
	}
	s.left, s.ofStderr = uint32(size), fd == 2
	return nil
}

func (s *stream) explain(err error) error {
	if len(s.complaint) == 0 {
		return err
	}
	return fmt.Errorf("%w; the container said %q", err, s.complaint)
}

// Close ends the stream. A bridge's command is killed, and Podman forgets it. Later calls do nothing.
func (s *stream) Close() error {
	var err error
	s.once.Do(func() {
		err = s.UnixConn.Close()
		if s.forget != nil {
			s.forget()
		}
	})
	return err
}
