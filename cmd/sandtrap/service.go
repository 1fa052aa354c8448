package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/crypto/ssh"

	"github.com/sandtrap/sandtrap/internal/admission"
	"github.com/sandtrap/sandtrap/internal/capture"
	"github.com/sandtrap/sandtrap/internal/config"
	"github.com/sandtrap/sandtrap/internal/control"
	"github.com/sandtrap/sandtrap/internal/event"
	"github.com/sandtrap/sandtrap/internal/session"
	"github.com/sandtrap/sandtrap/internal/sshd"
	"github.com/sandtrap/sandtrap/internal/systemd"
	"github.com/sandtrap/sandtrap/internal/term"
	"github.com/sandtrap/sandtrap/internal/transfer"
)

type hostKey = ssh.Signer

// newServer puts the SSH server together.
func (s *service) newServer(keys []hostKey, banner string, sessions *session.Service) {
	c := s.cfg.SSH
	s.server = sshd.New(sshd.Config{
		Version: c.Version, HostKeys: keys, KexAlgorithms: c.KexAlgorithms, Ciphers: c.Ciphers, MACs: c.MACs,
		LoginGraceTime: c.LoginGraceTime, PasswordTime: c.PasswordTime, FailDelay: c.FailDelay,
		PasswordAuthentication: c.PasswordAuthentication, KbdInteractiveAuthentication: c.KbdInteractiveAuthentication, PubkeyAuthentication: c.PubkeyAuthentication,
		MaxAuthTries: c.MaxAuthTries, Banner: banner, MaxSessions: c.MaxSessions, Admission: s.gate, Tarpit: s.tarpit, About: s.aboutSource,
		AcceptEnv: c.AcceptEnv, Policy: func() sshd.Policy { return s.policy.Load() }, Open: sessions.Open,
		ClientAliveInterval: c.ClientAliveInterval, ClientAliveCountMax: c.ClientAliveCountMax,
		ChannelTimeouts: channelTimeouts(c.ChannelTimeout), UnusedConnectionTimeout: c.UnusedConnectionTimeout, MaxTime: s.cfg.Session.MaxTime,
		Forwarding: forwarding(s.cfg.Forwarding), Events: s.events, EventLimits: event.Limits{Repeats: s.cfg.Events.MaxRepeats, Text: int64(s.cfg.Events.MaxText)}, Log: s.log.Named("sshd"),
	})
}

// newSessions makes what every login becomes a session of.
func (s *service) newSessions() {
	c := s.cfg
	s.sessions = &session.Service{
		Pool: s.pool, Store: s.store, Space: s.space, Bait: s.newBait, Planted: s.planted, Origin: s.originOf,
		MaxBytes: int64(c.Recording.MaxBytes), MaxSessionBytes: int64(c.Recording.MaxSessionBytes), ForwardMaxBytes: int64(c.Forwarding.MaxBytes),
		Transfers: transfer.Limits{File: int64(c.Transfers.MaxFileBytes), Session: int64(c.Transfers.MaxSessionBytes)},
		Capture:   s.capture(), Seal: s.sealer.Queue, Log: s.log.Named("session"),
	}
}

// capture is how what is left in targets is captured, nil for not at all.
func (s *service) capture() *session.Capture {
	c := s.cfg.Capture
	if !c.Enabled {
		return nil
	}
	limits := capture.Limits{FileBytes: int64(c.MaxFileBytes), SessionBytes: int64(c.MaxSessionBytes), Files: c.MaxFiles, Time: c.MaxTime}
	return session.NewCapture(limits, s.cfg.Podman.Layer, s.stopping)
}

// maxBanner bounds the file of ssh.banner, in bytes.
const maxBanner = 64 << 10

