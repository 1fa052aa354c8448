package sshd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/crypto/ssh"

	"github.com/sandtrap/sandtrap/internal/event"
)

// started hands over the program of every Start.
func (f *fixture) started(run runFunc) <-chan Program {
	programs := make(chan Program, 100)
	f.start = func(_ context.Context, p Program) (Running, error) {
		programs <- p
		return run, nil
	}
	return programs
}

func TestPrograms(t *testing.T) {
	tests := []struct {
		name    string
		request string
		payload []byte
		want    Program
	}{
		{"shell", Shell, nil, Program{Kind: Shell}},
		{"exec", Exec, command("id; uname -a"), Program{Kind: Exec, Command: "id; uname -a"}},
		{"exec of nothing", Exec, command(""), Program{Kind: Exec}},
		{"exec of anything", Exec, command("\x1b]0;x\a\xff\n"), Program{Kind: Exec, Command: "\x1b]0;x\a\xff\n"}},
		{"exec with a NUL behind", Exec, command("id\x00"), Program{Kind: Exec, Command: "id"}},
		{"subsystem", Subsystem, command("sftp"), Program{Kind: Subsystem, Command: "sftp"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := listen(t, nil)
			programs := f.started(func(_ context.Context, s Stream) (int, error) {
				_, _ = s.Stdout([]byte("out"))
				_, _ = s.Stderr([]byte("err"))
				return 7, nil
			})
			c := openChannel(t, f.client())
			c.must(tt.request, tt.payload)
			stderr := make(chan string)
			go func() { stderr <- readAll(c.Stderr()) }()
			if got := readAll(c); got != "out" {
				t.Errorf("stdout %q", got)
			}
			if got := <-stderr; got != "err" {
				t.Errorf("stderr %q", got)
			}
			if got := c.statuses(); !cmp.Equal(got, []uint32{7}) {
				t.Errorf("exit status %d, want one of 7", got)
			}
			if got := <-programs; !cmp.Equal(got, tt.want) {
				t.Errorf("started %+v, want %+v", got, tt.want)
			}
			if n := f.sessions[0].prepared.Load(); n != 1 {
				t.Errorf("prepared %d times", n)
			}
		})
	}
}

func TestBinaryBothWays(t *testing.T) {
	f := listen(t, nil)
	s, err := f.client().NewSession()
	if err != nil {
		t.Fatal(err)
	}
	data := bytes.Repeat([]byte("\x00\x01\r\n\xff"), 1<<20)
	s.Stdin = bytes.NewReader(data)
	out, err := s.Output("cat")
	if err != nil || !bytes.Equal(out, data) {
		t.Errorf("%d of %d bytes came back, %v", len(out), len(data), err)
	}
}

func TestEnvironment(t *testing.T) {
	f := listen(t, nil)
	programs := f.started(echo)
	c := openChannel(t, f.client())
	tests := []struct {
		name, value string
		want        bool
	}{
		{"LANG", "de_DE.UTF-8", true},
		{"LC_ALL", "a=b\n\xff", true},
		{"LC_", "", true},
		{"LANGUAGE", "de", false},
		{"lang", "de", false},
		{"PATH", "/tmp", false},
		{"", "x", false},
		{"LC_A=B", "x", true}, // but not set
		{"LC_a/b[", "\x1b[31m", true},
	}
	var want []string
	for i, tt := range tests {
		if got := c.ask("env", variable(tt.name, tt.value)); got != tt.want {
			t.Errorf("env %q=%q: %v, want %v", tt.name, tt.value, got, tt.want)
		}
		if tt.want && !strings.Contains(tt.name, "=") {
			want = append(want, tt.name+"="+tt.value)
		}
		e := f.events.wait(t, event.ChannelRequest, i+1)[i]
		if got := fields(e, "channel", "request", "accepted", "name", "value"); !cmp.Equal(got, []any{0, "env", tt.want, tt.name, tt.value}) {
			t.Errorf("event has %q", got)
		}
	}
	c.must(Shell, nil)
	if got := (<-programs).Env; !cmp.Equal(got, want) {
		t.Errorf("environment %q, want %q", got, want)
	}
	if c.ask("env", variable("LANG", "late")) {
		t.Error("env was accepted after the start")
	}
}

