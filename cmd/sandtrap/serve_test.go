package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/sandtrap/sandtrap/internal/evidence"
	"github.com/sandtrap/sandtrap/internal/hint"
	"github.com/sandtrap/sandtrap/internal/testpodman"
)

// patience is how long a test waits for what should happen soon.
const patience = 30 * time.Second

// output is standard error that a test can wait for.
type output struct {
	mu      sync.Mutex // guards all below
	text    bytes.Buffer
	changed chan struct{} // closed and replaced by every write
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.text.Write(p)
	close(o.changed)
	o.changed = make(chan struct{})
	return len(p), nil
}

// events are the events of a kind among the lines so far.
func (o *output) events(kind string) (found []map[string]any, changed <-chan struct{}) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for line := range strings.Lines(o.text.String()) {
		var e map[string]any
		if json.Unmarshal([]byte(line), &e) == nil && e["event"] == kind {
			found = append(found, e)
		}
	}
	return found, o.changed
}

// honeypot is a running service.
type honeypot struct {
	*testing.T
	podman  *testpodman.Service
	state   string
	config  string
	address string
	err     *output
	signals chan os.Signal
	done    chan error
	over    bool
}

// settings is a configuration for tests; more are lines of YAML behind it.
func settings(state, address, socket, more string) string {
	return fmt.Sprintf(`state_dir: %s
ssh: {listen: ["%s"], host_keys: [ed25519], drain_timeout: 1s, fail_delay: 0s}
podman: {socket: %s}
target: {image: "localhost/target:latest"}
log: {format: json}
control: {socket: %s}
%s`, state, address, socket, filepath.Join(state, "control.sock"), more)
}

// freeAddress is a loopback address that nobody listens on.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// launch starts the service on a fake Podman; it need not become ready.
func launch(t *testing.T, more string, change func(*testpodman.Service)) *honeypot {
	t.Helper()
	return launchIn(t, t.TempDir(), more, change)
}

// launchIn starts it in a state directory that may have been another's.
func launchIn(t *testing.T, state, more string, change func(*testpodman.Service)) *honeypot {
	t.Helper()
	h := &honeypot{
		T: t, podman: testpodman.New(t), state: state, address: freeAddress(t),
		err: &output{changed: make(chan struct{})}, signals: make(chan os.Signal, 4), done: make(chan error, 1),
	}
	if change != nil {
		change(h.podman)
	}
	h.config = writeConfig(t, "sandtrap.yaml", settings(h.state, h.address, h.podman.Socket, more))
	go func() {
		h.done <- runServe(context.Background(), &globals{configPath: h.config, out: io.Discard, err: h.err}, h.signals)
	}()
	t.Cleanup(func() {
		if !h.over {
			h.signals <- syscall.SIGTERM
			h.end()
		}
	})
	return h
}

// end waits for the service's end.
func (h *honeypot) end() error {
	h.Helper()
	select {
	case err := <-h.done:
		h.over = true
		return err
	case <-time.After(patience):
		h.Fatal("the service does not end")
		return nil
	}
}

// wait returns the first n events of a kind.
func (h *honeypot) wait(kind string, n int) []map[string]any {
	h.Helper()
	for timeout := time.After(patience); ; {
		found, changed := h.err.events(kind)
		if len(found) >= n {
			return found
		}
		select {
		case <-changed:
		case err := <-h.done:
			h.over = true
			h.Fatalf("the service ended: %v", err)
		case <-timeout:
			h.Fatalf("only %d of %d events %s came; so far:\n%s", len(found), n, kind, h.err.text.String())
		}
	}
}

// says waits until text appears among what the service says.
func (h *honeypot) says(text string) {
	h.Helper()
	for timeout := time.After(patience); ; {
		h.err.mu.Lock()
		found, changed := strings.Contains(h.err.text.String(), text), h.err.changed
		h.err.mu.Unlock()
		if found {
			return
		}
		select {
		case <-changed:
		case <-timeout:
			h.Fatalf("the service does not say %q", text)
		}
	}
}

