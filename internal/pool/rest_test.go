package pool

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sandtrap/sandtrap/internal/attach"
	"github.com/sandtrap/sandtrap/internal/frame"
	"github.com/sandtrap/sandtrap/internal/podman"
	"github.com/sandtrap/sandtrap/internal/testpodman"
)

const passwd = "root:x:0:0::/root:/bin/bash\nadmin:x:1000:1001::/home/admin:/bin/sh\n"

// onService starts a container on a fake service and returns a Podman for it.
func onService(t *testing.T, s *testpodman.Service) (Podman, string) {
	t.Helper()
	s.Files["/etc/passwd"] = passwd
	client, err := podman.Dial(t.Context(), s.Socket)
	if err != nil {
		t.Fatal(err)
	}
	id, err := client.Create(t.Context(), podman.Spec{Image: "localhost/target:latest", Name: "x"})
	if err == nil {
		err = client.Start(t.Context(), id)
	}
	if err != nil {
		t.Fatal(err)
	}
	return Real(client, "/nonexistent", "/nonexistent"), id
}

func connectREST(t *testing.T, s *testpodman.Service) (Podman, Leader, string) {
	t.Helper()
	p, id := onService(t, s)
	l, err := p.Connect(t.Context(), Connection{Container: id, Fallback: "root"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return p, l, id
}

// Nothing is read out of a container that somebody had: it would stop Podman.
func TestRESTOfATouchedContainer(t *testing.T) {
	s := testpodman.New(t)
	p, id := onService(t, s)
	touched := Connection{Container: id, Fallback: "root", Image: "sha256:a", Touched: true}
	if _, err := p.Connect(t.Context(), touched); !errors.Is(err, errTouched) {
		t.Errorf("accounts that nobody has seen: %v", err)
	}
	fresh := touched
	fresh.Touched = false
	l, err := p.Connect(t.Context(), fresh)
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	s.Files["/etc/passwd"] = "root:x:0:0::/tmp/hostile:/bin/hostile\n"
	if l, err = p.Connect(t.Context(), touched); err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if a, err := l.Login(t.Context(), frame.LoginMessage{User: "root", Fallback: "root", Policy: frame.PolicyExisting}); err != nil || a.Shell != "/bin/bash" {
		t.Errorf("%+v, %v", a, err)
	}
	touched.Image = "sha256:b"
	if _, err := p.Connect(t.Context(), touched); !errors.Is(err, errTouched) {
		t.Errorf("the accounts of another image: %v", err)
	}
}

func TestRESTLogin(t *testing.T) {
	_, l, _ := connectREST(t, testpodman.New(t))
	if err := l.Ping(t.Context()); err != nil {
		t.Error(err)
	}
	admin := attach.Account{Name: "admin", UID: 1000, GID: 1001, Home: "/home/admin", Shell: "/bin/sh"}
	root := attach.Account{Name: "root", Home: "/root", Shell: "/bin/bash"}
	for _, test := range []struct {
		user   string
		policy frame.Policy
		want   attach.Account
	}{
		{"admin", frame.PolicyExisting, admin},
		{"nobody", frame.PolicyExisting, root},
		{"admin", frame.PolicyFallback, root},
		{"newcomer", frame.PolicyCreate, root},
	} {
		got, err := l.Login(t.Context(), frame.LoginMessage{User: test.user, Fallback: "root", Policy: test.policy})
		if err != nil || got != test.want {
			t.Errorf("%s, policy %c: %+v, %v", test.user, test.policy, got, err)
		}
	}
}

func TestRESTPrograms(t *testing.T) {
	s := testpodman.New(t)
	var mu sync.Mutex
	var ran []string
	s.Run = func(p *testpodman.Process) int {
		mu.Lock()
		ran = append(ran, fmt.Sprintf("%s %v %v", p.User, p.Command, p.Env))
		mu.Unlock()
		input, _ := io.ReadAll(p.Stdin)
		_, _ = p.Stdout.Write(input)
		return 3
	}
	_, l, _ := connectREST(t, s)
	run := func(program Program) Stream {
		t.Helper()
		stream, err := l.Start(t.Context(), program)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := stream.Write([]byte("in")); err != nil {
			t.Fatal(err)
		}
		if err := stream.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		var out strings.Builder
		to := func(p []byte) error { out.Write(p); return nil }
		if err := stream.Copy(to, to); err != nil || out.String() != "in" {
			t.Errorf("output %q, %v", out.String(), err)
		}
		<-stream.Exited()
		if ended, err := stream.Wait(t.Context()); err != nil || ended != (Exit{Status: 3}) {
			t.Errorf("ended %+v, %v", ended, err)
		}
		if err := stream.Signal(t.Context(), "TERM"); err == nil {
			t.Error("a signal was delivered")
		}
		return stream
	}
	shell := Program{User: "admin", Path: "/bin/sh", Argv: []string{"-sh"}, Env: []string{"A=b"}, Dir: "/home/admin", PTY: true, Size: Size{Columns: 80, Rows: 24}}
	first := run(shell)
	second := run(shell)
	if err := first.Resize(t.Context(), Size{Columns: 100, Rows: 50}); err != nil {
		t.Error(err)
	}
	first.Close()
	third := run(shell) // the number of the first is free again
	run(Program{User: "root", Path: "/bin/bash", Argv: []string{"bash", "-c", "id"}}).Close()
	second.Close()
	third.Close()
	want := []string{
		"admin [/bin/sh -l] [A=b SSH_TTY=/dev/pts/0]", "admin [/bin/sh -l] [A=b SSH_TTY=/dev/pts/1]",
		"admin [/bin/sh -l] [A=b SSH_TTY=/dev/pts/0]", "root [/bin/bash -c id] []",
	}
	if diff := cmp.Diff(want, ran); diff != "" {
		t.Errorf("programs (-want +got):\n%s", diff)
	}
	if n := s.Execs(); n != 0 {
		t.Errorf("%d exec sessions are left", n)
	}
}

// TestRESTEnds: a container that stopped is gone, a Podman that is away is not the
// container's fault.
func TestRESTEnds(t *testing.T) {
	s := testpodman.New(t)
	p, l, id := connectREST(t, s)
	s.Stop()
	if _, err := l.Login(t.Context(), frame.LoginMessage{User: "root"}); !errors.Is(err, ErrUnasked) {
		t.Errorf("Login without Podman: %v", err)
	}
	if l.Ping(t.Context()) == nil {
		t.Error("Ping without Podman succeeds")
	}
	select {
	case <-l.Done():
		t.Errorf("gone: %v", l.Err())
	default:
	}
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Login(t.Context(), frame.LoginMessage{User: "root"}); err != nil {
		t.Errorf("Login with Podman again: %v", err)
	}
	if err := p.Stop(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Login(t.Context(), frame.LoginMessage{User: "root"}); !errors.Is(err, errNotRunning) || errors.Is(err, ErrUnasked) {
		t.Errorf("Login of a stopped container: %v", err)
	}
	<-l.Done()
	if !errors.Is(l.Err(), errNotRunning) {
		t.Errorf("gone: %v", l.Err())
	}
	if _, err := p.Connect(t.Context(), Connection{Container: id, Fallback: "root"}); !errors.Is(err, errNotRunning) {
		t.Errorf("Connect to a stopped container: %v", err)
	}
	if _, err := p.Connect(t.Context(), Connection{Container: "none", Fallback: "root"}); !errors.Is(err, podman.ErrNotFound) {
		t.Errorf("Connect to no container: %v", err)
	}
}

func TestRESTRefuses(t *testing.T) {
	s := testpodman.New(t)
	p, id := onService(t, s)
	if l, err := p.Connect(t.Context(), Connection{Container: id, Fallback: "nobody"}); err == nil || l != nil {
		t.Errorf("an account that is not there: %v, %v", l, err)
	}
	_, l, _ := connectREST(t, s)
	s.Stop()
	if stream, err := l.Start(t.Context(), Program{Path: "/bin/sh", PTY: true}); err == nil || stream != nil {
		t.Errorf("Start without Podman: %v, %v", stream, err)
	}
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	if n := l.(*rest).takeTTY(); n != 0 {
		t.Errorf("the next terminal is number %d, though none was opened", n)
	}
}