func TestEnvironmentIsBounded(t *testing.T) {
	f := listen(t, nil)
	client := f.client()
	c := openChannel(t, client)
	accepted := 0
	for range maxEnv + 3 {
		if c.ask("env", variable("LANG", "x")) {
			accepted++
		}
	}
	if accepted != maxEnv {
		t.Errorf("%d variables accepted, want %d", accepted, maxEnv)
	}
	c = openChannel(t, client)
	c.must("env", variable("LANG", strings.Repeat("x", maxEnvBytes-len("LANG")-len("LANG"))))
	c.must("env", variable("LANG", ""))
	if c.ask("env", variable("LANG", "")) {
		t.Error("more bytes accepted than the bound")
	}
	for _, e := range f.events.wait(t, event.ChannelRequest, 1) {
		if n := len(field(e, "value").(string)); n > maxPayload {
			t.Errorf("event has a value of %d bytes", n)
		}
	}
}

// What sshd cannot read is the end of the connection, without a word.
func TestMalformedRequests(t *testing.T) {
	whole := map[string][]byte{
		"pty-req": terminal("xterm", 80, 24), "env": variable("LANG", "C"), Exec: command("id"), Subsystem: command("sftp"),
		"window-change": window(80, 24),
	}
	bad := map[string][][]byte{
		"pty-req": {terminal("x\x00y", 80, 24), bytes.Repeat([]byte{'x'}, 5000), ssh.Marshal(ptyRequest{Modes: "\x35\x00"})},
		"env":     {variable("LC_A\x00B", "x"), variable("LC_A", "x\x00y"), variable("LC_A", "x\x00\x00")},
		Exec:      {command("id\x00; id")}, Subsystem: {command("sf\x00tp")}, Shell: {command("sh"), {0}}, endOfWrite: {{0}},
	}
	for request, payload := range whole {
		bad[request] = append(bad[request], nil, payload[:len(payload)-1], append(bytes.Clone(payload), 0), bytes.Repeat([]byte{0xff}, 64))
	}
	f := listen(t, nil)
	programs := f.started(echo)
	n := 0
	for request, payloads := range bad {
		for _, payload := range payloads {
			openChannel(t, f.client()).breaks(request, payload)
			n++
		}
	}
	for _, e := range f.events.wait(t, event.ChannelRequest, n) {
		if payload, ok := field(e, "payload").(string); !ok || len(payload) > maxPayload || field(e, "accepted") != false {
			t.Errorf("event of %q has a payload of %d bytes, accepted: %v", field(e, "request"), len(payload), field(e, "accepted"))
		}
	}
	for _, e := range f.events.wait(t, event.ConnectionEnd, n) {
		if reason := field(e, "reason"); reason != "malformed request" {
			t.Errorf("connection ended for the reason %q", reason)
		}
	}
	if len(programs) != 0 {
		t.Fatal("something was started")
	}
}

func TestRefusedRequests(t *testing.T) {
	f := listen(t, nil)
	programs := f.started(echo)
	c := openChannel(t, f.client())
	for _, unknown := range []string{"keepalive@openssh.com", "xon-xoff", "signal", "exit-status", "", "\x00"} {
		if c.ask(unknown, bytes.Repeat([]byte("p"), 2*maxPayload)) {
			t.Errorf("request %q was accepted", unknown)
		}
	}
	for _, unknown := range []string{"netconf", "", "SFTP", "sftp\xff"} {
		if c.ask(Subsystem, command(unknown)) {
			t.Errorf("subsystem %q was accepted", unknown)
		}
	}
	for _, e := range f.events.wait(t, event.ChannelRequest, 10) {
		if payload := field(e, "payload").(string); len(payload) > maxPayload || field(e, "accepted") != false {
			t.Errorf("event of %q has a payload of %d bytes, accepted: %v", field(e, "request"), len(payload), field(e, "accepted"))
		}
	}
	if len(programs) != 0 {
		t.Fatal("something was started")
	}
	c.must(Exec, command("id")) // the channel is still good
}

