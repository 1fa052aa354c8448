package sshd

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/crypto/ssh"

	"github.com/sandtrap/sandtrap/internal/event"
)

const agentRequest = "auth-agent-req@openssh.com"

func x11(protocol, cookie string, screen uint32) []byte {
	return ssh.Marshal(x11Request{true, protocol, cookie, screen})
}

func TestBreak(t *testing.T) {
	f := listen(t, nil)
	c := openChannel(t, f.client())
	half := ssh.Marshal(breakRequest{500})
	if c.ask("break", half) {
		t.Error("a break without a terminal")
	}
	c.must("pty-req", terminal("xterm", 80, 24))
	if c.ask("break", half) {
		t.Error("a break without a program")
	}
	c.must(Shell, nil)
	c.must("break", half)
	if got := fields(f.events.wait(t, event.ChannelRequest, 2)[0], "request", "accepted"); !cmp.Equal(got, []any{"break", false}) {
		t.Errorf("event has %q", got)
	}
}

// What sshd cannot parse ends its connection.
func TestMalformedForwardingRequests(t *testing.T) {
	for name, payload := range map[string]string{
		"break": "\x00", endOfWrite: "x", agentRequest: "x", "x11-req": "\x01\x00\x00\x00\x09x",
		"break\x00": "", // only for the sake of what is not there
	} {
		f := listen(t, everything)
		c := openChannel(t, f.client())
		_, err := c.SendRequest(name, true, []byte(payload))
		if known := name != "break\x00"; known != (err != nil) {
			t.Errorf("%q %q: %v", name, payload, err)
		} else if known {
			if got := field(f.events.wait(t, event.ConnectionEnd, 1)[0], "reason"); got != "malformed request" {
				t.Errorf("connection ended with %q", got)
			}
		}
	}
}

func TestAgentAndX11AreDenied(t *testing.T) {
	f := listen(t, nil)
	programs := f.started(echo)
	c := openChannel(t, f.client())
	if c.ask(agentRequest, nil) || c.ask("x11-req", x11("MIT-MAGIC-COOKIE-1", "0123abcd", 0)) {
		t.Error("accepted")
	}
	c.must(Shell, nil)
	if p := <-programs; p.AuthSock != "" || p.Display != "" {
		t.Errorf("program %+v", p)
	}
}

func TestAgentSink(t *testing.T) {
	f := listen(t, everything)
	programs := f.started(echo)
	client := f.client()
	first, second := openChannel(t, client), openChannel(t, client)
	first.must(agentRequest, nil)
	if first.ask(agentRequest, nil) || second.ask(agentRequest, nil) {
		t.Error("a connection has two agents")
	}
	first.must(Shell, nil)
	if first.ask(agentRequest, []byte("x")) { // not even looked at
		t.Error("an agent for a program that runs")
	}
	second.must(Shell, nil)
	a, b := <-programs, <-programs
	if a.AuthSock == "" || a.AuthSock != b.AuthSock { // sshd has one for all
		t.Errorf("agents at %q and %q", a.AuthSock, b.AuthSock)
	}
}

func TestX11Sink(t *testing.T) {
	f := listen(t, everything)
	programs := f.started(echo)
	client := f.client()
	ask := func(screen uint32) *testChannel {
		c := openChannel(t, client)
		c.must("x11-req", x11("MIT-MAGIC-COOKIE-1", "0123abcd", screen))
		if c.ask("x11-req", x11("MIT-MAGIC-COOKIE-1", "0123abcd", 0)) {
			t.Error("a channel has two displays")
		}
		c.must(Shell, nil)
		if c.ask("x11-req", nil) { // not even looked at
			t.Error("a display for a program that runs")
		}
		return c
	}
	first := ask(0)
	ask(3)
	for _, want := range []string{"localhost:10.0", "localhost:11.3"} {
		if p := <-programs; p.Display != want {
			t.Errorf("display %q, want %q", p.Display, want)
		}
	}
	bad := openChannel(t, client)
	for _, m := range [][]byte{x11("MIT-MAGIC-COOKIE-1", "a;b", 0), x11("a b", "00", 0), x11("\xff", "", 0)} {
		if bad.ask("x11-req", m) {
			t.Errorf("accepted %q", m)
		}
	}
	if err := first.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	first.statuses()
	for i := 0; ; i++ { // the first display is free as soon as the server has noticed
		ask(0)
		if p := <-programs; p.Display == "localhost:10.0" {
			return
		} else if i == 5 {
			t.Fatalf("still display %q", p.Display)
		}
		time.Sleep(10 * time.Millisecond << i)
	}
}

func TestDisplaysEnd(t *testing.T) {
	var d displays
	for n := firstDisplay; n < maxDisplays; n++ {
		if got, ok := d.take(); !ok || got != n {
			t.Fatalf("display %d, %v", got, ok)
		}
	}
	if _, ok := d.take(); ok {
		t.Error("one more than there are")
	}
	d.free(500)
	if got, ok := d.take(); !ok || got != 500 {
		t.Error(fmt.Sprint(got, ok))
	}
}
