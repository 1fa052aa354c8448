package session

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sandtrap/sandtrap/internal/event"
	"github.com/sandtrap/sandtrap/internal/pool"
	"github.com/sandtrap/sandtrap/internal/record"
	"github.com/sandtrap/sandtrap/internal/sshd"
)

func TestRecordedBeforeForwarded(t *testing.T) {
	st := setUp(t)
	s := st.open(st.login())
	var stream *fakeStream
	seen := func(kind record.Kind, p []byte) error {
		if got := st.recorded(s, 0, kind); !strings.HasSuffix(got, string(p)) {
			return fmt.Errorf("kind %c: %q is passed on with only %q recorded", kind, p, got)
		}
		return nil
	}
	resize := make(chan sshd.Size)
	stream = newStream(0, func(s *fakeStream, stdout, stderr func([]byte) error) error {
		for i := range 20 {
			if err := errors.Join(stdout(fmt.Appendf(nil, "o%d", i)), stderr(fmt.Appendf(nil, "e%d", i))); err != nil {
				return err
			}
		}
		resize <- sshd.Size{Columns: 100, Rows: 30}
		if size := <-s.resized; size != (pool.Size{Columns: 100, Rows: 30}) {
			return fmt.Errorf("resized to %+v", size)
		}
		<-s.eof
		return nil
	})
	stream.write = func(p []byte) error {
		err := seen(record.KindInput, p)
		if err != nil {
			t.Error(err)
		}
		return err
	}
	st.runs(stream)
	r := st.start(s, sshd.Program{Kind: sshd.Shell, PTY: true, Term: "xterm", Size: sshd.Size{Columns: 80, Rows: 24}})
	c := &client{stdin: io.MultiReader(strings.NewReader("first"), strings.NewReader("second")), before: seen, resize: resize}
	if err := r.Serve(st.Context(), c.stream()); err != nil {
		t.Error(err)
	}
	if got := st.recorded(s, 0, record.KindInput); got != "firstsecond" {
		t.Errorf("recorded input %q", got)
	}
	if got := st.recorded(s, 0, record.KindResize); got != "\x00\x00\x00\x50\x00\x00\x00\x18\x00\x00\x00\x64\x00\x00\x00\x1e" {
		t.Errorf("recorded sizes %x", got)
	}
	if got := st.recorded(s, 0, record.KindTerminal); got != "xterm" {
		t.Errorf("recorded terminal %q", got)
	}
	s.Close("over")
	if got := st.saved().Channels[0]; got.Terminal != "xterm" || got.Size != (record.Size{Columns: 80, Rows: 24}) {
		t.Errorf("channel %+v", got)
	}
}

// Without a recorder that writes nothing is passed on in any direction.
func TestNothingPassesUnrecorded(t *testing.T) {
	for _, direction := range []string{"output", "error", "input", "EOF", "resize"} {
		t.Run(direction, func(t *testing.T) {
			st := setUp(t)
			s := st.open(st.login())
			stream := newStream(0, untilClosed)
			stream.write = func(p []byte) error {
				t.Errorf("the program got %q", p)
				return nil
			}
			hold, let := io.Pipe() // a client that says nothing
			defer let.Close()
			c := &client{stdin: hold, resize: make(chan sshd.Size, 1)}
			switch direction {
			case "output":
				stream.copy = func(_ *fakeStream, stdout, _ func([]byte) error) error { return stdout([]byte("x")) }
			case "error":
				stream.copy = func(_ *fakeStream, _, stderr func([]byte) error) error { return stderr([]byte("x")) }
			case "input":
				c.stdin = strings.NewReader("x")
			case "EOF":
				c.stdin = strings.NewReader("")
			case "resize":
				c.resize <- sshd.Size{Columns: 1, Rows: 1}
			}
			st.runs(stream)
			r := st.start(s, sshd.Program{Kind: sshd.Shell, PTY: true})
			if _, err := r.recorder.Close(); err != nil { // nothing can be recorded any more
				t.Fatal(err)
			}
			if err := r.Serve(st.Context(), c.stream()); err == nil || len(c.exits)+c.ends != 0 {
				t.Errorf("Serve: %v, exits %v, %d ends", err, c.exits, c.ends)
			}
			if c.stdout.Len()+c.stderr.Len() > 0 || len(stream.resized) > 0 {
				t.Errorf("passed on: %q, %q, %d sizes", c.stdout.String(), c.stderr.String(), len(stream.resized))
			}
			if len(st.events.of(event.ProgramExit)) != 0 {
				t.Error("an exit status was reported")
			}
			let.Close()
			s.Close("over")
		})
	}
}

