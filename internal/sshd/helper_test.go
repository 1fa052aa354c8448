package sshd

import (
	"context"
	"crypto/ed25519"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"go.uber.org/goleak"
	"golang.org/x/crypto/ssh"

	"github.com/sandtrap/sandtrap/internal/admission"
	"github.com/sandtrap/sandtrap/internal/auth"
	"github.com/sandtrap/sandtrap/internal/event"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long a test waits for what should happen at once.
const patience = 20 * time.Second

// eventLog keeps events for a test to look at, and to wait for.
type eventLog struct {
	mu      sync.Mutex // guards all below
	list    []*event.Event
	changed chan struct{} // closed and replaced by every event
}

func newEventLog() *eventLog { return &eventLog{changed: make(chan struct{})} }

func (l *eventLog) Write(e *event.Event) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.list = append(l.list, e)
	close(l.changed)
	l.changed = make(chan struct{})
	return nil
}

func (*eventLog) Close() error { return nil }

func (l *eventLog) of(kind event.Kind) (found []*event.Event, changed <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range l.list {
		if e.Kind == kind {
			found = append(found, e)
		}
	}
	return found, l.changed
}

// wait returns the first n events of a kind once they are there.
func (l *eventLog) wait(t *testing.T, kind event.Kind, n int) []*event.Event {
	t.Helper()
	for timeout := time.After(patience); ; {
		found, changed := l.of(kind)
		if len(found) >= n {
			return found
		}
		select {
		case <-changed:
		case <-timeout:
			t.Fatalf("only %d of %d events %s came", len(found), n, kind)
		}
	}
}

// field is a value of an event, nil where it has none of that name.
func field(e *event.Event, name string) any {
	for _, f := range e.Values {
		if f.Name == name {
			return f.Value
		}
	}
	return nil
}

// fields picks values of an event in the order of names.
func fields(e *event.Event, names ...string) []any {
	var values []any
	for _, n := range names {
		values = append(values, field(e, n))
	}
	return values
}

// fakeSession hands programs to the test's functions.
type fakeSession struct {
	login Login
	start func(context.Context, Program) (Running, error)

	forward func(Forward) (Sink, error)

	prepared atomic.Int32

	leave sync.Once
	left  chan struct{} // closed by Leave

	mu     sync.Mutex // guards all below
	closed []string
	sinks  []*fakeSink
}

// Forward keeps what comes, unless the test says otherwise.
func (s *fakeSession) Forward(_ context.Context, w Forward) (Sink, error) {
	if s.forward != nil {
		return s.forward(w)
	}
	k := &fakeSink{forward: w, closed: make(chan struct{})}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sinks = append(s.sinks, k)
	return k, nil
}

func (s *fakeSession) Prepare(_ context.Context, wanted bool) {
	if wanted {
		s.prepared.Add(1)
	}
}

func (s *fakeSession) Start(ctx context.Context, p Program) (Running, error) { return s.start(ctx, p) }

func (s *fakeSession) Leave() { s.leave.Do(func() { close(s.left) }) }

func (s *fakeSession) Close(reason string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = append(s.closed, reason)
}

func (s *fakeSession) closes() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closed
}

// runFunc is a Running.
type runFunc func(context.Context, Stream) (int, error)

func (f runFunc) Serve(ctx context.Context, s Stream) error {
	status, err := f(ctx, s)
	if err == nil {
		s.EndOutput()
		s.Exit(Exit{Status: status})
		s.EndInput()
		s.End()
	}
	return err
}

func (f runFunc) TakesSignals() bool { return true }

// fixture is a server on a loopback address.
type fixture struct {
	t      *testing.T
	server *Server
	addr   string
	events *eventLog
	end    context.CancelFunc // of the context that Serve runs with

	// start is what every session's Start does; the default runs echo.
	start func(context.Context, Program) (Running, error)
	open  func(Login) error // when not nil, an error of Open
	sink  func(Forward) (Sink, error)

	mu       sync.Mutex // guards sessions
	sessions []*fakeSession
}

