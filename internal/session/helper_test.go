package session

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"go.uber.org/goleak"
	"golang.org/x/crypto/ssh"

	"github.com/sandtrap/sandtrap/internal/auth"
	"github.com/sandtrap/sandtrap/internal/event"
	"github.com/sandtrap/sandtrap/internal/evidence"
	"github.com/sandtrap/sandtrap/internal/pool"
	"github.com/sandtrap/sandtrap/internal/record"
	"github.com/sandtrap/sandtrap/internal/sshd"
	"github.com/sandtrap/sandtrap/internal/target"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const testID = "01JQ0000000000000000000001"

var errStreamClosed = errors.New("stream closed")

// sink keeps events, or refuses them.
type sink struct {
	mu   sync.Mutex // guards all below
	list []*event.Event
	err  error
}

func (s *sink) Write(e *event.Event) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.list = append(s.list, e)
	return s.err
}

func (*sink) Close() error { return nil }

func (s *sink) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err = err
}

// of are the values of every event of a kind, by name.
func (s *sink) of(kind event.Kind) []map[string]any {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []map[string]any
	for _, e := range s.list {
		if e.Kind != kind {
			continue
		}
		values := map[string]any{}
		for _, v := range e.Values {
			values[v.Name] = v.Value
		}
		all = append(all, values)
	}
	return all
}

// stage is everything that a session stands on.
type stage struct {
	*testing.T
	dir     string
	podman  *fakePodman
	events  *sink
	emitter *event.Emitter
	service *Service
	touch   func() // changes what lies in the layer
}

func setUp(t *testing.T) *stage {
	t.Helper()
	return setUpPool(t, nil)
}

// setUpPool is setUp with other settings of the pool.
func setUpPool(t *testing.T, change func(*pool.Config)) *stage {
	t.Helper()
	st := &stage{T: t, dir: t.TempDir(), podman: &fakePodman{names: map[string]string{}}, events: &sink{}}
	st.emitter = event.New(st.events)
	cfg := pool.Config{
		Targets: []pool.Supply{{Target: target.Target{Name: "debian", Image: "localhost/x:latest", Account: "root"}, Weight: 1, Min: 1, Max: 1}},
		Burst:   1, MaxLeases: 5, LeaseTimeout: 20 * time.Second, MaxAge: time.Hour, Retain: 5,
	}
	if change != nil {
		change(&cfg)
	}
	p := pool.New(cfg, st.podman, st.emitter, hclog.NewNullLogger())
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		_ = p.Run(ctx)
		close(done)
	}()
	store, err := evidence.Open(st.dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		<-done
		store.Close()
		// Events about no kind or field of the catalogue end up here too.
		if err := st.emitter.Err(); err != nil && st.events.err == nil {
			t.Errorf("events: %v", err)
		}
	})
	<-p.Ready()
	st.service = &Service{Pool: p, Store: store, MaxBytes: 1 << 20, Log: hclog.NewNullLogger()}
	return st
}

// login is root's, by password, with one attempt before.
func (st *stage) login() sshd.Login {
	now := time.Now()
	one := func(method, password string, accepted bool) sshd.Tried {
		return sshd.Tried{Attempt: auth.Attempt{User: "root", Method: method, Password: password}, Time: now, Accepted: accepted, Reason: "because"}
	}
	return sshd.Login{
		ID: testID, Opened: now, ClientVersion: "SSH-2.0-x\xff",
		Source: netip.MustParseAddrPort("192.0.2.7:40000"), Local: netip.MustParseAddrPort("198.51.100.1:22"),
		Attempts: []sshd.Tried{one("none", "", false), one("password", "pw\xff", true)}, Events: st.emitter,
	}
}

func (st *stage) open(l sshd.Login) *Session {
	st.Helper()
	s, err := st.service.Open(st.Context(), l)
	if err != nil {
		st.Fatal(err)
	}
	return s.(*Session)
}

