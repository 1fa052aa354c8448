package sshd

import (
	"context"
	"path"
	"sync"

	"golang.org/x/crypto/ssh"

	"github.com/sandtrap/sandtrap/internal/event"
)

// channel is one session channel (RFC 4254, section 6): first requests that set
// the stage, then one that starts a program, then the program's life.
type channel struct {
	conn    *connection
	session Session
	ssh     ssh.Channel
	events  *event.Emitter
	program Program

	envBytes int
	running  Running   // nil until a program was started
	resize   chan Size // holds the newest size that the program has not taken yet
	signals  chan string
	wg       sync.WaitGroup
}

func newChannel(c *connection, s Session, number int, ch ssh.Channel) *channel {
	return &channel{conn: c, session: s, ssh: ch, events: c.events, program: Program{Channel: number}, resize: make(chan Size, 1), signals: make(chan string, maxSignals)}
}

// serve handles requests in the order in which they come until the client, or
// the program's end, closes the channel.
func (c *channel) serve(ctx context.Context, requests <-chan *ssh.Request) {
	ctx, cancel := context.WithCancel(ctx)
	c.session.Prepare(ctx, true)
	c.events.Emit(event.ChannelOpen, event.F("channel", c.program.Channel), event.F("channel_type", "session"))
	for r := range requests {
		accepted := c.request(ctx, r)
		_ = r.Reply(accepted, nil)
		if accepted && startsProgram(r.Type) {
			c.afterStart(ctx, cancel)
		}
	}
	cancel() // the client closed the channel: whatever runs has lost its streams
	c.wg.Wait()
	c.ssh.Close()
}

func startsProgram(request string) bool {
	return request == Shell || request == Exec || request == Subsystem
}

// request handles one request and says whether it succeeded.
func (c *channel) request(ctx context.Context, r *ssh.Request) bool {
	switch r.Type {
	case "pty-req":
		return c.ptyReq(r)
	case "env":
		return c.env(r)
	case "window-change":
		return c.windowChange(r)
	case "signal":
		return c.signal(r)
	case Shell, Exec, Subsystem:
		return c.start(ctx, r)
	default:
		c.report(r, false, event.F("payload", head(r.Payload)))
		return false
	}
}

// report writes the event of a request that starts nothing.
func (c *channel) report(r *ssh.Request, accepted bool, more ...event.Field) {
	if !c.conn.mayChat() {
		return
	}
	fields := append([]event.Field{event.F("channel", c.program.Channel), event.F("request", r.Type), event.F("accepted", accepted)}, more...)
	c.events.Emit(event.ChannelRequest, fields...)
}

func (c *channel) ptyReq(r *ssh.Request) bool {
	var m ptyRequest
	if ssh.Unmarshal(r.Payload, &m) != nil || !isVariable("TERM", m.Term) || c.program.PTY || c.running != nil {
		c.report(r, false, event.F("payload", head(r.Payload)))
		return false
	}
	c.program.PTY, c.program.Term, c.program.Size, c.program.Modes = true, m.Term, Size{m.Columns, m.Rows}, m.Modes
	c.report(r, true, event.F("term", head([]byte(m.Term))), event.F("columns", m.Columns), event.F("rows", m.Rows))
	return true
}

// maxEnv and maxEnvBytes bound what a client may put into the environment; sshd
// refuses a variable when it has more than 128.
const (
	maxEnv      = 129
	maxEnvBytes = 64 << 10
)

// env lets a variable in where AcceptEnv matches its name; sshd refuses the
// others in the same way.
func (c *channel) env(r *ssh.Request) bool {
	var m envRequest
	ok := ssh.Unmarshal(r.Payload, &m) == nil && c.running == nil && c.mayEnter(m)
	if ok {
		c.program.Env = append(c.program.Env, m.Name+"="+m.Value)
		c.envBytes += len(m.Name) + len(m.Value)
	}
	c.report(r, ok, event.F("name", head([]byte(m.Name))), event.F("value", head([]byte(m.Value))))
	return ok
}

func (c *channel) mayEnter(m envRequest) bool {
	if len(c.program.Env) >= maxEnv || c.envBytes+len(m.Name)+len(m.Value) > maxEnvBytes || !isVariable(m.Name, m.Value) {
		return false
	}
	for _, pattern := range c.conn.server.cfg.AcceptEnv {
		if ok, err := path.Match(pattern, m.Name); ok && err == nil {
			return true
		}
	}
	return false
}

