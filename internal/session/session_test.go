package session

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/go-hclog"
	"golang.org/x/crypto/ssh"

	"github.com/sandtrap/sandtrap/internal/auth"
	"github.com/sandtrap/sandtrap/internal/event"
	"github.com/sandtrap/sandtrap/internal/evidence"
	"github.com/sandtrap/sandtrap/internal/pool"
	"github.com/sandtrap/sandtrap/internal/record"
	"github.com/sandtrap/sandtrap/internal/sshd"
)

func TestSessionFromBeginningToEnd(t *testing.T) {
	st := setUp(t)
	s := st.open(st.login())
	if got := st.saved(); got.State != evidence.StateOpen || got.End != nil || len(got.Channels) != 0 {
		t.Errorf("while open: %+v", got)
	}
	st.runs(newStream(3, func(s *fakeStream, stdout, stderr func([]byte) error) error {
		if err := stdout([]byte("out\x00\xff")); err != nil {
			return err
		}
		if err := stderr([]byte("err\x80")); err != nil {
			return err
		}
		<-s.eof // the client's EOF has come through
		return stdout([]byte("end"))
	}))
	r := st.start(s, sshd.Program{Kind: sshd.Exec, Command: "cat\xfe", Env: []string{"LANG=\xfd"}})
	c := &client{stdin: strings.NewReader("in\x00\xff")}
	if err := r.Serve(st.Context(), c.stream()); err != nil || !cmp.Equal(c.exits, []sshd.Exit{{Status: 3}}) || c.ends != 1 {
		t.Errorf("Serve: %v, exits %+v, %d ends", err, c.exits, c.ends)
	}
	if c.stdout.String() != "out\x00\xffend" || c.stderr.String() != "err\x80" {
		t.Errorf("client got %q and %q", c.stdout.String(), c.stderr.String())
	}
	for kind, want := range map[record.Kind]string{
		record.KindOutput: "out\x00\xffend", record.KindStderr: "err\x80", record.KindInput: "in\x00\xff", record.KindCommand: "cat\xfe", record.KindExit: "\x00\x00\x00\x03",
	} {
		if got := st.recorded(s, 0, kind); got != want {
			t.Errorf("recorded %q of kind %c, want %q", got, kind, want)
		}
	}
	if len(st.podman.stopped) != 0 {
		t.Error("the target was stopped with its program")
	}
	s.Close("client disconnected")
	if got := st.podman.stopped; !cmp.Equal(got, []string{"container1"}) {
		t.Errorf("stopped %q", got)
	}
	checkSaved(t, st.saved())
	checkEvents(t, st.events)
}

func checkSaved(t *testing.T, got evidence.Session) {
	t.Helper()
	if got.State != evidence.StateClosed || got.End == nil || got.EndReason != "client disconnected" || got.ClientVersion != "SSH-2.0-x\xff" {
		t.Errorf("session %+v", got)
	}
	if got.Source != (evidence.Endpoint{IP: "192.0.2.7", Port: 40000}) || got.Local != (evidence.Endpoint{IP: "198.51.100.1", Port: 22}) {
		t.Errorf("endpoints %+v, %+v", got.Source, got.Local)
	}
	if got.Login != (evidence.Login{User: "root", Method: "password", Password: "pw\xff"}) {
		t.Errorf("login %+v", got.Login)
	}
	if len(got.Attempts) != 2 || got.Attempts[0].Accepted || !got.Attempts[1].Accepted || got.Attempts[1].Reason != "because" {
		t.Errorf("attempts %+v", got.Attempts)
	}
	want := evidence.Target{Name: "debian", Container: "container1", ContainerName: testID, Image: "localhost/x:latest", ImageDigest: "sha256:abc", Account: "root"}
	if got.Target != want {
		t.Errorf("target %+v, want %+v", got.Target, want)
	}
	if len(got.Channels) != 1 {
		t.Fatalf("channels %+v", got.Channels)
	}
	c := got.Channels[0]
	if c.ID != 0 || c.Kind != "exec" || c.Command != "cat\xfe" || !cmp.Equal(c.Env, []evidence.Text{"LANG=\xfd"}) || c.End == nil || c.Start.IsZero() {
		t.Errorf("channel %+v", c)
	}
	r := c.Recording
	if r.Raw != "channel-0.raw" || r.Cast != "channel-0.cast" || r.OutputBytes != 8 || r.StderrBytes != 4 || r.InputBytes != 4 || r.Truncated || r.ExitStatus == nil || *r.ExitStatus != 3 {
		t.Errorf("recording %+v", r)
	}
}

