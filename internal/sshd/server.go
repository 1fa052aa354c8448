// Package sshd speaks SSH to attackers: it accepts connections, shakes hands,
// asks a policy about credentials and turns session channels into programs to
// run. It knows nothing of containers: programs are run by the Session that Open
// returns.
package sshd

import (
	"context"
	"crypto/rand"
	"errors"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/crypto/ssh"

	"github.com/sandtrap/sandtrap/internal/admission"
	"github.com/sandtrap/sandtrap/internal/auth"
	"github.com/sandtrap/sandtrap/internal/event"
	"github.com/sandtrap/sandtrap/internal/tarpit"
)

// Config is what a Server needs. The names of the settings are sshd_config(5)'s.
type Config struct {
	Version        string // software version in the identification string, RFC 4253 section 4.2
	HostKeys       []ssh.Signer
	KexAlgorithms  []string
	Ciphers        []string
	MACs           []string
	LoginGraceTime time.Duration // from TCP accept to the end of authentication
	MaxAuthTries   int
	Banner         string        // sent at the first attempt, RFC 4252 section 5.4; empty for none
	PasswordTime   time.Duration // how long the check of a password takes, see hashing
	FailDelay      time.Duration // how much longer the answer to a wrong one takes, see failDelay
	// What a client may try.
	PasswordAuthentication, KbdInteractiveAuthentication, PubkeyAuthentication bool
	MaxSessions                                                                int // session channels open at once on a connection
	AcceptEnv                                                                  []string
	Forwarding                                                                 Forwarding

	ClientAliveInterval time.Duration // of silence before a client is asked; 0 never asks
	ClientAliveCountMax int           // questions without an answer; 0 never ends a connection

	ChannelTimeouts         []ChannelTimeout // ChannelTimeout of sshd_config(5)
	UnusedConnectionTimeout time.Duration    // without an open channel; 0 for ever
	MaxTime                 time.Duration    // of a session, from the login on; 0 for ever

	// Admission says who is served at all, and Tarpit holds some of the others; nil
	// holds nobody.
	Admission *admission.Gate
	Tarpit    *tarpit.Tarpit
	// About tells what is known of a source, for the event of its connection; nil tells
	// nothing.
	About func(netip.Addr) []event.Field

	// Policy returns the policy for a new connection, so that a reload reaches it.
	Policy func() Policy
	// Open begins the session of a connection whose credential was accepted. Its
	// error ends the connection.
	Open   func(context.Context, Login) (Session, error)
	Events *event.Emitter
	// EventLimits bound the events of one connection.
	EventLimits event.Limits
	Log         hclog.Logger
}

// Policy answers attempts, and may remember them.
type Policy interface {
	Decide(auth.Attempt) auth.Decision
}

// Login is an authenticated connection as the session sees it.
type Login struct {
	ID            string // ULID of the connection
	Opened        time.Time
	Source, Local netip.AddrPort
	ClientVersion string
	KexInit       *KexInit
	Attempts      []Tried        // every attempt, the accepted one last
	Events        *event.Emitter // bound to this connection
	// End ends the connection as a server does that was killed. The reason is for
	// the record.
	End func(reason string)
}

// User is the name the client logged in with.
func (l Login) User() string { return l.Accepted().User }

// Accepted is the attempt that was let in.
func (l Login) Accepted() Tried { return l.Attempts[len(l.Attempts)-1] }

// Tried is an attempt with what came of it.
type Tried struct {
	auth.Attempt
	Time     time.Time
	Accepted bool
	Reason   string
	Rule     string // that has decided, "" for none
	KeyState string // KeyOffered or KeyVerified, for a key
	// Honeytoken is set when the credential is marked.
	Honeytoken *auth.Honeytoken
}

// ErrReported is in the chain of an error of a Session of which an event has told, so
// that none is wanted for each who is refused.
var ErrReported = errors.New("reported once")

// Session runs what the channels of one connection ask for.
type Session interface {
	// Prepare says that programs are to be expected; wanted, that a channel for one is
	// open. It does not wait.
	Prepare(ctx context.Context, wanted bool)
	// Start starts a program. The reply to the client's request waits for it.
	Start(context.Context, Program) (Running, error)
	// Forward begins the record of a forward that leads nowhere.
	Forward(context.Context, Forward) (Sink, error)
	// Leave says that the connection is gone. What is served then may go on for a
	// moment; Close comes after it.
	Leave()
	// Close ends the session when its connection is gone. reason is for the
	// record.
	Close(reason string)
}

// Running is a program that was started.
type Running interface {
	// TakesSignals reports whether sshd would deliver a client's signals to the
	// program; RFC 4254, section 6.9.
	TakesSignals() bool
	// Serve moves bytes until no more can come, and tells the Stream how the
	// program ended. It returns when the program's evidence is complete, which
	// may be later than the end of the channel. Its error is for the record.
	Serve(context.Context, Stream) error
}

// Exit is how a program ended; RFC 4254, section 6.10.
type Exit struct {
	Status     int
	Signal     string // without SIG; when not empty, it counts and not Status
	CoreDumped bool
}

