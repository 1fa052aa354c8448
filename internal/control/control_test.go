package control

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/go-hclog"
	"go.uber.org/goleak"

	"github.com/sandtrap/sandtrap/internal/event"
	"github.com/sandtrap/sandtrap/internal/evidence"
	"github.com/sandtrap/sandtrap/internal/hint"
	"github.com/sandtrap/sandtrap/internal/record"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const sessionID = "01JQ0000000000000000000001"

// patience is how long a test waits for what should happen soon.
const patience = 20 * time.Second

// stage is a server on a real socket, with a service of nothing behind it.
type stage struct {
	*testing.T
	dir    string // of the state
	socket string
	client *Client
	server *Server

	mu         sync.Mutex // guards all below
	terminated []string
	reloaded   Reloaded
	reloadErr  error
	drained    int
	refilled   int
	acts       []map[string]any
	over       atomic.Bool
}

// Write implements event.Sink.
func (st *stage) Write(e *event.Event) error {
	st.mu.Lock()
	defer st.mu.Unlock()
	values := map[string]any{}
	for _, v := range e.Values {
		values[v.Name] = v.Value
	}
	st.acts = append(st.acts, values)
	return nil
}

// Close implements event.Sink.
func (st *stage) Close() error { return nil }

var testStock = Stock{Warm: 2, Goal: 4, Leased: 1, Retained: 9, Failure: "no\nspace"}

var testStatus = Status{
	Version: "1.2.3", PID: 7, Start: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Connections: 3, Sessions: 1, Channels: 1,
	Pool:      Pool{Stock: testStock, Targets: []Target{{"debian", testStock}, {"web", Stock{Warm: 1}}}},
	Recording: Recording{Free: 10 << 30, MinFree: 1 << 30}, Events: Events{Written: 12, Lost: 1},
}

var testSessions = []Session{{
	ID: sessionID, Start: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Source: evidence.Endpoint{IP: "192.0.2.1", Port: 5}, User: "ro\xffot",
	Method: "password", Channels: []Channel{{ID: 0, Kind: "shell", Command: "\u009b[2J"}},
}}

func setUp(t *testing.T) *stage {
	t.Helper()
	st := &stage{T: t, dir: t.TempDir(), reloaded: Reloaded{Applied: []string{"auth.mode"}, RestartNeeded: []string{}}}
	st.socket = filepath.Join(st.dir, "control.sock")
	if err := os.MkdirAll(filepath.Join(st.dir, "events"), 0o750); err != nil {
		t.Fatal(err)
	}
	l, err := Listen(st.socket)
	if err != nil {
		t.Fatal(err)
	}
	root, err := os.OpenRoot(st.dir)
	if err != nil {
		t.Fatal(err)
	}
	st.server = Serve(l, Config{
		Status: func() Status { return testStatus }, Counts: func() event.Counts { return event.Counts{} }, Sessions: func() []Session { return testSessions },
		Terminate: func(ctx context.Context, id string) error {
			st.mu.Lock()
			defer st.mu.Unlock()
			st.terminated = append(st.terminated, id)
			return nil
		},
		Recording: func(id string, channel int) (record.Following, error) {
			if id != sessionID || channel != 0 {
				return record.Following{}, ErrNotFound
			}
			return record.Following{Dir: root, Name: "channel-0.raw", Over: st.over.Load}, nil
		},
		Reload: func(context.Context) (Reloaded, error) {
			st.mu.Lock()
			defer st.mu.Unlock()
			return st.reloaded, st.reloadErr
		},
		Drain: func() { st.mu.Lock(); st.drained++; st.mu.Unlock() }, Refill: func() { st.mu.Lock(); st.refilled++; st.mu.Unlock() },
		EventDir: filepath.Join(st.dir, "events"), Events: event.New(st), Log: hclog.NewNullLogger(),
	})
	t.Cleanup(func() { st.server.Close(); root.Close() })
	st.client = NewClient(st.socket)
	return st
}

func (st *stage) recorder() *record.Recorder {
	st.Helper()
	root, err := os.OpenRoot(st.dir)
	if err != nil {
		st.Fatal(err)
	}
	st.Cleanup(func() { root.Close() })
	r, err := record.Create(record.Options{Dir: root, Name: "channel-0", Terminal: "xterm"})
	if err != nil {
		st.Fatal(err)
	}
	return r
}

