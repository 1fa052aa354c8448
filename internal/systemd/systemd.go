// Package systemd is the service's side of its contract with systemd: sockets
// passed in, readiness and state reported, the watchdog kept quiet. Without
// systemd everything here does nothing. See sd_listen_fds(3), sd_notify(3) and
// systemd.service(5).
package systemd

import (
	"context"
	"fmt"
	"net"
	"time"

	"github.com/coreos/go-systemd/v22/activation"
	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/coreos/go-systemd/v22/journal"
)

// Listeners returns the sockets that systemd passed under one
// FileDescriptorName=, which may be several; none when the service was started
// without socket activation. A socket under another name is an error: it would
// take connections and never answer.
func Listeners(name string) ([]net.Listener, error) {
	// Not activation.Listeners: that leaves out what does not listen.
	var listeners []net.Listener
	var wrong error
	for _, f := range activation.Files(true) {
		l, err := net.FileListener(f) // on a copy of f
		f.Close()
		switch {
		case wrong != nil: // the first is enough for one line
		case f.Name() != name:
			wrong = fmt.Errorf("unexpected FileDescriptorName=%s, want %s", f.Name(), name)
		case err != nil:
			wrong = fmt.Errorf("a socket named %s does not listen for streams: %w", name, err)
		}
		if err == nil {
			listeners = append(listeners, l)
		}
	}
	if wrong != nil {
		for _, l := range listeners {
			l.Close()
		}
		return nil, fmt.Errorf("take sockets from systemd: %w", wrong)
	}
	return listeners, nil
}

// UnderJournal reports whether standard error goes to the journal.
func UnderJournal() bool {
	ok, err := journal.StderrIsJournalStream()
	return ok && err == nil
}

// Ready tells systemd that the service can serve.
func Ready(status string) { notify(daemon.SdNotifyReady + "\nSTATUS=" + status) }

// Status sets the line that systemctl status shows.
func Status(status string) { notify("STATUS=" + status) }

// Reloading tells systemd that a reload has begun; Ready ends it.
func Reloading() {
	notify(daemon.SdNotifyReloading + "\n" + daemon.SdNotifyMonotonicUsec())
}

// Stopping tells systemd that the service ends.
func Stopping(status string) { notify(daemon.SdNotifyStopping + "\nSTATUS=" + status) }

// notify sends a message where NOTIFY_SOCKET asks for it. A lost message cannot
// be helped: systemd notices by its own timeouts.
func notify(state string) { _, _ = daemon.SdNotify(false, state) }

// Watchdog pings systemd while healthy answers true within the interval that
// WatchdogSec= sets, until ctx ends. A healthy that hangs ends the pings, and
// systemd then restarts the service.
func Watchdog(ctx context.Context, healthy func() bool) {
	interval, err := daemon.SdWatchdogEnabled(false)
	if err != nil || interval == 0 {
		return
	}
	tick := time.NewTicker(interval / 3)
	defer tick.Stop()
	for {
		if healthy() {
			notify(daemon.SdNotifyWatchdog)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}
