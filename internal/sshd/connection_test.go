package sshd

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"golang.org/x/crypto/ssh"

	"github.com/sandtrap/sandtrap/internal/event"
)

// vanish are the places where a client can leave, each as a function that leaves.
var vanish = map[string]struct {
	leave    func(*testing.T, *fixture)
	sessions int
	reason   string // beginning of
}{
	"before identification": {func(t *testing.T, f *fixture) { f.tcp().Close() }, 0, ""},
	"amid identification": {func(t *testing.T, f *fixture) {
		c := f.tcp()
		_, _ = io.WriteString(c, "SSH-2.0-Half")
		c.Close()
	}, 0, ""},
	"after identification": {func(t *testing.T, f *fixture) {
		c := f.tcp()
		_, _ = io.WriteString(c, "SSH-2.0-Gone\r\n")
		_, _ = io.CopyN(io.Discard, c, int64(len(ourLine)))
		c.Close()
	}, 0, ""},
	"amid a packet": {func(t *testing.T, f *fixture) {
		c := f.tcp()
		_, _ = io.WriteString(c, "SSH-2.0-Gone\r\n\x00\x00\x01\x00\x05\x14")
		_, _ = io.CopyN(io.Discard, c, int64(len(ourLine)))
		c.Close()
	}, 0, ""},
	"amid key exchange": {func(t *testing.T, f *fixture) {
		cfg := clientConfig("root", ssh.Password("x"))
		cfg.HostKeyCallback = func(string, net.Addr, ssh.PublicKey) error { return errors.New("leave") }
		if _, _, err := f.login(cfg); err == nil {
			t.Error("the client stayed")
		}
	}, 0, ""},
	"after key exchange": {func(t *testing.T, f *fixture) {
		raw := f.tcp()
		_, _, _, err := ssh.NewClientConn(raw, f.addr, clientConfig("root", ssh.PasswordCallback(func() (string, error) {
			raw.Close()
			return "", errors.New("leave")
		})))
		if err == nil {
			t.Error("the client stayed")
		}
	}, 0, "authentication failed"},
	"after authentication": {func(t *testing.T, f *fixture) {
		_, raw, err := f.login(clientConfig("root", ssh.Password("x")))
		if err != nil {
			t.Fatal(err)
		}
		raw.Close()
	}, 1, "client disconnected"},
	"by a reset": {func(t *testing.T, f *fixture) {
		client, raw, err := f.login(clientConfig("root", ssh.Password("x")))
		if err != nil {
			t.Fatal(err)
		}
		openChannel(t, client).must(Shell, nil)
		_ = raw.SetLinger(0)
		raw.Close()
	}, 1, "client disconnected"},
	"with an open channel": {func(t *testing.T, f *fixture) {
		client, raw, err := f.login(clientConfig("root", ssh.Password("x")))
		if err != nil {
			t.Fatal(err)
		}
		openChannel(t, client)
		raw.Close()
	}, 1, "client disconnected"},
	"amid a transfer": {func(t *testing.T, f *fixture) {
		f.started(func(_ context.Context, s Stream) (int, error) {
			for chunk := make([]byte, 32<<10); ; {
				if _, err := s.Stdout(chunk); err != nil {
					return 0, err
				}
			}
		})
		client, raw, err := f.login(clientConfig("root", ssh.Password("x")))
		if err != nil {
			t.Fatal(err)
		}
		c := openChannel(t, client)
		c.must(Exec, command("cat /dev/zero"))
		_, _ = io.CopyN(io.Discard, c, 1<<20)
		raw.Close()
	}, 1, "client disconnected"},
	"while a program starts": {func(t *testing.T, f *fixture) {
		starting := make(chan struct{})
		f.start = func(ctx context.Context, _ Program) (Running, error) {
			close(starting)
			<-ctx.Done()
			return nil, ctx.Err()
		}
		client, raw, err := f.login(clientConfig("root", ssh.Password("x")))
		if err != nil {
			t.Fatal(err)
		}
		c := openChannel(t, client)
		if _, err := c.SendRequest(Shell, false, nil); err != nil {
			t.Fatal(err)
		}
		<-starting
		raw.Close()
	}, 1, "client disconnected"},
}

// TestLeaveIsFirst: a session hears that its client has left before its evidence is
// complete, and closes after that.
func TestLeaveIsFirst(t *testing.T) {
	f := listen(t, nil)
	f.started(func(ctx context.Context, _ Stream) (int, error) {
		<-ctx.Done()
		s := f.all()[0]
		select {
		case <-s.left:
		case <-time.After(10 * time.Second):
			t.Error("the session was not told")
		}
		if got := s.closes(); got != nil {
			t.Errorf("closed already: %q", got)
		}
		return 0, ctx.Err()
	})
	c := f.client()
	openChannel(t, c).must(Shell, nil)
	_ = c.Close()
	f.events.wait(t, event.ConnectionEnd, 1)
}

func TestClientVanishes(t *testing.T) {
	for name, tt := range vanish {
		t.Run(name, func(t *testing.T) {
			t.Cleanup(func() { goleak.VerifyNone(t) }) // after the server's end
			f := listen(t, nil)
			f.start = func(context.Context, Program) (Running, error) { return runFunc(untilGone), nil }
			tt.leave(t, f)
			end := f.events.wait(t, event.ConnectionEnd, 1)[0]
			if got := field(end, "reason").(string); got == "" || !strings.HasPrefix(got, tt.reason) || strings.Contains(got, "grace") {
				t.Errorf("connection ended with %q, want %q", got, tt.reason)
			}
			// The event comes after the session's end.
			if got := f.all(); len(got) != tt.sessions {
				t.Errorf("%d sessions, want %d", len(got), tt.sessions)
			}
			for _, s := range f.all() {
				if got := s.closes(); !cmp.Equal(got, []string{"client disconnected"}) {
					t.Errorf("session closed with %q", got)
				}
			}
		})
	}
}

