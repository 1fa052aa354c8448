package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/spf13/cobra"

	"github.com/sandtrap/sandtrap/internal/admission"
	"github.com/sandtrap/sandtrap/internal/config"
	"github.com/sandtrap/sandtrap/internal/control"
	"github.com/sandtrap/sandtrap/internal/enrich"
	"github.com/sandtrap/sandtrap/internal/event"
	"github.com/sandtrap/sandtrap/internal/evidence"
	"github.com/sandtrap/sandtrap/internal/hint"
	"github.com/sandtrap/sandtrap/internal/history"
	"github.com/sandtrap/sandtrap/internal/index"
	"github.com/sandtrap/sandtrap/internal/podman"
	"github.com/sandtrap/sandtrap/internal/pool"
	"github.com/sandtrap/sandtrap/internal/record"
	"github.com/sandtrap/sandtrap/internal/retention"
	"github.com/sandtrap/sandtrap/internal/seal"
	"github.com/sandtrap/sandtrap/internal/session"
	"github.com/sandtrap/sandtrap/internal/sshd"
	"github.com/sandtrap/sandtrap/internal/systemd"
	"github.com/sandtrap/sandtrap/internal/tarpit"
)

// socketName is the FileDescriptorName= of our sockets.
const socketName = "ssh"

func newServe(g *globals) *cobra.Command {
	return &cobra.Command{
		Use:   "serve",
		Short: "Run the honeypot (started by systemd)",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := systemd.Undumpable(); err != nil {
				return err
			}
			ctx, cancel := context.WithCancelCause(context.Background())
			defer cancel(nil)
			signals := make(chan os.Signal, 4)
			signal.Notify(signals, syscall.SIGHUP, syscall.SIGTERM, os.Interrupt)
			defer signal.Stop(signals)
			return runServe(ctx, g, signals)
		},
	}
}

// service is the running honeypot: everything that a signal acts on.
type service struct {
	load   func() (*config.Loaded, error)
	cfg    config.Config
	log    hclog.Logger
	start  time.Time
	events *event.Emitter
	counts event.Counter
	policy atomic.Pointer[history.Judge]
	gate   *admission.Gate
	tarpit *tarpit.Tarpit
	// What is known of sources.
	sources atomic.Pointer[enrich.Database]
	pool    *pool.Pool
	server  *sshd.Server
	space   *record.Space

	sessions *session.Service
	history  *history.Store
	baits    atomic.Bool // are planted
	plants   atomic.Bool // keys that attackers plant are looked for
	store    *evidence.Store
	sealer   *seal.Sealer
	// What is kept, and what is held while the rest is removed.
	retention  atomic.Pointer[retention.Policy]
	collecting sync.Mutex
	stopping   context.Context // ends when a stop begins
	stop       func()

	listeners []net.Listener
	unloaded  atomic.Pointer[error] // why the latest reload changed nothing, nil when it did
	reloads   chan chan control.Reloaded
}

// runServe is the daemon, top to bottom: configuration, evidence, keys, sockets,
// Podman, a warm target, and only then the first connection.
func runServe(ctx context.Context, g *globals, signals <-chan os.Signal) (err error) {
	s := &service{start: time.Now(), reloads: make(chan chan control.Reloaded), load: func() (*config.Loaded, error) {
		return config.Load(config.LoadOptions{Path: g.configPath, Environ: os.Environ()})
	}}
	loaded, err := s.load()
	if err != nil {
		return err
	}
	s.cfg = loaded.Config
	s.stopping, s.stop = context.WithCancel(context.Background())
	defer s.stop()
	s.log = newLogger(s.cfg.Log, g.err)
	var opened stack
	defer func() { err = errors.Join(err, opened.close()) }()
	if err := s.open(g, &opened); err != nil {
		return err
	}
	keys, err := s.hostKeys()
	if err != nil {
		return err
	}
	banner, err := readBanner(s.cfg.SSH.Banner)
	if err != nil {
		return err
	}
	if s.listeners, err = listen(s.cfg.SSH.Listen); err != nil {
		return err
	}
	defer s.closeListeners()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	poolDone, err := s.warm(ctx, s.store, signals)
	if poolDone != nil {
		defer func() { stop(); <-poolDone }()
	}
	if err != nil {
		return err
	}
	s.space = record.NewSpace(int64(s.cfg.Recording.MinFree), s.store.Free, s.spaceChanged)
	s.newSessions()
	s.newServer(keys, banner, s.sessions)
	return s.serve(ctx, signals)
}

// stack closes what was opened, the last first.
type stack []func() error

func (s *stack) push(f func() error) { *s = append(*s, f) }

func (s *stack) close() (err error) {
	for _, f := range slices.Backward(*s) {
		err = errors.Join(err, f())
	}
	return err
}

// open opens all that is written to or remembered, and puts what closes it on the stack.
func (s *service) open(g *globals, opened *stack) error {
	lock, err := claimState(s.cfg.StateDir)
	if err != nil {
		return err
	}
	opened.push(lock.Unlock)
	if err := s.newAdmission(); err != nil {
		return err
	}
	if s.store, err = s.openState(g); s.events != nil {
		opened.push(s.events.Close)
	}
	if err != nil {
		return err
	}
	stopIndex := s.keepIndex(s.store)
	opened.push(func() error { stopIndex(); return nil })
	if err := s.openPolicy(); err != nil {
		return err
	}
	opened.push(s.history.Close)
	sealer, stopSealing, err := s.startSealing(s.store)
	if err != nil {
		return err
	}
	opened.push(func() error { stopSealing(); return nil })
	s.sealer = sealer
	s.setRetention(s.cfg.Retention)
	return nil
}

