package sshd

import (
	"context"
	"strings"
	"sync"
	"sync/atomic"
	"time"

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

	envs, envBytes    int                    // what was let in
	display           int                    // of X11, with program.Display
	then              func()                 // what a request leads to once it was answered, if anything
	running           Running                // nil until a program was started
	started           atomic.Pointer[string] // its type, the same
	exited            atomic.Bool            // the program has ended
	resize            chan Size              // holds the newest size that the program has not taken yet
	signals           chan string
	enough            chan struct{} // closed when the client wants no more output
	idle              *idle
	cut               atomic.Pointer[string] // why we ended it, when we did
	noInput, noOutput sync.Once              // done when the client knows, or has ended its input
	deaf              atomic.Bool            // so it was
	wg                sync.WaitGroup
}

func newChannel(c *connection, s Session, number int, ch ssh.Channel) *channel {
	return &channel{
		conn: c, session: s, ssh: ch, events: c.events, program: Program{Channel: number},
		resize: make(chan Size, 1), signals: make(chan string, maxSignals), enough: make(chan struct{}),
	}
}

// serve handles requests in the order in which they come until the client, or
// the program's end, closes the channel.
// closed is called, perhaps twice, when the channel no longer counts as open, with the
// time when something was heard last.
func (c *channel) serve(ctx context.Context, requests <-chan *ssh.Request, closed func(time.Time)) {
	ctx, cancel := context.WithCancel(ctx)
	defer c.freeDisplay()
	c.idle = newIdle(c.conn.server.cfg.silence(typeSession), func(last time.Time) {
		defer c.conn.survive()
		c.timeOut(last, cancel, closed)
	})
	defer c.idle.stop()
	c.session.Prepare(ctx, true)
	c.events.Emit(event.ChannelOpen, event.F("channel", c.program.Channel), event.F("channel_type", "session"))
	for r := range requests {
		c.then = nil
		_ = r.Reply(c.request(ctx, r), nil)
		if c.then != nil {
			c.then()
		}
	}
	cancel() // the client closed the channel: whatever runs has lost its streams
	c.wg.Wait()
}

// timeOut ends the channel as sshd ends one that was silent for too long
// (channels.c, channel_force_close): what runs loses its streams, and the client hears
// of no exit. A client that does not read keeps nothing open.
func (c *channel) timeOut(last time.Time, cancel func(), closed func(time.Time)) {
	reason := silent
	c.cut.Store(&reason)
	c.events.Emit(event.ChannelTimeout, event.F("channel", c.program.Channel), event.F("channel_type", c.channelType()),
		event.F("silence_ms", time.Since(last).Milliseconds()))
	cancel()
	if heard := time.Unix(0, c.conn.traffic.last.Load()); heard.After(last) { // an answer to a keepalive
		last = heard
	}
	closed(last)
	c.conn.wire.together(func() {
		c.endOutput()
		c.endInput()
		c.ssh.Close()
	})
}

// channelType is what a ChannelTimeout knows it as.
func (c *channel) channelType() string {
	if kind := c.started.Load(); kind != nil {
		return *kind
	}
	return typeSession
}

