package sshd

import (
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/crypto/ssh"

	"github.com/sandtrap/sandtrap/internal/event"
)

func alive(interval time.Duration, most int) func(*Config) {
	return func(c *Config) { c.ClientAliveInterval, c.ClientAliveCountMax = interval, most }
}

// deaf logs in and answers nothing. What the server asks comes out.
func (f *fixture) deaf() (ssh.Conn, <-chan *ssh.Request) {
	f.t.Helper()
	conn, _, requests, err := ssh.NewClientConn(f.tcp(), f.addr, clientConfig("root", ssh.Password("x")))
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { conn.Close() })
	if r := <-requests; r == nil || r.Type != hostKeysAnnounced {
		f.t.Fatalf("first request %+v", r)
	}
	return conn, requests
}

func TestDeadClient(t *testing.T) {
	const interval, most = 30 * time.Millisecond, 2
	f := listen(t, alive(interval, most))
	began := time.Now()
	conn, requests := f.deaf()
	if r := <-requests; r == nil || r.Type != keepaliveRequest || !r.WantReply || len(r.Payload) > 0 {
		t.Errorf("question %+v", r)
	}
	_ = conn.Wait()
	if took := time.Since(began); took < (most+1)*interval {
		t.Errorf("ended after %s, before %d intervals", took, most+1)
	}
	if got := field(f.events.wait(t, event.ConnectionEnd, 1)[0], "reason"); got != clientSilent {
		t.Errorf("connection ended with %q", got)
	}
	if got := f.all()[0].closes(); !cmp.Equal(got, []string{clientSilent}) {
		t.Errorf("session closed with %q", got)
	}
}

// On a channel the question is the channel's, as with sshd.
func TestDeadClientWithAChannel(t *testing.T) {
	f := listen(t, func(c *Config) { everything(c); alive(20*time.Millisecond, 1)(c) })
	conn, global := f.deaf()
	_, requests, err := conn.OpenChannel(DirectTCPIP, tcp("example.com", 80))
	if err != nil {
		t.Fatal(err)
	}
	r, g := <-requests, <-global
	for r != nil && r.Type != keepaliveRequest {
		r = <-requests
	}
	if r == nil || !r.WantReply {
		t.Errorf("question %+v", r)
	}
	if g != nil { // the first may have come before the channel was open
		t.Logf("global request %s", g.Type)
	}
	_ = conn.Wait()
	if got := field(f.events.wait(t, event.ConnectionEnd, 1)[0], "reason"); got != clientSilent {
		t.Errorf("connection ended with %q", got)
	}
}

// A client that answers stays.
func TestClientAnswers(t *testing.T) {
	const interval, most = 30 * time.Millisecond, 5 // silent it would be gone before 10 questions
	f := listen(t, alive(interval, most))
	conn, requests := f.deaf()
	for range 10 {
		r := <-requests
		if r == nil || r.Type != keepaliveRequest {
			t.Fatalf("request %+v", r)
		}
		if err := r.Reply(false, nil); err != nil {
			t.Fatal(err)
		}
	}
	conn.Close()
	if got := field(f.events.wait(t, event.ConnectionEnd, 1)[0], "reason"); got != "client disconnected" {
		t.Errorf("connection ended with %q", got)
	}
}

// A count of 0 asks, and ends nothing.
func TestDeafClientIsLeftAlone(t *testing.T) {
	f := listen(t, alive(time.Millisecond, 0))
	conn, requests := f.deaf()
	<-requests
	if _, _, err := conn.SendRequest("x", true, nil); err != nil {
		t.Error(err)
	}
}

// TCPKeepAlive has the kernel's times: those of Go would show on the wire.
func TestTCPKeepAlive(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	client, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	f := prepare(t, nil)
	f.server.accepted(t.Context(), c)
	raw, err := c.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var got [4]int
	err = raw.Control(func(fd uintptr) {
		for i, option := range [][2]int{
			{syscall.SOL_SOCKET, syscall.SO_KEEPALIVE}, {syscall.IPPROTO_TCP, syscall.TCP_KEEPIDLE},
			{syscall.IPPROTO_TCP, syscall.TCP_KEEPINTVL}, {syscall.IPPROTO_TCP, syscall.TCP_KEEPCNT},
		} {
			got[i], _ = syscall.GetsockoptInt(int(fd), option[0], option[1])
		}
	})
	if want := [4]int{1, 7200, 75, 9}; err != nil || got != want {
		t.Errorf("%v, %v, want %v", got, err, want)
	}
	client.Close()
	f.server.Shutdown(t.Context())
}

func TestNobodyIsAsked(t *testing.T) {
	f := listen(t, alive(0, 1))
	conn, requests := f.deaf()
	if _, _, err := conn.SendRequest("x", true, nil); err != nil {
		t.Fatal(err)
	}
	select {
	case r := <-requests:
		t.Errorf("request %+v", r)
	default:
	}
}