// readBanner reads what clients are sent before they log in.
func readBanner(path string) (string, error) {
	if path == config.BannerNone {
		return "", nil
	}
	f, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("read ssh.banner: %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxBanner+1))
	switch {
	case err != nil:
		return "", fmt.Errorf("read ssh.banner: %w", err)
	case len(text) > maxBanner:
		return "", fmt.Errorf("read ssh.banner: %s is larger than %d bytes", path, maxBanner)
	}
	return string(text), nil
}

// channelTimeouts are pairs that have been checked.
func channelTimeouts(pairs []string) []sshd.ChannelTimeout {
	var all []sshd.ChannelTimeout
	for _, pair := range pairs {
		if pattern, silence, err := config.ParseChannelTimeout(pair); err == nil {
			all = append(all, sshd.ChannelTimeout{Pattern: pattern, Silence: silence})
		}
	}
	return all
}

func forwarding(c config.Forwarding) sshd.Forwarding {
	return sshd.Forwarding{
		TCPLocal: c.TCPLocal == config.ForwardSink, TCPRemote: c.TCPRemote == config.ForwardSink,
		StreamlocalLocal: c.StreamlocalLocal == config.ForwardSink, StreamlocalRemote: c.StreamlocalRemote == config.ForwardSink,
		X11: c.X11 == config.ForwardSink, Agent: c.Agent == config.ForwardSink, Tunnel: c.Tunnel == config.ForwardSink,
		MaxChannels: c.MaxChannels, MaxTime: c.MaxTime,
	}
}

// serve accepts connections until a signal ends it, then drains.
func (s *service) serve(ctx context.Context, signals <-chan os.Signal) error {
	// Sessions end by Shutdown, not with ctx: the pool must outlive them.
	connections, cut := context.WithCancel(context.WithoutCancel(ctx))
	defer cut()
	ended := make(chan error, len(s.listeners))
	for _, l := range s.listeners {
		go func() { ended <- s.server.Serve(connections, l) }()
	}
	watch, stopWatch := context.WithCancel(ctx)
	defer stopWatch()
	go systemd.Watchdog(watch, s.healthy)
	defer s.openControl()()
	s.events.Emit(event.ServerStart, event.F("version", version), event.F("listeners", addresses(s.listeners)))
	s.log.Info("serving", "version", version, "listeners", addresses(s.listeners))
	systemd.Ready(s.status())
	tick := time.NewTicker(statusEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			systemd.Status(s.status())
		case answer := <-s.reloads:
			answer <- s.reload()
		case err := <-ended:
			s.drain("listener failed")
			return fmt.Errorf("accept connections: %w", err)
		case sig := <-signals:
			if sig != syscall.SIGHUP {
				s.drain(sig.String())
				return nil
			}
			s.reload()
		}
	}
}

// statusEvery is how often systemctl status is told what goes on.
const statusEvery = 2 * time.Second

// status is the one line of systemctl status.
func (s *service) status() string {
	p := s.pool.Status()
	line := fmt.Sprintf("%d connections, %d targets leased, %d/%d warm", s.server.Connections(), p.Leased, p.Warm, p.Goal)
	if a := s.gate.Status(); a.Startups > 0 {
		line += fmt.Sprintf(", %d not logged in", a.Startups)
	}
	if held := s.tarpit.Status().Held; held > 0 {
		line += fmt.Sprintf(", %d in the tarpit", held)
	}
	if p.Waiting > 0 {
		line += fmt.Sprintf(", %d sessions wait for a target", p.Waiting)
	}
	if p.Drained {
		line += ", the pool is drained"
	}
	if p.Unlimited {
		line += ", WITHOUT limits"
	}
	if p.Failure != nil {
		line += ", degraded: " + oneLine(p.Failure)
	}
	if s.space.Low() {
		line += ", starting no programs: less than recording.min_free is free"
	}
	if err := s.unloaded.Load(); err != nil {
		line += ", configuration not reloaded: " + oneLine(*err)
	}
	if err := s.history.Err(); err != nil {
		line += ", not keeping what let sources in: " + oneLine(err)
	}
	if err := s.events.Err(); err != nil {
		line += ", refusing sessions: " + oneLine(err)
	}
	return line
}

// spaceChanged tells, once, that there is too little space for recordings, or enough
// again.
func (s *service) spaceChanged(low bool, free int64, err error) {
	least := int64(s.cfg.Recording.MinFree)
	if !low {
		s.log.Info("recordings go on: there is enough space again", "free", config.Bytes(free))
		s.events.Emit(event.StorageOK, event.F("free_bytes", free), event.F("limit_bytes", least))
		return
	}
	fields := []event.Field{event.F("free_bytes", free), event.F("limit_bytes", least)}
	if err != nil {
		fields = append(fields, event.F("error", err.Error()))
	}
	s.events.Emit(event.StorageLow, fields...)
	s.log.Error("too little space for recordings: no program starts, and channels end", "free", config.Bytes(free), "recording.min_free", s.cfg.Recording.MinFree,
		"error", err, "hint", "make room in "+s.cfg.StateDir+", or see recording.min_free in sandtrap.yaml(5)")
}