func (h *honeypot) login(user, password string) (*ssh.Client, error) {
	return ssh.Dial("tcp", h.address, &ssh.ClientConfig{
		User: user, Auth: []ssh.AuthMethod{ssh.Password(password)}, HostKeyCallback: ssh.InsecureIgnoreHostKey(), Timeout: patience,
	})
}

// exec runs one command on a connection of its own.
func (h *honeypot) exec(command, stdin string) (stdout, stderr string, err error) {
	h.Helper()
	client, err := h.login("root", "123456")
	if err != nil {
		h.Fatal(err)
	}
	defer client.Close()
	s, err := client.NewSession()
	if err != nil {
		h.Fatal(err)
	}
	var o, e bytes.Buffer
	s.Stdin, s.Stdout, s.Stderr = strings.NewReader(stdin), &o, &e
	err = s.Run(command)
	return o.String(), e.String(), err
}

// shout answers with its input in upper case.
func shout(p *testpodman.Process) int {
	in, _ := io.ReadAll(p.Stdin)
	_, _ = p.Stdout.Write(bytes.ToUpper(in))
	fmt.Fprintf(p.Stderr, "%q", p.Command)
	return 5
}

func TestServe(t *testing.T) {
	h := launch(t, "", func(s *testpodman.Service) { s.Run = shout })
	started := h.wait("server.start", 1)[0]
	if started["listeners"] != h.address {
		t.Errorf("event %v", started)
	}
	if warm, _ := h.err.events("pool.warm"); len(warm) == 0 {
		t.Error("serving without a warm target")
	}
	stdout, stderr, err := h.exec("tr a-z A-Z", "hello")
	var exit *ssh.ExitError
	if stdout != "HELLO" || stderr != `["/bin/bash" "-c" "tr a-z A-Z"]` || !errors.As(err, &exit) || exit.ExitStatus() != 5 {
		t.Errorf("stdout %q, stderr %q, %v", stdout, stderr, err)
	}
	id := h.wait("session.close", 1)[0]["session"].(string)
	h.signals <- syscall.SIGTERM
	if err := h.end(); err != nil {
		t.Errorf("end: %v", err)
	}
	if stop, _ := h.err.events("server.stop"); len(stop) != 1 {
		t.Errorf("events %v", stop)
	}
	left := h.podman.Containers()
	for _, c := range left {
		if c.Name != id || c.Running {
			t.Errorf("left: %+v", c)
		}
	}
	if len(left) != 1 {
		t.Errorf("%d containers are left, want the session's", len(left))
	}
	store, err := evidence.OpenReadOnly(h.state)
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	s, _, err := store.Find(id)
	if err != nil || s.State != evidence.StateClosed || left[s.Target.Container].Name != id || len(s.Channels) != 1 || *s.Channels[0].Recording.ExitStatus != 5 {
		t.Errorf("session %+v, %v", s, err)
	}
	if files, _ := filepath.Glob(filepath.Join(h.state, "events", "events-*.jsonl")); len(files) == 0 {
		t.Error("no event file")
	}
}

func TestServeWhilePodmanIsAway(t *testing.T) {
	h := launch(t, "pool: {min: 1, max: 1, lease_timeout: 1s}", func(s *testpodman.Service) { s.Run = shout })
	h.wait("server.start", 1)
	h.podman.Stop()
	if _, _, err := h.exec("id", ""); err == nil || !strings.Contains(err.Error(), "failed") {
		t.Errorf("a command without Podman: %v", err)
	}
	if fail := h.wait("session.fail", 1)[0]; fail["stage"] != "exec" {
		t.Errorf("event %v", fail)
	}
	if err := h.podman.Start(); err != nil {
		t.Fatal(err)
	}
	if stdout, _, err := h.exec("id", "back"); stdout != "BACK" {
		t.Errorf("after Podman's return: %q, %v", stdout, err)
	}
}

