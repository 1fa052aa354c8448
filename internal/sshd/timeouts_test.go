package sshd

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/crypto/ssh"

	"github.com/sandtrap/sandtrap/internal/event"
)

func TestSilence(t *testing.T) {
	c := Config{ChannelTimeouts: []ChannelTimeout{
		{"session:subsystem:sftp", 0}, {"session:*", time.Minute}, {"session*", time.Hour}, {"direct-tcpip", time.Second}, {"*", 2 * time.Second},
	}}
	for kind, want := range map[string]time.Duration{
		typeOf(Program{Kind: Shell}): time.Minute, typeOf(Program{Kind: Exec, Command: "id"}): time.Minute, typeOf(Program{Kind: Subsystem, Command: "sftp"}): 0,
		typeSession: time.Hour, typeOfForward(DirectTCPIP): time.Second, typeOfForward(DirectStreamlocal): 2 * time.Second, typeOfForward(Tun): 2 * time.Second,
	} {
		if got := c.silence(kind); got != want {
			t.Errorf("%s: %s, want %s", kind, got, want)
		}
	}
	if got := (&Config{}).silence(typeShell); got != 0 {
		t.Errorf("without any: %s", got)
	}
}

// timeouts sets one for each type of channel.
func timeouts(all ...ChannelTimeout) func(*Config) {
	return func(c *Config) { c.ChannelTimeouts = all }
}

// A silent channel ends with nothing but its end, the program loses its streams, and
// the connection goes on.
func TestSilentChannelEnds(t *testing.T) {
	f := listen(t, timeouts(ChannelTimeout{typeCommand, 50 * time.Millisecond}))
	ended := make(chan string, 1)
	f.start = func(context.Context, Program) (Running, error) {
		return runFunc(func(ctx context.Context, s Stream) (int, error) {
			<-ctx.Done()
			ended <- s.Ended()
			return 0, ctx.Err()
		}), nil
	}
	client := f.client()
	ch := openChannel(t, client)
	began := time.Now()
	ch.must(Exec, command("sleep 1000"))
	if got := ch.statuses(); got != nil {
		t.Errorf("exit status %v", got)
	}
	if took := time.Since(began); took < 50*time.Millisecond {
		t.Errorf("ended after %s", took)
	}
	if got := <-ended; got != silent {
		t.Errorf("the program was told %q", got)
	}
	e := f.events.wait(t, event.ChannelTimeout, 1)[0]
	if got := fields(e, "channel", "channel_type"); !cmp.Equal(got, []any{0, typeCommand}) || field(e, "silence_ms").(int64) < 50 {
		t.Errorf("event has %v", e.Values)
	}
	f.start = func(context.Context, Program) (Running, error) { return runFunc(echo), nil }
	again := openChannel(t, client)
	again.must(Shell, nil)
	if err := again.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if got := again.statuses(); !cmp.Equal(got, []uint32{0}) {
		t.Errorf("the next channel ended with %v", got)
	}
}

// Bytes in either direction put off the end.
func TestChannelTimeoutBeginsAnew(t *testing.T) {
	const silence = 200 * time.Millisecond
	for name, program := range map[string]runFunc{
		"input": func(_ context.Context, s Stream) (int, error) {
			buffer := make([]byte, 1)
			for range 10 {
				if _, err := s.Stdin(buffer); err != nil {
					return 1, nil
				}
			}
			return 0, nil
		},
		"output": func(_ context.Context, s Stream) (int, error) {
			tick := time.NewTicker(silence / 5)
			defer tick.Stop()
			for range 10 {
				<-tick.C
				if _, err := s.Stdout([]byte("x")); err != nil {
					return 1, nil
				}
			}
			return 0, nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := listen(t, timeouts(ChannelTimeout{"session:*", silence}))
			f.start = func(context.Context, Program) (Running, error) { return program, nil }
			ch := openChannel(t, f.client())
			ch.must(Shell, nil)
			if name == "input" {
				tick := time.NewTicker(silence / 5)
				defer tick.Stop()
				for range 10 {
					<-tick.C
					if _, err := ch.Write([]byte("x")); err != nil {
						t.Fatal(err)
					}
				}
			}
			if got := ch.statuses(); !cmp.Equal(got, []uint32{0}) {
				t.Errorf("ended with %v", got)
			}
		})
	}
}

// A channel without a program ends too, and starts none when it has ended.
func TestChannelWithoutProgramEnds(t *testing.T) {
	f := listen(t, timeouts(ChannelTimeout{"session*", 30 * time.Millisecond}))
	ch := openChannel(t, f.client())
	if got := ch.statuses(); got != nil {
		t.Errorf("exit status %v", got)
	}
	if got := field(f.events.wait(t, event.ChannelTimeout, 1)[0], "channel_type"); got != typeSession {
		t.Errorf("type %v", got)
	}
}

// reasonOf waits for the end of the connection, which is that of its session.
func reasonOf(t *testing.T, f *fixture) any {
	t.Helper()
	reason := field(f.events.wait(t, event.ConnectionEnd, 1)[0], "reason")
	if got := f.all()[0].closes(); !cmp.Equal(got, []string{reason.(string)}) {
		t.Errorf("session closed with %q, connection with %q", got, reason)
	}
	return reason
}