func TestOneTerminalOneProgram(t *testing.T) {
	f := listen(t, nil)
	programs := f.started(untilGone)
	c := openChannel(t, f.client())
	c.must("window-change", window(1, 2)) // sshd does not look whether there is a terminal
	c.must("pty-req", terminal("xterm-256color", 80, 24))
	c.must("window-change", window(132, 50))
	c.must(Shell, nil)
	want := Program{Kind: Shell, PTY: true, Term: "xterm-256color", Size: Size{Columns: 132, Rows: 50, Width: 1320, Height: 500}, Modes: "\x00"}
	if got := <-programs; !cmp.Equal(got, want) {
		t.Errorf("started %+v, want %+v", got, want)
	}
	for request, payload := range map[string][]byte{
		Shell: nil, Exec: command("id"), Subsystem: command("sftp"), "pty-req": terminal("x", 1, 1), "env": variable("LANG", "C"),
	} {
		if c.ask(request, payload) {
			t.Errorf("%s after the start was accepted", request)
		}
	}
	if len(programs) != 0 {
		t.Error("a second program was started")
	}
	c = openChannel(t, f.client())
	c.must("pty-req", terminal("xterm", 80, 24))
	c.breaks("pty-req", terminal("vt100", 1, 1))
}

func TestWindowChangeReachesTheProgram(t *testing.T) {
	f := listen(t, nil)
	sizes := make(chan Size)
	f.started(func(ctx context.Context, s Stream) (int, error) {
		for range 3 {
			select {
			case size := <-s.Resize:
				sizes <- size
			case <-ctx.Done():
				return 0, ctx.Err()
			}
		}
		return 0, nil
	})
	c := openChannel(t, f.client())
	c.must("pty-req", terminal("xterm", 80, 24))
	c.must(Shell, nil)
	for _, want := range []Size{{Columns: 100, Rows: 30}, {}, {Columns: 1<<32 - 1, Rows: 1<<32 - 1}} {
		want.Width, want.Height = 10*want.Columns, 10*want.Rows
		c.must("window-change", window(want.Columns, want.Rows))
		if got := <-sizes; got != want {
			t.Errorf("program got %+v, want %+v", got, want)
		}
	}
	if got := c.statuses(); len(got) != 1 {
		t.Errorf("exit statuses %v", got)
	}
}

// flood sends window changes that nobody takes.
func flood(t *testing.T, c *testChannel) {
	t.Helper()
	for i := range uint32(2000) {
		if _, err := c.SendRequest("window-change", false, window(i, i)); err != nil {
			t.Fatal(err)
		}
	}
}

func TestWindowChangesThatNobodyTakes(t *testing.T) {
	f := listen(t, nil)
	finish, newest := make(chan struct{}), make(chan Size, 1)
	f.started(func(_ context.Context, s Stream) (int, error) {
		<-finish
		newest <- <-s.Resize
		return 3, nil
	})
	client := f.client()
	c := openChannel(t, client)
	c.must("pty-req", terminal("xterm", 80, 24))
	c.must(Shell, nil)
	flood(t, c)
	c.must("window-change", window(7, 8))
	c.ask("keepalive@openssh.com", nil) // the size is handed on before that is looked at
	if other := openChannel(t, client); !other.ask("env", variable("LANG", "C")) {
		t.Error("another channel does not get on")
	}
	close(finish)
	if got := <-newest; got != (Size{7, 8, 70, 80}) {
		t.Errorf("the program got %+v, want the newest", got)
	}
	if got := c.statuses(); !cmp.Equal(got, []uint32{3}) {
		t.Errorf("exit status %d after the flood, want 3", got)
	}
}

func TestClientVanishesAfterAFlood(t *testing.T) {
	f := listen(t, nil)
	f.started(untilGone)
	client, raw, err := f.login(clientConfig("root", ssh.Password("x")))
	if err != nil {
		t.Fatal(err)
	}
	c := openChannel(t, client)
	c.must("pty-req", terminal("xterm", 80, 24))
	c.must(Shell, nil)
	flood(t, c)
	raw.Close()
	f.events.wait(t, event.ConnectionEnd, 1)
}

func TestStartFails(t *testing.T) {
	f := listen(t, nil)
	f.start = func(_ context.Context, p Program) (Running, error) {
		if p.Kind == Shell {
			return nil, errors.New("no target")
		}
		return runFunc(echo), nil
	}
	c := openChannel(t, f.client())
	if c.ask(Shell, nil) {
		t.Error("shell was accepted")
	}
	if got := fields(f.events.wait(t, event.SessionFail, 1)[0], "stage", "error"); !cmp.Equal(got, []any{"shell", "no target"}) {
		t.Errorf("event has %q", got)
	}
	c.must(Exec, command("id"))
}