// With too little space nobody gets a program. It is told once, with what to do.
func TestServeWithoutSpace(t *testing.T) {
	h := launch(t, "pool: {min: 1, max: 1}\nrecording: {min_free: 1024GiB}", func(s *testpodman.Service) { s.Run = shout })
	low := h.wait("storage.low", 1)[0]
	if low["limit_bytes"] != float64(1<<40) || low["free_bytes"].(float64) <= 0 {
		t.Errorf("event %v", low)
	}
	h.says("or see recording.min_free in sandtrap.yaml(5)")
	for range 3 {
		if _, _, err := h.exec("id", ""); err == nil {
			t.Error("a command ran")
		}
	}
	h.wait("session.close", 3)
	for kind, want := range map[string]int{"storage.low": 1, "session.fail": 0, "session.lease": 0, "exec.start": 0} {
		if got, _ := h.err.events(kind); len(got) != want {
			t.Errorf("%d events %s, want %d", len(got), kind, want)
		}
	}
}

func TestServeFails(t *testing.T) {
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	podman := testpodman.New(t)
	empty := testpodman.New(t)
	empty.Images = nil
	stuck := testpodman.New(t)
	stuck.Answer = func(w http.ResponseWriter, r *http.Request) bool {
		if strings.HasSuffix(r.URL.Path, "/containers/create") {
			_, _ = io.Copy(io.Discard, r.Body)
			<-r.Context().Done()
			return true
		}
		return false
	}
	broken := testpodman.New(t)
	broken.Answer = func(w http.ResponseWriter, r *http.Request) bool {
		if strings.HasSuffix(r.URL.Path, "/containers/create") {
			testpodman.Fail(w, http.StatusInternalServerError, "no space left")
			return true
		}
		return false
	}
	const quick = "pool: {start_timeout: 1s}"
	none := filepath.Join(t.TempDir(), "none.sock")
	tests := []struct {
		name, text string
		want, hint string
	}{
		{"port taken", settings(t.TempDir(), busy.Addr().String(), podman.Socket, ""), "listen on " + busy.Addr().String(), "another SSH server"},
		{"no state directory", settings(file, freeAddress(t), podman.Socket, ""), "make event directory", "state_dir must be writable"},
		{"no image", settings(t.TempDir(), freeAddress(t), empty.Socket, ""), "target debian: image localhost/target:latest does not exist", "sandtrap-target-debian-build.service"},
		{"no Podman", settings(t.TempDir(), freeAddress(t), none, quick), "connect to Podman at " + none, "sandtrap-filter.service"},
		{"no target", settings(t.TempDir(), freeAddress(t), broken.Socket, quick), "no warm target within 1s: create container from localhost/target:latest: no space left", ""},
		{"no target in time", settings(t.TempDir(), freeAddress(t), stuck.Socket, quick), "no warm target within 1s: the first is still being made", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			path := writeConfig(t, "sandtrap.yaml", tt.text)
			err := runServe(t.Context(), &globals{configPath: path, out: io.Discard, err: io.Discard}, make(chan os.Signal))
			if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "\n") || !strings.Contains(hint.Of(err), tt.hint) {
				t.Errorf("error %v, hint %q", err, hint.Of(err))
			}
			if code := exitCode(err); code != exitError {
				t.Errorf("exit code %d", code)
			}
		})
	}
}

func TestHostKeyTroubleIsFatal(t *testing.T) {
	state := t.TempDir()
	if err := os.MkdirAll(filepath.Join(state, "hostkeys"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(state, "hostkeys", "ssh_host_rsa_key"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	path := writeConfig(t, "sandtrap.yaml", settings(state, freeAddress(t), "/none", ""))
	err := runServe(t.Context(), &globals{configPath: path, out: io.Discard, err: io.Discard}, make(chan os.Signal))
	if err == nil || !strings.Contains(err.Error(), "ssh_host_ed25519_key is missing while others are there") || hint.Of(err) == "" {
		t.Errorf("error %v, hint %q", err, hint.Of(err))
	}
}