// A connection without a channel ends, from the login on and after each last
// channel; one that is open keeps it, one that has ended by silence does not.
func TestUnusedConnection(t *testing.T) {
	const unusedFor = 150 * time.Millisecond
	change := func(c *Config) {
		everything(c)
		c.UnusedConnectionTimeout = unusedFor
		c.ChannelTimeouts = []ChannelTimeout{{typeCommand, 3 * unusedFor}}
	}
	t.Run("never used", func(t *testing.T) {
		f := listen(t, change)
		began := time.Now()
		_ = f.client().Wait()
		if took := time.Since(began); took < unusedFor {
			t.Errorf("ended after %s", took)
		}
		if got := reasonOf(t, f); got != nothingOpen {
			t.Errorf("ended by %v", got)
		}
	})
	t.Run("used", func(t *testing.T) {
		f := listen(t, change)
		client := f.client()
		ch := openForward(t, client, DirectTCPIP, tcp("example.com", 80))
		<-time.After(3 * unusedFor) // what is tested is that nothing happens
		if _, _, err := client.SendRequest("x", true, nil); err != nil {
			t.Fatalf("ended with an open channel: %v", err)
		}
		began := time.Now()
		ch.Close()
		_ = client.Wait()
		if took := time.Since(began); took < unusedFor {
			t.Errorf("ended %s after its channel", took)
		}
		if got := reasonOf(t, f); got != nothingOpen {
			t.Errorf("ended by %v", got)
		}
	})
}

// After a silence the connection has what is left of its time, as with sshd.
func TestSilenceCountsTwice(t *testing.T) {
	const silence, unusedFor = time.Second, 1500 * time.Millisecond
	f := listen(t, func(c *Config) {
		c.UnusedConnectionTimeout = unusedFor
		c.ChannelTimeouts = []ChannelTimeout{{typeCommand, silence}}
	})
	f.start = func(context.Context, Program) (Running, error) { return runFunc(untilGone), nil }
	client := f.client()
	ch := openChannel(t, client)
	ch.must(Exec, command("sleep"))
	began := time.Now()
	_ = client.Wait()
	if took := time.Since(began); took < unusedFor-50*time.Millisecond || took > silence+unusedFor-50*time.Millisecond {
		t.Errorf("ended after %s", took)
	}
	if got := reasonOf(t, f); got != nothingOpen {
		t.Errorf("ended by %v", got)
	}
}

// notClosing is the channel of a client that does not answer a CLOSE.
type notClosing struct{ *wireOrder }

func (n notClosing) Close() error {
	n.add("CLOSE")
	return nil
}

// A client that does not answer the end of its silent channel has none open.
func TestSilentChannelCountsNoLonger(t *testing.T) {
	f := prepare(t, timeouts(ChannelTimeout{"session*", time.Millisecond}))
	w := &wireOrder{requests: make(chan *ssh.Request)}
	var once sync.Once
	conn := &connection{server: f.server, events: f.server.cfg.Events, wire: newClearConn(nil), version: "SSH-2.0-OpenSSH_9.2p1"}
	newChannel(conn, &fakeSession{}, 0, notClosing{w}).serve(t.Context(), w.requests, func(time.Time) { once.Do(func() { close(w.requests) }) })
	if !cmp.Equal(w.sent, []string{"EOF", "eow@openssh.com false ", "CLOSE"}) {
		t.Errorf("sent %q", w.sent)
	}
}

// What runs ends at once when it loses its streams, which says nothing before the
// channel's own end has been said.
func TestSilentChannelEndsInOrder(t *testing.T) {
	f := prepare(t, timeouts(ChannelTimeout{"session:*", time.Millisecond}))
	w := &wireOrder{requests: make(chan *ssh.Request, 1)}
	w.requests <- &ssh.Request{Type: Exec, Payload: command("sleep 1000")}
	conn := &connection{server: f.server, events: f.server.cfg.Events, wire: newClearConn(nil), version: "SSH-2.0-OpenSSH_9.2p1"}
	session := &fakeSession{start: func(context.Context, Program) (Running, error) {
		return runFunc(func(ctx context.Context, _ Stream) (int, error) {
			<-ctx.Done()
			return 0, ctx.Err()
		}), nil
	}}
	var once sync.Once
	newChannel(conn, session, 0, notClosing{w}).serve(t.Context(), w.requests, func(time.Time) {
		time.Sleep(50 * time.Millisecond) // the program has ended by then
		once.Do(func() { close(w.requests) })
	})
	if !cmp.Equal(w.sent, []string{"EOF", "eow@openssh.com false ", "CLOSE"}) {
		t.Errorf("sent %q", w.sent)
	}
}

// The longest session ends although it is busy, and what runs learns why.
func TestSessionTimeLimit(t *testing.T) {
	f := listen(t, func(c *Config) { everything(c); c.MaxTime = 100 * time.Millisecond })
	ended := make(chan string, 1)
	f.start = func(context.Context, Program) (Running, error) {
		return runFunc(func(ctx context.Context, s Stream) (int, error) {
			for ctx.Err() == nil {
				_, _ = s.Stdout([]byte("busy"))
			}
			ended <- s.Ended()
			return 0, ctx.Err()
		}), nil
	}
	client := f.client()
	ch := openChannel(t, client)
	ch.must(Shell, nil)
	openForward(t, client, DirectTCPIP, tcp("example.com", 80))
	go readAll(ch)
	_ = client.Wait()
	if got := <-ended; got != sessionTooLong {
		t.Errorf("the program was told %q", got)
	}
	if _, reason := f.sinkOf(0).end(t); reason != sessionTooLong {
		t.Errorf("the forward ended by %q", reason)
	}
	if got := reasonOf(t, f); got != sessionTooLong {
		t.Errorf("ended by %v", got)
	}
}