func TestAnswers(t *testing.T) {
	st := setUp(t)
	status, err := st.client.Status(t.Context())
	if diff := cmp.Diff(testStatus, status); diff != "" || err != nil {
		t.Errorf("%v\n%s", err, diff)
	}
	sessions, err := st.client.Sessions(t.Context())
	if diff := cmp.Diff(testSessions, sessions); diff != "" || err != nil {
		t.Errorf("%v\n%s", err, diff)
	}
	if len(st.acts) > 0 {
		t.Errorf("looking was written down: %v", st.acts)
	}
}

// What changes something is done, and written down with who did it.
func TestActs(t *testing.T) {
	st := setUp(t)
	done, err := st.client.Terminate(t.Context(), sessionID)
	if err != nil || done != (Terminated{sessionID, true}) || !cmp.Equal(st.terminated, []string{sessionID}) {
		t.Errorf("terminate: %+v, %v, %q", done, err, st.terminated)
	}
	reloaded, err := st.client.Reload(t.Context())
	if err != nil || !cmp.Equal(reloaded, st.reloaded) {
		t.Errorf("reload: %+v, %v", reloaded, err)
	}
	if p, err := st.client.Drain(t.Context()); err != nil || !cmp.Equal(p, testStatus.Pool) || st.drained != 1 {
		t.Errorf("drain: %+v, %v", p, err)
	}
	if p, err := st.client.Refill(t.Context()); err != nil || !cmp.Equal(p, testStatus.Pool) || st.refilled != 1 {
		t.Errorf("refill: %+v, %v", p, err)
	}
	want := []map[string]any{}
	for _, action := range []string{"terminate", "reload", "drain", "refill"} {
		want = append(want, map[string]any{"action": action, "operator_uid": uint32(os.Getuid()), "operator_pid": os.Getpid()})
	}
	want[0]["terminated_session"] = sessionID
	if diff := cmp.Diff(want, st.acts); diff != "" {
		t.Error(diff)
	}
}

func TestRefusals(t *testing.T) {
	st := setUp(t)
	for _, id := range []string{"01JQ", "../../etc", "", "\x1b[2J"} {
		if _, err := st.client.Terminate(t.Context(), id); err == nil || len(st.terminated) > 0 || len(st.acts) > 0 {
			t.Errorf("terminate %q: %v", id, err)
		}
	}
	if _, err := st.client.Terminate(t.Context(), "01JQ"); !errors.Is(err, ErrNotFound) {
		t.Errorf("terminate nobody: %v", err)
	}
	for _, channel := range []int{1, -1} {
		if _, err := st.client.Recording(t.Context(), sessionID, channel, true); err == nil {
			t.Errorf("channel %d can be followed", channel)
		}
	}
	st.reloadErr = ErrStopping
	if _, err := st.client.Reload(t.Context()); !errors.Is(err, ErrStopping) {
		t.Errorf("reload while it stops: %v", err)
	}
	st.reloadErr = errors.New("something else")
	if _, err := st.client.Reload(t.Context()); err == nil || err.Error() != "something else" {
		t.Errorf("reload: %v", err)
	}
	if _, err := st.client.Events(t.Context(), EventQuery{Last: -1, Kind: "["}); err == nil || !strings.Contains(err.Error(), "no pattern") {
		t.Errorf("events: %v", err)
	}
}

