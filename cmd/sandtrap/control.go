package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"runtime/metrics"
	"strconv"
	"strings"

	"github.com/sandtrap/sandtrap/internal/control"
	"github.com/sandtrap/sandtrap/internal/event"
	"github.com/sandtrap/sandtrap/internal/pool"
	"github.com/sandtrap/sandtrap/internal/record"
	"github.com/sandtrap/sandtrap/internal/session"
)

// openControl answers operators until the function is called that it returns. A service
// that cannot do so records all the same.
func (s *service) openControl() (closeControl func()) {
	l, err := control.Listen(s.cfg.Control.Socket)
	if err != nil {
		s.log.Warn("no control socket: status, watch, terminate and the like do not work", "error", err, "hint", "see control.socket in sandtrap.yaml(5)")
		return func() {}
	}
	return control.Serve(l, control.Config{
		Status: s.describer(), Counts: s.counts.Counts, Sessions: func() []control.Session { return liveSessions(s.sessions.Live()) },
		Terminate: func(ctx context.Context, id string) error { return live(s.sessions.Terminate(ctx, id)) },
		Recording: func(id string, channel int) (record.Following, error) {
			r, err := s.sessions.Recording(id, channel)
			return record.Following{Dir: r.Dir, Name: r.Name, Over: r.Over}, live(err)
		},
		Reload: s.askReload, Collect: s.collect, Drain: s.pool.Drain, Refill: s.pool.Refill,
		EventDir: filepath.Join(s.cfg.StateDir, event.Dir), Events: s.events, Log: s.log.Named("control"),
	}).Close
}

// live puts the error of the control socket in the place of that of sessions.
func live(err error) error {
	if errors.Is(err, session.ErrNotLive) {
		return control.ErrNotFound
	}
	return err
}

// askReload has the goroutine of serve reload: one reload at a time, in order with
// those that signals ask for.
func (s *service) askReload(ctx context.Context) (control.Reloaded, error) {
	answer := make(chan control.Reloaded, 1)
	select {
	case s.reloads <- answer:
	case <-s.stopping.Done():
		return control.Reloaded{}, control.ErrStopping
	case <-ctx.Done():
		return control.Reloaded{}, ctx.Err()
	}
	return <-answer, nil
}

// describer returns a function that tells what goes on. It looks at no setting that a
// reload changes.
func (s *service) describer() func() control.Status {
	least := int64(s.cfg.Recording.MinFree)
	return func() control.Status {
		sessions := s.sessions.Live()
		c := control.Status{
			Version: version, PID: os.Getpid(), Start: s.start.UTC(), Connections: s.server.Connections(), Sessions: len(sessions),
			Admission: admissionStatus(s), Pool: poolStatus(s), Recording: control.Recording{Free: -1, MinFree: least, Low: s.space.Low()}, Events: eventStatus(s), Process: usage(),
		}
		for _, one := range sessions {
			c.Channels += len(one.Channels)
		}
		select {
		case <-s.stopping.Done():
			c.Draining = true
		default:
		}
		if free, err := s.sessions.Store.Free(); err == nil {
			c.Recording.Free = free
		}
		if err := s.unloaded.Load(); err != nil {
			c.ReloadError = (*err).Error()
		}
		return c
	}
}

// admissionStatus is what the gate and the tarpit tell.
func admissionStatus(s *service) control.Admission {
	a := s.gate.Status()
	refused := make(map[string]uint64, len(a.Refused))
	for reason, n := range a.Refused {
		refused[string(reason)] = n
	}
	return control.Admission{Startups: a.Startups, Sources: a.Sources, Admitted: a.Admitted, Refused: refused, Forgotten: a.Forgotten, Tarpit: s.tarpit.Status().Held}
}

func poolStatus(s *service) control.Pool {
	p := s.pool.Status()
	c := control.Pool{Stock: stockOf(p), Drained: p.Drained, Unlimited: p.Unlimited}
	for _, t := range s.pool.Targets() {
		c.Targets = append(c.Targets, control.Target{Name: t.Name, Stock: stockOf(t.Status)})
	}
	return c
}

func stockOf(p pool.Status) control.Stock {
	s := control.Stock{Warm: p.Warm, Goal: p.Goal, Leased: p.Leased, Stopping: p.Draining, Retained: p.Retained, Waiting: p.Waiting}
	if p.Failure != nil {
		s.Failure = p.Failure.Error()
	}
	return s
}

func eventStatus(s *service) control.Events {
	counts := s.counts.Counts()
	e := control.Events{Omitted: counts.Omitted, Lost: s.events.Lost()}
	for _, n := range counts.Kinds {
		e.Written += n
	}
	if err := s.events.Err(); err != nil {
		e.Error = err.Error()
	}
	return e
}

// usage is what this process holds, see proc(5).
func usage() control.Usage {
	heap := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	metrics.Read(heap)
	u := control.Usage{Goroutines: runtime.NumGoroutine(), HeapBytes: int64(heap[0].Value.Uint64())}
	if raw, err := os.ReadFile("/proc/self/statm"); err == nil {
		if f := strings.Fields(string(raw)); len(f) > 1 {
			pages, _ := strconv.ParseInt(f[1], 10, 64) // 0 for what the kernel does not write
			u.Resident = pages * int64(os.Getpagesize())
		}
	}
	if fds, err := os.ReadDir("/proc/self/fd"); err == nil {
		u.Files = len(fds) - 1 // without that of the directory
	}
	return u
}

func liveSessions(all []session.Live) []control.Session {
	list := make([]control.Session, 0, len(all))
	for _, l := range all {
		c := control.Session{
			ID: l.ID, Start: l.Start, Source: l.Source, User: l.User, Method: l.Method, Target: l.Target.Name, Container: l.Target.Container,
			Account: l.Target.Account, Channels: []control.Channel{}, EndedChannels: l.Ended, EndedForwards: l.Forwards,
		}
		for _, one := range l.Channels {
			c.Channels = append(c.Channels, control.Channel(one))
		}
		list = append(list, c)
	}
	return list
}
