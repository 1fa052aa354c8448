package session

import (
	"errors"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sandtrap/sandtrap/internal/record"
	"github.com/sandtrap/sandtrap/internal/sshd"
)

// The client hears of the end of the output before that of a program that goes on, and
// once that nobody reads its input.
func TestOutputEndsBeforeTheProgram(t *testing.T) {
	st := setUp(t)
	s := st.open(st.login())
	defer s.Close("over")
	stream := newStream(3, func(*fakeStream, func([]byte) error, func([]byte) error) error { return nil })
	stream.outlives = true
	st.runs(stream)
	r := st.start(s, sshd.Program{Kind: sshd.Exec, Command: "x"})
	stdin, input := io.Pipe()
	c := &client{stdin: stdin}
	to := c.stream()
	to.EndOutput = sync.OnceFunc(func() {
		if c.outputEnds++; len(c.exits) > 0 {
			t.Error("the exit came before the end of the output")
		}
		stream.exit()
	})
	if err := r.Serve(st.Context(), to); err != nil {
		t.Error(err)
	}
	_ = input.Close()
	if c.outputEnds != 1 || c.ends != 1 || len(c.exits) != 1 || c.exits[0].Status != 3 || c.inputEnds.Load() != 1 {
		t.Errorf("%d ends of output, %d ends, exits %+v, %d ends of input", c.outputEnds, c.ends, c.exits, c.inputEnds.Load())
	}
}

// A client that has ended its own input hears of the end of the output no earlier than
// of the program's: it would close the channel.
func TestExitComesWithTheEndOfOutput(t *testing.T) {
	st := setUp(t)
	s := st.open(st.login())
	defer s.Close("over")
	stream := newStream(3, func(s *fakeStream, _, _ func([]byte) error) error { <-s.eof; return nil })
	stream.outlives = true
	st.runs(stream)
	r := st.start(s, sshd.Program{Kind: sshd.Exec, Command: "x"})
	c := &client{stdin: strings.NewReader("")}
	to := c.stream()
	var told []string
	together := false
	tell := func(what string) func() {
		return sync.OnceFunc(func() {
			if !together {
				t.Errorf("%s was told by itself", what)
			}
			told = append(told, what)
		})
	}
	exit := tell("exit")
	to.EndOutput, to.Exit = tell("output"), func(sshd.Exit) { exit() }
	to.Together = func(f func()) { together = true; f(); together = false }
	time.AfterFunc(3*farewell, stream.exit)
	if err := r.Serve(st.Context(), to); err != nil {
		t.Error(err)
	}
	if !slices.Equal(told, []string{"output", "exit"}) {
		t.Errorf("the client was told of %q", told)
	}
}

// Input that has ended by itself needs no word of it, input that nobody reads does.
func TestEndOfInput(t *testing.T) {
	for name, want := range map[string]int32{"all read": 0, "broken pipe": 1} {
		st := setUp(t)
		s := st.open(st.login())
		stream := newStream(0, func(s *fakeStream, _, _ func([]byte) error) error { <-s.eof; return nil })
		if want > 0 {
			stream.write = func([]byte) error { return errors.New("broken pipe") }
		}
		st.runs(stream)
		r := st.start(s, sshd.Program{Kind: sshd.Exec, Command: "x"})
		c := &client{stdin: strings.NewReader("input")}
		if err := r.Serve(st.Context(), c.stream()); err != nil {
			t.Error(err)
		}
		if got := c.inputEnds.Load(); got != want {
			t.Errorf("%s: told %d times, want %d", name, got, want)
		}
		if got := st.recorded(s, 0, record.KindInput); got != "input" {
			t.Errorf("%s: recorded %q", name, got)
		}
		s.Close("over")
	}
}

func TestEnoughOutput(t *testing.T) {
	st := setUp(t)
	s := st.open(st.login())
	defer s.Close("over")
	st.runs(newStream(0, func(s *fakeStream, _, _ func([]byte) error) error { <-s.enough; return nil }))
	r := st.start(s, sshd.Program{Kind: sshd.Exec, Command: "yes"})
	c := &client{enough: make(chan struct{})}
	close(c.enough)
	if err := r.Serve(st.Context(), c.stream()); err != nil {
		t.Error(err)
	}
}

// Standard error of a subsystem is recorded and reaches nobody.
func TestErrorsOfASubsystem(t *testing.T) {
	st := setUp(t)
	s := st.open(st.login())
	defer s.Close("over")
	st.runs(newStream(0, func(_ *fakeStream, _, stderr func([]byte) error) error { return stderr([]byte("aside")) }))
	r := st.start(s, sshd.Program{Kind: sshd.Subsystem, Command: "sftp"})
	c := &client{}
	if err := r.Serve(st.Context(), c.stream()); err != nil {
		t.Error(err)
	}
	if got := st.recorded(s, 0, record.KindStderr); got != "aside" || c.stderr.Len() > 0 {
		t.Errorf("recorded %q, passed on %q", got, c.stderr.String())
	}
}

func TestSignalsAreForAccounts(t *testing.T) {
	st := setUp(t)
	s := st.open(st.login())
	defer s.Close("over")
	st.runs(newStream(0, func(*fakeStream, func([]byte) error, func([]byte) error) error { return nil }))
	r := st.start(s, sshd.Program{Kind: sshd.Exec, Command: "x"})
	if r.TakesSignals() { // the stage's account is root
		t.Error("a program of root takes signals")
	}
	if err := r.Serve(st.Context(), (&client{}).stream()); err != nil {
		t.Error(err)
	}
}
