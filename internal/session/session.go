// Package session is the story of one attacker, from the accepted credential to
// closed evidence: a directory is opened, a target leased at the first channel
// that needs one, every channel's bytes recorded on their way, and at the end the
// target is stopped and linked to what was recorded.
package session

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"path"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/crypto/ssh"

	"github.com/sandtrap/sandtrap/internal/event"
	"github.com/sandtrap/sandtrap/internal/evidence"
	"github.com/sandtrap/sandtrap/internal/history"
	"github.com/sandtrap/sandtrap/internal/pool"
	"github.com/sandtrap/sandtrap/internal/record"
	"github.com/sandtrap/sandtrap/internal/sshd"
	"github.com/sandtrap/sandtrap/internal/transfer"
)

// Service opens sessions.
type Service struct {
	Pool     *pool.Pool
	Store    *evidence.Store
	MaxBytes int64 // recorded bytes a channel
	// ForwardMaxBytes is what the recording of a forward may take on disk.
	ForwardMaxBytes int64
	MaxSessionBytes int64         // recorded bytes of a session; 0 for no limit
	Space           *record.Space // where the store is; nil for any
	Transfers       transfer.Limits
	// Bait makes what is planted in the target of a session: without a password nothing is.
	Bait func(session string) (history.Bait, error)
	// Planted is told, at the end of each session, how to find the keys that would let
	// its source in again; nil where nobody wants to know.
	Planted func(from netip.Addr, keys func() []ssh.PublicKey)
	// Capture is of what is left in targets; nil for nothing.
	Capture *Capture
	// Seal is told of the directory of a session that is closed; nil for nobody.
	Seal func(dir string)
	// Origin tells what is known of a source; nil knows nothing.
	Origin func(netip.Addr) *evidence.Origin
	Log    hclog.Logger

	live live
}

// The record of a session must stay within what can be read back: these bound
// the attacker's text in it, in bytes. As JSON a byte may take six.
const (
	maxAttemptText  = 512 << 10
	maxProgramText  = 1 << 20
	maxTransferText = 384 << 10
)

// errTooMuchText refuses a program beyond maxProgramText.
var errTooMuchText = errors.New("commands and environment of this session are too long in all")

// releaseTimeout bounds the stop of a session's target; what is not done by then
// is left to the pool.
const releaseTimeout = 30 * time.Second

// Session is one attacker's case. It implements sshd.Session.
type Session struct {
	service  *Service
	login    sshd.Login
	events   *event.Emitter
	dir      *evidence.Dir
	stdin    sync.WaitGroup // copiers that may outlive their program, never the session
	closing  chan struct{}  // closed by Close
	closed   chan struct{}  // closed when the evidence is
	budget   *record.Budget // of all recordings
	failures atomic.Int32   // of recordings
	captures *transfer.Capture
	// Goroutines that wait for closing.
	waiting sync.WaitGroup

	early, prepare sync.Once
	syncing        atomic.Bool // a sync is to come

	leasing sync.Mutex // held while a target is leased; guards the next five
	lease   *pool.Lease
	linked  bool  // the lease is in the record on disk
	refused error // why Prepare got no lease, for the next to want one
	baited  bool  // the bait was made, or not for good
	planted history.Bait

	mu     sync.Mutex // guards all below; taken after leasing
	record evidence.Session
	text   int // bytes of commands, terminals and environment in record
	names  int // bytes of the names of transferred files there
	// Those that run, by channel.
	programs map[int]*running
	lines    evidence.CommandRoom
}

// Open begins the evidence of a connection that has authenticated. If that
// cannot be written there is no session.
func (s *Service) Open(_ context.Context, login sshd.Login) (sshd.Session, error) {
	if err := login.Events.Err(); err != nil {
		return nil, fmt.Errorf("events are being lost: %w", err)
	}
	dir, err := s.Store.Create(login.ID, login.Opened)
	if err != nil {
		return nil, err
	}
	session := &Session{service: s, login: login, events: login.Events, dir: dir, closing: make(chan struct{}), closed: make(chan struct{}), record: begin(login), budget: record.NewBudget(s.MaxSessionBytes),
		captures: transfer.NewCapture(artifacts{s.Store}, s.Transfers)}
	if s.Origin != nil {
		session.record.Origin = s.Origin(login.Source.Addr())
	}
	if err := dir.Save(session.record); err != nil {
		return nil, errors.Join(err, dir.Close())
	}
	session.sync()
	s.live.add(session)
	session.events.Emit(event.SessionOpen, event.F("user", login.User()), event.F("method", login.Accepted().Method))
	return session, nil
}

