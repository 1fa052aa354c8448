//go:build appliance

package appliance

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/sandtrap/sandtrap/internal/evidence"
)

const banner = "SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u10\r\n"

func TestGarbageInsteadOfSSH(t *testing.T) {
	for name, tt := range map[string]struct{ send, want string }{
		"http":     {"GET / HTTP/1.0\r\n\r\n", banner + "Invalid SSH identification string.\r\n"},
		"binary":   {"\x16\x03\x01\x02\x00\x01\x00\n", banner + "Invalid SSH identification string.\r\n"},
		"ssh-1":    {"SSH-1.5-old\r\n", banner + "Protocol major versions differ.\r\n"},
		"no kex":   {"SSH-2.0-x\r\n" + strings.Repeat("A", 64), ""},
		"nul":      {"SSH-2.0-\x00\r\n", banner + "Invalid SSH identification string.\r\n"},
		"only end": {"\n", banner + "Invalid SSH identification string.\r\n"},
	} {
		t.Run(name, func(t *testing.T) {
			got := converse(t, tt.send)
			// What follows the refusal may be lost when unread input resets the
			// connection, as with sshd.
			if tt.want != "" && !strings.HasPrefix(tt.want, got) || !strings.HasPrefix(got, banner) {
				t.Errorf("answer %q, want %q", got, tt.want)
			}
		})
	}
	if r := ssh(t, "root", "echo alive"); r.stdout != "alive\n" {
		t.Errorf("after garbage: %+v", r)
	}
}

// A client that vanishes at any point leaves a closed session and a stopped
// container.
func TestVanishingClients(t *testing.T) {
	if c, err := net.Dial("tcp", address); err == nil {
		c.Close() // before a byte
	}
	for _, command := range []string{"sleep 1000", "cat /dev/zero", "cat"} {
		c := sshCommand("root@127.0.0.1", command)
		stdin, err := c.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		before := waitLive(t, command)
		if err := c.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = c.Wait()
		stdin.Close()
		s := lastSession(t)
		if s.ID != before {
			t.Errorf("%s: session %s ended, want %s", command, s.ID, before)
		}
		if got := podman(t, "inspect", "--format", "{{.State.Status}}", s.ID); got != "exited" {
			t.Errorf("%s: container is %s", command, got)
		}
	}
}

