package sshd

import (
	"context"
	"errors"
	"net"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sandtrap/sandtrap/internal/event"
)

func TestShutdownWaits(t *testing.T) {
	f := listen(t, nil)
	client := f.client()
	c := openChannel(t, client)
	c.must(Exec, command("cat"))
	down := make(chan struct{})
	go func() {
		f.server.Shutdown(context.Background())
		close(down)
	}()
	for { // served until the shutdown has begun
		early := f.tcp()
		n, _ := early.Read(make([]byte, 1))
		early.Close()
		if n == 0 {
			break
		}
	}
	f.events.wait(t, event.ConnectionDeny, 1)
	if _, err := c.Write([]byte("x")); err != nil {
		t.Errorf("the connection that was there is cut: %v", err)
	}
	select {
	case <-down:
		t.Error("Shutdown did not wait")
	default:
	}
	client.Close()
	<-down
	if got := f.all()[0].closes(); !cmp.Equal(got, []string{"client disconnected"}) {
		t.Errorf("session closed with %q", got)
	}
}

func TestShutdownCuts(t *testing.T) {
	f := listen(t, nil)
	f.started(untilGone)
	openChannel(t, f.client()).must(Shell, nil)
	idle := f.tcp() // never says a word
	f.events.wait(t, event.ConnectionOpen, 2)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	f.server.Shutdown(ctx)
	if got := f.all()[0].closes(); !cmp.Equal(got, []string{"service stops"}) {
		t.Errorf("session closed with %q", got)
	}
	for _, e := range f.events.wait(t, event.ConnectionEnd, 2) {
		if got := field(e, "reason"); got != "service stops" {
			t.Errorf("connection ended with %q", got)
		}
	}
	if got := readAll(idle); got != ourLine && got != "" {
		t.Errorf("the idle client got %q", got)
	}
	f.server.Shutdown(ctx) // again, with nothing to do
}

func TestContextEndsEverything(t *testing.T) {
	f := listen(t, nil)
	f.started(untilGone)
	openChannel(t, f.client()).must(Shell, nil)
	f.end()
	if got := field(f.events.wait(t, event.ConnectionEnd, 1)[0], "reason"); got != "service stops" {
		t.Errorf("connection ended with %q", got)
	}
	for end := time.Now().Add(patience); !f.server.Accepting(0); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it goes on accepting")
		}
	}
	if c, err := net.Dial("tcp", f.addr); err == nil {
		// The accept queue may have taken it; nobody answers.
		if got := readAll(c); got != "" {
			t.Errorf("still serving: %q", got)
		}
		c.Close()
	}
}

func TestAcceptErrorsBackOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := prepare(t, nil)
		var at []time.Duration
		began := time.Now()
		l := &pipes{conns: make(chan net.Conn, 1), fail: func() error {
			at = append(at, time.Since(began))
			switch len(at) {
			case 11: // one success, then trouble again
				return nil
			case 14:
				return net.ErrClosed
			}
			return syscall.EMFILE
		}}
		server, client := net.Pipe()
		l.conns <- server
		client.Close()
		if err := f.server.Serve(t.Context(), l); !errors.Is(err, ErrClosed) {
			t.Errorf("Serve = %v", err)
		}
		var pauses []time.Duration
		for i := range at[1:] {
			pauses = append(pauses, at[i+1]-at[i])
		}
		const ms = time.Millisecond
		want := []time.Duration{5 * ms, 10 * ms, 20 * ms, 40 * ms, 80 * ms, 160 * ms, 320 * ms, 640 * ms, time.Second, time.Second, 0, 5 * ms, 10 * ms}
		if diff := cmp.Diff(want, pauses); diff != "" {
			t.Errorf("pauses (-want +got):\n%s", diff)
		}
	})
}

func TestContextEndsThePause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := prepare(t, nil)
		ctx, cancel := context.WithCancel(t.Context())
		l := &pipes{fail: func() error {
			cancel()
			return syscall.EMFILE
		}}
		if err := f.server.Serve(ctx, l); !errors.Is(err, ErrClosed) {
			t.Errorf("Serve = %v", err)
		}
	})
}

func TestAccepting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := prepare(t, nil)
		if !f.server.Accepting(0) {
			t.Error("accepting before Serve")
		}
		first, second := &pipes{conns: make(chan net.Conn)}, &pipes{conns: make(chan net.Conn)}
		go func() { _ = f.server.Serve(t.Context(), first) }()
		go func() { _ = f.server.Serve(t.Context(), second) }()
		synctest.Wait()
		if !f.server.Accepting(2) {
			t.Error("not accepting on both")
		}
		close(first.conns)
		synctest.Wait()
		if f.server.Accepting(2) {
			t.Error("the end of one loop went unnoticed")
		}
		close(second.conns)
	})
}

func TestAddressesAreUnmapped(t *testing.T) {
	if got := addrPort(&net.TCPAddr{IP: net.ParseIP("::ffff:192.0.2.1"), Port: 7}).String(); got != "192.0.2.1:7" {
		t.Errorf("address %s", got)
	}
	if got := addrPort(&net.UnixAddr{}); got.IsValid() {
		t.Errorf("address %s of a unix socket", got)
	}
}