func checkEvents(t *testing.T, events *sink) {
	t.Helper()
	for _, tt := range []struct {
		kind event.Kind
		want map[string]any
	}{
		{event.SessionOpen, map[string]any{"user": "root", "method": "password"}},
		{event.SessionLease, map[string]any{"target": "debian", "container": "container1", "image_digest": "sha256:abc"}},
		{event.ExecStart, map[string]any{"channel": 0, "account": "root", "pty": false, "command": "cat\xfe"}},
		{event.ProgramExit, map[string]any{"channel": 0, "exit_status": 3}},
		{event.ChannelClose, map[string]any{"channel": 0, "input_bytes": int64(4), "output_bytes": int64(12), "recording": "channel-0.cast"}},
		{event.SessionClose, map[string]any{"channels": 1, "input_bytes": int64(4), "output_bytes": int64(12), "container": "container1", "reason": "client disconnected"}},
	} {
		got := events.of(tt.kind)
		if len(got) != 1 {
			t.Errorf("%d events %s", len(got), tt.kind)
			continue
		}
		for name, want := range tt.want {
			if got[0][name] != want {
				t.Errorf("%s: %s = %v, want %v", tt.kind, name, got[0][name], want)
			}
		}
	}
}

func TestSessionByKeyWithoutChannels(t *testing.T) {
	st := setUp(t)
	l := st.login()
	key := publicKey(t)
	l.Attempts = append(l.Attempts[:1], sshd.Tried{Attempt: auth.Attempt{User: "git", Method: "publickey", Key: key}, Accepted: true, KeyState: sshd.KeyVerified})
	s := st.open(l)
	s.Close("client disconnected")
	got := st.saved()
	want := evidence.Login{User: "git", Method: "publickey", PublicKey: sshd.KeyLine(key), Fingerprint: ssh.FingerprintSHA256(key)}
	if got.Login != want || got.Attempts[1].KeyState != "verified" {
		t.Errorf("login %+v, want %+v", got.Login, want)
	}
	if got.Target != (evidence.Target{}) || len(st.podman.stopped) != 0 || len(st.events.of(event.SessionLease)) != 0 {
		t.Errorf("a target was leased for nothing: %+v", got.Target)
	}
}