// runs makes every program a copy of stream.
func (st *stage) runs(stream *fakeStream) {
	st.podman.exec = func(pool.Program) (pool.Stream, error) { return stream, nil }
}

func (st *stage) start(s *Session, p sshd.Program) *running {
	st.Helper()
	r, err := s.Start(st.Context(), p)
	if err != nil {
		st.Fatal(err)
	}
	return r.(*running)
}

// saved is session.json.
func (st *stage) saved() evidence.Session {
	st.Helper()
	s, _, err := st.service.Store.Find("-1") // testID is of another day
	if err != nil {
		st.Fatal(err)
	}
	return s
}

// recorded are the bytes of one kind in a recording as it is on disk now.
func (st *stage) recorded(s *Session, channel int, kind record.Kind) string {
	st.Helper()
	return st.recordedFile(s, fmt.Sprintf("channel-%d.raw", channel), kind)
}

func (st *stage) recordedFile(s *Session, name string, kind record.Kind) string {
	st.Helper()
	f, err := s.dir.Root().Open(name)
	if err != nil {
		st.Fatal(err)
	}
	defer f.Close()
	r, err := record.NewReader(f)
	if err != nil {
		st.Fatal(err)
	}
	var all []byte
	for {
		frame, err := r.Next()
		if err != nil {
			if !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
				st.Error(err)
			}
			return string(all)
		}
		if frame.Kind == kind {
			all = append(all, frame.Data...)
		}
	}
}

// client is the attacker's side of a channel.
type client struct {
	stdin          io.Reader
	stdout, stderr bytes.Buffer
	resize         chan sshd.Size
	signals        chan string
	exits          []sshd.Exit
	ends           int          // calls of End
	outputEnds     int          // calls of EndOutput
	inputEnds      atomic.Int32 // calls of EndInput
	enough         chan struct{}
	ended          string // what Ended says
	// before is called with what is about to reach the client.
	before func(kind record.Kind, p []byte) error
}

func (c *client) stream() sshd.Stream {
	if c.stdin == nil {
		c.stdin = strings.NewReader("")
	}
	send := func(kind record.Kind, to *bytes.Buffer) func([]byte) (int, error) {
		return func(p []byte) (int, error) {
			if c.before != nil {
				if err := c.before(kind, p); err != nil {
					return 0, err
				}
			}
			return to.Write(p)
		}
	}
	return sshd.Stream{
		Stdin: c.stdin.Read, Stdout: send(record.KindOutput, &c.stdout), Stderr: send(record.KindStderr, &c.stderr), Resize: c.resize, Signals: c.signals,
		Enough: c.enough, EndInput: func() { c.inputEnds.Add(1) }, EndOutput: sync.OnceFunc(func() { c.outputEnds++ }), Together: func(f func()) { f() },
		Exit: func(e sshd.Exit) { c.exits = append(c.exits, e) }, End: func() { c.ends++ },
		Ended: func() string { return c.ended },
	}
}

func publicKey(t *testing.T) ssh.PublicKey {
	t.Helper()
	key, err := ssh.NewPublicKey(ed25519.NewKeyFromSeed(bytes.Repeat([]byte("k"), ed25519.SeedSize)).Public())
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// removeSession takes the session's directory away from under it.
func (st *stage) removeSession(s *Session) {
	st.Helper()
	if err := os.RemoveAll(st.dir + "/" + s.dir.Path()); err != nil {
		st.Fatal(err)
	}
}

// untilRemoved waits until a container was removed, which was not stopped before.
func (st *stage) untilRemoved() {
	st.Helper()
	for removed := 0; removed == 0; time.Sleep(time.Millisecond) {
		st.podman.mu.Lock()
		removed = len(st.podman.removed)
		if len(st.podman.stopped) > 0 {
			st.Errorf("stopped %q", st.podman.stopped)
		}
		st.podman.mu.Unlock()
	}
}
