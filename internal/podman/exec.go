package podman

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
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
	ctx    context.Context // ends with Close
	cancel context.CancelFunc

	settled sync.Once
	exited  chan struct{} // closed when status and err are set
	status  int
	err     error
}

// Exec starts a program. The caller must Close what it gets.
func (c *Client) Exec(ctx context.Context, container string, o ExecOptions) (*Exec, error) {
	id, err := c.execCreate(ctx, container, o)
	if err != nil {
		return nil, err
	}
	e := &Exec{client: c, id: id, tty: o.TTY, exited: make(chan struct{})}
	e.ctx, e.cancel = context.WithCancel(context.Background())
	if err := e.start(ctx, o); err != nil {
		e.cancel()
		e.remove(false)
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

// start asks for the program's stream.
func (e *Exec) start(ctx context.Context, o ExecOptions) error {
	body := map[string]any{"Detach": false, "Tty": o.TTY}
	if o.TTY && o.Size.Columns > 0 && o.Size.Rows > 0 {
		body["w"], body["h"] = clamp(o.Size.Columns), clamp(o.Size.Rows)
	}
	raw, err := json.Marshal(body)
	if err != nil {
		return err
	}
	e.conn, e.reader, err = e.client.upgrade(ctx, "exec/"+e.id+"/start", raw)
	return err
}

// Write sends bytes to the program's standard input.
func (e *Exec) Write(p []byte) (int, error) { return e.conn.Write(p) }

// CloseWrite ends the program's standard input; its output goes on.
func (e *Exec) CloseWrite() error { return e.conn.CloseWrite() }

// Copy hands the program's output to stdout and stderr until the program is gone
// or one of them fails. With a terminal everything goes to stdout. The buffers
// are reused between calls. At the end it asks for the exit status.
func (e *Exec) Copy(stdout, stderr func([]byte) error) error {
	err := e.copyOutput(stdout, stderr)
	if err == nil {
		e.settle(e.askStatus())
	}
	return err
}

func (e *Exec) copyOutput(stdout, stderr func([]byte) error) error {
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

// Signal cannot be done: Podman's API has no call for it.
func (e *Exec) Signal(context.Context, string) error {
	return errors.New("signal program: Podman has no way to signal an exec session")
}

// exitWait bounds the time between the end of a program's output and its exit
// status; Podman writes the status before it ends the stream.
const exitWait = 5 * time.Second

// askStatus returns the exit status of a program whose output has ended.
func (e *Exec) askStatus() (int, error) {
	ctx, cancel := e.client.with(e.ctx, exitWait)
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

// settle sets what Wait returns; only the first time counts.
func (e *Exec) settle(status int, err error) {
	e.settled.Do(func() {
		e.status, e.err = status, err
		close(e.exited)
	})
}

// Exited is closed when Wait would not block: when Copy has come to the end, or
// Close was called.
func (e *Exec) Exited() <-chan struct{} { return e.exited }

// Wait returns the program's exit status: 128 + n after signal n, as Podman
// reports it.
func (e *Exec) Wait(ctx context.Context) (int, error) {
	select {
	case <-e.exited:
		return e.status, e.err
	case <-ctx.Done():
		return 0, fmt.Errorf("wait for program: %w", context.Cause(ctx))
	}
}

// Close ends the streams and forgets the exec session. It does not end the
// program: that dies with its container. Later calls do nothing more.
func (e *Exec) Close() error { return e.end(false) }

func (e *Exec) end(kill bool) error {
	err := e.conn.Close()
	e.cancel()
	e.settle(0, fmt.Errorf("wait for program: %w", net.ErrClosed))
	e.remove(kill)
	return err
}

// removeTimeout bounds what Close waits for. What is not removed goes with the
// container.
const removeTimeout = 5 * time.Second

// remove drops Podman's record of the session. Where the program still runs
// Podman either kills it or refuses, and the record goes with the container.
func (e *Exec) remove(kill bool) {
	ctx, cancel := e.client.with(context.Background(), removeTimeout)
	defer cancel()
	_ = containers.ExecRemove(ctx, e.id, new(containers.ExecRemoveOptions).WithForce(kill))
}
