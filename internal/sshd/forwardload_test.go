package sshd

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/sandtrap/sandtrap/internal/event"
)

// fakeSink keeps what it is given, up to a limit.
type fakeSink struct {
	forward Forward
	limit   int           // in bytes; 0 is none
	closed  chan struct{} // closed by Close

	mu     sync.Mutex // guards all below
	data   []byte
	reason string
}

func (k *fakeSink) Write(p []byte) (int, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.limit > 0 && len(k.data)+len(p) > k.limit {
		return 0, errors.New("size limit")
	}
	k.data = append(k.data, p...)
	return len(p), nil
}

func (k *fakeSink) Close(reason string) {
	k.mu.Lock()
	k.reason = reason
	k.mu.Unlock()
	close(k.closed) // panics when it is the second time
}

// end waits until the sink is closed and returns what it was given, and why.
func (k *fakeSink) end(t *testing.T) (data, reason string) {
	t.Helper()
	select {
	case <-k.closed:
	case <-time.After(patience):
		t.Fatal("a sink is not closed")
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	return string(k.data), k.reason
}

// A client that floods a sink, on both streams, fills it once; what it goes on
// sending is bounded by the window, and other channels go on.
func TestForwardFlood(t *testing.T) {
	const limit = 64 << 10
	sinks := make(chan *fakeSink, 1)
	f := listen(t, everything)
	f.sink = func(w Forward) (Sink, error) {
		k := &fakeSink{forward: w, limit: limit, closed: make(chan struct{})}
		sinks <- k
		return k, nil
	}
	client := f.client()
	ch := openForward(t, client, DirectTCPIP, tcp("example.com", 443))
	var wg sync.WaitGroup
	for _, w := range []io.Writer{ch, ch.Stderr()} {
		wg.Go(func() {
			chunk := bytes.Repeat([]byte("flood"), 6000)
			for {
				if _, err := w.Write(chunk); err != nil {
					return
				}
			}
		})
	}
	if got := readAll(ch); got != "" {
		t.Errorf("the peer said %q", got)
	}
	data, reason := (<-sinks).end(t)
	if reason != "size limit" || len(data) > limit || len(data) < limit-sinkBuffer {
		t.Errorf("%d bytes, %s", len(data), reason)
	}
	wg.Wait()
	c := openChannel(t, client)
	c.must(Exec, command("true"))
}

func TestManyForwards(t *testing.T) {
	const many = 100
	f := listen(t, func(c *Config) { everything(c); c.Forwarding.MaxChannels = many })
	client := f.client()
	var wg sync.WaitGroup
	channels := make([]ssh.Channel, many)
	for i := range many {
		wg.Go(func() {
			ch, requests, err := client.OpenChannel(DirectTCPIP, tcp("example.com", uint32(1+i)))
			if err != nil {
				t.Error(err)
				return
			}
			go ssh.DiscardRequests(requests)
			channels[i] = ch
			_, _ = fmt.Fprintf(ch, "%d", 1+i)
		})
	}
	wg.Wait()
	if t.Failed() {
		return
	}
	_, _, err := client.OpenChannel(DirectTCPIP, tcp("example.com", 80))
	var refused *ssh.OpenChannelError
	if !errors.As(err, &refused) || refused.Reason != ssh.ConnectionFailed || refused.Message != "open failed" {
		t.Fatalf("one more: %v", err)
	}
	if got := field(f.events.wait(t, event.ForwardRequest, many+1)[many], "reason"); got != "too many forwards" {
		t.Errorf("event has %q", got)
	}
	openChannel(t, client) // sessions are counted apart
	for _, ch := range channels {
		if err := ch.CloseWrite(); err != nil {
			t.Fatal(err)
		}
	}
	seen := map[int]bool{}
	for i := range many {
		k := f.sinkOf(i)
		if data, _ := k.end(t); data != fmt.Sprint(k.forward.Port) {
			t.Errorf("port %d was sent %q", k.forward.Port, data)
		}
		seen[k.forward.Number] = true
	}
	if len(seen) != many {
		t.Errorf("%d numbers for %d forwards", len(seen), many)
	}
	for { // a place is free as soon as the client has closed its side
		ch, requests, err := client.OpenChannel(DirectTCPIP, tcp("example.com", 80))
		if err == nil {
			go ssh.DiscardRequests(requests)
			ch.Close()
			break
		}
	}
	client.Close()
	f.events.wait(t, event.ConnectionEnd, 1)
	if n := f.server.sinks.Load(); n != 0 {
		t.Errorf("%d sinks are counted", n)
	}
}

func TestForwardsOverALife(t *testing.T) {
	f := prepare(t, nil)
	cs := newChannels(&connection{server: f.server}, nil)
	for i := range maxForwards {
		if n, ok := cs.beginForward(); !ok || n != i {
			t.Fatalf("forward %d: %d, %v", i, n, ok)
		}
		cs.endForward()
	}
	if _, ok := cs.beginForward(); ok {
		t.Error("one more than the bound was let in")
	}
	if n := f.server.sinks.Load(); n != 0 {
		t.Errorf("%d sinks are counted", n)
	}
}

func TestForwardsOfAllConnections(t *testing.T) {
	f := prepare(t, nil)
	f.server.sinks.Store(maxSinks)
	cs := newChannels(&connection{server: f.server}, nil)
	if _, ok := cs.beginForward(); ok || f.server.sinks.Load() != maxSinks {
		t.Errorf("one more than the bound was let in, %d", f.server.sinks.Load())
	}
	f.server.sinks.Add(-1)
	if _, ok := cs.beginForward(); !ok {
		t.Error("the last place was not given")
	}
}
