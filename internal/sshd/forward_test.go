package sshd

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/crypto/ssh"

	"github.com/sandtrap/sandtrap/internal/event"
)

// everything is a configuration that accepts all kinds of forwards.
func everything(c *Config) {
	w := &c.Forwarding
	w.TCPLocal, w.TCPRemote, w.StreamlocalLocal, w.StreamlocalRemote = true, true, true, true
	w.X11, w.Agent, w.Tunnel = true, true, true
}

func tcp(host string, port uint32) []byte {
	return ssh.Marshal(directTCPIP{host, port, "192.0.2.7", 40001})
}

func openForward(t *testing.T, c *ssh.Client, kind string, payload []byte) ssh.Channel {
	t.Helper()
	ch, requests, err := c.OpenChannel(kind, payload)
	if err != nil {
		t.Fatal(err)
	}
	go ssh.DiscardRequests(requests)
	return ch
}

// sinkOf waits for the n-th sink of the only session.
func (f *fixture) sinkOf(n int) *fakeSink {
	f.t.Helper()
	s := f.all()[0]
	s.mu.Lock()
	defer s.mu.Unlock()
	if n >= len(s.sinks) {
		f.t.Fatalf("only %d sinks were made", len(s.sinks))
	}
	return s.sinks[n]
}

// What each kind is answered, by policy, as OpenSSH 9.2 does.
func TestForwardAnswers(t *testing.T) {
	streamlocal := func(path string) []byte { return ssh.Marshal(directStreamlocal{Path: path}) }
	tun := func(mode, unit uint32) []byte { return ssh.Marshal(struct{ Mode, Unit uint32 }{mode, unit}) }
	const prohibited, failed = ssh.Prohibited, ssh.ConnectionFailed
	tests := []struct {
		kind    string
		payload []byte
		deny    ssh.RejectionReason
		sink    ssh.RejectionReason // 0 where it is accepted
		message string              // of sink
	}{
		{DirectTCPIP, tcp("example.com", 80), prohibited, 0, ""},
		{DirectTCPIP, tcp("2001:db8::1", 65535), prohibited, 0, ""},
		{DirectTCPIP, tcp("example.com\x00", 80), prohibited, 0, ""},
		{DirectTCPIP, tcp("", 80), prohibited, failed, "Name or service not known"},
		{DirectTCPIP, tcp("a b", 80), prohibited, failed, "Name or service not known"},
		{DirectTCPIP, tcp("\x1b[2J", 80), prohibited, failed, "Name or service not known"},
		{DirectTCPIP, tcp("\xff", 80), prohibited, failed, "Name or service not known"},
		{DirectTCPIP, tcp(strings.Repeat("a", maxHost+1), 80), prohibited, failed, "Name or service not known"},
		{DirectTCPIP, tcp("example.com", 0), prohibited, failed, "Connection refused"},
		{DirectTCPIP, tcp("example.com", 65536), prohibited, prohibited, "open failed"},
		{DirectTCPIP, ssh.Marshal(directTCPIP{"example.com", 80, "", 65536}), prohibited, prohibited, "open failed"},
		{DirectStreamlocal, streamlocal("/run/docker.sock"), failed, 0, ""},
		{DirectStreamlocal, streamlocal(""), failed, failed, "open failed"},
		{DirectStreamlocal, streamlocal(strings.Repeat("/", maxSocketPath+1)), failed, failed, "open failed"},
		{Tun, tun(tunPointToPoint, 0x7fffffff), failed, 0, ""},
		{Tun, tun(tunEthernet, 0), failed, 0, ""},
		{Tun, tun(tunEthernet, 0x80000000), failed, failed, "open failed"},
		{Tun, tun(3, 0), failed, failed, "open failed"},
		{Tun, tun(0, 0), failed, failed, "open failed"},
	}
	for _, policy := range []string{"deny", "sink"} {
		t.Run(policy, func(t *testing.T) {
			f := listen(t, func(c *Config) {
				if policy == "sink" {
					everything(c)
				}
			})
			client := f.client()
			accepted := 0
			for i, tt := range tests {
				want, message := tt.deny, "open failed"
				if policy == "sink" {
					want, message = tt.sink, tt.message
				}
				ch, requests, err := client.OpenChannel(tt.kind, tt.payload)
				var refused *ssh.OpenChannelError
				switch {
				case want == 0 && err == nil:
					go ssh.DiscardRequests(requests)
					ch.Close()
				case want == 0 || !errors.As(err, &refused) || refused.Reason != want || refused.Message != message:
					t.Errorf("%d: %s %.40q: %v", i, tt.kind, tt.payload, err)
				}
				e := f.events.wait(t, event.ForwardRequest, i+1)[i]
				if got := fields(e, "forward_type", "policy", "accepted"); !cmp.Equal(got, []any{tt.kind, policy, want == 0}) {
					t.Errorf("%d: event has %q", i, got)
				}
				if want == 0 {
					if got := fields(e, "forward", "reason"); !cmp.Equal(got, []any{accepted, nil}) {
						t.Errorf("%d: event has %q", i, got)
					}
					accepted++
				}
			}
			if n := f.all()[0].prepared.Load(); n != 0 {
				t.Errorf("a target was asked for %d times", n)
			}
		})
	}
}

