// Command handover is the helper that gives the front end the streams of session
// leaders: see package handover. systemd starts it with its socket.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/signal"
	"syscall"

	"github.com/coreos/go-systemd/v22/activation"

	"github.com/sandtrap/sandtrap/internal/handover"
)

func main() {
	runRoot := flag.String("run-root", "/run/pods/containers", "Podman's runroot")
	flag.Parse()
	if err := run(*runRoot); err != nil {
		fmt.Fprintln(os.Stderr, "handover:", err)
		os.Exit(1)
	}
}

func run(runRoot string) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	listeners, err := activation.Listeners()
	if err != nil {
		return fmt.Errorf("take over the socket: %w", err)
	}
	if len(listeners) != 1 {
		return fmt.Errorf("got %d sockets and want one: it is started by sandtrap-handover.socket", len(listeners))
	}
	l, ok := listeners[0].(*net.UnixListener)
	if !ok {
		return errors.New("take over the socket: it is no unix socket")
	}
	return (&handover.Server{RunRoot: runRoot}).Serve(ctx, l)
}