func TestQuota(t *testing.T) {
	for _, direction := range []string{"output", "input"} {
		t.Run(direction, func(t *testing.T) {
			st := setUp(t)
			st.service.MaxBytes = 4096
			s := st.open(st.login())
			var taken bytes.Buffer
			stream := newStream(0, untilClosed)
			stream.write = func(p []byte) error { taken.Write(p); return nil }
			c := &client{}
			if direction == "output" {
				stream.copy = func(_ *fakeStream, stdout, _ func([]byte) error) error {
					for {
						if err := stdout(bytes.Repeat([]byte("x"), 100)); err != nil {
							return err
						}
					}
				}
				hold, let := io.Pipe()
				defer s.Close("over")
				defer let.Close()
				c.stdin = hold
			} else {
				defer s.Close("over")
				c.stdin = readFunc(func(p []byte) (int, error) { return copy(p, bytes.Repeat([]byte("x"), 100)), nil })
			}
			st.runs(stream)
			r := st.start(s, sshd.Program{Kind: sshd.Exec, Command: "yes"})
			if err := r.Serve(st.Context(), c.stream()); !errors.Is(err, record.ErrQuota) {
				t.Errorf("Serve: %v", err)
			}
			kind, passed := record.KindOutput, c.stdout.String()
			if direction == "input" {
				kind, passed = record.KindInput, taken.String()
			}
			if got := st.recorded(s, 0, kind); got != passed || got == "" {
				t.Errorf("%d bytes recorded, %d passed on", len(got), len(passed))
			}
			if got := st.events.of(event.RecordingStop); len(got) != 1 || got[0]["channel"] != 0 || got[0]["limit_bytes"] != int64(4096) {
				t.Errorf("events %v", got)
			}
			if len(st.events.of(event.ProgramExit)) != 0 || len(st.events.of(event.SessionFail)) != 0 {
				t.Error("the limit was reported as something else")
			}
			if got := st.saved().Channels[0].Recording; !got.Truncated || got.ExitStatus != nil {
				t.Errorf("recording %+v", got)
			}
		})
	}
}

func TestClientGoneAmidOutput(t *testing.T) {
	st := setUp(t)
	s := st.open(st.login())
	gone := errors.New("channel closed")
	stream := newStream(0, func(_ *fakeStream, stdout, _ func([]byte) error) error {
		for {
			if err := stdout([]byte("data")); err != nil {
				return err
			}
		}
	})
	st.runs(stream)
	r := st.start(s, sshd.Program{Kind: sshd.Shell})
	n := 0
	c := &client{before: func(record.Kind, []byte) error {
		if n++; n > 10 {
			return gone
		}
		return nil
	}}
	if err := r.Serve(st.Context(), c.stream()); !errors.Is(err, gone) {
		t.Errorf("Serve: %v", err)
	}
	<-stream.closed
	s.Close("client disconnected")
	if got := st.saved().Channels[0].Recording; got.OutputBytes != 44 || got.ExitStatus != nil { // the last chunk is recorded, though it did not arrive
		t.Errorf("recording %+v", got)
	}
}

func TestContextEndsAProgram(t *testing.T) {
	st := setUp(t)
	s := st.open(st.login())
	stream := newStream(0, untilClosed)
	st.runs(stream)
	r := st.start(s, sshd.Program{Kind: sshd.Shell})
	ctx, cancel := context.WithCancel(st.Context())
	hold, let := io.Pipe()
	go func() {
		cancel()
		<-stream.closed
		let.Close()
	}()
	if err := r.Serve(ctx, (&client{stdin: hold, ended: "silence"}).stream()); err == nil {
		t.Error("Serve went on without its context")
	}
	if got := st.recorded(s, 0, record.KindMarker); got != "ended here: silence" {
		t.Errorf("marker %q", got)
	}
	s.Close("service stops")
	if got := st.events.of(event.ChannelClose); len(got) != 1 || got[0]["reason"] != "silence" {
		t.Errorf("events %v", got)
	}
	if got := st.saved().Channels[0]; got.EndReason != "silence" {
		t.Errorf("channel %+v", got)
	}
	if got := st.saved(); got.EndReason != "service stops" || len(got.Channels) != 1 {
		t.Errorf("session %+v", got)
	}
}