// raw sends a request of its own to the socket and returns the status.
func (st *stage) raw(request string) string {
	st.Helper()
	c, err := net.Dial("unix", st.socket)
	if err != nil {
		st.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(c, request); err != nil {
		return err.Error()
	}
	line, _ := bufio.NewReader(c).ReadString('\n')
	return strings.TrimSpace(line)
}

func TestOtherRequests(t *testing.T) {
	st := setUp(t)
	for request, want := range map[string]string{
		"GET /v1/reload HTTP/1.1\r\nHost: x\r\n\r\n":                                           "HTTP/1.1 405 Method Not Allowed",
		"POST /v1/status HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n":                     "HTTP/1.1 405 Method Not Allowed",
		"GET /v2/status HTTP/1.1\r\nHost: x\r\n\r\n":                                           "HTTP/1.1 404 Not Found",
		"GET /v1/events?last=-1 HTTP/1.1\r\nHost: x\r\n\r\n":                                   "HTTP/1.1 400 Bad Request",
		"GET /v1/events?last=1&x=1 HTTP/1.1\r\nHost: x\r\n\r\n":                                "HTTP/1.1 400 Bad Request",
		"GET /v1/sessions/" + sessionID + "/channels/x/recording HTTP/1.1\r\nHost: x\r\n\r\n":  "HTTP/1.1 400 Bad Request",
		"GET /v1/status HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("x", 64<<10) + "\r\n\r\n": "HTTP/1.1 431 Request Header Fields Too Large",
		"garbage\r\n\r\n": "HTTP/1.1 400 Bad Request",
	} {
		if got := st.raw(request); got != want {
			t.Errorf("%.60q: %q, want %q", request, got, want)
		}
	}
}

// Connections beyond the bound wait for those before them.
func TestManyConnections(t *testing.T) {
	st := setUp(t)
	var idle []net.Conn
	for range maxConnections {
		c, err := net.Dial("unix", st.socket)
		if err != nil {
			t.Fatal(err)
		}
		idle = append(idle, c)
	}
	answered := make(chan error, 1)
	go func() {
		_, err := st.client.Status(t.Context())
		answered <- err
	}()
	select {
	case err := <-answered:
		t.Errorf("answered beyond the bound: %v", err)
	case <-time.After(100 * time.Millisecond):
	}
	for _, c := range idle {
		c.Close()
	}
	if err := <-answered; err != nil {
		t.Error(err)
	}
}

func TestUnreachable(t *testing.T) {
	dir := t.TempDir()
	stale := filepath.Join(dir, "stale.sock")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: stale, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
	for _, socket := range []string{filepath.Join(dir, "none"), stale, filepath.Join(stale, "below")} {
		_, err := NewClient(socket).Status(t.Context())
		if !errors.Is(err, ErrUnreachable) || !strings.Contains(hint.Of(err), "systemctl status sandtrap.service") || strings.Contains(err.Error(), "http://") {
			t.Errorf("%s: %v, hint %q", socket, err, hint.Of(err))
		}
	}
	// Somebody listens who does not speak HTTP.
	other, err := net.Listen("unix", filepath.Join(dir, "other"))
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	go func() {
		if c, err := other.Accept(); err == nil {
			_, _ = c.Read(make([]byte, 1))
			fmt.Fprint(c, "hello")
			c.Close()
		}
	}()
	if _, err := NewClient(filepath.Join(dir, "other")).Status(t.Context()); !errors.Is(err, ErrUnreachable) {
		t.Errorf("a stranger: %v", err)
	}
}

func TestNotAllowed(t *testing.T) {
	c := NewClient("/run/x.sock")
	err := c.explain(t.Context(), &net.OpError{Op: "dial", Err: fs.ErrPermission})
	if !errors.Is(err, fs.ErrPermission) || errors.Is(err, ErrUnreachable) || !strings.Contains(hint.Of(err), "group sandtrap") {
		t.Errorf("%v, hint %q", err, hint.Of(err))
	}
}

func TestListen(t *testing.T) {
	st := setUp(t)
	info, err := os.Stat(st.socket)
	if err != nil || info.Mode().Perm() != 0o660 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if l, err := Listen(st.socket); err == nil || !strings.Contains(err.Error(), "another service answers") {
		t.Errorf("a second service: %v, %v", l, err)
	}
	st.server.Close()
	if _, err := os.Stat(st.socket); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the socket is left: %v", err)
	}
	stale, err := net.ListenUnix("unix", &net.UnixAddr{Name: st.socket, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	stale.SetUnlinkOnClose(false)
	stale.Close()
	l, err := Listen(st.socket)
	if err != nil {
		t.Fatalf("over one that a crash left: %v", err)
	}
	l.Close()
	file := filepath.Join(st.dir, "file")
	if err := os.WriteFile(file, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Listen(file); err == nil {
		t.Error("in the place of a file")
	}
	if b, _ := os.ReadFile(file); string(b) != "precious" {
		t.Error("the file is gone")
	}
	if _, err := Listen(filepath.Join(st.dir, "none", "control.sock")); err == nil {
		t.Error("without a directory")
	}
}

// A handler of ours that panics costs its request.
func TestPanicCostsItsRequest(t *testing.T) {
	st := setUp(t)
	st.server.cfg.Sessions = func() []Session { panic("mistake") }
	if _, err := st.client.Sessions(t.Context()); err == nil {
		t.Error("it was answered")
	}
	if _, err := st.client.Status(t.Context()); err != nil {
		t.Errorf("after a panic: %v", err)
	}
}