// ended is Stream.Ended.
func (c *channel) ended() string {
	if cut := c.cut.Load(); cut != nil {
		return *cut
	}
	return c.conn.why("")
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
	case "break":
		return c.breakRequest(r)
	case endOfWrite:
		return c.enoughOutput(r)
	case "x11-req":
		return c.x11(r)
	case "auth-agent-req@openssh.com":
		return c.agent(r)
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

// refuse reports a request that gets no for an answer.
func (c *channel) refuse(r *ssh.Request) bool {
	c.report(r, false, event.F("payload", head(r.Payload)))
	return false
}

// malformed is the end of a connection whose client sends what cannot be read.
// sshd says nothing either.
func (c *channel) malformed(r *ssh.Request) bool {
	c.refuse(r)
	c.conn.drop("malformed request")
	return false
}

// ptyReq notes what terminal the program will have. A second one is a violation
// for sshd.
func (c *channel) ptyReq(r *ssh.Request) bool {
	var m ptyRequest
	switch {
	case c.running != nil:
		return c.refuse(r)
	case c.program.PTY, !decode(r.Payload, &m, &m.Term), !wholeModes(m.Modes):
		return c.malformed(r)
	}
	c.program.PTY, c.program.Term, c.program.Size, c.program.Modes = true, m.Term, m.size(), m.Modes
	c.report(r, true, event.F("term", head([]byte(m.Term))), event.F("columns", m.Columns), event.F("rows", m.Rows))
	return true
}

// maxEnv is sshd's bound of the variables of a channel, maxEnvBytes ours of their
// names and values: with the longest command they must fit what takes them to the
// target.
const (
	maxEnv      = 129
	maxEnvBytes = 192 << 10
)

// env lets a variable in where AcceptEnv matches its name; sshd refuses the
// others in the same way.
func (c *channel) env(r *ssh.Request) bool {
	var m envRequest
	if c.running != nil {
		return c.refuse(r)
	}
	if !decode(r.Payload, &m, &m.Name, &m.Value) {
		return c.malformed(r)
	}
	ok := c.mayEnter(m)
	if ok {
		c.envs++
		c.envBytes += len(m.Name) + len(m.Value)
	}
	if ok && m.Name != "" && !strings.Contains(m.Name, "=") { // sshd says yes and leaves it out, too
		c.program.Env = append(c.program.Env, m.Name+"="+m.Value)
	}
	c.report(r, ok, event.F("name", head([]byte(m.Name))), event.F("value", head([]byte(m.Value))))
	return ok
}

func (c *channel) mayEnter(m envRequest) bool {
	if c.envs >= maxEnv || c.envBytes+len(m.Name)+len(m.Value) > maxEnvBytes {
		return false
	}
	for _, pattern := range c.conn.server.cfg.AcceptEnv {
		if matches(m.Name, pattern) {
			return true
		}
	}
	return false
}

// windowChange leaves a new size for the running program, in place of one that it
// has not taken yet. It never waits: the library reads nothing more from the
// connection, not even its end, while requests pile up here. sshd says yes also
// where there is no terminal.
func (c *channel) windowChange(r *ssh.Request) bool {
	var m windowChange
	if !decode(r.Payload, &m) {
		return c.malformed(r)
	}
	switch {
	case !c.program.PTY:
		c.report(r, true, event.F("payload", head(r.Payload)))
		return true
	case c.running == nil:
		c.program.Size = m.size()
		return true
	}
	c.then = func() {
		select {
		case <-c.resize:
		default:
		}
		c.resize <- m.size() // there is room: nobody else sends
	}
	return true
}

// maxSignals bounds the signals that a program has not taken yet.
const maxSignals = 16

// signal leaves a signal for the running program (RFC 4254, section 6.9). Like
// windowChange it never waits: signals that come faster than they can be
// delivered are refused.
func (c *channel) signal(r *ssh.Request) bool {
	var m signalRequest
	ok := decode(r.Payload, &m, &m.Signal) && takenSignal(m.Signal) && len(c.signals) < maxSignals &&
		c.running != nil && !c.exited.Load() && c.running.TakesSignals()
	if ok {
		c.then = func() { c.signals <- m.Signal } // there is room: nobody else sends
	}
	c.report(r, ok, event.F("payload", head(r.Payload)))
	return ok
}

// enoughOutput hears that the client wants no more output; it has no reply. See
// PROTOCOL of OpenSSH, section 2.1.
func (c *channel) enoughOutput(r *ssh.Request) bool {
	if len(r.Payload) > 0 {
		return c.malformed(r)
	}
	c.report(r, true)
	if c.running != nil && c.deaf.CompareAndSwap(false, true) {
		close(c.enough)
	}
	return false
}

// sftp is the one subsystem of Debian's sshd_config(5).
const sftp = "sftp"

// start starts the program that r asks for.
func (c *channel) start(ctx context.Context, r *ssh.Request) bool {
	program := c.program
	program.Kind, program.AuthSock = r.Type, c.conn.agent.socket()
	var m commandRequest
	switch {
	case c.running != nil, c.cut.Load() != nil: // one program a channel: RFC 4254, section 6.5
		return c.refuse(r)
	case r.Type == Shell:
		if len(r.Payload) > 0 {
			return c.malformed(r)
		}
	case !decode(r.Payload, &m, &m.Command):
		return c.malformed(r)
	case r.Type == Subsystem && m.Command != sftp:
		return c.refuse(r)
	}
	program.Command = m.Command
	running, err := c.session.Start(ctx, program)
	if err != nil {
		c.conn.failed("cannot start a program", program.Kind, err)
		return false
	}
	c.running = running
	kind := typeOf(program)
	c.started.Store(&kind)
	c.idle.allow(c.conn.server.cfg.silence(kind))
	c.then = func() { c.serveProgram(ctx) } // the client has its reply by then
	return true
}

// serveProgram lets the program's bytes flow.
func (c *channel) serveProgram(ctx context.Context) {
	c.wg.Go(func() {
		defer c.conn.survive()
		defer c.endUnsaid()
		err := c.running.Serve(ctx, Stream{
			Stdin: c.hear(c.stdin), Stdout: c.hear(c.ssh.Write), Stderr: c.hear(c.ssh.Stderr().Write), Resize: c.resize, Signals: c.signals,
			Enough: c.enough, EndInput: c.endInput, Exit: c.exit, EndOutput: c.endOutput, Together: c.conn.wire.together, End: c.end, Ended: c.ended,
		})
		if err != nil {
			c.conn.server.cfg.Log.Debug("program was cut short", "session", c.conn.id, "channel", c.program.Channel, "error", err)
		}
	})
}

// hear notes what goes through, for the channel's timeout.
func (c *channel) hear(move func([]byte) (int, error)) func([]byte) (int, error) {
	return func(p []byte) (int, error) {
		n, err := move(p)
		if n > 0 {
			c.idle.heard()
		}
		return n, err
	}
}

// exit tells the client how the program ended (RFC 4254, section 6.10).
func (c *channel) exit(e Exit) {
	c.exited.Store(true)
	if e.Signal == "" {
		_, _ = c.ssh.SendRequest("exit-status", false, ssh.Marshal(exitStatus{uint32(e.Status)}))
		return
	}
	_, _ = c.ssh.SendRequest("exit-signal", false, ssh.Marshal(exitSignal{Signal: wireSignal(e.Signal), CoreDumped: e.CoreDumped}))
}

// stdin is Stream.Stdin.
func (c *channel) stdin(p []byte) (int, error) {
	n, err := c.ssh.Read(p)
	if err != nil {
		c.noInput.Do(func() {}) // the client has ended it
	}
	return n, err
}

// endInput tells the client, once, that nobody reads its input any more. sshd tells
// only OpenSSH's.
func (c *channel) endInput() {
	c.noInput.Do(func() {
		if knowsEndOfWrite(c.conn.version) {
			_, _ = c.ssh.SendRequest(endOfWrite, false, nil)
		}
	})
}

// endOutput tells the client, once, that no more output comes (RFC 4254, section 5.3),
// unless it wants none.
func (c *channel) endOutput() {
	c.noOutput.Do(func() {
		if !c.deaf.Load() {
			_ = c.ssh.CloseWrite()
		}
	})
}

// endUnsaid closes the channel where the program could not say how it ended. One that
// was silent for too long is closed by timeOut, in sshd's words, which may come later.
func (c *channel) endUnsaid() {
	if c.cut.Load() == nil {
		c.ssh.Close()
	}
}

// end closes the channel. The client answers in kind, which ends the request loop.
func (c *channel) end() { c.ssh.Close() }
