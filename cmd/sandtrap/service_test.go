package main

import (
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sandtrap/sandtrap/internal/evidence"
	"github.com/sandtrap/sandtrap/internal/testpodman"
)

func TestReload(t *testing.T) {
	h := launch(t, "", nil)
	h.wait("server.start", 1)
	rewrite := func(more string) {
		if err := os.WriteFile(h.config, []byte(settings(h.state, h.address, h.podman.Socket, more)), 0o600); err != nil {
			t.Fatal(err)
		}
		h.signals <- syscall.SIGHUP
	}
	rewrite("auth: {mode: static, credentials: [{user: root, password: right}]}\npool: {min: 9}\n")
	e := h.wait("server.reload", 1)[0]
	if e["applied"] != "auth.credentials auth.mode" || e["restart_needed"] != "pool.min" {
		t.Errorf("event %v", e)
	}
	if client, err := h.login("root", "wrong"); err == nil {
		client.Close()
		t.Error("the old policy still decides")
	}
	rewrite("auth: {mode: frobnicate}\n")
	h.says("configuration not reloaded")
	rewrite("auth: {mode: static, credentials: [{user: root, password: other}]}\n")
	if e := h.wait("server.reload", 2)[1]; e["applied"] != "auth.credentials" { // compared with the first reload: the second changed nothing
		t.Errorf("event %v", e)
	}
	client, err := h.login("root", "other")
	if err != nil {
		t.Fatal(err)
	}
	client.Close()
}

func TestDrainCutsSessions(t *testing.T) {
	h := launch(t, "", func(s *testpodman.Service) {
		s.Run = func(p *testpodman.Process) int { _, _ = io.ReadAll(p.Stdin); return 0 }
	})
	h.wait("server.start", 1)
	client, err := h.login("root", "x")
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	s, err := client.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Shell(); err != nil {
		t.Fatal(err)
	}
	h.signals <- os.Interrupt
	if err := h.end(); err != nil {
		t.Errorf("end: %v", err)
	}
	closed, _ := h.err.events("session.close")
	if len(closed) != 1 || closed[0]["reason"] != "service stops" {
		t.Errorf("events %v", closed)
	}
}

func TestSignalBeforeReady(t *testing.T) {
	for name, change := range map[string]func(*testpodman.Service){
		"no Podman": func(s *testpodman.Service) { s.Stop() },
		"no target": func(s *testpodman.Service) {
			s.Answer = func(w http.ResponseWriter, r *http.Request) bool {
				if strings.HasSuffix(r.URL.Path, "/containers/create") {
					testpodman.Fail(w, http.StatusInternalServerError, "no")
					return true
				}
				return false
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := launch(t, "", change)
			h.signals <- syscall.SIGHUP // nothing to reload yet
			h.signals <- syscall.SIGTERM
			if err := h.end(); exitCode(err) != exitInterrupted {
				t.Errorf("end: %v", err)
			}
		})
	}
}

func TestRecoversSessionsAtStart(t *testing.T) {
	state := t.TempDir()
	store, err := evidence.Open(state)
	if err != nil {
		t.Fatal(err)
	}
	const id = "01JQ0000000000000000000001"
	dir, err := store.Create(id, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(dir.Save(evidence.Session{State: evidence.StateOpen, Start: time.Now()}), dir.Close(), store.Close()); err != nil {
		t.Fatal(err)
	}
	err2 := &output{changed: make(chan struct{})}
	path := writeConfig(t, "sandtrap.yaml", settings(state, "127.0.0.1:1", "/none", "pool: {start_timeout: 1s}"))
	if err := runServe(t.Context(), &globals{configPath: path, out: io.Discard, err: err2}, make(chan os.Signal)); err == nil {
		t.Fatal("served without Podman")
	}
	if found, _ := err2.events("session.recover"); len(found) != 1 || found[0]["recovered_session"] != id {
		t.Errorf("events %v", found)
	}
}

func TestNotifications(t *testing.T) {
	dir, err := os.MkdirTemp("", "sd")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(dir, "n"), Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	t.Setenv("NOTIFY_SOCKET", filepath.Join(dir, "n"))
	if err := conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	h := launch(t, "", nil)
	expect := func(want string) {
		t.Helper()
		buffer := make([]byte, 1024)
		for {
			n, err := conn.Read(buffer)
			if err != nil {
				t.Fatalf("%q: %v", want, err)
			}
			got := string(buffer[:n])
			if strings.HasPrefix(got, want) {
				return
			}
			if !strings.HasPrefix(got, "STATUS=") { // these may come in between
				t.Fatalf("message %q, want %q", got, want)
			}
		}
	}
	expect("STATUS=waiting for Podman")
	expect("STATUS=warming targets")
	expect("READY=1\nSTATUS=0 connections, 0 targets leased, ")
	h.signals <- syscall.SIGHUP
	expect("RELOADING=1\nMONOTONIC_USEC=")
	expect("READY=1\nSTATUS=0 connections")
	h.signals <- syscall.SIGTERM
	expect("STOPPING=1\nSTATUS=draining: terminated")
	if err := h.end(); err != nil {
		t.Error(err)
	}
}

func TestNetwork(t *testing.T) {
	for address, want := range map[string]string{
		"0.0.0.0:22": "tcp4", "192.0.2.1:22": "tcp4", "[::]:22": "tcp6", "[2001:db8::1]:22": "tcp6", ":22": "tcp", "localhost:22": "tcp",
	} {
		if got := network(address); got != want {
			t.Errorf("network(%s) = %s, want %s", address, got, want)
		}
	}
}
