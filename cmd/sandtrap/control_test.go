package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/sandtrap/sandtrap/internal/control"
	"github.com/sandtrap/sandtrap/internal/evidence"
	"github.com/sandtrap/sandtrap/internal/session"
	"github.com/sandtrap/sandtrap/internal/testpodman"
)

// verb runs one command line against the honeypot's configuration.
func (h *honeypot) verb(args ...string) (code int, stdout, stderr string) {
	h.Helper()
	var out, err bytes.Buffer
	code = run(append([]string{"--config", h.config}, args...), &out, &err)
	return code, out.String(), err.String()
}

// echo is a program that gives back what it gets.
func echo(p *testpodman.Process) int {
	_, _ = io.Copy(p.Stdout, p.Stdin)
	return 0
}

// shell opens one with a terminal, into which the test can type.
func (h *honeypot) shell() (client *ssh.Client, stdin io.WriteCloser, ended <-chan error) {
	h.Helper()
	client, err := h.login("root", "x")
	if err != nil {
		h.Fatal(err)
	}
	h.Cleanup(func() { client.Close() })
	s, err := client.NewSession()
	if err != nil {
		h.Fatal(err)
	}
	if stdin, err = s.StdinPipe(); err != nil {
		h.Fatal(err)
	}
	if err := s.RequestPty("xterm", 24, 80, nil); err != nil {
		h.Fatal(err)
	}
	if err := s.Shell(); err != nil {
		h.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- client.Wait() }()
	return client, stdin, done
}

// watching is "sandtrap watch" in the background.
func (h *honeypot) watching(args ...string) (out *output, done <-chan int) {
	h.Helper()
	out = &output{changed: make(chan struct{})}
	ended := make(chan int, 1)
	go func() { ended <- run(append([]string{"--config", h.config, "watch"}, args...), out, io.Discard) }()
	return out, ended
}

func (o *output) waitFor(t *testing.T, text string) {
	t.Helper()
	for timeout := time.After(patience); ; {
		o.mu.Lock()
		found, changed, all := strings.Contains(o.text.String(), text), o.changed, o.text.String()
		o.mu.Unlock()
		if found {
			return
		}
		select {
		case <-changed:
		case <-timeout:
			t.Fatalf("%q does not come; so far %q", text, all)
		}
	}
}

