package pool

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/sandtrap/sandtrap/internal/attach"
	"github.com/sandtrap/sandtrap/internal/frame"
	"github.com/sandtrap/sandtrap/internal/podman"
	"github.com/sandtrap/sandtrap/internal/target"
)

// errNotRunning is why there is no Leader for a container, or none any more.
var errNotRunning = errors.New("the container does not run")

// rest stands in for the session leader in images that have none: every program
// is an exec of Podman's API. It cannot make accounts, deliver signals, or tell a
// signal from an exit status above 128.
type rest struct {
	client    *podman.Client
	container string
	accounts  target.Accounts
	done      chan struct{}

	mu   sync.Mutex // guards all below
	err  error      // set before done is closed
	ttys map[int]bool
}

// imageAccounts are those of images of which a fresh container was seen.
type imageAccounts struct {
	mu    sync.Mutex // guards all below
	known map[imageKey]target.Accounts
}

// imageKey is an image, by its digest, and the account of all other logins.
type imageKey struct{ image, fallback string }

// maxImages bounds imageAccounts. There are as many as targets, and older ones.
const maxImages = 64

var errTouched = errors.New("its accounts are not read out of it once somebody had it")

// of returns the accounts of a container: its image's, when somebody had it already.
func (i *imageAccounts) of(ctx context.Context, from real, c Connection) (target.Accounts, error) {
	i.mu.Lock()
	key := imageKey{c.Image, c.Fallback}
	accounts, known := i.known[key]
	known = known && c.Image != ""
	i.mu.Unlock()
	switch {
	case c.Touched && known:
		return accounts, nil
	case c.Touched:
		return target.Accounts{}, errTouched
	}
	passwd, err := from.Passwd(ctx, c.Container)
	if err != nil {
		return target.Accounts{}, err
	}
	if accounts, err = target.ParseAccounts(passwd, c.Fallback); err != nil {
		return target.Accounts{}, err
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	if len(i.known) >= maxImages {
		clear(i.known)
	}
	i.known[key] = accounts
	return accounts, nil
}

// newREST learns the accounts of a container that runs.
func newREST(ctx context.Context, from real, c Connection) (Leader, error) {
	r := &rest{client: from.Client, container: c.Container, done: make(chan struct{}), ttys: map[int]bool{}}
	if err := r.Ping(ctx); err != nil {
		return nil, err
	}
	var err error
	if r.accounts, err = from.accounts.of(ctx, from, c); err != nil {
		return nil, err
	}
	return r, nil
}

// Login only looks the account up. A Podman that cannot be asked whether the
// container still runs leaves it as it was.
func (r *rest) Login(ctx context.Context, m frame.LoginMessage) (attach.Account, error) {
	err := r.Ping(ctx)
	select {
	case <-r.done:
		return attach.Account{}, r.Err()
	default:
	}
	if err != nil {
		return attach.Account{}, fmt.Errorf("%w: %w", ErrUnasked, err)
	}
	a := r.accounts.Lookup(m.User, m.Policy)
	return attach.Account{Name: a.Name, UID: a.UID, GID: a.GID, Home: a.Home, Shell: a.Shell}, nil
}

// Ping asks Podman whether the container runs, and is done when it does not.
func (r *rest) Ping(ctx context.Context) error {
	running, err := r.client.Running(ctx, r.container)
	switch {
	case errors.Is(err, podman.ErrNotFound), errors.Is(err, podman.ErrRefused):
		r.end(err)
	case err == nil && !running:
		err = errNotRunning
		r.end(err)
	}
	return err
}

// errNoLeader is why nobody tells what goes with a container.
var errNoLeader = errors.New("the image has no session leader")

// Capture tells nothing: a program in the container would be the attacker's.
func (r *rest) Capture(context.Context, frame.CaptureMessage, attach.Captured) (frame.CapturedMessage, error) {
	return frame.CapturedMessage{}, errNoLeader
}

func (r *rest) Done() <-chan struct{} { return r.done }

func (r *rest) Err() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.err
}

func (r *rest) Close() error {
	r.end(errors.New("closed"))
	return nil
}

func (r *rest) end(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err == nil {
		r.err = err
		close(r.done)
	}
}

// Start starts a program as Podman's API can: it does not know argv[0], so that a
// login shell is asked for by an option instead of the dash before its name.
func (r *rest) Start(ctx context.Context, program Program) (Stream, error) {
	o := podman.ExecOptions{
		User: program.User, Dir: program.Dir, Env: program.Env, TTY: program.PTY,
		Size: podman.Size{Columns: uint32(program.Size.Columns), Rows: uint32(program.Size.Rows)},
	}
	o.Command = []string{program.Path}
	if len(program.Argv) > 0 {
		if strings.HasPrefix(program.Argv[0], "-") {
			o.Command = append(o.Command, "-l")
		}
		o.Command = append(o.Command, program.Argv[1:]...)
	}
	s := &restStream{leader: r, tty: -1}
	if program.PTY {
		s.tty = r.takeTTY()
		o.Env = append(append([]string(nil), o.Env...), fmt.Sprintf("SSH_TTY=/dev/pts/%d", s.tty))
	}
	exec, err := r.client.Exec(ctx, r.container, o)
	if err != nil {
		r.freeTTY(s.tty)
		return nil, err
	}
	s.Exec = exec
	return s, nil
}

// takeTTY gives out the number that the next pseudo-terminal of the container
// will have: the kernel takes the lowest that is free.
func (r *rest) takeTTY() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := 0
	for r.ttys[n] {
		n++
	}
	r.ttys[n] = true
	return n
}

func (r *rest) freeTTY(n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.ttys, n)
}

// restStream is an exec in the words of package attach.
type restStream struct {
	*podman.Exec
	leader *rest
	tty    int // or -1
	closed sync.Once
}

func (s *restStream) Resize(ctx context.Context, size Size) error {
	return s.Exec.Resize(ctx, podman.Size{Columns: uint32(size.Columns), Rows: uint32(size.Rows)})
}

func (s *restStream) Wait(ctx context.Context) (Exit, error) {
	status, err := s.Exec.Wait(ctx)
	return Exit{Status: status}, err
}

// CloseRead does nothing: there is one stream for both outputs.
func (s *restStream) CloseRead() error { return nil }

func (s *restStream) Close() error {
	s.closed.Do(func() { s.leader.freeTTY(s.tty) })
	return s.Exec.Close()
}