// oneLine is an error as it fits into STATUS=.
func oneLine(err error) string { return term.Printable(strings.ReplaceAll(err.Error(), "\n", " ")) }

// healthy is what the watchdog asks: the accept loops run, and the pool and the
// event log answer. A lock that is never given back ends the
// watchdog's pings. A Podman that is down does not: restarting us would not help.
func (s *service) healthy() bool {
	_, _ = s.pool.Status(), s.events.Err()
	return s.server.Accepting(len(s.listeners))
}

// drain stops accepting, lets connections end by themselves for drain_timeout,
// then ends them. Their evidence is closed when it returns.
func (s *service) drain(reason string) {
	systemd.Stopping("draining: " + reason)
	s.log.Info("draining", "reason", reason, "connections", s.server.Connections())
	s.events.Emit(event.ServerStop, event.F("reason", reason))
	s.closeListeners()
	s.stop()
	ctx, cancel := context.WithTimeout(context.Background(), s.cfg.SSH.DrainTimeout)
	defer cancel()
	s.server.Shutdown(ctx)
}

// reload reads the configuration again and applies what can change in a running
// service. What cannot is named; a configuration with mistakes changes nothing.
func (s *service) reload() control.Reloaded {
	systemd.Reloading()
	defer func() { systemd.Ready(s.status()) }()
	loaded, err := s.load()
	var limits admission.Limits
	if err == nil { // what can fail comes first, so that all is applied or nothing
		limits, err = admissionLimits(loaded.Config)
	}
	if err == nil {
		err = s.setPolicy(loaded.Config.Auth)
	}
	if err != nil {
		s.unloaded.Store(&err)
		s.log.Error("configuration not reloaded", "error", err)
		return control.Reloaded{Applied: []string{}, RestartNeeded: []string{}, Error: err.Error()}
	}
	s.unloaded.Store(nil)
	applied, later := []string{}, []string{}
	for _, key := range config.Diff(s.cfg, loaded.Config) {
		if reloadable(key) {
			applied = append(applied, key)
		} else {
			later = append(later, key)
		}
	}
	config.Take(&s.cfg, loaded.Config, applied) // only these: others read the rest meanwhile
	s.gate.Set(limits)
	s.setRetention(s.cfg.Retention)
	s.tarpit.SetMost(s.cfg.Admission.TarpitConnections)
	s.enrich(s.cfg.Enrich) // files may have changed where settings have not
	s.log.SetLevel(hclog.LevelFromString(string(s.cfg.Log.Level)))
	if len(later) > 0 {
		s.log.Warn("some changed settings need a restart", "keys", strings.Join(later, " "))
	}
	s.log.Info("configuration reloaded", "applied", strings.Join(applied, " "))
	s.events.Emit(event.ServerReload, event.F("applied", strings.Join(applied, " ")), event.F("restart_needed", strings.Join(later, " ")))
	return control.Reloaded{Applied: applied, RestartNeeded: later}
}

func addresses(listeners []net.Listener) string {
	var list []string
	for _, l := range listeners {
		list = append(list, l.Addr().String())
	}
	return strings.Join(list, " ")
}

// toJournal decides where auto goes: the journal where standard error is one.
func toJournal(f config.LogFormat) bool {
	return f == config.FormatJournal || f == config.FormatAuto && systemd.UnderJournal()
}

// newLogger makes the diagnostics' logger.
func newLogger(c config.Log, stderr io.Writer) hclog.Logger {
	level := hclog.LevelFromString(string(c.Level))
	if !toJournal(c.Format) {
		return hclog.New(&hclog.LoggerOptions{Name: "sandtrap", Level: level, Output: stderr, JSONFormat: c.Format == config.FormatJSON})
	}
	log := hclog.NewInterceptLogger(&hclog.LoggerOptions{Name: "sandtrap", Level: level, Output: io.Discard})
	log.RegisterSink(systemd.JournalLog{Logger: log})
	return log
}

// eventSink is where events go beside the event files.
func eventSink(f config.LogFormat, stderr io.Writer) event.Sink {
	if toJournal(f) {
		return event.Journal{}
	}
	return event.Writer{W: stderr, JSON: f == config.FormatJSON}
}
