// Package attach is the front end's end of a session leader's stream: it logs in,
// starts programs and keeps their streams apart. The other end runs inside a
// target and belongs to the attacker for all that is known here, so whatever it
// sends is bounded and checked, and a leader that breaks the protocol of
// docs/leader-protocol.md is dropped, with its own session and no other.
package attach

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/sandtrap/sandtrap/internal/descriptor"
	"github.com/sandtrap/sandtrap/internal/frame"
)

// Size is a terminal's size in characters and pixels.
type Size = frame.Size

// Account is the account that a login landed in: a line of passwd(5) as the
// leader tells it.
type Account struct {
	Name        string
	UID, GID    uint32
	Home, Shell string // absolute paths
	Made        bool   // it was made for this login
	Baited      bool   // the bait of the login is in its home directory
}

// Exit is how a program ended. Either Signal is set, to a name as in RFC 4254,
// section 6.10, or to "SIG" and a number, or Status counts.
type Exit struct {
	Status     int
	Signal     string
	CoreDumped bool
}

// Program is what to run.
type Program struct {
	User string // an account; a leader runs programs as that of its Login, whatever this says
	Path string // of the file to run, absolute
	Argv []string
	Env  []string // NAME=value, all of it
	Dir  string   // working directory
	// PTY asks for a terminal of Size with Modes, encoded as in RFC 4254, section 8.
	PTY        bool
	Size       Size
	Modes      string
	LoginShell bool // see frame.OpenMessage
	Subsystem  bool // the same
}

// Stream is a running program with its standard streams. Its methods may be
// called concurrently, though each by one caller at a time. When the leader is
// gone all of them end with its error.
type Stream interface {
	// Write sends to standard input, and waits while the program does not read.
	// CloseWrite ends standard input.
	Write(p []byte) (int, error)
	CloseWrite() error
	// CloseRead ends standard output for the program, as when a pipe's reader goes;
	// Copy goes on with standard error. It changes nothing for a terminal.
	CloseRead() error
	// Copy hands on output until it has ended, and returns nil then. The slices
	// are valid during the call; on a terminal all goes to stdout, else stdout and
	// stderr are called concurrently. An error of one of them ends Copy.
	Copy(stdout, stderr func([]byte) error) error
	// Exited is closed when Wait would not block.
	Exited() <-chan struct{}
	// Wait returns how the program ended. Output may still come then.
	Wait(ctx context.Context) (Exit, error)
	Resize(ctx context.Context, s Size) error
	// Signal takes a name without SIG, as in RFC 4254, section 6.9.
	Signal(ctx context.Context, name string) error
	// Close hangs up and forgets the program, which may run on. It does not block.
	Close() error
}

// ErrClosed is the error of what Close has ended.
var ErrClosed = errors.New("closed")

// Refused is the error of a Login or Start that the leader has answered with no.
type Refused struct{ Text string } // hostile text, at most 4 KiB

func (r *Refused) Error() string { return fmt.Sprintf("leader refuses: %.200q", r.Text) }

// maxPings bounds how many answers to Ping are awaited at once.
const maxPings = 16

// Leader is a session leader. Its methods are safe for concurrent use.
type Leader struct {
	conn     *conn
	done     chan struct{}
	patience time.Duration // with the start of a program

	mu       sync.Mutex // guards all below
	err      error      // why the leader is gone
	pings    []chan struct{}
	login    chan loginAnswer // nil before Login
	answered bool             // to Login
	last     uint16           // the highest channel number used
	channels map[uint16]*channel
	late     int // frames that may still come for closed channels
	capture  *capture
}

type loginAnswer struct {
	account Account
	err     error
}

// Connect waits until the leader at the other end of stream, a unix(7) socket of
// type SOCK_STREAM, has answered. The stream belongs to it from now on.
func Connect(ctx context.Context, stream *net.UnixConn) (*Leader, error) {
	c, err := newConn(stream)
	if err != nil {
		return nil, fmt.Errorf("connect to leader: %w", err)
	}
	l := &Leader{conn: c, done: make(chan struct{}), patience: startTimeout, channels: map[uint16]*channel{}}
	go l.serve()
	hello := frame.HelloMessage{Version: frame.Version}
	err = c.send(frame.Frame{Type: frame.Hello, Payload: hello.Encode()})
	if err == nil {
		err = l.Ping(ctx)
	}
	if err != nil {
		_ = l.Close()
		return nil, fmt.Errorf("connect to leader: %w", err)
	}
	return l, nil
}