// Kinds of programs, after the requests of RFC 4254 section 6.5.
const (
	Shell     = "shell"
	Exec      = "exec"
	Subsystem = "subsystem"
)

// Program is what a session channel asked for.
type Program struct {
	Channel int      // number of the channel in this connection, from 0
	Kind    string   // Shell, Exec or Subsystem
	Command string   // of Exec, or the name of the Subsystem; hostile
	Env     []string // NAME=value as far as AcceptEnv lets it in; hostile
	PTY     bool
	Term    string // TERM; hostile
	Size    Size
	Modes   string // encoded terminal modes, RFC 4254 section 8; hostile

	AuthSock string // SSH_AUTH_SOCK, empty where no agent is forwarded
	Display  string // DISPLAY, the same for X11
}

// Size is a terminal's size in characters and in pixels, as the client claims it.
type Size struct{ Columns, Rows, Width, Height uint32 }

// Stream connects a program with its channel. Stdin ends with io.EOF when the
// client has sent EOF.
type Stream struct {
	Stdin  func([]byte) (int, error)
	Stdout func([]byte) (int, error)
	Stderr func([]byte) (int, error)
	Resize <-chan Size
	// Signals are the names that the client asks to deliver; RFC 4254, section
	// 6.9. Hostile.
	Signals <-chan string
	// Enough is closed when the client wants no more standard output.
	Enough <-chan struct{}
	// EndInput tells the client, once, that the program takes no more input, unless
	// the input has ended.
	EndInput func()
	// Exit tells the client how the program ended. Output may still follow.
	Exit func(Exit)
	// EndOutput tells the client, once, that no more output comes. The program may go
	// on.
	EndOutput func()
	// Together calls a function that tells the client several things, and sends them at
	// once.
	Together func(func())
	// End closes the channel.
	End func()
	// Ended says why we have ended the channel or its connection, and nothing as long
	// as we have not.
	Ended func() string
}

// Server accepts connections on any number of listeners.
type Server struct {
	cfg      Config
	hostKeys []ssh.Signer // one for each algorithm that we offer
	hashing  hashing
	sinks    atomic.Int64 // forwards open on all connections
	denials  denials
	refusal  string       // what sshd says to whom it does not serve
	headers  atomic.Int64 // connections that have still to tell whom they speak for
	secret   [16]byte     // of leastTime

	mu       sync.Mutex // guards all below
	closing  bool
	conns    map[*connection]struct{}
	serving  int // accept loops that run
	finished sync.WaitGroup
}

// New returns a server that serves nothing yet.
func New(cfg Config) *Server {
	s := &Server{cfg: cfg, hostKeys: forAlgorithms(cfg.HostKeys), hashing: hashing{each: cfg.PasswordTime}, conns: map[*connection]struct{}{}, refusal: refusalBy(cfg.Version)}
	s.denials.events, s.denials.limits = cfg.Events, cfg.EventLimits
	_, _ = rand.Read(s.secret[:]) // it never fails
	return s
}

// ErrClosed is returned by Serve after Shutdown.
var ErrClosed = errors.New("server closed")

// acceptPause is the wait after an error of accept(2) such as EMFILE, doubled up
// to the longest: without it the loop would spin.
const (
	acceptPause        = 5 * time.Millisecond
	acceptPauseLongest = time.Second
)

// Serve accepts connections on l until Shutdown closes it. ctx ends every
// connection.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	s.count(+1)
	defer s.count(-1)
	stop := context.AfterFunc(ctx, func() { l.Close() })
	defer stop()
	pause := acceptPause
	for {
		c, err := l.Accept()
		if err == nil {
			pause = acceptPause
			s.accepted(ctx, c)
			continue
		}
		if errors.Is(err, net.ErrClosed) || ctx.Err() != nil {
			return ErrClosed
		}
		s.cfg.Log.Warn("cannot accept a connection", "error", err)
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
		pause = min(2*pause, acceptPauseLongest)
	}
}

func (s *Server) count(n int) {
	s.mu.Lock()
	s.serving += n
	s.mu.Unlock()
}

func (s *Server) forget(c *connection) {
	c.raw.Close()
	s.mu.Lock()
	delete(s.conns, c)
	s.mu.Unlock()
}

// Connections is the number of connections being served.
func (s *Server) Connections() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.conns)
}

// Accepting reports whether n accept loops run.
func (s *Server) Accepting(n int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.serving == n
}

// Shutdown waits for the connections to end by themselves until ctx ends, then
// closes them, and returns when all are gone. The caller closes the listeners.
func (s *Server) Shutdown(ctx context.Context) {
	s.mu.Lock()
	s.closing = true
	s.mu.Unlock()
	if s.cfg.Tarpit != nil {
		s.cfg.Tarpit.Close()
	}
	defer s.denials.settle()
	done := make(chan struct{})
	go func() {
		s.finished.Wait()
		close(done)
	}()
	select {
	case <-done:
		return
	case <-ctx.Done():
	}
	s.mu.Lock()
	for c := range s.conns {
		c.drop(serviceStops)
	}
	s.mu.Unlock()
	<-done
}
