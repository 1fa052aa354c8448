// Command podman-filter lets through to Podman's API what a pool of targets needs: see
// package filter. systemd starts it with its socket.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/coreos/go-systemd/v22/activation"
	"github.com/coreos/go-systemd/v22/journal"

	"github.com/sandtrap/sandtrap/internal/config"
	"github.com/sandtrap/sandtrap/internal/event"
	"github.com/sandtrap/sandtrap/internal/filter"
)

func main() {
	path := flag.String("config", "", "configuration file, see sandtrap.yaml(5)")
	socket := flag.String("podman", "/run/sandtrap-pods/podman.sock", "Podman's API socket")
	quota := flag.String("quota", "", "socket of the helper that bounds what a target may write")
	flag.Parse()
	if err := run(*path, *socket, *quota); err != nil {
		fmt.Fprintln(os.Stderr, "podman-filter:", err)
		os.Exit(1)
	}
}

func run(path, socket, quota string) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	loaded, err := config.Load(config.LoadOptions{Path: path})
	if err != nil {
		return err
	}
	listeners, err := activation.Listeners()
	if err != nil {
		return fmt.Errorf("take over the socket: %w", err)
	}
	if len(listeners) != 1 || listeners[0] == nil {
		return errors.New("take over the socket: there is not one; it is started by sandtrap-filter.socket")
	}
	var sink event.Sink = event.Writer{W: os.Stderr}
	if under, err := journal.StderrIsJournalStream(); err == nil && under {
		sink = event.Journal{}
	}
	r := reporter{events: event.New(sink)}
	p := policy(loaded.Config)
	p.Quota = quota
	return filter.New(socket, p, r.refused).Serve(ctx, listeners[0])
}

// policy is what the configuration says about targets.
func policy(c config.Config) filter.Policy {
	p := filter.Policy{Unlimited: c.Limits.Enforcement == config.EnforcementBestEffort}
	for _, t := range c.AllTargets() {
		p.Targets = append(p.Targets, filter.Target{
			Name: t.Name, Image: t.Image, Hostname: t.Hostname, Memory: int64(t.Memory), Pids: t.PIDs, CPUs: t.CPUs,
		})
	}
	return p
}

// maxReports bounds the events of a minute: a front end in the wrong hands must not
// fill the journal.
const maxReports = 60

// reporter makes events of refused requests.
type reporter struct {
	events *event.Emitter

	mu      sync.Mutex // guards all below
	minute  time.Time
	reports int
	omitted int
}

// refused reports a request that was not forwarded.
func (r *reporter) refused(method, path, reason string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if now := time.Now(); now.Sub(r.minute) > time.Minute {
		r.minute, r.reports = now, 0
	}
	if r.reports++; r.reports > maxReports {
		r.omitted++
		return
	}
	r.events.Emit(event.APIRefuse, event.F("http_method", method), event.F("http_path", path[:min(len(path), 1024)]), event.F("reason", reason), event.F("omitted", r.omitted))
	r.omitted = 0
}