// A live session as an operator sees it, until they end it.
func TestLiveSession(t *testing.T) {
	h := launch(t, "pool: {min: 1, max: 1}", func(s *testpodman.Service) { s.Run = echo })
	h.wait("server.start", 1)
	if code, _, stderr := h.verb("watch"); code != exitNotFound || !strings.Contains(stderr, "no session is live") {
		t.Errorf("watch nobody: %d, %s", code, stderr)
	}
	_, stdin, ended := h.shell()
	type_ := func(text string) {
		if _, err := io.WriteString(stdin, text); err != nil {
			t.Error(err)
		}
	}
	type_("before ")
	id := h.wait("shell.start", 1)[0]["session"].(string)
	code, stdout, stderr := h.verb("status")
	if code != exitOK || !strings.Contains(stdout, id) || !strings.Contains(stdout, "0 shell") || !strings.Contains(stdout, "1 sessions with 1 programs") {
		t.Errorf("status %d:\n%s%s", code, stdout, stderr)
	}
	fromStart, startEnded := h.watching("--from-start", id[:len(id)-2])
	fromStart.waitFor(t, "before")
	newest, newestEnded := h.watching()
	other, otherEnded := h.watching("--channel", "0", id)
	live := control.NewClient(filepath.Join(h.state, "control.sock"))
	for deadline := time.Now().Add(patience); ; {
		if s, err := live.Status(t.Context()); err != nil || s.Process.Goroutines == 0 || time.Now().After(deadline) {
			t.Fatal(err)
		}
		type_(".") // until both see it
		newest.mu.Lock()
		n := newest.text.Len()
		newest.mu.Unlock()
		other.mu.Lock()
		m := other.text.Len()
		other.mu.Unlock()
		if n > 0 && m > 0 {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	type_("\x1b]0;title\x07during\x1b[31m")
	for _, w := range []*output{fromStart, newest, other} {
		w.waitFor(t, "during")
		if strings.Contains(w.text.String(), "title") {
			t.Error("a hostile sequence reached the terminal")
		}
	}
	if strings.Contains(newest.text.String(), "before") {
		t.Error("what was before is shown from now")
	}
	if code, stdout, stderr := h.verb("terminate", id); code != exitOK || stdout != "terminated "+id+"\n" {
		t.Errorf("terminate %d: %s%s", code, stdout, stderr)
	}
	if err := <-ended; err == nil {
		t.Error("the client was told of an ordinary end")
	}
	for name, c := range map[string]<-chan int{"from start": startEnded, "newest": newestEnded, "channel": otherEnded} {
		if code := <-c; code != exitOK {
			t.Errorf("watch %s ended with %d", name, code)
		}
	}
	fromStart.waitFor(t, "\x1b[0m") // the terminal is put back in order
	store, err := evidence.OpenReadOnly(h.state)
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	s, _, err := store.Find(id)
	if err != nil || s.State != evidence.StateClosed || s.EndReason != session.Terminated || len(s.Channels) != 1 || s.Channels[0].EndReason != session.Terminated {
		t.Errorf("session %+v, %v", s, err)
	}
	if e := h.wait("control.act", 1)[0]; e["action"] != "terminate" || e["terminated_session"] != id || e["operator_uid"] != float64(os.Getuid()) {
		t.Errorf("event %v", e)
	}
	if code, _, stderr := h.verb("terminate", id, "01"); code != exitNotFound || !strings.Contains(stderr, "no live session") || !strings.Contains(stderr, "at least 4") {
		t.Errorf("terminate again: %d, %s", code, stderr)
	}
}

// reload answers what counts now, what does not, and what is wrong.
func TestReloadVerb(t *testing.T) {
	h := launch(t, "", nil)
	h.wait("server.start", 1)
	rewrite := func(more string) {
		if err := os.WriteFile(h.config, []byte(settings(h.state, h.address, h.podman.Socket, more)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	rewrite("auth: {mode: static, credentials: [{user: root, password: right}]}\npool: {min: 9}\n")
	if code, stdout, stderr := h.verb("reload"); code != exitOK || stdout != "applied: auth.credentials auth.mode\nrestart needed: pool.min\n" {
		t.Errorf("reload %d: %s%s", code, stdout, stderr)
	}
	if client, err := h.login("root", "wrong"); err == nil {
		client.Close()
		t.Error("the old policy still decides")
	}
	// The verb needs a configuration that it can read itself: the service is asked.
	rewrite("auth: {mode: frobnicate}\n")
	live := control.NewClient(filepath.Join(h.state, "control.sock"))
	r, err := live.Reload(t.Context())
	if err != nil || !strings.Contains(r.Error, "frobnicate") || len(r.Applied) > 0 {
		t.Errorf("a reload with mistakes: %+v, %v", r, err)
	}
	if s, err := live.Status(t.Context()); err != nil || !strings.Contains(s.ReloadError, "frobnicate") {
		t.Errorf("status %q, %v", s.ReloadError, err)
	}
	rewrite("")
	if code, stdout, _ := h.verb("reload", "--format", "json"); code != exitOK || !strings.Contains(stdout, `"applied": [`) {
		t.Errorf("reload %d: %s", code, stdout)
	}
	if s, err := live.Status(t.Context()); err != nil || s.ReloadError != "" {
		t.Errorf("status %q, %v", s.ReloadError, err)
	}
}

func TestPoolAndMetricsVerbs(t *testing.T) {
	h := launch(t, "pool: {min: 1, max: 1}", nil)
	h.wait("server.start", 1)
	if code, stdout, _ := h.verb("pool", "status"); code != exitOK || !strings.Contains(stdout, "full") || !strings.Contains(stdout, "debian") {
		t.Errorf("pool status %d:\n%s", code, stdout)
	}
	if code, stdout, _ := h.verb("pool", "drain"); code != exitOK || !strings.Contains(stdout, "drained") {
		t.Errorf("pool drain %d:\n%s", code, stdout)
	}
	h.wait("pool.remove", 1)
	if code, stdout, _ := h.verb("status"); code != exitOK || !strings.Contains(stdout, "Problem      the pool is drained") {
		t.Errorf("status %d:\n%s", code, stdout)
	}
	if code, stdout, _ := h.verb("metrics"); code != exitOK || !strings.Contains(stdout, "\nsandtrap_pool_drained 1\n") || !strings.Contains(stdout, "\nsandtrap_connections 0\n") {
		t.Errorf("metrics %d:\n%s", code, stdout)
	}
	if code, stdout, _ := h.verb("pool", "refill", "--format", "json"); code != exitOK || !strings.Contains(stdout, `"drained": false`) {
		t.Errorf("pool refill %d:\n%s", code, stdout)
	}
	h.wait("pool.warm", 2)
	var status struct {
		control.Status
		Live []control.Session
	}
	code, stdout, _ := h.verb("status", "--format", "json")
	if err := json.Unmarshal([]byte(stdout), &status); code != exitOK || err != nil || status.Version != version || status.Events.Written == 0 || status.Process.Files == 0 || status.Live == nil {
		t.Errorf("status %d: %v\n%s", code, err, stdout)
	}
}

// Without a service each of these says so and ends with its own status.
func TestNoService(t *testing.T) {
	dir := t.TempDir()
	h := &honeypot{T: t, config: writeConfig(t, "sandtrap.yaml", settings(dir, "127.0.0.1:1", "/x", ""))}
	for _, args := range [][]string{{"status"}, {"watch"}, {"terminate", "01JQ"}, {"reload"}, {"pool", "drain"}, {"metrics"}} {
		code, stdout, stderr := h.verb(args...)
		if code != exitUnreachable || stdout != "" || !strings.Contains(stderr, "the service does not answer") || !strings.Contains(stderr, "hint: see systemctl status") {
			t.Errorf("%v: %d, %q, %q", args, code, stdout, stderr)
		}
	}
	for _, args := range [][]string{{"status", "--format", "x"}, {"terminate"}, {"watch", "a", "b"}, {"pool", "status", "--format", "x"}, {"events", "--kind", "["}, {"events", "--format", "x"}, {"events", "-n", "-2"}} {
		if code, _, stderr := h.verb(args...); code != exitUsage {
			t.Errorf("%v: %d, %q", args, code, stderr)
		}
	}
}

// A socket that cannot be made keeps nobody from being recorded.
func TestServeWithoutControl(t *testing.T) {
	h := launch(t, "", nil)
	h.wait("server.start", 1)
	t.Setenv("SANDTRAP_CONTROL__SOCKET", filepath.Join(h.state, "control.sock"))
	second := launch(t, "", nil)
	second.wait("server.start", 1)
	second.says("no control socket")
	code, stdout, stderr := h.verb("events", "--kind", "server.start")
	if code != exitOK || strings.Count(stdout, "\n") != 1 {
		t.Errorf("events %d: %s%s", code, stdout, stderr)
	}
	second.signals <- syscall.SIGTERM
	if err := second.end(); err != nil {
		t.Error(err)
	}
	if code, _, stderr := h.verb("status"); code != exitOK { // the second has not taken it along
		t.Errorf("the first: %d, %s", code, stderr)
	}
}

func TestEventsVerb(t *testing.T) {
	h := launch(t, "pool: {min: 1, max: 1}", func(s *testpodman.Service) { s.Run = shout })
	h.wait("server.start", 1)
	if _, _, err := h.exec("id \x9b2J", ""); err == nil {
		t.Error("no exit status")
	}
	id := h.wait("session.close", 1)[0]["session"].(string)
	code, stdout, _ := h.verb("events", "--session", strings.ToLower(id), "--kind", "exec.*")
	if code != exitOK || strings.Count(stdout, "\n") != 1 || !strings.Contains(stdout, `command="id \x9b2J"`) {
		t.Errorf("text %d: %q", code, stdout)
	}
	code, stdout, _ = h.verb("events", "--format", "json", "-n", "2", "--since", "1h")
	if code != exitOK || strings.Count(stdout, "\n") != 2 || !json.Valid([]byte(strings.SplitAfter(stdout, "\n")[0])) {
		t.Errorf("json %d: %q", code, stdout)
	}
	code, stdout, _ = h.verb("events", "--format", "cowrie", "--sensor", "pot", "--session", id)
	for _, want := range []string{`"eventid":"cowrie.session.connect"`, `"eventid":"cowrie.login.success","username":"root","password":"123456"`, `"eventid":"cowrie.command.input"`, `"sensor":"pot"`} {
		if code != exitOK || !strings.Contains(stdout, want) {
			t.Errorf("cowrie %d: %s is missing in\n%s", code, want, stdout)
		}
	}
	followed := &output{changed: make(chan struct{})}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		o := eventsOptions{format: formatText, EventQuery: control.EventQuery{Last: 0, Follow: true}, now: time.Now()}
		done <- runEvents(ctx, filepath.Join(h.state, "events"), o, followed, io.Discard)
	}()
	if _, _, err := h.exec("second", ""); err == nil {
		t.Error("no exit status")
	}
	followed.waitFor(t, "session.close")
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("follow ended with %v", err)
	}
	// What somebody else wrote is told of once.
	path := filepath.Join(h.state, "events", "events-2000-01-01.jsonl")
	if err := os.WriteFile(path, []byte("\x1b[2J\n{}\n{}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	code, _, stderr := h.verb("events", "--kind", "nothing")
	if code != exitOK || strings.Count(stderr, "events-2000-01-01.jsonl: not an event") != 1 {
		t.Errorf("damage %d: %q", code, stderr)
	}
}

func TestCompletion(t *testing.T) {
	h := launch(t, "pool: {min: 1, max: 1}", func(s *testpodman.Service) { s.Run = echo })
	h.wait("server.start", 1)
	h.shell()
	id := h.wait("shell.start", 1)[0]["session"].(string)
	if code, stdout, _ := h.verb("__complete", "terminate", strings.ToLower(id[:5])); code != exitOK || !strings.HasPrefix(stdout, id+"\t127.0.0.1\n") {
		t.Errorf("%d: %q", code, stdout)
	}
}
