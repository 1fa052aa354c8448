package attach

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/sandtrap/sandtrap/internal/frame"
)

// Dial makes a stream to the leader.
type Dial func(ctx context.Context) (io.ReadWriteCloser, error)

var (
	// ErrGone is wrapped by errors of a Dial after which another would not help:
	// the container is gone or has stopped.
	ErrGone = errors.New("the target is gone")
	// ErrClosed is the error of a leader after Close.
	ErrClosed = errors.New("leader is closed")
)

const (
	// resumeFor bounds the time that a broken stream has to be replaced in.
	resumeFor = 30 * time.Second
	// firstPause and longestPause are between attempts to replace it.
	firstPause   = 50 * time.Millisecond
	longestPause = 2 * time.Second
)

// Leader is a session leader that answers. Its methods are safe for concurrent
// use.
type Leader struct {
	link   *frame.Link
	token  [16]byte
	redial Dial
	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	done   chan struct{}

	mu       sync.Mutex // guards all below
	channels map[uint16]*channel
	next     int // number of the next channel
	login    chan answer
	loggedIn bool
	pings    []chan struct{} // who waits for a Pong, in order
	err      error           // set before done is closed
}

// answer is what came of a Login.
type answer struct {
	account Account
	err     error
}

// Connect says hello over a stream of dial and waits for the answer, as long as
// ctx lasts. The leader outlives ctx; the caller closes it. When the stream breaks
// later, redial makes the next.
func Connect(ctx context.Context, dial, redial Dial) (*Leader, error) {
	stream, err := dial(ctx)
	if err != nil {
		return nil, fmt.Errorf("attach to the session leader: %w", err)
	}
	l := &Leader{link: frame.NewLink(), redial: redial, done: make(chan struct{}), channels: map[uint16]*channel{}, next: 1}
	l.ctx, l.cancel = context.WithCancel(context.WithoutCancel(ctx))
	_, _ = rand.Read(l.token[:]) // never fails
	go l.run(stream)
	if err := l.Ping(ctx); err != nil {
		_ = l.Close()
		<-l.done
		return nil, fmt.Errorf("greet the session leader: %w", err)
	}
	return l, nil
}

// run serves one stream after the other.
func (l *Leader) run(stream io.ReadWriteCloser) {
	defer l.cancel()
	for {
		err := l.link.RunFront(stream, l.token, l.handle)
		_ = stream.Close()
		if l.link.Err() == nil && errors.Is(err, frame.ErrMalformed) {
			_ = l.link.Close(err)
		}
		if l.link.Err() != nil {
			break
		}
		next, dialErr := l.replace()
		if dialErr != nil {
			_ = l.link.Close(fmt.Errorf("resume the session leader after %w: %w", err, dialErr))
			break
		}
		stream = next
	}
	l.finish(l.link.Err())
}

// replace dials until it works, for a while.
func (l *Leader) replace() (io.ReadWriteCloser, error) {
	ctx, cancel := context.WithTimeout(l.ctx, resumeFor)
	defer cancel()
	for pause := firstPause; ; pause = min(2*pause, longestPause) {
		stream, err := l.redial(ctx)
		if err == nil {
			return stream, nil
		}
		if errors.Is(err, ErrGone) {
			return nil, err
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(pause):
		}
	}
}

// finish ends everything that waits for the leader.
func (l *Leader) finish(err error) {
	l.mu.Lock()
	l.err = err
	channels := l.channels
	l.channels = nil
	l.mu.Unlock()
	for _, c := range channels {
		c.fail(err)
	}
	close(l.done)
}

// Done is closed when the leader is gone for good; Err says why.
func (l *Leader) Done() <-chan struct{} { return l.done }

// Err is why the leader is gone, or nil.
func (l *Leader) Err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err
}

// Close lets the leader go. What runs in the target goes on until that is stopped.
func (l *Leader) Close() error {
	l.cancel()
	return l.link.Close(ErrClosed)
}

// send is for frames that a caller waits with.
func (l *Leader) send(ctx context.Context, f frame.Frame) error {
	err := l.link.SendUntil(ctx.Done(), f)
	if errors.Is(err, frame.ErrStopped) {
		return context.Cause(ctx)
	}
	return err
}

// Ping waits for a sign of life.
func (l *Leader) Ping(ctx context.Context) error {
	pong := make(chan struct{})
	l.mu.Lock()
	if len(l.pings) >= maxPings {
		l.mu.Unlock()
		return errors.New("the leader owes too many answers")
	}
	l.pings = append(l.pings, pong)
	l.mu.Unlock()
	if err := l.send(ctx, frame.Frame{Type: frame.Ping}); err != nil {
		return err
	}
	select {
	case <-pong:
		return nil
	case <-l.done:
		return l.Err()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// maxPings bounds the pings without an answer.
const maxPings = 64

// Login says who programs are for, once. It returns the account that they run as.
func (l *Leader) Login(ctx context.Context, m frame.LoginMessage) (Account, error) {
	l.mu.Lock()
	if l.loggedIn {
		l.mu.Unlock()
		return Account{}, errors.New("log in: the leader has a login already")
	}
	l.loggedIn, l.login = true, make(chan answer, 1)
	login := l.login
	l.mu.Unlock()
	if err := l.send(ctx, frame.Frame{Type: frame.Login, Payload: m.Encode()}); err != nil {
		return Account{}, fmt.Errorf("log in: %w", err)
	}
	select {
	case a := <-login:
		return a.account, a.err
	case <-l.done:
		return Account{}, fmt.Errorf("log in: %w", l.Err())
	case <-ctx.Done():
		return Account{}, fmt.Errorf("log in: %w", context.Cause(ctx))
	}
}

// Bounds of an account's texts in bytes.
const maxAccountText = 1024

// checked is an account as the rest of the program may use it.
func checked(m frame.AccountMessage) (Account, error) {
	for _, text := range []string{m.Name, m.Home, m.Shell} {
		if text == "" || len(text) > maxAccountText || strings.ContainsAny(text, ":\n\x00") {
			return Account{}, fmt.Errorf("account with the field %.100q", text)
		}
	}
	if m.Home[0] != '/' || m.Shell[0] != '/' {
		return Account{}, fmt.Errorf("account with home %.100q and shell %.100q", m.Home, m.Shell)
	}
	return Account(m), nil
}
