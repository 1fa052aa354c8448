// Package podman is the only place that talks to Podman. Requests and answers go
// through Podman's own bindings; the byte streams of a running program go
// through an upgrade of our own (exec.go), because the bindings tie theirs to
// the terminal of the calling process and replace a transport other calls share.
package podman

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/containers/podman/v5/pkg/bindings"
	"github.com/containers/podman/v5/pkg/bindings/system"
	"github.com/containers/podman/v5/pkg/errorhandling"
	"github.com/sirupsen/logrus"
)

// callTimeout bounds every request that has no stream. Podman holds locks for
// seconds under load; longer than this it is not coming back.
const callTimeout = 30 * time.Second

// startTimeout is for a start, in which the container's own processes have a part, which
// get no more of a processor than those of any other. Who gives up early and tries again
// makes a loaded machine slower still.
const startTimeout = 3 * time.Minute

// createTimeout is for the first container from an image, whose files Podman
// copies to give them to the user namespace: minutes on a slow disk.
const createTimeout = 5 * time.Minute

var (
	// ErrNotFound is wrapped by errors about an image, container or exec session
	// that Podman does not know.
	ErrNotFound = errors.New("not found")
	// ErrRefused is wrapped by errors that Podman answered with: it is there, and
	// will not.
	ErrRefused = errors.New("refused")
)

// Client talks to one Podman service. It is safe for concurrent use and survives
// a restart of the service: each call dials again when it has to.
type Client struct {
	socket  string
	version string
	conn    context.Context // carries the bindings' connection, as they want it
	// creating is held while a container is created.
	creating chan struct{}
}

// Dial connects to the API socket at path (unix, absolute) and checks that the
// service is not older than the bindings can talk to.
func Dial(ctx context.Context, path string) (*Client, error) {
	// The bindings log through logrus to stderr; everything they would say there
	// comes back as an error too.
	logrus.SetLevel(logrus.PanicLevel)
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel() // of what comes back only the values are used, see merged
	conn, err := bindings.NewConnection(ctx, "unix://"+path)
	if err != nil {
		return nil, fmt.Errorf("connect to Podman at %s: %w", path, err)
	}
	return &Client{socket: path, version: bindings.ServiceVersion(conn).String(), conn: conn, creating: make(chan struct{}, 1)}, nil
}

// Ping asks the service whether it is alive.
func (c *Client) Ping(ctx context.Context) error {
	ctx, cancel := c.with(ctx, callTimeout)
	defer cancel()
	if _, err := system.Version(ctx, nil); err != nil {
		return fmt.Errorf("ping Podman: %w", err)
	}
	return nil
}

// Left is what Podman has left for containers to come.
type Left struct {
	Locks      int64 // each container takes one
	LocksKnown bool  // the service tells how many
	Space      int64 // of the file system of its store, in bytes
	SpaceKnown bool
}

// Left asks what there is left.
func (c *Client) Left(ctx context.Context) (Left, error) {
	ctx, cancel := c.with(ctx, callTimeout)
	defer cancel()
	info, err := system.Info(ctx, nil)
	if err != nil {
		return Left{}, wrap(err, "ask Podman what it has left")
	}
	var left Left
	if info.Host != nil && info.Host.FreeLocks != nil {
		left.Locks, left.LocksKnown = int64(*info.Host.FreeLocks), true
	}
	if s := info.Store; s != nil && s.GraphRootAllocated > 0 {
		left.Space, left.SpaceKnown = int64(s.GraphRootAllocated-min(s.GraphRootUsed, s.GraphRootAllocated)), true
	}
	return left, nil
}

// merged is a caller's context that also carries the bindings' connection.
type merged struct {
	context.Context
	conn context.Context
}

func (m merged) Value(key any) any {
	// The caller's first: package context keeps a context's cause as a value too.
	if v := m.Context.Value(key); v != nil {
		return v
	}
	return m.conn.Value(key)
}

func (c *Client) with(ctx context.Context, timeout time.Duration) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	return merged{ctx, c.conn}, cancel
}

// wrap gives an error of the bindings its context, and ErrNotFound or ErrRefused
// where it is Podman's answer.
func wrap(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	verb := fmt.Sprintf(format, args...)
	var model *errorhandling.ErrorModel
	switch {
	case !errors.As(err, &model):
		return fmt.Errorf("%s: %w", verb, err)
	case model.ResponseCode == http.StatusNotFound:
		return fmt.Errorf("%s: %w (%w)", verb, err, ErrNotFound)
	default:
		return fmt.Errorf("%s: %w (%w)", verb, err, ErrRefused)
	}
}