// echo sends its input back and ends with status 0 after EOF.
func echo(_ context.Context, s Stream) (int, error) {
	buffer := make([]byte, 1024)
	for {
		n, err := s.Stdin(buffer)
		if _, werr := s.Stdout(buffer[:n]); werr != nil {
			return 0, werr
		}
		if err != nil {
			return 0, nil
		}
	}
}

// untilGone runs until its context ends, like a shell nobody types into.
func untilGone(ctx context.Context, _ Stream) (int, error) {
	<-ctx.Done()
	return 0, ctx.Err()
}

var testHostKey = func() ssh.Signer {
	key, err := ssh.NewSignerFromKey(ed25519.NewKeyFromSeed([]byte(strings.Repeat("h", ed25519.SeedSize))))
	if err != nil {
		panic(err)
	}
	return key
}()

const testVersion = "OpenSSH_9.2p1 Debian-2+deb12u10"

// roomy are limits that no test reaches by accident.
func roomy() admission.Limits {
	return admission.Limits{MaxConnections: 1000, MaxStartups: admission.Startups{Start: 1000, Rate: 100, Full: 1000}, NetBlock4: 32, NetBlock6: 64}
}

// limited changes the limits of a server.
func limited(change func(*admission.Limits)) func(*Config) {
	return func(c *Config) {
		l := roomy()
		change(&l)
		c.Admission = admission.New(l, 64, time.Now())
	}
}

// prepare makes a fixture without a listener.
func prepare(t *testing.T, change func(*Config)) *fixture {
	t.Helper()
	f := &fixture{t: t, events: newEventLog()}
	f.start = func(context.Context, Program) (Running, error) { return runFunc(echo), nil }
	cfg := Config{
		Version: testVersion, HostKeys: []ssh.Signer{testHostKey}, LoginGraceTime: patience, MaxAuthTries: 6, MaxSessions: 10,
		PasswordAuthentication: true, KbdInteractiveAuthentication: true, PubkeyAuthentication: true,
		Admission: admission.New(roomy(), 64, time.Now()), AcceptEnv: []string{"LANG", "LC_*"}, Policy: func() Policy { return always{auth.AcceptAll{}} },
		Events: event.New(f.events), Log: hclog.NewNullLogger(),
		Forwarding: Forwarding{MaxChannels: 100, MaxTime: patience},
	}
	cfg.Open = func(_ context.Context, l Login) (Session, error) {
		if f.open != nil {
			if err := f.open(l); err != nil {
				return nil, err
			}
		}
		s := &fakeSession{login: l, left: make(chan struct{}), forward: f.sink, start: func(ctx context.Context, p Program) (Running, error) { return f.start(ctx, p) }}
		f.mu.Lock()
		f.sessions = append(f.sessions, s)
		f.mu.Unlock()
		return s, nil
	}
	if change != nil {
		change(&cfg)
	}
	f.server = New(cfg)
	return f
}

// listen starts a server that the test's end stops; every session must then have
// been closed exactly once.
func listen(t *testing.T, change func(*Config)) *fixture {
	t.Helper()
	f := prepare(t, change)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f.addr = l.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	f.end = cancel
	served := make(chan error, 1)
	go func() { served <- f.server.Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-served; err != ErrClosed {
			t.Errorf("Serve = %v, want ErrClosed", err)
		}
		f.server.Shutdown(ctx)
		if n := f.server.Connections(); n != 0 {
			t.Errorf("%d connections are left", n)
		}
		for _, s := range f.all() {
			if got := s.closes(); len(got) != 1 {
				t.Errorf("session closed %d times (%q), want once", len(got), got)
			}
		}
	})
	return f
}

func (f *fixture) all() []*fakeSession {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.sessions
}

// tcp opens a bare connection.
func (f *fixture) tcp() *net.TCPConn {
	f.t.Helper()
	c, err := net.Dial("tcp", f.addr)
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { c.Close() })
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		f.t.Fatal(err)
	}
	return c.(*net.TCPConn)
}

