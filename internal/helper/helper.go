// Package helper is what the small servers beside Podman have in common. systemd
// starts each with its one socket. A client connects, sends the id of one thing, 64
// lower-case hexadecimal digits, and a newline, and gets one answer: what the helper
// has for it, or a line that says why there is nothing. Then the server closes.
package helper

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/coreos/go-systemd/v22/activation"
)

// MaxAnswer bounds the line of an answer, in bytes.
const MaxAnswer = 256

// Bounds of a server.
const (
	idSize     = 64
	maxClients = 64              // at once; others wait
	askTimeout = 5 * time.Second // for a request, and for an answer to be taken
	pause      = 5 * time.Millisecond
)

// Answer answers one client about one id. ctx ends when the client leaves.
type Answer func(ctx context.Context, client *net.UnixConn, id string)

// Main serves on the socket that systemd passed until the process is told to end.
// unit is the name of that socket's.
func Main(unit string, answer Answer) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	listeners, err := activation.Listeners()
	if err != nil {
		return fmt.Errorf("take over the socket: %w", err)
	}
	if len(listeners) != 1 {
		return fmt.Errorf("got %d sockets and want one: it is started by %s", len(listeners), unit)
	}
	l, ok := listeners[0].(*net.UnixListener)
	if !ok {
		return errors.New("take over the socket: it is no unix socket")
	}
	return Serve(ctx, l, answer)
}

// Serve answers clients until ctx ends, and returns nil then. It closes l.
func Serve(ctx context.Context, l *net.UnixListener, answer Answer) error {
	defer context.AfterFunc(ctx, func() { l.Close() })()
	defer l.Close()
	var clients sync.WaitGroup
	defer clients.Wait()
	places := make(chan struct{}, maxClients)
	for {
		places <- struct{}{}
		client, err := l.AcceptUnix()
		if ctx.Err() != nil {
			if err == nil {
				client.Close()
			}
			return nil
		}
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return fmt.Errorf("accept clients: %w", err)
			}
			time.Sleep(pause) // no descriptors left, or the client has gone
			<-places
			continue
		}
		clients.Go(func() {
			defer func() { <-places }()
			serve(ctx, client, answer)
		})
	}
}

// serve serves one client.
func serve(ctx context.Context, client *net.UnixConn, answer Answer) {
	defer client.Close()
	_ = client.SetDeadline(time.Now().Add(askTimeout))
	request := make([]byte, idSize+1)
	if _, err := io.ReadFull(client, request); err != nil {
		return
	}
	id := strings.TrimSuffix(string(request), "\n")
	if !IsID(id) {
		Refuse(client, errors.New("not an id"))
		return
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	_ = client.SetReadDeadline(time.Time{})
	left := make(chan struct{})
	go func() { // there is nothing more to read but the client's end
		defer close(left)
		_, _ = client.Read(make([]byte, 1))
		cancel()
	}()
	answer(ctx, client, id)
	_ = client.SetReadDeadline(time.Now())
	<-left
}

// Refuse says why there is nothing.
func Refuse(client *net.UnixConn, why error) {
	Say(client, strings.ReplaceAll(why.Error(), "\n", " "))
}

// Say answers with a line, of which MaxAnswer bytes are sent.
func Say(client *net.UnixConn, line string) {
	_ = client.SetWriteDeadline(time.Now().Add(askTimeout))
	_, _ = client.Write([]byte(line[:min(len(line), MaxAnswer-1)] + "\n"))
}

// Ask connects to a server and sends an id. The connection closes when ctx ends;
// stop undoes that and reports whether it has not happened.
func Ask(ctx context.Context, socket, id string) (server *net.UnixConn, stop func() bool, err error) {
	if !IsID(id) {
		return nil, nil, errors.New("not an id")
	}
	c, err := new(net.Dialer).DialContext(ctx, "unix", socket)
	if err != nil {
		return nil, nil, err
	}
	stop = context.AfterFunc(ctx, func() { c.Close() })
	if _, err := c.Write([]byte(id + "\n")); err != nil {
		stop()
		c.Close()
		return nil, nil, err
	}
	return c.(*net.UnixConn), stop, nil
}

// IsID reports whether s is an id as Podman and its storage make them.
func IsID(s string) bool {
	return len(s) == idSize && strings.Trim(s, "0123456789abcdef") == ""
}
