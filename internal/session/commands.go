package session

import (
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/sandtrap/sandtrap/internal/event"
	"github.com/sandtrap/sandtrap/internal/evidence"
	"github.com/sandtrap/sandtrap/internal/record"
	"github.com/sandtrap/sandtrap/internal/sshd"
	"github.com/sandtrap/sandtrap/internal/transcript"
)

// commands are the lines that are entered on one channel.
type commands struct {
	session  *Session
	channel  int
	recorder *record.Recorder

	mu      sync.Mutex          // guards all below
	tracker *transcript.Tracker // nil where nobody types lines, after the end and after a mistake of ours
	list    []evidence.Command
	omitted int
}

// entered begins to look at a program's terminal.
func (s *Session) entered(p sshd.Program, r *record.Recorder) *commands {
	c := &commands{session: s, channel: p.Channel, recorder: r}
	if types, plain := evidence.TypesLines(p.PTY, p.Kind); types {
		columns, rows := cells(p.Size).Cells()
		c.tracker = transcript.New(transcript.Options{Columns: columns, Rows: rows, Plain: plain})
	}
	return c
}

// output takes what was recorded.
func (c *commands) output(p []byte) {
	c.look(func(t *transcript.Tracker) []transcript.Line { return t.Output(p, time.Now()) })
}

// input takes what was recorded, before the program has it.
func (c *commands) input(p []byte) {
	c.look(func(t *transcript.Tracker) []transcript.Line { return t.Input(p, time.Now()) })
}

func (c *commands) resize(s sshd.Size) {
	c.look(func(t *transcript.Tracker) []transcript.Line {
		t.Resize(cells(s).Cells())
		return nil
	})
}

// close takes what is left, and returns all that is kept.
func (c *commands) close() (list []evidence.Command, omitted int) {
	c.look((*transcript.Tracker).Close)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.tracker = nil
	return c.list, c.omitted
}

// look has the tracker do something and takes the lines it has found. A mistake of ours
// in there ends the looking and nothing else.
func (c *commands) look(do func(*transcript.Tracker) []transcript.Line) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.tracker == nil {
		return
	}
	for _, l := range c.survive(do) {
		c.take(l)
	}
}

func (c *commands) survive(do func(*transcript.Tracker) []transcript.Line) (lines []transcript.Line) {
	defer func() {
		if p := recover(); p != nil {
			c.tracker = nil
			s := c.session
			s.service.Log.Error("following a terminal panicked", "session", s.login.ID, "channel", c.channel, "panic", fmt.Sprint(p), "stack", hclog.Stacktrace())
		}
	}()
	return do(c.tracker)
}

// take keeps a line and tells of it. The bytes of it are recorded by now.
func (c *commands) take(l transcript.Line) {
	c.session.events.Emit(event.CommandInput, event.F("channel", c.channel), event.F("command", l.Text), event.F("echoed", l.Echoed))
	text := "input not echoed"
	if l.Echoed {
		text = "command: " + record.Brief(l.Text)
	}
	_ = c.recorder.Marker(text) // End and the next chunk meet its error again
	if !c.session.fitsCommand(l.Text) {
		c.omitted++
		return
	}
	c.list = append(c.list, evidence.Entered(l))
}

// fitsCommand reports whether the record has room for a line, and takes it.
func (s *Session) fitsCommand(text string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lines.Take(len(text))
}