// openState opens what is written: events first, so that everything after has
// somewhere to go, then the evidence, where sessions that a crash left open are
// closed.
func (s *service) openState(g *globals) (*evidence.Store, error) {
	lines, err := event.NewJSONLines(filepath.Join(s.cfg.StateDir, event.Dir), event.FileLimits{File: int64(s.cfg.Events.MaxFileBytes), All: int64(s.cfg.Events.MaxBytes)})
	if err != nil {
		return nil, stateHint(err)
	}
	s.events = event.New(lines, eventSink(s.cfg.Log.Format, g.err), &s.counts)
	store, err := evidence.Open(s.cfg.StateDir)
	if err != nil {
		return nil, stateHint(err)
	}
	recovered, err := store.Recover(time.Now())
	for _, r := range recovered {
		s.events.Emit(event.SessionRecover, event.F("recovered_session", r.ID))
	}
	if err != nil {
		s.log.Warn("cannot recover some sessions", "error", err)
	}
	return store, s.events.Err()
}

// keepIndex keeps the index of sessions in the background until the function that it
// returns is called.
func (s *service) keepIndex(store *evidence.Store) (stop func()) {
	keeper := index.NewKeeper(store, s.log.Named("index"))
	store.OnChange(keeper.Changed)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		keeper.Run(ctx)
	}()
	return func() { cancel(); <-done }
}

func stateHint(err error) error {
	return hint.Wrap(err, "state_dir must be writable and have space left: see sandtrap.yaml(5)")
}

func (s *service) hostKeys() ([]hostKey, error) {
	dir := filepath.Join(s.cfg.StateDir, "hostkeys")
	keys, made, err := sshd.HostKeys(os.Getenv("CREDENTIALS_DIRECTORY"), dir, s.cfg.SSH.HostKeys)
	if made && err == nil {
		s.log.Info("made new host keys", "directory", dir)
	}
	return keys, err
}

// listen takes the sockets that systemd passed, or opens the configured ones.
func listen(addresses []string) ([]net.Listener, error) {
	passed, err := systemd.Listeners(socketName)
	if err != nil || len(passed) > 0 {
		return passed, err
	}
	var own []net.Listener
	for _, a := range addresses {
		l, err := net.Listen(network(a), a)
		if err != nil {
			for _, o := range own {
				o.Close()
			}
			return nil, hint.Wrap(fmt.Errorf("listen on %s: %w", a, err), "is another SSH server there? see ssh.listen in sandtrap.yaml(5)")
		}
		own = append(own, l)
	}
	return own, nil
}

// network keeps an IPv6 wildcard from taking the IPv4 port too.
func network(address string) string {
	if host, _, err := net.SplitHostPort(address); err == nil && net.ParseIP(host) != nil {
		if net.ParseIP(host).To4() != nil {
			return "tcp4"
		}
		return "tcp6"
	}
	return "tcp"
}

func (s *service) closeListeners() {
	for _, l := range s.listeners {
		l.Close()
	}
}

// warm connects to Podman, starts the pool and waits until a target is warm. The
// channel is closed when the pool has cleared up after ctx's end; it is nil where
// there is no pool.
func (s *service) warm(ctx context.Context, store *evidence.Store, signals <-chan os.Signal) (<-chan struct{}, error) {
	deadline := time.NewTimer(s.cfg.Pool.StartTimeout)
	defer deadline.Stop()
	client, err := s.dial(ctx, signals, deadline.C)
	if err != nil {
		return nil, err
	}
	cfg := poolConfig(s.cfg)
	cfg.Keep = store.Keeps
	if cfg.Owners, cfg.Returning, err = containersOf(ctx, store, s.cfg.Pool); err != nil {
		return nil, stateHint(err)
	}
	s.pool = pool.New(cfg, pool.Real(client, s.cfg.Podman.Handover, s.cfg.Podman.Layer), s.events, s.log.Named("pool"))
	done, failed := make(chan struct{}), make(chan error, 1)
	go func() {
		defer close(done)
		failed <- s.pool.Run(ctx)
	}()
	systemd.Status("warming targets")
	for {
		select {
		case <-s.pool.Ready():
			return done, nil
		case err := <-failed:
			return done, err
		case sig := <-signals:
			if sig != syscall.SIGHUP {
				return done, fmt.Errorf("stopped by %s before a target was warm: %w", sig, context.Canceled)
			}
		case <-deadline.C:
			why := s.pool.Status().Failure
			if why == nil {
				why = errors.New("the first is still being made")
			}
			return done, fmt.Errorf("no warm target within %s: %w", s.cfg.Pool.StartTimeout, why)
		}
	}
}

const (
	dialPause = 500 * time.Millisecond
	// dialPatience is how long Podman may not answer until the operator hears of it.
	dialPatience = 10 * time.Second
	dialHint     = "see systemctl status sandtrap-filter.service sandtrap-podman.socket sandtrap-podman.service"
)

// dial waits for a Podman that answers: at boot it may come later than we do.
func (s *service) dial(ctx context.Context, signals <-chan os.Signal, deadline <-chan time.Time) (*podman.Client, error) {
	systemd.Status("waiting for Podman")
	late := time.After(dialPatience)
	for {
		client, err := podman.Dial(ctx, s.cfg.Podman.Socket)
		if err == nil {
			return client, nil
		}
		s.log.Debug("Podman does not answer yet", "error", err)
		select {
		case <-late:
			s.log.Warn("Podman does not answer", "error", err, "hint", dialHint)
			systemd.Status("Podman does not answer: " + dialHint)
		case <-deadline:
			return nil, hint.Wrap(err, dialHint)
		case sig := <-signals:
			if sig != syscall.SIGHUP {
				return nil, fmt.Errorf("stopped by %s before Podman answered: %w", sig, context.Canceled)
			}
		case <-time.After(dialPause):
		}
	}
}