func TestChannelsShareALease(t *testing.T) {
	st := setUp(t)
	s := st.open(st.login())
	release := make(chan struct{})
	st.podman.exec = func(pool.Program) (pool.Stream, error) {
		return newStream(0, func(*fakeStream, func([]byte) error, func([]byte) error) error {
			<-release
			return nil
		}), nil
	}
	ended := make(chan error)
	for i := range 3 {
		r := st.start(s, sshd.Program{Channel: i, Kind: sshd.Shell})
		go func() {
			ended <- r.Serve(context.Background(), (&client{}).stream())
		}()
	}
	close(release)
	for range 3 {
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
	s.Close("over")
	if n := len(st.events.of(event.SessionLease)); n != 1 {
		t.Errorf("%d leases", n)
	}
	if got := st.podman.stopped; !cmp.Equal(got, []string{"container1"}) {
		t.Errorf("stopped %q", got)
	}
	if got := st.saved(); len(got.Channels) != 3 {
		t.Errorf("%d channels are saved", len(got.Channels))
	}
}

// The connection ends with its target, unless it is the session that ends it.
func TestTargetIsLost(t *testing.T) {
	for _, lost := range []bool{true, false} {
		st := setUp(t)
		login := st.login()
		ends := make(chan string, 2)
		login.End = func(reason string) { ends <- reason }
		s := st.open(login)
		st.podman.exec = func(pool.Program) (pool.Stream, error) { return newStream(0, untilClosed), nil }
		st.start(s, sshd.Program{Kind: sshd.Shell})
		if lost {
			_ = st.podman.firstLeader().Close()
			if got := <-ends; got != "target lost" {
				t.Errorf("ended with %q", got)
			}
		}
		s.Close("over")
		if len(ends) != 0 {
			t.Errorf("ended with %q", <-ends)
		}
	}
}

func TestExecFails(t *testing.T) {
	st := setUp(t)
	s := st.open(st.login())
	st.podman.exec = func(pool.Program) (pool.Stream, error) { return nil, errors.New("no such program") }
	if r, err := s.Start(st.Context(), sshd.Program{Kind: sshd.Shell, PTY: true}); err == nil || r != nil || !strings.Contains(err.Error(), "no such program") {
		t.Errorf("Start = %v, %v", r, err)
	}
	st.runs(newStream(0, func(*fakeStream, func([]byte) error, func([]byte) error) error { return nil }))
	r := st.start(s, sshd.Program{Channel: 1, Kind: sshd.Shell, PTY: true})
	if err := r.Serve(st.Context(), (&client{}).stream()); err != nil {
		t.Error(err)
	}
	s.Close("over")
	if got := st.saved().Channels; len(got) != 2 || got[0].Recording.ExitStatus != nil || got[1].Recording.ExitStatus == nil {
		t.Errorf("channels %+v", got)
	}
	if n := len(st.events.of(event.ShellStart)); n != 1 {
		t.Errorf("%d shells started", n)
	}
}

func TestNoLease(t *testing.T) {
	st := setUp(t)
	st.service.Pool = pool.New(pool.Config{Targets: make([]pool.Supply, 1), MaxLeases: 1}, st.podman, st.emitter, hclog.NewNullLogger()) // never runs
	s := st.open(st.login())
	if r, err := s.Start(st.Context(), sshd.Program{Kind: sshd.Shell}); !errors.Is(err, pool.ErrEmpty) || r != nil {
		t.Errorf("Start = %v, %v", r, err)
	}
	s.Close("over")
	if got := st.saved(); got.State != evidence.StateClosed || got.Target.Container != "" || len(got.Channels) != 0 {
		t.Errorf("session %+v", got)
	}
}

// TestPrepare: the target is leased before anybody says what for.
func TestPrepare(t *testing.T) {
	st := setUp(t)
	s := st.open(st.login())
	s.Prepare(st.Context(), true)
	s.Prepare(st.Context(), true)
	for len(st.events.of(event.SessionLease)) == 0 {
		time.Sleep(time.Millisecond)
	}
	st.runs(newStream(3, func(_ *fakeStream, _, _ func([]byte) error) error { return nil }))
	r := st.start(s, sshd.Program{Kind: sshd.Shell})
	if err := r.Serve(st.Context(), (&client{}).stream()); err != nil {
		t.Error(err)
	}
	s.Close("over")
	if n := len(st.events.of(event.SessionLease)); n != 1 || len(st.podman.logins) != 1 {
		t.Errorf("%d leases, %d logins", n, len(st.podman.logins))
	}
}

// TestPreparedForNothing: a target that no program came to is no evidence.
func TestPreparedForNothing(t *testing.T) {
	st := setUp(t)
	s := st.open(st.login())
	ctx, cancel := context.WithCancel(st.Context())
	s.Prepare(ctx, true)
	for len(st.events.of(event.SessionLease)) == 0 {
		time.Sleep(time.Millisecond)
	}
	cancel()
	s.Close("over")
	if got := st.saved(); got.State != evidence.StateClosed || got.Target != (evidence.Target{}) {
		t.Errorf("session %+v", got)
	}
	st.untilRemoved()
}

// TestPrepareFails: the first program is told so, and does not wait a second time.
func TestPrepareFails(t *testing.T) {
	st := setUp(t)
	st.service.Pool = pool.New(pool.Config{Targets: make([]pool.Supply, 1), MaxLeases: 1, LeaseTimeout: 50 * time.Millisecond}, st.podman, st.emitter, hclog.NewNullLogger()) // never runs
	s := st.open(st.login())
	s.Prepare(st.Context(), true)
	for refused := false; !refused; time.Sleep(time.Millisecond) {
		s.leasing.Lock()
		refused = s.refused != nil
		s.leasing.Unlock()
	}
	began := time.Now()
	if _, err := s.Start(st.Context(), sshd.Program{Kind: sshd.Shell}); !errors.Is(err, pool.ErrEmpty) || time.Since(began) > 40*time.Millisecond {
		t.Errorf("first Start = %v after %s", err, time.Since(began))
	}
	if _, err := s.Start(st.Context(), sshd.Program{Kind: sshd.Shell}); !errors.Is(err, pool.ErrEmpty) || time.Since(began) < 50*time.Millisecond {
		t.Errorf("second Start = %v after %s", err, time.Since(began))
	}
	s.Close("over")
}

func TestFailsClosedWithoutEvents(t *testing.T) {
	st := setUp(t)
	s := st.open(st.login())
	st.events.fail(errors.New("disk full"))
	st.emitter.Emit(event.ConnectionOpen)
	l := st.login()
	l.ID = "01JQ0000000000000000000002"
	if opened, err := st.service.Open(st.Context(), l); err == nil || opened != nil || !strings.Contains(err.Error(), "disk full") {
		t.Errorf("Open = %v, %v", opened, err)
	}
	if r, err := s.Start(st.Context(), sshd.Program{Kind: sshd.Shell}); err == nil || r != nil || !strings.Contains(err.Error(), "disk full") {
		t.Errorf("Start = %v, %v", r, err)
	}
	if len(st.podman.programs) != 0 {
		t.Error("a program was started")
	}
	s.Close("over")
}

func TestFailsClosedWithoutEvidence(t *testing.T) {
	st := setUp(t)
	l := st.login()
	if err := os.RemoveAll(st.dir + "/sessions"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(st.dir+"/sessions", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if s, err := st.service.Open(st.Context(), l); err == nil || s != nil {
		t.Errorf("Open = %v, %v", s, err)
	}
	if len(st.events.of(event.SessionOpen)) != 0 {
		t.Error("the session is said to be open")
	}
}

func TestFailsClosedWhenTheDirectoryIsGone(t *testing.T) {
	st := setUp(t)
	s := st.open(st.login())
	st.removeSession(s)
	for i := range 2 { // the second finds a lease
		if r, err := s.Start(st.Context(), sshd.Program{Channel: i, Kind: sshd.Shell}); err == nil || r != nil || !strings.HasPrefix(err.Error(), "link the target to its session: ") {
			t.Errorf("Start %d = %v, %v", i, r, err)
		}
	}
	s.Close("over")
	st.untilRemoved()
	if got := st.events.of(event.SessionFail); len(got) != 1 || got[0]["stage"] != "close" {
		t.Errorf("events %v", got)
	}
}

func TestFailsClosedWithoutRecording(t *testing.T) {
	st := setUp(t)
	s := st.open(st.login())
	if err := s.dir.Root().WriteFile("channel-0.cast", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	st.runs(newStream(0, untilClosed))
	if r, err := s.Start(st.Context(), sshd.Program{Kind: sshd.Shell}); err == nil || r != nil || !strings.HasPrefix(err.Error(), "start recording: ") {
		t.Errorf("Start = %v, %v", r, err)
	}
	if len(st.podman.programs) != 0 {
		t.Error("a program was started")
	}
	s.Close("over")
}

func TestCloseWaitsForInput(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := setUp(t)
		s := st.open(st.login())
		st.runs(newStream(0, func(*fakeStream, func([]byte) error, func([]byte) error) error { return nil }))
		r := st.start(s, sshd.Program{Kind: sshd.Shell})
		late := make(chan struct{})
		c := &client{stdin: readFunc(func([]byte) (int, error) {
			<-late
			return 0, errors.New("channel closed")
		})}
		if err := r.Serve(st.Context(), c.stream()); err != nil { // does not wait for the client
			t.Error(err)
		}
		closed := make(chan struct{})
		go func() {
			s.Close("over")
			close(closed)
		}()
		synctest.Wait()
		select {
		case <-closed:
			t.Error("Close did not wait for the copier")
		default:
		}
		close(late)
		<-closed
	})
}

type readFunc func([]byte) (int, error)

func (f readFunc) Read(p []byte) (int, error) { return f(p) }

// What an attacker says must not make the record too large to be read back.
func TestRecordStaysWithinBounds(t *testing.T) {
	st := setUp(t)
	login := st.login()
	long := sshd.Tried{Attempt: auth.Attempt{User: strings.Repeat("\x01", 200<<10), Method: "password"}}
	accepted := login.Accepted()
	login.Attempts = []sshd.Tried{long, long, long, long, accepted}
	s := st.open(login)
	st.podman.exec = func(pool.Program) (pool.Stream, error) {
		return newStream(0, func(*fakeStream, func([]byte) error, func([]byte) error) error { return nil }), nil
	}
	command := strings.Repeat("\x01", 250<<10)
	refused := 0
	for i := range 10 {
		r, err := s.Start(st.Context(), sshd.Program{Channel: i, Kind: sshd.Exec, Command: command})
		if err != nil {
			refused++
			continue
		}
		if err := r.Serve(st.Context(), (&client{}).stream()); err != nil {
			t.Fatal(err)
		}
	}
	s.Close("client disconnected")
	got := st.saved()
	if len(got.Attempts) != 2 || got.AttemptsOmitted != 3 || string(got.Login.User) != accepted.User {
		t.Errorf("%d attempts kept, %d omitted", len(got.Attempts), got.AttemptsOmitted)
	}
	if len(got.Channels) != 4 || refused != 6 || got.State != evidence.StateClosed {
		t.Errorf("%d channels, %d refused, state %s", len(got.Channels), refused, got.State)
	}
}

// A mistake of ours in a program's streams ends that program and no more.
func TestPanicEndsTheProgram(t *testing.T) {
	st := setUp(t)
	s := st.open(st.login())
	st.runs(newStream(0, untilClosed))
	r := st.start(s, sshd.Program{Kind: sshd.Shell})
	c := (&client{}).stream()
	c.Stdin = func([]byte) (int, error) { panic("mistake") }
	if err := r.Serve(st.Context(), c); err == nil {
		t.Error("the program went on")
	}
	s.Close("client disconnected")
	if got := st.saved(); got.State != evidence.StateClosed || len(got.Channels) != 1 {
		t.Errorf("session %+v", got)
	}
}