// windowChange leaves a new size for the running program, in place of one that it
// has not taken yet. It never waits: the library reads nothing more from the
// connection, not even its end, while requests pile up here.
func (c *channel) windowChange(r *ssh.Request) bool {
	var m windowChange
	if ssh.Unmarshal(r.Payload, &m) != nil || !c.program.PTY {
		c.report(r, false, event.F("payload", head(r.Payload)))
		return false
	}
	size := Size{m.Columns, m.Rows}
	if c.running == nil {
		c.program.Size = size
		return true
	}
	select {
	case <-c.resize:
	default:
	}
	c.resize <- size // there is room: nobody else sends
	return true
}

// maxSignals bounds the signals that a program has not taken yet.
const maxSignals = 16

// signal leaves a signal for the running program (RFC 4254, section 6.9). Like
// windowChange it never waits: signals that come faster than they can be
// delivered are refused.
func (c *channel) signal(r *ssh.Request) bool {
	var m signalRequest
	ok := ssh.Unmarshal(r.Payload, &m) == nil && c.running != nil && len(m.Signal) <= maxSignalName
	if ok {
		select {
		case c.signals <- m.Signal:
		default:
			ok = false
		}
	}
	c.report(r, ok, event.F("payload", head(r.Payload)))
	return ok
}

// maxSignalName is more than any name has, in bytes.
const maxSignalName = 64

// sftpSubsystem is the one that Debian's sshd_config(5) configures.
const sftpSubsystem = "sftp"

// start starts the program that r asks for.
func (c *channel) start(ctx context.Context, r *ssh.Request) bool {
	program := c.program
	program.Kind = r.Type
	if r.Type != Shell {
		var m commandRequest
		if ssh.Unmarshal(r.Payload, &m) != nil {
			c.report(r, false, event.F("payload", head(r.Payload)))
			return false
		}
		program.Command = m.Command
	}
	if !isSafe(program.Command) {
		c.report(r, false, event.F("payload", head(r.Payload)))
		c.conn.drop("malformed request")
		return false
	}
	// One program a channel: RFC 4254, section 6.5.
	if c.running != nil || r.Type == Subsystem && program.Command != sftpSubsystem {
		c.report(r, false, event.F("payload", head(r.Payload)))
		return false
	}
	running, err := c.session.Start(ctx, program)
	if err != nil {
		c.conn.server.cfg.Log.Warn("cannot start a program", "session", c.conn.id, "channel", program.Channel, "error", err)
		c.events.Emit(event.SessionFail, event.F("stage", program.Kind), event.F("error", err.Error()))
		return false
	}
	c.running = running
	return true
}

// afterStart lets the program's bytes flow; the client has its reply by now.
func (c *channel) afterStart(ctx context.Context, cancel context.CancelFunc) {
	c.wg.Go(func() {
		defer c.conn.survive()
		defer cancel()
		defer c.ssh.Close() // where the program could not say how it ended
		err := c.running.Serve(ctx, Stream{
			Stdin: c.ssh.Read, Stdout: c.ssh.Write, Stderr: c.ssh.Stderr().Write, Resize: c.resize, Signals: c.signals,
			Exit: c.exit, End: c.end,
		})
		if err != nil {
			c.conn.server.cfg.Log.Debug("program was cut short", "session", c.conn.id, "channel", c.program.Channel, "error", err)
		}
	})
}

// exit tells the client how the program ended (RFC 4254, section 6.10).
func (c *channel) exit(e Exit) {
	if e.Signal == "" {
		_, _ = c.ssh.SendRequest("exit-status", false, ssh.Marshal(exitStatus{uint32(e.Status)}))
		return
	}
	_, _ = c.ssh.SendRequest("exit-signal", false, ssh.Marshal(exitSignal{Signal: wireSignal(e.Signal), CoreDumped: e.CoreDumped}))
}

// end tells the client that no more comes (RFC 4254, section 5.3). The client
// answers in kind, which ends the request loop.
func (c *channel) end() {
	_ = c.ssh.CloseWrite()
	c.ssh.Close()
}