func TestProgramThatDoesNotRead(t *testing.T) {
	st := setUp(t)
	s := st.open(st.login())
	stream := newStream(0, func(s *fakeStream, _, _ func([]byte) error) error {
		<-s.eof
		return nil
	})
	stream.write = func([]byte) error { return errors.New("broken pipe") }
	st.runs(stream)
	r := st.start(s, sshd.Program{Kind: sshd.Exec, Command: "true"})
	c := &client{stdin: io.MultiReader(strings.NewReader("a"), strings.NewReader("b"))}
	if err := r.Serve(st.Context(), c.stream()); err != nil {
		t.Error(err)
	}
	if got := st.recorded(s, 0, record.KindInput); got != "ab" { // what nobody reads is evidence all the same
		t.Errorf("recorded %q", got)
	}
	s.Close("over")
}

func TestExitStatusUnknown(t *testing.T) {
	st := setUp(t)
	s := st.open(st.login())
	stream := newStream(0, func(*fakeStream, func([]byte) error, func([]byte) error) error { return nil })
	stream.waitErr = errors.New("Podman is gone")
	st.runs(stream)
	r := st.start(s, sshd.Program{Kind: sshd.Shell})
	if err := r.Serve(st.Context(), (&client{}).stream()); !errors.Is(err, stream.waitErr) {
		t.Errorf("Serve: %v", err)
	}
	s.Close("over")
	if got := st.saved().Channels[0].Recording; got.ExitStatus != nil {
		t.Errorf("exit status %d was made up", *got.ExitStatus)
	}
}

func TestEvidenceLostAmidASession(t *testing.T) {
	st := setUp(t)
	s := st.open(st.login())
	st.runs(newStream(0, func(*fakeStream, func([]byte) error, func([]byte) error) error {
		st.removeSession(s)
		return nil
	}))
	r := st.start(s, sshd.Program{Kind: sshd.Shell})
	if err := r.Serve(st.Context(), (&client{}).stream()); err == nil {
		t.Error("the loss went unnoticed")
	}
	s.Close("over")
	if got := st.events.of(event.SessionFail); len(got) == 0 {
		t.Error("no event about it")
	}
}

// A signal from the client reaches the program, and how the program ended by one
// reaches the client and the record.
func TestSignals(t *testing.T) {
	st := setUp(t)
	s := st.open(st.login())
	stream := newStream(0, func(s *fakeStream, _, _ func([]byte) error) error {
		if name := <-s.signals; name != "QU\xff" {
			return fmt.Errorf("got signal %q", name)
		}
		return nil
	})
	stream.ended = pool.Exit{Signal: "QUIT", CoreDumped: true}
	st.runs(stream)
	r := st.start(s, sshd.Program{Kind: sshd.Exec, Command: "sleep 1"})
	c := &client{signals: make(chan string, 1)}
	c.signals <- "QU\xff"
	if err := r.Serve(st.Context(), c.stream()); err != nil {
		t.Error(err)
	}
	if !cmp.Equal(c.exits, []sshd.Exit{{Signal: "QUIT", CoreDumped: true}}) || c.ends != 1 {
		t.Errorf("the client was told %+v, %d ends", c.exits, c.ends)
	}
	if got := st.recorded(s, 0, record.KindSignal); got != "QU\xff" {
		t.Errorf("recorded signal %q", got)
	}
	if got := st.recorded(s, 0, record.KindExitSignal); got != "\x01QUIT" {
		t.Errorf("recorded exit signal %q", got)
	}
	s.Close("over")
	if got := st.saved().Channels[0].Recording; got.ExitSignal != "QUIT" || !got.CoreDumped || got.ExitStatus != nil {
		t.Errorf("recording %+v", got)
	}
	if got := st.events.of(event.ProgramExit); len(got) != 1 || got[0]["exit_signal"] != "QUIT" || got[0]["core_dumped"] != true {
		t.Errorf("events %v", got)
	}
}

// A program may end before its output does: a job in the background holds the
// channel open, as with sshd, but the client knows the status.
func TestOutputAfterExit(t *testing.T) {
	st := setUp(t)
	s := st.open(st.login())
	told := make(chan struct{})
	st.runs(newStream(7, func(s *fakeStream, stdout, _ func([]byte) error) error {
		s.exit()
		<-told
		return stdout([]byte("later"))
	}))
	r := st.start(s, sshd.Program{Kind: sshd.Exec, Command: "job &"})
	c := &client{}
	stream := c.stream()
	stream.Exit = func(e sshd.Exit) {
		c.exits = append(c.exits, e)
		close(told)
	}
	if err := r.Serve(st.Context(), stream); err != nil {
		t.Error(err)
	}
	if c.stdout.String() != "later" || !cmp.Equal(c.exits, []sshd.Exit{{Status: 7}}) {
		t.Errorf("client got %q, %+v", c.stdout.String(), c.exits)
	}
	s.Close("over")
}
