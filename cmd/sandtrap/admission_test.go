package main

import (
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sandtrap/sandtrap/internal/config"
	"github.com/sandtrap/sandtrap/internal/evidence"
	"github.com/sandtrap/sandtrap/internal/hint"
	"github.com/sandtrap/sandtrap/internal/testpodman"
)

// greeting is what a new connection gets until its end, or the beginning of it.
func (h *honeypot) greeting() string {
	h.Helper()
	c, err := net.Dial("tcp", h.address)
	if err != nil {
		h.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(patience))
	buffer := make([]byte, 8)
	n, _ := io.ReadFull(c, buffer)
	return string(buffer[:n])
}

// Lists and limits change while a session goes on. A list with a mistake changes
// nothing, and is told with its line.
func TestReloadAdmission(t *testing.T) {
	list := filepath.Join(t.TempDir(), "deny.list")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(list, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("192.0.2.0/24\n")
	more := "admission: {deny_files: [" + list + "]}\n"
	h := launch(t, more, func(s *testpodman.Service) { s.Run = shout })
	h.wait("server.start", 1)
	session, err := h.login("root", "x")
	if err != nil {
		t.Fatal(err)
	}
	defer session.Close()
	reload := func(text string) {
		t.Helper()
		if err := os.WriteFile(h.config, []byte(settings(h.state, h.address, h.podman.Socket, text)), 0o600); err != nil {
			t.Fatal(err)
		}
		h.signals <- syscall.SIGHUP
	}
	write("192.0.2.0/24\n127.0.0.1 # us\n")
	reload(more)
	h.wait("server.reload", 1)
	if got := h.greeting(); got != "" {
		t.Errorf("from the deny list: %q", got)
	}
	if deny := h.wait("connection.deny", 1)[0]; deny["reason"] != "deny list" || deny["answer"] != "closed" {
		t.Errorf("%v", deny)
	}
	write("127.0.0.1\nwhat\n")
	reload("auth: {accept_public_keys: true}\nadmission: {deny_files: [" + list + "], allow: [127.0.0.0/8]}\n")
	h.says("line 2: \\\"what\\\" is not an address or a range")
	if got := h.greeting(); got != "" {
		t.Errorf("after a list with a mistake: %q", got)
	}
	write("127.0.0.1\n")
	reload("admission: {deny_files: [" + list + "], allow: [127.0.0.0/8], max_sources: 1024}\n")
	if e := h.wait("server.reload", 2)[1]; e["applied"] != "admission.allow" || e["restart_needed"] != "admission.max_sources" {
		t.Errorf("%v", e)
	}
	if got := h.greeting(); got != "SSH-2.0-" {
		t.Errorf("allowed, and got %q", got)
	}
	if s, err := session.NewSession(); err != nil {
		t.Errorf("the session that was there: %v", err)
	} else if out, _ := s.Output("x"); string(out) != "" {
		t.Errorf("%q", out)
	}
}

func TestServeWithoutAList(t *testing.T) {
	podman := testpodman.New(t)
	path := writeConfig(t, "sandtrap.yaml", settings(t.TempDir(), freeAddress(t), podman.Socket, "admission: {deny_files: [/none/list]}"))
	err := runServe(t.Context(), &globals{configPath: path, out: io.Discard, err: io.Discard}, make(chan os.Signal))
	if err == nil || !strings.Contains(err.Error(), "admission.deny_files: read list: open /none/list: no such file") {
		t.Errorf("%v (%s)", err, hint.Of(err))
	}
}

// What lists know of a source is in its event and in its session's record; a reload
// reads them again.
func TestEnrichment(t *testing.T) {
	list := filepath.Join(t.TempDir(), "us")
	h := launch(t, "enrich: {geoip: [/none], lists: [\"us="+list+"\", \"none=/none\"]}\n", func(s *testpodman.Service) { s.Run = shout })
	if open, _ := h.err.events("connection.open"); len(open) > 0 && open[0]["lists"] != nil {
		t.Errorf("%v", open)
	}
	h.wait("server.start", 1)
	if err := os.WriteFile(list, []byte("127.0.0.0/8\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	h.signals <- syscall.SIGHUP
	h.wait("server.reload", 1)
	if _, _, err := h.exec("id", ""); err == nil {
		t.Error("status 0")
	}
	if open := h.wait("connection.open", 1); open[len(open)-1]["lists"] != "us" || open[len(open)-1]["country"] != nil {
		t.Errorf("%v", open)
	}
	id := h.wait("session.close", 1)[0]["session"].(string)
	store, err := evidence.OpenReadOnly(h.state)
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	if s, _, err := store.Find(id); err != nil || s.Origin == nil || len(s.Origin.Lists) != 1 || s.Origin.Lists[0] != "us" {
		t.Errorf("%+v, %v", s.Origin, err)
	}
}

func TestAdmissionLimits(t *testing.T) {
	c := config.Default()
	c.Admission.Tarpit = []string{"deny", "penalty", "rate"}
	l, err := admissionLimits(c)
	if err != nil || len(l.Tarpit) != 4 || l.MaxConnections != 3072 || l.MaxStartups.Full != 2048 || l.PerSourceMaxStartups != 100 || l.PerSourceMaxConnections != 128 ||
		l.NetBlock6 != 64 || l.PerSourceRate.Count != 1200 || l.Rate.Count != 0 || l.Penalties.Enabled {
		t.Errorf("%+v, %v", l, err)
	}
	c.SSH.MaxStartups = ""
	if _, err := admissionLimits(c); err == nil {
		t.Error("no error")
	}
}