func TestForwardEvent(t *testing.T) {
	f := listen(t, everything)
	openForward(t, f.client(), DirectTCPIP, ssh.Marshal(directTCPIP{"mail.example.com", 25, strings.Repeat("\xff", 2000), 40001}))
	e := f.events.wait(t, event.ForwardRequest, 1)[0]
	want := []any{0, DirectTCPIP, "mail.example.com", uint32(25), strings.Repeat("\xff", maxPayload), uint32(40001)}
	if got := fields(e, "forward", "forward_type", "destination", "destination_port", "originator", "originator_port"); !cmp.Equal(got, want) {
		t.Errorf("event has %.200q", got)
	}
}

// What sshd cannot parse ends its connection.
func TestMalformedForwards(t *testing.T) {
	whole := tcp("example.com", 80)
	for name, tt := range map[string]struct {
		kind    string
		payload []byte
	}{
		"nothing":      {DirectTCPIP, nil},
		"cut":          {DirectTCPIP, whole[:len(whole)-1]},
		"too long":     {DirectTCPIP, append(bytes.Clone(whole), 0)},
		"NUL":          {DirectTCPIP, tcp("exa\x00mple.com", 80)},
		"path with":    {DirectStreamlocal, ssh.Marshal(directStreamlocal{Path: "/a\x00b"})},
		"path cut":     {DirectStreamlocal, []byte{0, 0, 0, 9, '/'}},
		"tun":          {Tun, []byte{0, 0, 1}},
		"session with": {"session", []byte{0}},
	} {
		t.Run(name, func(t *testing.T) {
			f := listen(t, everything)
			if _, _, err := f.client().OpenChannel(tt.kind, tt.payload); err == nil {
				t.Error("the channel was opened")
			}
			e := f.events.wait(t, event.ChannelDeny, 1)[0]
			if got := fields(e, "channel_type", "reason", "payload"); !cmp.Equal(got, []any{tt.kind, "malformed", string(tt.payload)}) {
				t.Errorf("event has %q", got)
			}
			if got := field(f.events.wait(t, event.ConnectionEnd, 1)[0], "reason"); got != "channel refused: malformed" {
				t.Errorf("connection ended with %q", got)
			}
		})
	}
}

// The peer takes everything, says nothing, and closes when the client does.
func TestForwardSink(t *testing.T) {
	f := listen(t, everything)
	ch := openForward(t, f.client(), DirectTCPIP, tcp("example.com", 80))
	const request = "GET / HTTP/1.0\r\n\r\n"
	if _, err := io.WriteString(ch, request); err != nil {
		t.Fatal(err)
	}
	for _, r := range []string{"eow@openssh.com", "shell", "x"} {
		if ok, err := ch.SendRequest(r, true, nil); ok || err != nil {
			t.Errorf("request %s: %v, %v", r, ok, err)
		}
	}
	if got := fields(f.events.wait(t, event.ChannelRequest, 3)[1], "forward", "channel", "request", "accepted"); !cmp.Equal(got, []any{0, nil, "shell", false}) {
		t.Errorf("event has %q", got)
	}
	if err := ch.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if got := readAll(ch); got != "" {
		t.Errorf("the peer said %q", got)
	}
	sink := f.sinkOf(0)
	if data, reason := sink.end(t); data != request || reason != ClientClosed {
		t.Errorf("recorded %q, %s", data, reason)
	}
	want := Forward{Number: 0, Kind: DirectTCPIP, Host: "example.com", Port: 80, Originator: "192.0.2.7", OriginatorPort: 40001}
	if sink.forward != want {
		t.Errorf("forward %+v", sink.forward)
	}
}