func clientConfig(user string, methods ...ssh.AuthMethod) *ssh.ClientConfig {
	return &ssh.ClientConfig{User: user, Auth: methods, HostKeyCallback: ssh.InsecureIgnoreHostKey(), ClientVersion: "SSH-2.0-TestClient_1"}
}

// login connects with methods, and returns the connection below too.
func (f *fixture) login(c *ssh.ClientConfig) (*ssh.Client, *net.TCPConn, error) {
	f.t.Helper()
	raw := f.tcp()
	conn, channels, requests, err := ssh.NewClientConn(raw, f.addr, c)
	if err != nil {
		return nil, raw, err
	}
	client := ssh.NewClient(conn, channels, requests)
	f.t.Cleanup(func() { client.Close() })
	return client, raw, nil
}

// client is a connection that has logged in as root.
func (f *fixture) client() *ssh.Client {
	f.t.Helper()
	c, _, err := f.login(clientConfig("root", ssh.Password("123456")))
	if err != nil {
		f.t.Fatal(err)
	}
	return c
}

// testChannel is the client's side of a session channel.
type testChannel struct {
	ssh.Channel
	t        *testing.T
	requests <-chan *ssh.Request // from the server
}

func openChannel(t *testing.T, c *ssh.Client) *testChannel {
	t.Helper()
	ch, requests, err := c.OpenChannel("session", nil)
	if err != nil {
		t.Fatal(err)
	}
	return &testChannel{ch, t, requests}
}

// ask sends a request and returns the answer.
func (c *testChannel) ask(request string, payload []byte) bool {
	c.t.Helper()
	ok, err := c.SendRequest(request, true, payload)
	if err != nil {
		c.t.Fatalf("%s: %v", request, err)
	}
	return ok
}

func (c *testChannel) must(request string, payload []byte) {
	c.t.Helper()
	if !c.ask(request, payload) {
		c.t.Fatalf("request %s was refused", request)
	}
}

// breaks sends a request after which the connection ends without an answer.
func (c *testChannel) breaks(request string, payload []byte) {
	c.t.Helper()
	if ok, err := c.SendRequest(request, true, payload); err == nil {
		c.t.Errorf("%s with %.100q: the answer is %v, want the end of the connection", request, payload, ok)
	}
}

// statuses waits for the channel's end and returns every exit status sent.
func (c *testChannel) statuses() []uint32 {
	c.t.Helper()
	var all []uint32
	for r := range c.requests {
		var m exitStatus
		if r.Type != "exit-status" || r.WantReply || ssh.Unmarshal(r.Payload, &m) != nil {
			c.t.Errorf("unexpected request %s %q", r.Type, r.Payload)
		}
		all = append(all, m.Status)
	}
	return all
}

// ends waits for the channel's end and returns every exit signal sent.
func (c *testChannel) ends() []exitSignal {
	c.t.Helper()
	var all []exitSignal
	for r := range c.requests {
		var m exitSignal
		if r.Type != "exit-signal" || r.WantReply || ssh.Unmarshal(r.Payload, &m) != nil {
			c.t.Errorf("unexpected request %s %q", r.Type, r.Payload)
		}
		all = append(all, m)
	}
	return all
}

func command(text string) []byte { return ssh.Marshal(commandRequest{text}) }

func variable(name, value string) []byte { return ssh.Marshal(envRequest{name, value}) }

func terminal(term string, columns, rows uint32) []byte {
	return ssh.Marshal(ptyRequest{Term: term, Columns: columns, Rows: rows, Modes: "\x00"})
}

func window(columns, rows uint32) []byte {
	return ssh.Marshal(windowChange{Columns: columns, Rows: rows, Width: 10 * columns, Height: 10 * rows})
}

// readAll reads until the server closes; a reset is an end too.
func readAll(r io.Reader) string {
	all, _ := io.ReadAll(r)
	return string(all)
}

// always is a policy that remembers nothing.
type always struct{ auth.Policy }

func (a always) Decide(t auth.Attempt) auth.Decision { return a.Policy.Decide(t, auth.History{}) }
