//go:build appliance

package appliance

import (
	"bytes"
	"errors"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A request to change a password (RFC 4252, section 8) ends in the SSH library: the
// connection ends, nothing of the request is recorded, and its event says what
// docs/authentication.md does. The next client is served.
func TestPasswordChangeEndsTheConnection(t *testing.T) {
	source := freshSource()
	conn, err := dialTCP(source, patience)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(patience))
	w := &wire{conn: conn}
	if err := w.exchangeKeys("SSH-2.0-Changer"); err != nil {
		t.Fatal(err)
	}
	if err := w.askForAuth(); err != nil {
		t.Fatal(err)
	}
	const old, fresh = "old-secret", "new-secret"
	change := bytes.Join([][]byte{{msgUserauth}, str("root"), str("ssh-connection"), str("password"), {1}, str(old), str(fresh)}, nil)
	if err := w.send(change); err != nil {
		t.Fatal(err)
	}
	if p, err := w.receive(); !errors.Is(err, io.EOF) && !errors.Is(err, syscall.ECONNRESET) {
		var slow net.Error
		t.Errorf("it was answered with %q, %v (late: %t)", p, err, errors.As(err, &slow) && slow.Timeout())
	}
	var log string
	if err := eventually(func() error {
		log = must(t, "journalctl", "-u", "sandtrap", "-o", "cat", "-n1", "SANDTRAP_EVENT=connection.close", "SANDTRAP_SRC_IP="+source)
		if !strings.Contains(log, "src_ip="+source) {
			return errors.New("no connection.close: " + log)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	t.Log(log)
	if !strings.Contains(log, "handshake failed: ssh: parse error in message type 50") {
		t.Errorf("event: %s", log)
	}
	if all := must(t, "journalctl", "-u", "sandtrap", "-o", "cat", "--lines=30"); strings.Contains(all, old) || strings.Contains(all, fresh) {
		t.Errorf("the events have one of the passwords:\n%s", all)
	}
	if r := ssh(t, "root", "echo in"); r.stdout != "in\n" {
		t.Errorf("the next client: %+v", r)
	}
}