// begin is the record of a session in which nothing has happened yet.
func begin(l sshd.Login) evidence.Session {
	record := evidence.Session{
		ID: l.ID, State: evidence.StateOpen, Start: l.Opened.UTC(),
		Source:        evidence.Endpoint{IP: l.Source.Addr().String(), Port: l.Source.Port()},
		Local:         evidence.Endpoint{IP: l.Local.Addr().String(), Port: l.Local.Port()},
		ClientVersion: evidence.Text(l.ClientVersion),
		Login:         attempt(l.Accepted()).Login(),
	}
	if l.KexInit != nil {
		record.HASSH = l.KexInit.HASSH()
	}
	text := 0
	for i, a := range l.Attempts {
		if text += len(a.User) + len(a.Password); text > maxAttemptText { // the events have them all
			record.AttemptsOmitted = len(l.Attempts) - i
			break
		}
		record.Attempts = append(record.Attempts, attempt(a))
	}
	return record
}

func attempt(t sshd.Tried) evidence.Attempt {
	e := evidence.Attempt{
		Time: t.Time.UTC(), User: evidence.Text(t.User), Method: t.Method, Password: evidence.Text(t.Password),
		KeyState: t.KeyState, Accepted: t.Accepted, Reason: t.Reason, Rule: t.Rule,
	}
	if token := t.Honeytoken; token != nil {
		e.Honeytoken, e.BaitSession = token.Name, token.Session
	}
	if t.Key != nil {
		e.PublicKey, e.Fingerprint = sshd.KeyLine(t.Key), ssh.FingerprintSHA256(t.Key)
	}
	return e
}

// Start starts a program in the session's target and its recording. Without a
// recording there is no program.
func (s *Session) Start(ctx context.Context, p sshd.Program) (sshd.Running, error) {
	if err := s.mayRecord(); err != nil {
		return nil, err
	}
	if !s.fits(p) {
		return nil, errTooMuchText
	}
	lease, err := s.target(ctx)
	if err != nil {
		return nil, err
	}
	recorder, err := record.Create(record.Options{
		Dir: s.dir.Root(), Name: "channel-" + strconv.Itoa(p.Channel), Start: time.Now(), Terminal: p.Term,
		Size: cells(p.Size), Command: p.Command, MaxBytes: s.service.MaxBytes, Budget: s.budget, Space: s.service.Space,
	})
	if err != nil {
		return nil, fmt.Errorf("start recording: %w", err)
	}
	r := &running{
		session: s, program: p, recorder: recorder, began: time.Now(), signals: takesSignals(lease.Account, p),
		output: make(chan struct{}), done: make(chan struct{}), transfers: &transfers{session: s, channel: p.Channel, recorder: recorder},
	}
	r.watcher = s.watch(p, r.transfers)
	r.commands = s.entered(p, recorder)
	r.stream, err = lease.Start(ctx, program(s.login, lease.Account, p))
	if err != nil {
		return nil, errors.Join(err, r.finish(nil, ""))
	}
	s.enter(r)
	s.began(r, lease.Account.Name)
	return r, nil
}