// serve handles what the leader sends until it is gone.
func (l *Leader) serve() {
	defer close(l.done)
	l.conn.close(frame.FromLeader(l.conn).Serve(l.handle))
	descriptor.Close(l.conn.take())
	l.conn.writer.Wait()
	cause := l.conn.reason()
	l.mu.Lock()
	l.err = cause
	channels := l.channels
	l.channels = nil
	l.mu.Unlock()
	for _, c := range channels {
		c.end(cause)
	}
}

// Ping asks the leader whether it is alive, and waits for the answer.
func (l *Leader) Ping(ctx context.Context) error {
	pong := make(chan struct{})
	l.mu.Lock()
	if len(l.pings) == maxPings {
		l.mu.Unlock()
		return errors.New("ping leader: it does not answer")
	}
	l.pings = append(l.pings, pong)
	l.mu.Unlock()
	if err := l.conn.send(frame.Frame{Type: frame.Ping}); err != nil {
		return fmt.Errorf("ping leader: %w", err)
	}
	select {
	case <-pong:
		return nil
	case <-l.done:
		return fmt.Errorf("ping leader: %w", l.Err())
	case <-ctx.Done():
		return fmt.Errorf("ping leader: %w", context.Cause(ctx))
	}
}

// Login tells the leader who the attacker is, once. The account that comes back
// has been checked: all its fields could stand in passwd(5).
func (l *Leader) Login(ctx context.Context, m frame.LoginMessage) (Account, error) {
	payload := m.Encode()
	answer := make(chan loginAnswer, 1)
	l.mu.Lock()
	if l.login != nil {
		l.mu.Unlock()
		return Account{}, errors.New("log in: a leader takes one login")
	}
	l.login = answer
	l.mu.Unlock()
	if err := l.conn.send(frame.Frame{Type: frame.Login, Payload: payload}); err != nil {
		return Account{}, fmt.Errorf("log in: %w", err)
	}
	select {
	case a := <-answer:
		if a.err != nil {
			return Account{}, fmt.Errorf("log in: %w", a.err)
		}
		return a.account, nil
	case <-l.done:
		return Account{}, fmt.Errorf("log in: %w", l.Err())
	case <-ctx.Done():
		return Account{}, fmt.Errorf("log in: %w", context.Cause(ctx))
	}
}

// startTimeout is how long a leader has to start a program. It lies within the
// target, so that it may be made to take for ever.
const startTimeout = 15 * time.Second

// Start runs a program and returns once it runs. The caller must Close what it
// gets.
func (l *Leader) Start(ctx context.Context, p Program) (Stream, error) {
	ctx, cancel := context.WithTimeout(ctx, l.patience)
	defer cancel()
	m := frame.OpenMessage{
		Path: p.Path, Argv: p.Argv, Env: p.Env, Dir: p.Dir,
		PTY: p.PTY, Size: p.Size, Modes: p.Modes, LoginShell: p.LoginShell, Subsystem: p.Subsystem,
	}
	payload := m.Encode()
	if len(payload) > frame.MaxPayload {
		return nil, errors.New("start program: arguments and environment are too long")
	}
	c, err := l.open(p.PTY)
	if err != nil {
		return nil, fmt.Errorf("start program: %w", err)
	}
	err = l.conn.send(frame.Frame{Type: frame.Open, Channel: c.number, Payload: payload})
	if err == nil {
		err = c.waitOpened(ctx)
	}
	if err != nil {
		_ = c.Close()
		return nil, fmt.Errorf("start program: %w", err)
	}
	return c, nil
}

// open registers a channel.
func (l *Leader) open(pty bool) (*channel, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil {
		return nil, l.err
	}
	if l.last == frame.MaxChannel {
		return nil, errors.New("all channel numbers are used up")
	}
	l.last++
	c := newChannel(l, l.last, pty)
	l.channels[c.number] = c
	return c, nil
}

// Done is closed when the leader is gone for good.
func (l *Leader) Done() <-chan struct{} { return l.done }

// Err is why the leader is gone, nil while it is there.
func (l *Leader) Err() error {
	select {
	case <-l.done:
		return l.err // not written any more
	default:
		return nil
	}
}

// Close hangs up: the leader ends its programs and itself. Everything that waits
// for it ends with ErrClosed.
func (l *Leader) Close() error {
	l.conn.close(ErrClosed)
	<-l.done
	return nil
}
