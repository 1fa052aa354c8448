//go:build appliance

package appliance

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sandtrap/sandtrap/internal/persona"
)

// fullAnswer is what a client gets that says nothing, until the server closes, when one
// that is silent is there already.
func fullAnswer(t *testing.T, server string) string {
	t.Helper()
	var first net.Conn
	err := eventually(func() (err error) { // one that has just left may count still
		if first, err = net.DialTimeout("tcp", server, patience); err != nil {
			return err
		}
		_ = first.SetDeadline(time.Now().Add(patience))
		greeting := make([]byte, 8)
		if _, err = io.ReadFull(first, greeting); err == nil && string(greeting) != "SSH-2.0-" {
			err = fmt.Errorf("it begins with %q", greeting)
		}
		if err != nil {
			first.Close()
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	return untilClosed(t, server)
}

func untilClosed(t *testing.T, server string) string {
	t.Helper()
	c, err := net.DialTimeout("tcp", server, patience)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(patience))
	got, err := io.ReadAll(c)
	if err != nil {
		t.Errorf("%s: %q, %v", server, got, err)
	}
	return string(got)
}

// Who is refused by MaxStartups or PerSourceMaxStartups sees what the real sshd of the
// persona says, and so does ssh(1).
func TestRefusalIsThatOfSSHD(t *testing.T) {
	referenceImage(t, "localhost/sandtrap-target-debian:latest")
	p, err := persona.Load(persona.Default)
	if err != nil {
		t.Fatal(err)
	}
	for option, key := range map[string]string{"MaxStartups=1": "max_startups: \"1\"", "PerSourceMaxStartups=1": "per_source_max_startups: 1"} {
		startSSHD(t, p.Config, personaPort, option)
		configure(t, "ssh: {"+key+"}")
		if err := eventually(func() error { // what waited for the server to come up has left
			if got := fullAnswer(t, "127.0.0.1:"+personaPort); !strings.Contains(got, "MaxStartups") {
				return fmt.Errorf("%s: sshd says %q", option, got)
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		real, ours := fullAnswer(t, "127.0.0.1:"+personaPort), fullAnswer(t, address)
		t.Logf("%s: sshd %q, SandTrap %q", option, real, ours)
		if real != ours {
			t.Errorf("%s: sshd says %q, SandTrap %q", option, real, ours)
		}
	}
}

// Who has a penalty sees what OpenSSH of this machine says, which has them.
func TestPenaltyIsThatOfSSHD(t *testing.T) {
	version, _ := output("/usr/sbin/sshd", "-V")
	version, _, _ = strings.Cut(version, ",")
	if !strings.HasPrefix(version, "OpenSSH_10") {
		t.Skipf("the machine's sshd is %q, and has no penalties or other ones", version)
	}
	const port = "2204"
	key := filepath.Join(t.TempDir(), "key")
	must(t, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key)
	if err := os.MkdirAll("/run/sshd", 0o755); err != nil {
		t.Fatal(err)
	}
	real := exec.Command("/usr/sbin/sshd", "-D", "-f", "none", "-p", port, "-h", key, "-o", "ListenAddress=127.0.0.1", "-o", "PidFile=none",
		"-o", "PerSourcePenalties=noauth:60s min:1s")
	if err := real.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = real.Process.Kill(); _ = real.Wait() })
	configure(t, "ssh: {version: \""+version+"\", per_source_penalties: [\"noauth:60s\", \"min:1s\"]}")
	answers := map[string]string{}
	for _, server := range []string{"127.0.0.1:" + port, address} {
		err := eventually(func() error { // a visit without a word earns a penalty soon
			c, err := net.DialTimeout("tcp", server, patience)
			if err != nil {
				return err
			}
			defer c.Close()
			_ = c.SetDeadline(time.Now().Add(patience))
			buffer := make([]byte, 4)
			if _, err := io.ReadFull(c, buffer); err != nil {
				return err
			}
			if string(buffer) == "SSH-" {
				return errors.New("still served")
			}
			return nil
		})
		if err != nil {
			t.Fatalf("%s: %v", server, err)
		}
		answers[server] = untilClosed(t, server)
	}
	t.Logf("%q", answers)
	if answers["127.0.0.1:"+port] != answers[address] || answers[address] != "Not allowed at this time\r\n" {
		t.Errorf("%q", answers)
	}
}

// A reload closes the door to a source, and a list with a mistake leaves it closed and
// is told in systemctl status.
func TestReloadOfLists(t *testing.T) {
	const list = "/etc/sandtrap/deny.list"
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(list, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() { _ = os.Remove(list) })
	write("# nobody\n")
	configure(t, "admission: {deny_files: ["+list+"]}")
	source := freshSource()
	client := dial(t, freshSource(), "root")
	visit := func() string {
		c, err := dialTCP(source, patience)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(patience))
		buffer := make([]byte, 4)
		n, _ := io.ReadFull(c, buffer)
		return string(buffer[:n])
	}
	if got := visit(); got != "SSH-" {
		t.Errorf("before: %q", got)
	}
	write(source + "\n")
	must(t, "systemctl", "reload", "sandtrap.service")
	if got := visit(); got != "" {
		t.Errorf("denied, and got %q", got)
	}
	write("what\n")
	must(t, "systemctl", "reload", "sandtrap.service")
	if got := visit(); got != "" {
		t.Errorf("after a list with a mistake: %q", got)
	}
	if err := eventually(func() error {
		status, _ := output("systemctl", "show", "--property=StatusText", "sandtrap.service")
		if !strings.Contains(status, "configuration not reloaded") || !strings.Contains(status, "line 1") {
			return errors.New(status)
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
	if log := must(t, "journalctl", "--no-pager", "-u", "sandtrap.service", "--lines=50"); !strings.Contains(log, "configuration not reloaded") {
		t.Error("the journal does not say why")
	}
	if out, err := run(client, "echo still here"); out != "still here\n" {
		t.Errorf("the session that was there: %q, %v", out, err)
	}
}