// waitLive returns the id of the session that runs command now.
func waitLive(t *testing.T, command string) (id string) {
	t.Helper()
	err := eventually(func() error {
		out, err := output("journalctl", "-u", "sandtrap", "-o", "cat", "--output-fields=SANDTRAP_SESSION", "-n1", "SANDTRAP_EVENT=exec.start", "SANDTRAP_COMMAND="+command)
		if err != nil || out == "" {
			return errors.New("no such command yet")
		}
		id = out
		state, _ := output("podman", "--url", podmanURL, "inspect", "--format", "{{.State.Status}}", id)
		if state != "running" {
			return fmt.Errorf("container %s is %s", id, state)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// Without Podman the targets that wait serve on. When there are no more, logins fail
// as on a loaded server.
func TestPodmanStopsAndReturns(t *testing.T) {
	must(t, "systemctl", "stop", "sandtrap-podman.socket", "sandtrap-podman.service")
	served := 0
	for ; served < 20; served++ {
		r := ssh(t, "root", "echo in")
		if r.status == 0 && r.stdout == "in\n" {
			continue
		}
		if r.status == 0 || r.stdout != "" || strings.Contains(strings.ToLower(r.stderr), "podman") {
			t.Errorf("without Podman: %+v", r)
		}
		break
	}
	if served == 20 {
		t.Error("there was no end of targets")
	}
	t.Logf("%d sessions without Podman", served)
	if state, _ := output("systemctl", "is-active", "sandtrap.service"); state != "active" {
		t.Errorf("sandtrap.service is %s", state)
	}
	must(t, "systemctl", "start", "sandtrap-podman.socket")
	err := eventually(func() error {
		if r := ssh(t, "root", "echo in"); r.stdout != "in\n" {
			return fmt.Errorf("%+v", r)
		}
		return nil
	})
	if err != nil {
		t.Errorf("after Podman's return: %v", err)
	}
}

func TestMissingImage(t *testing.T) {
	path := "/etc/sandtrap/conf.d/99-test.yaml"
	if err := os.WriteFile(path, []byte("target:\n  image: localhost/no-such-image:latest\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	since := time.Now()
	_, _ = output("systemctl", "restart", "sandtrap.service")
	log := must(t, "journalctl", "-u", "sandtrap", "-o", "cat", "--since", "@"+strconv.FormatInt(since.Unix(), 10))
	for _, want := range []string{
		"sandtrap: target debian: image localhost/no-such-image:latest does not exist",
		"hint: build it: systemctl start sandtrap-target-debian-build.service",
	} {
		if !strings.Contains(log, want) {
			t.Errorf("%q is not in the journal:\n%s", want, log)
		}
	}
	if state, _ := output("systemctl", "is-active", "sandtrap.socket"); state != "active" {
		t.Errorf("the socket is %s", state)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	must(t, "systemctl", "restart", "sandtrap.service")
	if r := ssh(t, "root", "echo in"); r.stdout != "in\n" {
		t.Errorf("with the image back: %+v", r)
	}
}

// A full disk lets nobody in, and ends who is in, until there is space again.
func TestFullDisk(t *testing.T) {
	must(t, "systemctl", "stop", "sandtrap.service")
	must(t, "mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", stateDir)
	t.Cleanup(func() {
		must(t, "systemctl", "stop", "sandtrap.service")
		must(t, "umount", stateDir)
		must(t, "systemctl", "start", "sandtrap.service")
	})
	must(t, "chown", "sandtrap:sandtrap", stateDir)
	configure(t, "recording: {min_free: 0}\n") // or the disk would never be full
	if r := ssh(t, "root", "head -c 20000000 /dev/zero | tr '\\0' x; echo survived"); strings.Contains(r.stdout, "survived") || len(r.stdout) > 2<<20 {
		t.Errorf("a session went on unrecorded: %d bytes, status %d", len(r.stdout), r.status)
	}
	filler := filepath.Join(stateDir, "filler")
	_, _ = output("dd", "if=/dev/zero", "of="+filler, "bs=4k")
	if r := ssh(t, "root", "echo in"); r.status == 0 || r.stdout != "" {
		t.Errorf("with a full disk: %+v", r)
	}
	if state, _ := output("systemctl", "is-active", "sandtrap.service"); state != "active" {
		t.Errorf("sandtrap.service is %s", state)
	}
	for _, f := range []string{filler, filepath.Join(stateDir, "sessions")} {
		if err := os.RemoveAll(f); err != nil {
			t.Fatal(err)
		}
	}
	must(t, "install", "-d", "-o", "sandtrap", "-g", "sandtrap", "-m", "0750", filepath.Join(stateDir, "sessions"))
	must(t, "systemctl", "restart", "sandtrap.service")
	if r := ssh(t, "root", "echo in"); r.stdout != "in\n" {
		t.Errorf("with space again: %+v", r)
	}
}

// After kill -9 the next start closes the session, stops its container and keeps
// it.
func TestCrashIsRecovered(t *testing.T) {
	c := sshCommand("root@127.0.0.1", "sleep 2000")
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	id := waitLive(t, "sleep 2000")
	pid, err := strconv.Atoi(must(t, "systemctl", "show", "--value", "-p", "MainPID", "sandtrap.service"))
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	_ = c.Wait()
	err = eventually(func() error {
		if r := ssh(t, "root", "echo in"); r.stdout != "in\n" {
			return fmt.Errorf("%+v", r)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if out := must(t, "sandtrap", "show", "--format", "json", id); !strings.Contains(out, `"state": "`+string(evidence.StateRecovered)+`"`) {
		t.Errorf("session after the crash: %s", out)
	}
	if got := podman(t, "inspect", "--format", "{{.State.Status}}", id); got != "exited" {
		t.Errorf("container after the crash is %s", got)
	}
	settles(t)
}

func TestReload(t *testing.T) {
	path := "/etc/sandtrap/conf.d/99-test.yaml"
	reload := func(yaml string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(yaml), 0o644); err != nil {
			t.Fatal(err)
		}
		must(t, "systemctl", "reload", "sandtrap.service")
	}
	t.Cleanup(func() { reload(""); _ = os.Remove(path) })
	reload("auth:\n  mode: static\n  credentials: [{user: root, password: other}]\npool:\n  min: 2\n")
	if r := ssh(t, "root", "echo in"); r.status != 255 {
		t.Errorf("the old policy still rules: %+v", r)
	}
	if log := must(t, "journalctl", "-u", "sandtrap", "-o", "cat", "-n1", "SANDTRAP_EVENT=server.reload"); !strings.Contains(log, "restart_needed=pool.min") {
		t.Errorf("reload event: %s", log)
	}
	reload("auth: {mode: nonsense}\n")
	if r := ssh(t, "root", "echo in"); r.status != 255 {
		t.Errorf("a broken configuration changed the policy: %+v", r)
	}
	status := must(t, "systemctl", "show", "--value", "-p", "StatusText", "sandtrap.service")
	if !strings.Contains(status, "warm") || !strings.Contains(status, "not reloaded: ") || !strings.Contains(status, "99-test.yaml:1: auth.mode") {
		t.Errorf("status = %q", status)
	}
}

func TestManyAtOnce(t *testing.T) {
	var wg sync.WaitGroup
	for i := range 12 {
		wg.Go(func() {
			want := fmt.Sprint("session ", i, "\n")
			if r := ssh(t, "root", fmt.Sprint("echo session ", i)); r.stdout != want {
				t.Errorf("session %d: %+v", i, r)
			}
		})
	}
	wg.Wait()
	settles(t)
}

// IPv6 has a socket of its own.
func TestIPv6(t *testing.T) {
	r := finish(t, sshFrom("::1", "root@::1", "echo $SSH_CONNECTION"), nil)
	if !strings.HasPrefix(r.stdout, "::1 ") {
		t.Errorf("%+v", r)
	}
	if s := lastSession(t); s.Source.IP != "::1" {
		t.Errorf("source = %+v", s.Source)
	}
}

// Stopping the service ends sessions with their evidence closed, and leaves no
// container running.
func TestDrain(t *testing.T) {
	c := sshCommand("root@127.0.0.1", "sleep 3000")
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	id := waitLive(t, "sleep 3000")
	must(t, "systemctl", "stop", "sandtrap.service")
	_ = c.Wait()
	out := must(t, "sandtrap", "show", "--format", "json", id)
	if !strings.Contains(out, `"state": "closed"`) || !strings.Contains(out, `"end_reason": "service stops"`) {
		t.Errorf("session after the stop: %s", out)
	}
	if names := podman(t, "ps", "--filter", "label=io.sandtrap.target", "--format", "{{.Names}}"); names != "" {
		t.Errorf("still running: %s", names)
	}
	// The socket still listens: the next visitor starts the service.
	if r := ssh(t, "root", "echo in"); r.stdout != "in\n" {
		t.Errorf("activation by socket: %+v", r)
	}
}
