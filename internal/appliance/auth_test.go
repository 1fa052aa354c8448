//go:build appliance

package appliance

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sandtrap/sandtrap/internal/evidence"
)

// sshAs is ssh(1) from a source that types one password, once.
func sshAs(t *testing.T, source, user, password, command string) sshResult {
	t.Helper()
	c := sshFrom(source, "-o", "PubkeyAuthentication=no", "-o", "NumberOfPasswordPrompts=1", user+"@127.0.0.1", command)
	c.Env = append(c.Env, "ASKPASS_PASSWORD="+password)
	return finish(t, c, nil)
}

// withKey is ssh(1) with a key and no password.
func withKey(t *testing.T, source, key, command string) sshResult {
	t.Helper()
	return finish(t, sshFrom(source, "-i", key, "-o", "IdentitiesOnly=yes", "-o", "PreferredAuthentications=publickey", "root@127.0.0.1", command), nil)
}

func expectLogin(t *testing.T, what string, r sshResult, in bool) {
	t.Helper()
	if got := r.stdout == "in\n"; got != in {
		t.Errorf("%s: let in %t, want %t: %+v", what, got, in, r)
	}
}

// TestWhatSourcesFind is the life of a source whose second credential lets it in: it
// finds a bait, leaves a key, and both are known later, after a restart too.
func TestWhatSourcesFind(t *testing.T) {
	configure(t, `auth:
  mode: rules
  rules:
    - {name: planted, action: allow, keys: [planted]}
    - {name: second, action: after-tries, min_tries: 2, max_tries: 2}
  honeytokens: [{name: wiki, user: svc, password: stolen}]
  bait: plant
`)
	key := filepath.Join(t.TempDir(), "id")
	must(t, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key)
	public, err := os.ReadFile(key + ".pub")
	if err != nil {
		t.Fatal(err)
	}
	source, other := freshSource(), freshSource()
	expectLogin(t, "first password", sshAs(t, source, "root", "a", "echo in"), false)
	expectLogin(t, "key before it is planted", withKey(t, source, key, "echo in"), false)
	r := sshAs(t, source, "root", "b", fmt.Sprintf("cat ~/*.sh; mkdir -p ~/.ssh; echo '%s' >>~/.ssh/authorized_keys", strings.TrimSpace(string(public))))
	first := lastSession(t)
	checkBait(t, first, r)
	if len(first.PlantedKeys) != 1 || strings.TrimSpace(string(public)) != string(first.PlantedKeys[0]) {
		t.Errorf("planted keys %q", first.PlantedKeys)
	}
	check := func(when string) {
		expectLogin(t, "the password that was found "+when, sshAs(t, source, "root", "b", "echo in"), true)
		expectLogin(t, "another "+when, sshAs(t, source, "root", "c", "echo in"), false)
		expectLogin(t, "the planted key "+when, withKey(t, source, key, "echo in"), true)
		expectLogin(t, "the same of another source "+when, withKey(t, other, key, "echo in"), false)
	}
	check("at once")
	must(t, "systemctl", "restart", "sandtrap.service")
	check("after a restart")
	if first.Target.Bait == nil {
		return
	}
	thief := freshSource()
	expectLogin(t, "the bait from elsewhere", sshAs(t, thief, "backup", first.Target.Bait.Password, "echo in"), false)
	log := must(t, "journalctl", "-u", "sandtrap", "-o", "cat", "-n1", "SANDTRAP_EVENT=honeytoken.use")
	if !strings.Contains(log, "honeytoken=bait") || !strings.Contains(log, "bait_session="+first.ID) || !strings.Contains(log, "src_ip="+thief) {
		t.Errorf("event: %s", log)
	}
	if out := must(t, "journalctl", "-u", "sandtrap", "-p", "crit", "-o", "cat", "-n1"); out != log {
		t.Errorf("by priority the journal has %s", out)
	}
	settles(t)
}

// checkBait compares what a session has read in its target with its record.
func checkBait(t *testing.T, s evidence.Session, read sshResult) {
	t.Helper()
	bait := s.Target.Bait
	if bait == nil {
		t.Errorf("no bait in the record; the target has %+v", read)
		return
	}
	if !strings.HasPrefix(bait.Path, "/root/") || !strings.Contains(read.stdout, "RSYNC_PASSWORD='"+bait.Password+"'") {
		t.Errorf("bait %+v, the target has %q", bait, read.stdout)
	}
	if strings.Contains(strings.ToLower(read.stdout), "trap") {
		t.Errorf("the bait tells what it is: %s", read.stdout)
	}
}