func TestGlobalRequestsAreRefused(t *testing.T) {
	f := listen(t, nil)
	client := f.client()
	for i, name := range []string{"keepalive@openssh.com", "hostkeys-prove-00@openssh.com", "hostkeys-00@openssh.com", "", "\x00"} {
		ok, answer, err := client.SendRequest(name, true, []byte(strings.Repeat("p", 2*maxPayload)))
		if err != nil || ok || len(answer) != 0 {
			t.Errorf("%q: %v %q, %v", name, ok, answer, err)
		}
		e := f.events.wait(t, event.GlobalRequest, i+1)[i]
		if got := fields(e, "request", "accepted", "payload"); !cmp.Equal(got, []any{name, false, strings.Repeat("p", maxPayload)}) {
			t.Errorf("event has %.80q", got)
		}
	}
}

func TestTooMuchChatter(t *testing.T) {
	f := listen(t, nil)
	client := f.client()
	c := openChannel(t, client)
	for i := range maxChatter + 1 {
		if i%2 == 0 {
			_, _, _ = client.SendRequest("x", false, nil)
		} else {
			_, _ = c.SendRequest("x", false, nil)
		}
	}
	if got := field(f.events.wait(t, event.ConnectionEnd, 1)[0], "reason"); got != "too many requests" {
		t.Errorf("connection ended with %q", got)
	}
	if got := f.all()[0].closes(); !cmp.Equal(got, []string{"too many requests"}) {
		t.Errorf("session closed with %q", got)
	}
	global, _ := f.events.of(event.GlobalRequest)
	channel, _ := f.events.of(event.ChannelRequest)
	if n := len(global) + len(channel); n != maxChatter {
		t.Errorf("%d events, want %d", n, maxChatter)
	}
}

// A session can end its connection.
func TestSessionEndsTheConnection(t *testing.T) {
	f := listen(t, nil)
	logins := make(chan Login, 1)
	f.open = func(l Login) error { logins <- l; return nil }
	client := f.client()
	(<-logins).End("enough")
	_ = client.Wait()
	if got := field(f.events.wait(t, event.ConnectionEnd, 1)[0], "reason"); got != "enough" {
		t.Errorf("connection ended with %q", got)
	}
	if got := f.all()[0].closes(); !cmp.Equal(got, []string{"enough"}) {
		t.Errorf("session closed with %q", got)
	}
}

func TestOpenFails(t *testing.T) {
	f := listen(t, nil)
	f.open = func(Login) error { return errors.New("disk full") }
	client, _, err := f.login(clientConfig("root", ssh.Password("x")))
	if err == nil {
		_ = client.Wait()
	}
	if got := fields(f.events.wait(t, event.SessionFail, 1)[0], "stage", "error"); !cmp.Equal(got, []any{"open", "disk full"}) {
		t.Errorf("event has %q", got)
	}
	if got := field(f.events.wait(t, event.ConnectionEnd, 1)[0], "reason"); got != "session could not be opened" {
		t.Errorf("connection ended with %q", got)
	}
}

func TestPanicEndsOnlyItsConnection(t *testing.T) {
	var flooded chan struct{} // closed when the victim has sent all it has
	tests := map[string]struct {
		change   func(*fixture)
		sessions int
	}{
		"opening": {func(f *fixture) { f.open = func(Login) error { panic("open") } }, 0},
		"starting": {func(f *fixture) {
			f.start = func(context.Context, Program) (Running, error) {
				<-flooded
				panic("start")
			}
		}, 1},
		"serving": {func(f *fixture) {
			f.started(func(context.Context, Stream) (int, error) { panic("serve") })
		}, 1},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Cleanup(func() { goleak.VerifyNone(t) })
			f := listen(t, nil)
			flooded = make(chan struct{})
			other := openChannel(t, f.client())
			other.must(Exec, command("cat"))

			tt.change(f)
			victim, _, err := f.login(clientConfig("root", ssh.Password("x")))
			if err == nil {
				if ch, _, err := victim.OpenChannel("session", nil); err == nil {
					// More requests than the library keeps for a reader.
					for range 500 {
						_, _ = ch.SendRequest(Shell, false, nil)
					}
				}
				close(flooded)
				_ = victim.Wait()
			}
			if got := field(f.events.wait(t, event.ConnectionEnd, 1)[0], "reason"); got != panicked {
				t.Errorf("connection ended with %q, want %q", got, panicked)
			}
			if all := f.all(); len(all) != 1+tt.sessions {
				t.Errorf("%d sessions", len(all))
			} else if tt.sessions == 1 && !cmp.Equal(all[1].closes(), []string{panicked}) {
				t.Errorf("session closed with %q", all[1].closes())
			}
			if _, err := other.Write([]byte("still here")); err != nil {
				t.Fatal(err)
			}
			if err := other.CloseWrite(); err != nil {
				t.Fatal(err)
			}
			if got := readAll(other); got != "still here" {
				t.Errorf("the other connection got %q", got)
			}
		})
	}
}

// pipes is a listener of connections made by hand, and of errors.
type pipes struct {
	conns chan net.Conn
	fail  func() error // when not nil, called before a connection is taken
}

func (p *pipes) Accept() (net.Conn, error) {
	if p.fail != nil {
		if err := p.fail(); err != nil {
			return nil, err
		}
	}
	if c, ok := <-p.conns; ok {
		return c, nil
	}
	return nil, net.ErrClosed
}

func (p *pipes) Close() error { return nil }

func (p *pipes) Addr() net.Addr { return &net.TCPAddr{} }
