package sshd

import (
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/crypto/ssh"
)

// signalled is a program that a signal ends, of the name it was asked to deliver.
type signalled struct{ asked chan string }

func (p signalled) Serve(_ context.Context, s Stream) error {
	name := <-s.Signals
	p.asked <- name
	s.Exit(Exit{Signal: name, CoreDumped: name == "QUIT"})
	s.End()
	return nil
}

func TestSignals(t *testing.T) {
	for name, want := range map[string]exitSignal{
		"TERM": {Signal: "TERM"}, "QUIT": {Signal: "QUIT", CoreDumped: true}, "SIG34": {Signal: "SIG@openssh.com"}, "\xff": {Signal: "SIG@openssh.com"},
	} {
		f := listen(t, nil)
		program := signalled{make(chan string, 1)}
		f.start = func(context.Context, Program) (Running, error) { return program, nil }
		c := openChannel(t, f.client())
		if c.ask("signal", ssh.Marshal(signalRequest{"HUP"})) {
			t.Error("a signal before the start was accepted")
		}
		c.must(Exec, command("x"))
		for _, bad := range [][]byte{nil, []byte("bad"), ssh.Marshal(signalRequest{string(make([]byte, 100))})} {
			if c.ask("signal", bad) {
				t.Errorf("signal request %q was accepted", bad)
			}
		}
		c.must("signal", ssh.Marshal(signalRequest{name}))
		if got := <-program.asked; got != name {
			t.Errorf("the program got signal %q, want %q", got, name)
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
