package session

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/sandtrap/sandtrap/internal/event"
	"github.com/sandtrap/sandtrap/internal/evidence"
	"github.com/sandtrap/sandtrap/internal/record"
	"github.com/sandtrap/sandtrap/internal/sshd"
	"github.com/sandtrap/sandtrap/internal/transcript"
)

// typist is a client that sends each part when it has been told what to wait for.
type typist struct {
	parts chan string
}

func (c *typist) Read(p []byte) (int, error) {
	s, ok := <-c.parts
	if !ok {
		return 0, errors.New("gone")
	}
	return copy(p, s), nil
}

// shell is a program that echoes, and ends with exit. A password is not echoed.
func shell(c *typist, typed ...string) *fakeStream {
	read := make(chan string)
	stream := newStream(0, func(_ *fakeStream, stdout, _ func([]byte) error) error {
		defer close(c.parts)
		if err := stdout([]byte("web:~# ")); err != nil {
			return err
		}
		for _, line := range typed {
			c.parts <- line
			got := <-read
			echo := strings.TrimSuffix(got, "\r")
			if echo == "secret" {
				echo = ""
			}
			if err := stdout(fmt.Appendf(nil, "%s\r\nsome output\r\nweb:~# ", echo)); err != nil {
				return err
			}
		}
		return nil
	})
	stream.write = func(p []byte) error {
		read <- string(p)
		return nil
	}
	return stream
}

func TestCommands(t *testing.T) {
	st := setUp(t)
	s := st.open(st.login())
	c := &typist{parts: make(chan string)}
	st.runs(shell(c, "uname -a\r", "secret\r", "echo caf\xe9\r", strings.Repeat("long ", 100)+"\r"))
	r := st.start(s, sshd.Program{Kind: sshd.Shell, PTY: true, Term: "xterm", Size: sshd.Size{Columns: 80, Rows: 24}})
	if err := r.Serve(st.Context(), (&client{stdin: c}).stream()); err != nil {
		t.Error(err)
	}
	markers := st.recorded(s, 0, record.KindMarker)
	if want := "command: uname -ainput not echoedcommand: echo caf\xe9command: long"; !strings.HasPrefix(markers, want) || len(markers) > 512 {
		t.Errorf("markers %q", markers)
	}
	s.Close("test")
	want := []evidence.Command{{Text: "uname -a"}, {Text: "secret", NotEchoed: true}, {Text: "echo caf\xe9"}, {Text: evidence.Text(strings.Repeat("long ", 100))}}
	got := st.saved().Channels[0].Commands
	if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(evidence.Command{}, "Time")); diff != "" {
		t.Errorf("session.json (-want +got):\n%s", diff)
	}
	for _, c := range got {
		if c.Time.Before(s.login.Opened) {
			t.Errorf("%q at %v", c.Text, c.Time)
		}
	}
	events := st.events.of(event.CommandInput)
	if len(events) != 4 || !cmp.Equal(events[1], map[string]any{"channel": 0, "command": "secret", "echoed": false}) || events[0]["echoed"] != true || events[0]["command"] != "uname -a" {
		t.Errorf("events %v", events)
	}
}

func (st *stage) recorder(s *Session, name string) *record.Recorder {
	st.Helper()
	r, err := record.Create(record.Options{Dir: s.dir.Root(), Name: name})
	if err != nil {
		st.Fatal(err)
	}
	st.Cleanup(func() { _, _ = r.Close() })
	return r
}

func TestCommandsHaveBounds(t *testing.T) {
	st := setUp(t)
	s := st.open(st.login())
	c := &commands{session: s, channel: 3, recorder: st.recorder(s, "channel-3"), tracker: transcript.New(transcript.Options{Plain: true})}
	for range 10 {
		c.input([]byte(strings.Repeat("echo x\n", 1000)))
	}
	list, omitted := c.close()
	if len(list)+omitted != 10000 || len(list) != 3000 {
		t.Errorf("%d lines, %d omitted", len(list), omitted)
	}
	c.input([]byte("late\n"))
	c.output([]byte("late\n"))
	if late, _ := c.close(); len(late) != len(list) {
		t.Errorf("%d lines after the end", len(late))
	}
}

func TestCommandsSurvive(t *testing.T) {
	st := setUp(t)
	s := st.open(st.login())
	c := &commands{session: s, recorder: st.recorder(s, "channel-3"), tracker: transcript.New(transcript.Options{Plain: true})}
	c.look(func(*transcript.Tracker) []transcript.Line { panic("a mistake") })
	c.input([]byte("echo\n"))
	if list, _ := c.close(); len(list) != 0 {
		t.Errorf("lines after a panic: %v", list)
	}
}

func TestNoCommandsOfPrograms(t *testing.T) {
	st := setUp(t)
	s := st.open(st.login())
	for _, tt := range []struct {
		p    sshd.Program
		want bool
	}{
		{sshd.Program{Kind: sshd.Shell, PTY: true}, true},
		{sshd.Program{Kind: sshd.Shell}, true},
		{sshd.Program{Kind: sshd.Exec, PTY: true}, true},
		{sshd.Program{Kind: sshd.Exec}, false},
		{sshd.Program{Kind: sshd.Subsystem}, false},
	} {
		if got := s.entered(tt.p, nil).tracker != nil; got != tt.want {
			t.Errorf("%s, terminal %v: %v", tt.p.Kind, tt.p.PTY, got)
		}
	}
}
