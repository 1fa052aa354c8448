package podman

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/containers/podman/v5/pkg/api/handlers"
	"github.com/containers/podman/v5/pkg/bindings/containers"
	dockertypes "github.com/docker/docker/api/types/container"
)

// Size is a terminal's size in characters.
type Size struct{ Columns, Rows uint32 }

// ExecOptions say what to run in a container.
type ExecOptions struct {
	User    string // a name or uid inside the container
	Dir     string // working directory; empty is the image's
	Command []string
	Env     []string // NAME=value, added to the image's
	TTY     bool
	Size    Size // initial size when TTY
}

// Exec is one program running in a container, with its streams attached. Without
// a terminal its standard output and error arrive apart.
type Exec struct {
	client *Client
	id     string
	tty    bool
	conn   *net.UnixConn
	reader *bufio.Reader
}

// Exec starts a program. The caller must Close what it gets.
func (c *Client) Exec(ctx context.Context, container string, o ExecOptions) (*Exec, error) {
	id, err := c.execCreate(ctx, container, o)
	if err != nil {
		return nil, err
	}
	e := &Exec{client: c, id: id, tty: o.TTY}
	if err := e.start(ctx, o); err != nil {
		e.remove()
		return nil, fmt.Errorf("start program in container %.12s: %w", container, err)
	}
	return e, nil
}

func (c *Client) execCreate(ctx context.Context, container string, o ExecOptions) (string, error) {
	ctx, cancel := c.with(ctx, callTimeout)
	defer cancel()
	config := &handlers.ExecCreateConfig{ExecOptions: dockertypes.ExecOptions{
		User: o.User, WorkingDir: o.Dir, Cmd: o.Command, Env: o.Env, Tty: o.TTY,
		AttachStdin: true, AttachStdout: true, AttachStderr: true,
	}}
	id, err := containers.ExecCreate(ctx, container, config)
	return id, wrap(err, "create exec session in container %.12s", container)
}

// start asks for the stream by an HTTP upgrade (RFC 9110, section 7.8), after
// which the connection carries the program's bytes.
func (e *Exec) start(ctx context.Context, o ExecOptions) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "unix", e.client.socket)
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	e.conn, e.reader = conn.(*net.UnixConn), bufio.NewReaderSize(conn, 32<<10)
	err = e.upgrade(o)
	if !stop() { // the context ended first and has closed the connection
		err = errors.Join(context.Cause(ctx), err)
	}
	if err != nil {
		conn.Close()
	}
	return err
}

func (e *Exec) upgrade(o ExecOptions) error {
	body := map[string]any{"Detach": false, "Tty": o.TTY}
	if o.TTY && o.Size.Columns > 0 && o.Size.Rows > 0 {
		body["w"], body["h"] = clamp(o.Size.Columns), clamp(o.Size.Rows)
	}
	raw, err := json.Marshal(body)
	if err != nil {
		return err
	}
	url := fmt.Sprintf("http://d/v%s/libpod/exec/%s/start", e.client.version, e.id)
	req, err := http.NewRequest(http.MethodPost, url, bytes.NewReader(raw))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Connection", "Upgrade")
	req.Header.Set("Upgrade", "tcp")
	if err := req.Write(e.conn); err != nil {
		return err
	}
	resp, err := http.ReadResponse(e.reader, req)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusSwitchingProtocols {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 4<<10))
		return fmt.Errorf("answer %s: %q", resp.Status, text)
	}
	return nil
}

// Write sends bytes to the program's standard input.
func (e *Exec) Write(p []byte) (int, error) { return e.conn.Write(p) }

// CloseWrite ends the program's standard input; its output goes on.
func (e *Exec) CloseWrite() error { return e.conn.CloseWrite() }

// Copy hands the program's output to stdout and stderr until the program is gone
// or one of them fails. With a terminal everything goes to stdout. The buffers
// are reused between calls.
func (e *Exec) Copy(stdout, stderr func([]byte) error) error {
	buffer := make([]byte, 32<<10)
	if e.tty {
		return copyChunks(e.reader, -1, buffer, stdout)
	}
	var header [8]byte
	for {
		stream, size, err := containers.DemuxHeader(e.reader, header[:])
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read stream header: %w", err)
		}
		to := stdout
		if stream == 2 {
			to = stderr
		}
		// A frame's claimed size is never allocated, only counted down.
		if err := copyChunks(e.reader, int64(size), buffer, to); err != nil {
			return err
		}
	}
}

// copyChunks passes on size bytes, or everything until EOF when size is negative.
func copyChunks(r io.Reader, size int64, buffer []byte, to func([]byte) error) error {
	for size != 0 {
		chunk := buffer
		if size > 0 && size < int64(len(chunk)) {
			chunk = chunk[:size]
		}
		n, err := r.Read(chunk)
		if n > 0 {
			if werr := to(chunk[:n]); werr != nil {
				return werr
			}
			if size > 0 {
				size -= int64(n)
			}
		}
		if errors.Is(err, io.EOF) && size < 0 {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read program output: %w", err)
		}
	}
	return nil
}

// Resize tells the terminal its new size.
func (e *Exec) Resize(ctx context.Context, s Size) error {
	ctx, cancel := e.client.with(ctx, callTimeout)
	defer cancel()
	options := new(containers.ResizeExecTTYOptions).WithWidth(clamp(s.Columns)).WithHeight(clamp(s.Rows))
	return wrap(containers.ResizeExecTTY(ctx, e.id, options), "resize terminal")
}

// clamp fits a client's number into what a terminal can be told; see
// ioctl_tty(2), TIOCSWINSZ.
func clamp(n uint32) int { return int(min(n, 0xffff)) }

// exitWait bounds the time between the end of a program's output and its exit
// status; Podman writes the status before it ends the stream.
const exitWait = 5 * time.Second

// Wait returns the program's exit status (128 + n after signal n, as Podman
// reports it). Call it when Copy has returned.
func (e *Exec) Wait(ctx context.Context) (int, error) {
	ctx, cancel := e.client.with(ctx, exitWait)
	defer cancel()
	for pause := time.Millisecond; ; pause = min(2*pause, 100*time.Millisecond) {
		state, err := containers.ExecInspect(ctx, e.id, nil)
		if err != nil {
			return 0, wrap(err, "read exit status")
		}
		if !state.Running {
			return state.ExitCode, nil
		}
		select {
		case <-ctx.Done():
			return 0, fmt.Errorf("read exit status: program still runs: %w", ctx.Err())
		case <-time.After(pause):
		}
	}
}

// Close ends the streams and forgets the exec session. It does not end the
// program: that dies with its container.
func (e *Exec) Close() error {
	err := e.conn.Close()
	e.remove()
	return err
}

// remove drops Podman's record of the session. Where the program still runs
// Podman refuses, and the record goes with the container.
func (e *Exec) remove() {
	ctx, cancel := e.client.with(context.Background(), callTimeout)
	defer cancel()
	_ = containers.ExecRemove(ctx, e.id, nil)
}
