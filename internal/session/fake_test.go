package session

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/sandtrap/sandtrap/internal/attach"
	"github.com/sandtrap/sandtrap/internal/frame"
	"github.com/sandtrap/sandtrap/internal/podman"
	"github.com/sandtrap/sandtrap/internal/pool"
	"github.com/sandtrap/sandtrap/internal/target"
)

// fakePodman runs fake programs in containers that are only names.
type fakePodman struct {
	mu       sync.Mutex // guards all below
	made     int
	names    map[string]string // by id
	stopped  []string
	removed  []string
	logins   []frame.LoginMessage
	programs []pool.Program
	leaders  []*fakeLeader
	exec     func(pool.Program) (pool.Stream, error)
	layer    string
	layerErr error
	items    func(context.Context, attach.Captured) (frame.CapturedMessage, error) // what leaders tell; nil for nothing
}

func (f *fakePodman) Image(context.Context, string) (podman.Image, error) {
	return podman.Image{Digest: "sha256:abc", Labels: map[string]string{target.LeaderLabel: "/leader"}}, nil
}

func (f *fakePodman) Create(_ context.Context, s podman.Spec) (string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.made++
	id := fmt.Sprintf("container%d", f.made)
	f.names[id] = s.Name
	return id, nil
}

func (f *fakePodman) Connect(context.Context, pool.Connection) (pool.Leader, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	l := &fakeLeader{podman: f, done: make(chan struct{})}
	f.leaders = append(f.leaders, l)
	return l, nil
}

// firstLeader is that of the first container. More may come meanwhile.
func (f *fakePodman) firstLeader() *fakeLeader {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.leaders[0]
}

func (f *fakePodman) Rename(_ context.Context, id, name string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.names[id] = name
	return nil
}

func (f *fakePodman) Stop(_ context.Context, id string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.stopped = append(f.stopped, id)
	return nil
}

func (f *fakePodman) Remove(_ context.Context, id string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.removed = append(f.removed, id)
	return nil
}

func (f *fakePodman) Start(context.Context, string) error            { return nil }
func (f *fakePodman) StartAgain(context.Context, string) error       { return nil }
func (f *fakePodman) Running(context.Context, string) (bool, error)  { return true, nil }
func (f *fakePodman) Confined(context.Context, string) (bool, error) { return true, nil }
func (f *fakePodman) Size(context.Context, string) (int64, error)    { return 0, nil }

func (f *fakePodman) Layer(context.Context, string) (string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.layer, f.layerErr
}

func (f *fakePodman) Left(context.Context) (podman.Left, error)                { return podman.Left{}, nil }
func (f *fakePodman) List(context.Context, string) ([]podman.Container, error) { return nil, nil }

func (f *fakePodman) Passwd(context.Context, string) ([]byte, error) {
	return nil, errors.New("no files here")
}

// fakeLeader starts what the podman's exec gives out.
type fakeLeader struct {
	podman *fakePodman
	done   chan struct{}
	once   sync.Once
}

func (l *fakeLeader) Login(_ context.Context, m frame.LoginMessage) (attach.Account, error) {
	l.podman.mu.Lock()
	defer l.podman.mu.Unlock()
	l.podman.logins = append(l.podman.logins, m)
	return attach.Account{Name: "root", Home: "/root", Shell: "/bin/bash", Baited: m.BaitName != ""}, nil
}

func (l *fakeLeader) Start(_ context.Context, p pool.Program) (pool.Stream, error) {
	l.podman.mu.Lock()
	defer l.podman.mu.Unlock()
	l.podman.programs = append(l.podman.programs, p)
	return l.podman.exec(p)
}

func (l *fakeLeader) Capture(ctx context.Context, _ frame.CaptureMessage, to attach.Captured) (frame.CapturedMessage, error) {
	l.podman.mu.Lock()
	items := l.podman.items
	l.podman.mu.Unlock()
	if items == nil {
		return frame.CapturedMessage{}, nil
	}
	return items(ctx, to)
}

func (l *fakeLeader) Ping(context.Context) error { return nil }
func (l *fakeLeader) Done() <-chan struct{}      { return l.done }
func (l *fakeLeader) Err() error                 { return nil }
func (l *fakeLeader) Close() error               { l.once.Do(func() { close(l.done) }); return nil }

// fakeStream is a program made of functions.
type fakeStream struct {
	copy     func(s *fakeStream, stdout, stderr func([]byte) error) error
	write    func([]byte) error
	resized  chan pool.Size
	signals  chan string
	ended    pool.Exit
	waitErr  error
	outlives bool // its output, and exits when the test says so

	exited     chan struct{} // closed by exit, and by Close
	eof        chan struct{} // closed by CloseWrite
	enough     chan struct{} // closed by CloseRead
	closed     chan struct{}
	exitOnce   sync.Once
	enoughOnce sync.Once
	eofOnce    sync.Once
	closeOnce  sync.Once
}

// newStream is a program that exits when its output has ended, if not before.
func newStream(status int, copy func(s *fakeStream, stdout, stderr func([]byte) error) error) *fakeStream {
	return &fakeStream{
		copy: copy, ended: pool.Exit{Status: status}, resized: make(chan pool.Size, 10), signals: make(chan string, 10),
		exited: make(chan struct{}), eof: make(chan struct{}), enough: make(chan struct{}), closed: make(chan struct{}),
	}
}

// untilClosed is a program that says nothing until its stream is closed.
func untilClosed(s *fakeStream, _, _ func([]byte) error) error {
	<-s.closed
	return errStreamClosed
}

func (s *fakeStream) exit() { s.exitOnce.Do(func() { close(s.exited) }) }

func (s *fakeStream) Copy(stdout, stderr func([]byte) error) error {
	err := s.copy(s, stdout, stderr)
	if err == nil && !s.outlives {
		s.exit()
	}
	return err
}

func (s *fakeStream) Write(p []byte) (int, error) {
	if s.write != nil {
		if err := s.write(p); err != nil {
			return 0, err
		}
	}
	return len(p), nil
}

func (s *fakeStream) CloseRead() error { s.enoughOnce.Do(func() { close(s.enough) }); return nil }

func (s *fakeStream) CloseWrite() error { s.eofOnce.Do(func() { close(s.eof) }); return nil }

func (s *fakeStream) Close() error {
	s.closeOnce.Do(func() { close(s.closed) })
	s.exit()
	return nil
}

func (s *fakeStream) Resize(_ context.Context, size pool.Size) error {
	s.resized <- size
	return nil
}

func (s *fakeStream) Signal(_ context.Context, name string) error {
	s.signals <- name
	return nil
}

func (s *fakeStream) Exited() <-chan struct{} { return s.exited }

func (s *fakeStream) Wait(context.Context) (pool.Exit, error) {
	select {
	case <-s.closed:
		return pool.Exit{}, errStreamClosed
	default:
		return s.ended, s.waitErr
	}
}
