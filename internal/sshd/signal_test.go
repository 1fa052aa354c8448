package sshd

import (
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/crypto/ssh"

	"github.com/sandtrap/sandtrap/internal/event"
)

// signalled is a program that a signal ends, of the name it was asked to deliver.
type signalled struct {
	asked chan string
	ends  string // the signal that ends it
	takes bool
}

func (p signalled) Serve(ctx context.Context, s Stream) error {
	var name string
	select {
	case name = <-s.Signals:
	case <-ctx.Done():
		return ctx.Err()
	}
	p.asked <- name
	s.Exit(Exit{Signal: p.ends, CoreDumped: p.ends == "QUIT"})
	s.End()
	return nil
}

func (p signalled) TakesSignals() bool { return p.takes }

func TestSignals(t *testing.T) {
	for name, want := range map[string]exitSignal{
		"TERM": {Signal: "TERM"}, "QUIT": {Signal: "QUIT", CoreDumped: true}, "SIG34": {Signal: "SIG@openssh.com"}, "\xff": {Signal: "SIG@openssh.com"},
	} {
		f := listen(t, nil)
		program := signalled{make(chan string, 1), name, true}
		f.start = func(context.Context, Program) (Running, error) { return program, nil }
		c := openChannel(t, f.client())
		if c.ask("signal", ssh.Marshal(signalRequest{"HUP"})) {
			t.Error("a signal before the start was accepted")
		}
		c.must(Exec, command("x"))
		for _, bad := range [][]byte{
			nil, []byte("bad"), ssh.Marshal(signalRequest{string(make([]byte, 100))}), ssh.Marshal(signalRequest{"ALRM"}),
			ssh.Marshal(signalRequest{"SIGTERM"}), ssh.Marshal(signalRequest{"TE\x00RM"}), append(ssh.Marshal(signalRequest{"TERM"}), 0),
		} {
			if c.ask("signal", bad) {
				t.Errorf("signal request %q was accepted", bad)
			}
		}
		c.must("signal", ssh.Marshal(signalRequest{"USR1\x00"})) // a C string to sshd
		if got := <-program.asked; got != "USR1" {
			t.Errorf("the program got signal %q", got)
		}
		if got := c.ends(); !cmp.Equal(got, []exitSignal{want}) {
			t.Errorf("%q: ended by %+v, want %+v", name, got, want)
		}
	}
}

// Signals that nobody takes neither block the connection nor pile up.
func TestSignalFlood(t *testing.T) {
	f := listen(t, nil)
	f.started(untilGone)
	c := openChannel(t, f.client())
	c.must(Shell, nil)
	accepted := 0
	for range 3 * maxSignals {
		if c.ask("signal", ssh.Marshal(signalRequest{"INT"})) {
			accepted++
		}
	}
	if accepted != maxSignals {
		t.Errorf("%d signals wait, want %d", accepted, maxSignals)
	}
}

// Root's programs and subsystems get no signals, as with sshd.
func TestSignalsThatAreNotTaken(t *testing.T) {
	f := listen(t, nil)
	f.start = func(context.Context, Program) (Running, error) { return signalled{make(chan string), "", false}, nil }
	c := openChannel(t, f.client())
	c.must(Exec, command("x"))
	if c.ask("signal", ssh.Marshal(signalRequest{"TERM"})) {
		t.Error("a signal was accepted")
	}
	if got := fields(f.events.wait(t, event.ChannelRequest, 1)[0], "request", "accepted"); !cmp.Equal(got, []any{"signal", false}) {
		t.Errorf("event has %q", got)
	}
}
