//go:build appliance

package appliance

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sandtrap/sandtrap/internal/persona"
)

// changePassword asks a server to change root's password and returns its answer. The
// password is the right one, so that a refusal is about the change.
func changePassword(server, source string) ([]byte, error) {
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(source)}, Timeout: patience}
	conn, err := d.Dial("tcp", server)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	w := &wire{conn: conn}
	if err := errors.Join(conn.SetDeadline(time.Now().Add(patience)), w.exchangeKeys("SSH-2.0-Changer")); err != nil {
		return nil, err
	}
	if err := w.askForAuth(); err != nil {
		return nil, err
	}
	change := bytes.Join([][]byte{{msgUserauth}, str("root"), str("ssh-connection"), str("password"), {1}, str(password), str("new-secret")}, nil)
	if err := w.send(change); err != nil {
		return nil, err
	}
	answer, err := w.receive()
	if errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) {
		return nil, io.EOF
	}
	return answer, err
}

// A request to change a password (RFC 4252, section 8) is refused by sshd, and ends the
// connection in the SSH library that SandTrap has: nothing of it is recorded, the event
// says what docs/authentication.md does, and the next client is served.
func TestPasswordChangeEndsTheConnection(t *testing.T) {
	referenceImage(t, "localhost/sandtrap-target-debian:latest")
	p, err := persona.Load(persona.Default)
	if err != nil {
		t.Fatal(err)
	}
	startSSHD(t, p.Config, personaPort, "PermitRootLogin=yes")
	if answer, err := changePassword("127.0.0.1:"+personaPort, "127.0.0.1"); err != nil || answer[0] != msgUserauthFailure {
		t.Errorf("sshd answers with %q, %v", answer, err)
	}
	source := freshSource()
	if answer, err := changePassword(address, source); !errors.Is(err, io.EOF) {
		t.Errorf("SandTrap answers with %q, %v", answer, err)
	}
	events := func(matches ...string) string {
		return must(t, "journalctl", append([]string{"-u", "sandtrap", "-o", "cat", "SANDTRAP_SRC_IP=" + source}, matches...)...)
	}
	if err := eventually(func() error {
		if end := events("SANDTRAP_EVENT=connection.close"); !strings.Contains(end, `reason="handshake failed: ssh: parse error in message type 50"`) {
			return fmt.Errorf("connection.close is %q", end)
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
	if all := events(); strings.Contains(all, password) || strings.Contains(all, "new-secret") {
		t.Errorf("the events have one of the passwords, and the documents say that they do not:\n%s", all)
	}
	if r := ssh(t, "root", "echo in"); r.stdout != "in\n" {
		t.Errorf("the next client: %+v", r)
	}
}