func TestForwardLimits(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(*Config)
		reason string
	}{
		"silence": {func(c *Config) { c.ChannelTimeouts = []ChannelTimeout{{"direct-*", 20 * time.Millisecond}} }, silent},
		"time":    {func(c *Config) { c.Forwarding.MaxTime = 20 * time.Millisecond }, sinkTooLong},
	} {
		t.Run(name, func(t *testing.T) {
			f := listen(t, func(c *Config) { everything(c); tt.change(c) })
			ch := openForward(t, f.client(), DirectTCPIP, tcp("example.com", 443))
			if name == "time" { // it is not silent
				go func() {
					for {
						if _, err := ch.Write([]byte("x")); err != nil {
							return
						}
					}
				}()
			}
			if got := readAll(ch); got != "" {
				t.Errorf("the peer said %q", got)
			}
			if _, reason := f.sinkOf(0).end(t); reason != tt.reason {
				t.Errorf("ended by %s", reason)
			}
		})
	}
}

// What is heard puts off the end by silence.
func TestForwardSilenceBeginsAnew(t *testing.T) {
	f := listen(t, func(c *Config) {
		everything(c)
		c.ChannelTimeouts = []ChannelTimeout{{DirectTCPIP, 300 * time.Millisecond}}
	})
	began := time.Now()
	ch := openForward(t, f.client(), DirectTCPIP, tcp("example.com", 443))
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for range 30 {
		<-tick.C
		if _, err := ch.Write([]byte("x")); err != nil {
			t.Fatalf("after %s: %v", time.Since(began), err)
		}
	}
	_ = readAll(ch)
	if data, reason := f.sinkOf(0).end(t); reason != silent || data != strings.Repeat("x", 30) {
		t.Errorf("recorded %q, %s", data, reason)
	}
}

func TestForwardNotRecorded(t *testing.T) {
	f := listen(t, everything)
	f.sink = func(Forward) (Sink, error) { return nil, errors.New("disk full") }
	_, _, err := f.client().OpenChannel(DirectTCPIP, tcp("example.com", 80))
	var refused *ssh.OpenChannelError
	if !errors.As(err, &refused) || refused.Reason != ssh.ConnectionFailed || refused.Message != "open failed" {
		t.Errorf("answer %v", err)
	}
	if got := fields(f.events.wait(t, event.SessionFail, 1)[0], "stage", "error"); !cmp.Equal(got, []any{"forward", "disk full"}) {
		t.Errorf("event has %q", got)
	}
	if got := fields(f.events.wait(t, event.ForwardRequest, 1)[0], "accepted", "reason"); !cmp.Equal(got, []any{false, "forward could not be recorded"}) {
		t.Errorf("event has %q", got)
	}
}

// The end of the connection ends a sink, before the session is closed.
func TestForwardEndsWithTheConnection(t *testing.T) {
	f := listen(t, everything)
	client := f.client()
	openForward(t, client, DirectTCPIP, tcp("example.com", 80))
	client.Close()
	if _, reason := f.sinkOf(0).end(t); reason != connectionGone && reason != ClientClosed {
		t.Errorf("ended by %s", reason)
	}
	f.events.wait(t, event.ConnectionEnd, 1)
}

func TestPanicInForward(t *testing.T) {
	f := listen(t, everything)
	f.sink = func(Forward) (Sink, error) { panic("sink") }
	if _, _, err := f.client().OpenChannel(DirectTCPIP, tcp("example.com", 80)); err == nil {
		t.Error("the channel was opened")
	}
	if got := field(f.events.wait(t, event.ConnectionEnd, 1)[0], "reason"); got != panicked {
		t.Errorf("connection ended with %q", got)
	}
}

// Programs start beside forwards, and only they ask for a target.
func TestProgramBesideForwards(t *testing.T) {
	f := listen(t, everything)
	f.start = func(context.Context, Program) (Running, error) { return runFunc(echo), nil }
	client := f.client()
	openForward(t, client, DirectTCPIP, tcp("example.com", 80))
	if n := f.all()[0].prepared.Load(); n != 0 {
		t.Errorf("a target was asked for %d times", n)
	}
	c := openChannel(t, client)
	c.must(Shell, nil)
	if err := c.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	c.statuses()
	if n := f.all()[0].prepared.Load(); n != 1 {
		t.Errorf("a target was asked for %d times", n)
	}
}
