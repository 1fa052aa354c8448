package sshd

import (
	"testing"

	"github.com/sandtrap/sandtrap/internal/event"
)

// TestUnknownSubsystem: it is refused, and something else may be asked for.
func TestUnknownSubsystem(t *testing.T) {
	f := listen(t, nil)
	programs := f.started(echo)
	c := openChannel(t, f.client())
	for _, name := range []string{"", "nonesuch", "sftp ", "sftp; reboot"} {
		if c.ask(Subsystem, command(name)) {
			t.Errorf("subsystem %q was accepted", name)
		}
	}
	if len(programs) != 0 {
		t.Fatal("something was started")
	}
	c.must(Subsystem, command("sftp"))
}

// TestZeroByteInACommand ends the connection, as with sshd.
func TestZeroByteInACommand(t *testing.T) {
	f := listen(t, nil)
	programs := f.started(echo)
	client := f.client()
	c := openChannel(t, client)
	if _, err := c.SendRequest(Exec, true, command("id\x00uname")); err == nil {
		t.Error("the request was answered")
	}
	_ = client.Wait()
	for _, e := range f.events.wait(t, event.ConnectionEnd, 1) {
		if got := field(e, "reason"); got != "malformed request" {
			t.Errorf("the connection ended by %q", got)
		}
	}
	if len(programs) != 0 {
		t.Error("something was started")
	}
}