func TestServeFailsWithoutExitStatus(t *testing.T) {
	f := listen(t, nil)
	f.started(func(context.Context, Stream) (int, error) { return 0, errors.New("recording failed") })
	c := openChannel(t, f.client())
	c.must(Exec, command("id"))
	if got := c.statuses(); len(got) != 0 {
		t.Errorf("exit status %d was sent", got)
	}
	if got := readAll(c); got != "" {
		t.Errorf("client got %q", got)
	}
}

func TestHalfClose(t *testing.T) {
	f := listen(t, nil)
	f.started(func(_ context.Context, s Stream) (int, error) {
		if n, err := s.Stdin(make([]byte, 1)); n != 0 || err != io.EOF {
			t.Errorf("Stdin = %d, %v", n, err)
		}
		_, err := s.Stdout([]byte("after EOF"))
		return 0, err
	})
	c := openChannel(t, f.client())
	c.must(Exec, command("id"))
	if err := c.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if got := readAll(c); got != "after EOF" {
		t.Errorf("client got %q", got)
	}
}

func TestClientClosesTheChannel(t *testing.T) {
	f := listen(t, nil)
	ended := make(chan struct{})
	f.started(func(ctx context.Context, _ Stream) (int, error) {
		<-ctx.Done()
		close(ended)
		return 0, ctx.Err()
	})
	c := openChannel(t, f.client())
	c.must(Shell, nil)
	c.Close()
	<-ended
}

// wireOrder is the server's side of a channel, as a list of what was sent.
type wireOrder struct {
	ssh.Channel
	requests chan *ssh.Request

	mu   sync.Mutex // guards sent
	sent []string
}

func (w *wireOrder) add(what string) {
	w.mu.Lock()
	w.sent = append(w.sent, what)
	w.mu.Unlock()
}

func (w *wireOrder) Read([]byte) (int, error)    { return 0, io.EOF }
func (w *wireOrder) Write(p []byte) (int, error) { w.add("data " + string(p)); return len(p), nil }
func (w *wireOrder) CloseWrite() error           { w.add("EOF"); return nil }
func (w *wireOrder) Stderr() io.ReadWriter       { return &bytes.Buffer{} }

func (w *wireOrder) SendRequest(name string, wantReply bool, payload []byte) (bool, error) {
	w.add(fmt.Sprintf("%s %v %x", name, wantReply, payload))
	return false, nil
}

func (w *wireOrder) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.sent) > 0 && w.sent[len(w.sent)-1] == "CLOSE" {
		return io.EOF // as the library answers the second time
	}
	w.sent = append(w.sent, "CLOSE")
	close(w.requests) // the client's CLOSE
	return nil
}

func TestOrderOfTheEnd(t *testing.T) {
	for ident, want := range map[string][]string{
		"SSH-2.0-OpenSSH_9.2p1":  {"data last", "EOF", "exit-status false 00000102", "eow@openssh.com false ", "CLOSE"},
		"SSH-2.0-OpenSSH_4.3":    {"data last", "EOF", "exit-status false 00000102", "CLOSE"},
		"SSH-2.0-libssh2_1.10.0": {"data last", "EOF", "exit-status false 00000102", "CLOSE"},
	} {
		f := prepare(t, nil)
		f.started(func(_ context.Context, s Stream) (int, error) {
			_, err := s.Stdout([]byte("last"))
			return 258, err
		})
		w := &wireOrder{requests: make(chan *ssh.Request, 1)}
		w.requests <- &ssh.Request{Type: Exec, Payload: command("id")}
		session := &fakeSession{start: f.start}
		conn := &connection{server: f.server, events: f.server.cfg.Events, version: ident}
		newChannel(conn, session, 0, w).serve(t.Context(), w.requests, func(time.Time) {})
		if diff := cmp.Diff(want, w.sent); diff != "" {
			t.Errorf("%s: sent (-want +got):\n%s", ident, diff)
		}
	}
}

// A client that wants no more output is not told of its end.
func TestEnoughOutput(t *testing.T) {
	f := listen(t, nil)
	f.started(func(_ context.Context, s Stream) (int, error) {
		<-s.Enough
		return 3, nil
	})
	c := openChannel(t, f.client())
	c.must(Exec, command("yes"))
	for range 2 {
		if _, err := c.SendRequest(endOfWrite, false, nil); err != nil {
			t.Fatal(err)
		}
	}
	if got := c.statuses(); !cmp.Equal(got, []uint32{3}) {
		t.Errorf("exit status %d, want one of 3", got)
	}
}
