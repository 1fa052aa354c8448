package sshd

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/crypto/ssh"

	"github.com/sandtrap/sandtrap/internal/auth"
	"github.com/sandtrap/sandtrap/internal/event"
)

func TestPolicyIsAskedForEachConnection(t *testing.T) {
	var n atomic.Int32
	f := listen(t, func(c *Config) {
		c.Policy = func() Policy { n.Add(1); return always{auth.AcceptAll{}} }
	})
	f.client()
	f.client()
	if n.Load() != 2 {
		t.Errorf("asked %d times", n.Load())
	}
}

func TestLoginGraceTime(t *testing.T) {
	const grace = 2 * time.Minute
	tests := map[string]func(net.Conn){
		"silent": func(net.Conn) {},
		"slow identification": func(c net.Conn) {
			for _, b := range []byte("SSH-2.0-" + strings.Repeat("slow", 100)) {
				time.Sleep(time.Second)
				if _, err := c.Write([]byte{b}); err != nil {
					return
				}
			}
		},
		"no key exchange": func(c net.Conn) { _, _ = io.WriteString(c, "SSH-2.0-x\r\n") },
		"slow packet": func(c net.Conn) {
			_, _ = io.WriteString(c, "SSH-2.0-x\r\n\x00\x00\x07\xfc\x05\x14")
			for range 1000 {
				time.Sleep(time.Second)
				if _, err := c.Write([]byte{0}); err != nil {
					return
				}
			}
		},
	}
	for name, behave := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := prepare(t, func(c *Config) { c.LoginGraceTime = grace })
				l := &pipes{conns: make(chan net.Conn, 1)}
				server, client := net.Pipe()
				l.conns <- server
				go func() { _ = f.server.Serve(t.Context(), l) }()
				behaved := make(chan struct{})
				go func() {
					behave(client)
					close(behaved)
				}()
				began := time.Now()
				_, _ = io.Copy(io.Discard, client) // until the server closes
				if took := time.Since(began); took != grace {
					t.Errorf("closed after %s, want %s", took, grace)
				}
				<-behaved
				synctest.Wait()
				end, _ := f.events.of(event.ConnectionEnd)
				if len(end) != 1 || !cmp.Equal(fields(end[0], "reason", "duration_ms"), []any{"login grace time exceeded", grace.Milliseconds()}) {
					t.Errorf("events of the end: %v", end)
				}
				close(l.conns)
			})
		})
	}
}

// deadlines is a connection that remembers its deadlines.
type deadlines struct {
	net.Conn
	set chan time.Time
}

func (d *deadlines) SetDeadline(at time.Time) error {
	d.set <- at
	return d.Conn.SetDeadline(at)
}

func TestLoginGraceTimeEndsWithLogin(t *testing.T) {
	f := prepare(t, func(c *Config) { c.LoginGraceTime = time.Minute })
	real, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer real.Close()
	f.addr = real.Addr().String()
	l := &pipes{conns: make(chan net.Conn)}
	ended := make(chan struct{})
	go func() {
		_ = f.server.Serve(context.Background(), l)
		close(ended)
	}()
	server := &deadlines{set: make(chan time.Time, 10)}
	go func() {
		server.Conn, _ = real.Accept()
		l.conns <- server
		close(l.conns)
	}()
	before := time.Now()
	client := f.client()
	if _, _, err := client.SendRequest("x", true, nil); err != nil { // answered once the login is over
		t.Fatal(err)
	}
	if at := <-server.set; at.Before(before.Add(time.Minute)) || at.After(time.Now().Add(time.Minute)) {
		t.Errorf("deadline at accept is %s, want a minute from now", at)
	}
	if at := <-server.set; !at.IsZero() {
		t.Errorf("deadline after the login is %s, want none", at)
	}
	client.Close()
	f.server.Shutdown(context.Background())
	<-ended
}

func TestLoginFailure(t *testing.T) {
	long := loginFailure(errors.New(strings.Repeat("x", 1<<20)))
	if len(long) > maxPayload+100 {
		t.Errorf("reason of %d bytes", len(long))
	}
}

// Before and after the login, what a client causes beyond the limits is counted.
func TestEventsAreLimited(t *testing.T) {
	f := listen(t, func(c *Config) {
		c.EventLimits = event.Limits{Repeats: 3}
		c.Policy = func() Policy { return refuseAll{} }
	})
	if _, _, err := f.login(clientConfig("root", ssh.RetryableAuthMethod(ssh.Password("x"), 5))); err == nil {
		t.Fatal("let in")
	}
	omit := f.events.wait(t, event.EventsOmit, 1)[0] // none and five passwords
	if got := fields(omit, "omitted", "kinds"); !cmp.Equal(got, []any{3, "auth.attempt=3"}) {
		t.Errorf("event has %v", got)
	}
	f = listen(t, func(c *Config) { c.EventLimits = event.Limits{Repeats: 3} })
	client := f.client()
	for range 10 {
		if _, _, err := client.SendRequest("x", true, nil); err != nil {
			t.Fatal(err)
		}
	}
	client.Close()
	omit = f.events.wait(t, event.EventsOmit, 1)[0]
	if got := fields(omit, "omitted", "kinds"); !cmp.Equal(got, []any{7, "global.request=7"}) {
		t.Errorf("event has %v", got)
	}
	closed := f.events.wait(t, event.ConnectionEnd, 1)[0]
	if closed.Seq != omit.Seq+1 {
		t.Errorf("told as number %d, the connection closed as %d", omit.Seq, closed.Seq)
	}
}

// refuseAll is a policy.
type refuseAll struct{}

func (refuseAll) Decide(auth.Attempt) auth.Decision { return auth.Decision{Reason: "no"} }