// fits reports whether the record has room for a program's text, and takes it.
func (s *Session) fits(p sshd.Program) bool {
	text := len(p.Command) + len(p.Term)
	for _, e := range p.Env {
		text += len(e)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.text+text > maxProgramText {
		return false
	}
	s.text += text
	return true
}

// Prepare leases the target while the client still says what it wants of it, or
// even waits to be let in, where there are plenty. What comes of it when it is
// wanted is the answer to the first Start.
func (s *Session) Prepare(ctx context.Context, wanted bool) {
	once := &s.early
	if wanted {
		once = &s.prepare
	}
	once.Do(func() {
		if s.mayRecord() != nil {
			return
		}
		s.waiting.Go(func() {
			s.leasing.Lock()
			defer s.leasing.Unlock()
			if _, err := s.leaseAndLink(ctx, !wanted); err != nil && wanted && ctx.Err() == nil {
				s.refused = err
			}
		})
	})
}

// target returns the session's lease, taking it if this is the first to need it.
func (s *Session) target(ctx context.Context) (*pool.Lease, error) {
	s.leasing.Lock()
	defer s.leasing.Unlock()
	if err := s.refused; err != nil {
		s.refused = nil
		return nil, err
	}
	return s.leaseAndLink(ctx, false)
}

// leaseAndLink takes a lease, if there is none yet, and writes down whose it is.
// early is pool.Claim's. Session.leasing is held.
func (s *Session) leaseAndLink(ctx context.Context, early bool) (*pool.Lease, error) {
	if s.lease == nil {
		claim := claim(s.login)
		claim.Early, claim.Bait = early, script(s.bait())
		lease, err := s.service.Pool.Lease(ctx, claim)
		if err != nil {
			return nil, fmt.Errorf("lease a target: %w", err)
		}
		s.lease = lease
	}
	if !s.linked {
		if err := s.link(s.lease); err != nil { // the container is linked to nothing: nobody gets in
			return nil, fmt.Errorf("link the target to its session: %w", err)
		}
		s.linked = true
		s.attend(s.lease)
	}
	return s.lease, nil
}

// attend ends the connection with its target: to the client, whoever ended the
// processes in there that look like sshd's has ended the server.
func (s *Session) attend(lease *pool.Lease) {
	s.waiting.Go(func() {
		select {
		case <-s.closing:
		case <-lease.Lost():
			s.login.End("target lost")
		}
	})
}

// link writes down which target the session has.
func (s *Session) link(lease *pool.Lease) error {
	s.mu.Lock()
	s.record.Target = evidence.Target{
		Name: lease.Target, Container: lease.Container, ContainerName: lease.Name, Image: lease.Image, ImageDigest: lease.ImageDigest,
		Account: lease.Account.Name, PreviousSession: lease.Previous,
	}
	if lease.Account.Baited && s.planted.Password != "" {
		s.record.Target.Bait = &evidence.Bait{Path: path.Join(lease.Account.Home, script(s.planted).Name), Password: s.planted.Password}
	}
	err := s.dir.Save(s.record)
	s.mu.Unlock()
	if err != nil {
		return err
	}
	s.sync()
	s.events.Emit(event.SessionLease, event.F("target", lease.Target), event.F("container", lease.Container),
		event.F("image_digest", lease.ImageDigest), event.F("wait_ms", lease.Wait.Milliseconds()),
		event.F("previous_session", lease.Previous))
	return nil
}

// claim is what the pool must know to choose a target.
func claim(l sshd.Login) pool.Claim {
	return pool.Claim{
		Session: l.ID, User: l.User(), Source: l.Source.Addr().String(), Credential: Credential(attempt(l.Accepted()).Login()),
	}
}

// Credential is what tells one credential that was let in from another. It holds
// the password as it is.
func Credential(l evidence.Login) string {
	return strings.Join([]string{string(l.User), string(l.Password), l.Fingerprint}, "\x00")
}

// began writes the event of a started program.
func (s *Session) began(r *running, account string) {
	p := r.program
	switch p.Kind {
	case sshd.Shell:
		s.events.Emit(event.ShellStart, event.F("channel", p.Channel), event.F("account", account), event.F("pty", p.PTY))
	case sshd.Exec:
		s.events.Emit(event.ExecStart, event.F("channel", p.Channel), event.F("account", account), event.F("pty", p.PTY), event.F("command", p.Command))
	case sshd.Subsystem:
		s.events.Emit(event.SubsystemStart, event.F("channel", p.Channel), event.F("account", account), event.F("subsystem", p.Command))
	}
}

// keep adds a finished channel to the record.
func (s *Session) keep(c evidence.Channel) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.record.Channels = append(s.record.Channels, c)
	return s.dir.Save(s.record)
}

// Leave implements sshd.Session: a client that connects again at once is to find its
// target, however long the evidence of this session takes.
func (s *Session) Leave() {
	s.leasing.Lock()
	defer s.leasing.Unlock()
	if s.lease != nil {
		s.lease.End()
	}
}

// Close ends the session: its connection is gone, every Serve has returned.
func (s *Session) Close(reason string) {
	defer s.service.live.remove(s)
	close(s.closing)
	s.waiting.Wait() // before the lease is lost by our own doing
	s.leasing.Lock()
	lease := s.lease
	s.leasing.Unlock()
	if lease != nil {
		s.takeKeys(lease)
		captured := s.beginCapture(lease)
		ctx, cancel := context.WithTimeout(context.Background(), releaseTimeout)
		defer cancel()
		lease.Release(ctx)
		defer lease.Captured()
		if captured != nil {
			captured.finish()
		}
	}
	// Now that the target has stopped, nobody can hold what writes to it.
	s.stdin.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	if lease != nil && !lease.Used() { // and so it is gone
		s.record.Target = evidence.Target{}
	}
	end := time.Now().UTC()
	s.record.State, s.record.End, s.record.EndReason = evidence.StateClosed, &end, reason
	if err := errors.Join(s.dir.Save(s.record), s.dir.Sync(), s.dir.Close()); err != nil {
		s.service.Log.Error("cannot close the evidence of a session; the next start recovers it", "session", s.login.ID, "error", err)
		s.events.Emit(event.SessionFail, event.F("stage", "close"), event.F("error", err.Error()))
	}
	s.emitClose(end, reason)
	if s.service.Seal != nil {
		s.service.Seal(s.dir.Path())
	}
}

func (s *Session) emitClose(end time.Time, reason string) {
	var in, out int64
	for _, c := range s.record.Channels {
		in += c.Recording.InputBytes
		out += c.Recording.OutputBytes + c.Recording.StderrBytes
	}
	for _, f := range s.record.Forwards {
		in += f.Recording.InputBytes
	}
	s.events.Emit(event.SessionClose, event.F("duration_ms", end.Sub(s.login.Opened).Milliseconds()), event.F("channels", len(s.record.Channels)),
		event.F("input_bytes", in), event.F("output_bytes", out), event.F("container", s.record.Target.Container), event.F("reason", reason))
}
