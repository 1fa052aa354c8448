package pool

import (
	"context"
	"errors"
	"fmt"

	"github.com/sandtrap/sandtrap/internal/attach"
	"github.com/sandtrap/sandtrap/internal/frame"
	"github.com/sandtrap/sandtrap/internal/handover"
	"github.com/sandtrap/sandtrap/internal/layer"
	"github.com/sandtrap/sandtrap/internal/podman"
	"github.com/sandtrap/sandtrap/internal/target"
)

// What runs in a leased target, in the words of package attach.
type (
	// Program is what to run.
	Program = attach.Program
	// Stream is a running program with its standard streams.
	Stream = attach.Stream
	// Exit is how a program ended.
	Exit = attach.Exit
	// Size is a terminal's size.
	Size = attach.Size
)

// Leader starts programs in one container: the session leader in it, or Podman's
// exec in its place where the image has none.
type Leader interface {
	// Login says who the programs are for, once. Its error wraps ErrUnasked if the
	// container has not heard of it.
	Login(ctx context.Context, m frame.LoginMessage) (attach.Account, error)
	Start(ctx context.Context, program Program) (Stream, error)
	Ping(ctx context.Context) error
	// Capture has it tell what goes with the container, see attach.Leader.
	Capture(ctx context.Context, m frame.CaptureMessage, to attach.Captured) (frame.CapturedMessage, error)
	// Done is closed when the leader is gone for good, Err says why.
	Done() <-chan struct{}
	Err() error
	Close() error
}

// ErrUnasked is wrapped by errors of Login after which another may be tried.
var ErrUnasked = errors.New("the target was not asked")

// Connection is how to reach the leader of a container.
type Connection struct {
	Container string // id
	Program   string // the leader's path inside, or "" where there is none
	Fallback  string // account
	Image     string // digest
	// Touched says that somebody had it. Nothing is read out of it then: root of a
	// target can make a pipe of /etc/passwd, and Podman, which opens it, hangs.
	Touched bool
}

// Real is the Podman that client talks to. handover is the socket of the helper that
// hands out streams to leaders, layers that of the one that reads layers.
func Real(client *podman.Client, handover, layers string) Podman {
	return real{client, handover, layers, &imageAccounts{known: map[imageKey]target.Accounts{}}}
}

type real struct {
	*podman.Client
	handover, layers string
	accounts         *imageAccounts
}

// StartAgain is podman.Client's, which takes a quarter of a second to ask Podman about
// files. The helper for layers knows as much at once.
func (r real) StartAgain(ctx context.Context, id string) error {
	own, err := r.Layer(ctx, id)
	if err == nil {
		err = layer.Accounts(ctx, r.layers, own)
	}
	switch {
	case err == nil:
		return r.Start(ctx, id)
	case errors.Is(err, layer.ErrAccounts):
		return fmt.Errorf("start container %.12s again: %w", id, err)
	}
	return r.Client.StartAgain(ctx, id)
}

// Passwd reads with the helper for layers, too: Podman takes longer for that than for
// making the container.
func (r real) Passwd(ctx context.Context, id string) ([]byte, error) {
	own, err := r.Layer(ctx, id)
	if err == nil {
		var passwd []byte
		if passwd, err = layer.Passwd(ctx, r.layers, own, target.MaxPasswd); err == nil {
			return passwd, nil
		}
	}
	return r.ReadFile(ctx, id, "/etc/passwd", target.MaxPasswd)
}

// Connect returns a leader that has answered. It outlives ctx.
func (r real) Connect(ctx context.Context, c Connection) (Leader, error) {
	if c.Program == "" {
		return newREST(ctx, r, c)
	}
	stream, err := handover.Take(ctx, r.handover, c.Container)
	if err != nil {
		return nil, err
	}
	leader, err := attach.Connect(ctx, stream)
	if err != nil {
		return nil, err // not leader: a nil *attach.Leader is not a nil Leader
	}
	return leader, nil
}
