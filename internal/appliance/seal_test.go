//go:build appliance

package appliance

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

const (
	sealKeyDir  = "/etc/sandtrap/sealkey"
	signersFile = "/etc/sandtrap/allowed_signers"
)

// TestSeals: a session is sealed when it ends, and stock tools and members of the group
// can tell.
func TestSeals(t *testing.T) {
	ssh(t, "root", "echo x; id")
	s := lastSession(t)
	if raw := s.Channels[0].Recording.Raw; raw != "channel-0.raw.zst" {
		t.Errorf("recording %q", raw)
	}
	must(t, "sandtrap", "verify", s.ID)
	must(t, "setpriv", "--reuid=nobody", "--regid=sandtrap", "--clear-groups", "sandtrap", "verify", "--all")
	if out, err := output("setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", "sandtrap", "verify", "--all"); err == nil {
		t.Errorf("anybody may verify: %s", out)
	}
	must(t, "sh", "-c", "cd "+directory(s)+" && sha256sum --strict -c SHA256SUMS && ssh-keygen -Y verify -f "+signersFile+" -I sandtrap -n sandtrap-evidence -s SHA256SUMS.sig <SHA256SUMS")
	cast := filepath.Join(directory(s), s.Channels[0].Recording.Cast)
	whole, err := os.ReadFile(cast)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.WriteFile(cast, whole, 0o640) })
	if err := os.WriteFile(cast, append(whole, "[9.0, \"o\", \"forged\"]\n"...), 0o640); err != nil {
		t.Fatal(err)
	}
	out, err := output("sandtrap", "verify", s.ID)
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 6 || !strings.Contains(out, "channel-0.cast: it was altered") {
		t.Errorf("an altered cast: %v, %s", err, out)
	}
}

// TestSealKeyIsRoots: the account of the front end has it by credential only, and a new
// one leaves old seals valid.
func TestSealKeyIsRoots(t *testing.T) {
	file := filepath.Join(sealKeyDir, "seal_ed25519_key")
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 || info.Sys().(*syscall.Stat_t).Uid != 0 {
		t.Errorf("%s: %v, %v", file, info, err)
	}
	for _, account := range []string{"sandtrap", "sandtrap-pods", "sandtrap-filter"} {
		for _, try := range []string{"cat " + file, "ls " + sealKeyDir, "echo x >>" + file, "echo x >>" + signersFile, "mv " + sealKeyDir + " /etc/sandtrap/other"} {
			if out, err := output("setpriv", "--reuid="+account, "--regid="+account, "--init-groups", "sh", "-c", try); err == nil || !strings.Contains(out, "Permission denied") {
				t.Errorf("%s as %s: %v, %s", try, account, err, out)
			}
		}
	}
	if left, _ := filepath.Glob("/var/lib/sandtrap/sealkey*"); len(left) > 0 {
		t.Errorf("a key where the account could change it: %v", left)
	}
	ssh(t, "root", "true")
	before := lastSession(t)
	must(t, "sandtrap", "sealkey", "--rotate")
	must(t, "systemctl", "restart", "sandtrap.service")
	ssh(t, "root", "true")
	after := lastSession(t)
	if before.ID == after.ID {
		t.Fatal("no new session")
	}
	must(t, "sandtrap", "verify", before.ID, after.ID)
	settles(t)
	if err := eventually(verified); err != nil {
		t.Error(err)
	}
}

// TestSecondServiceIsRefused: one state directory, one service.
func TestSecondServiceIsRefused(t *testing.T) {
	out, err := output("timeout", strconv.Itoa(int(patience/time.Second)), "sandtrap", "serve")
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 1 || !strings.Contains(out, "another service uses the state directory /var/lib/sandtrap") || !strings.Contains(out, "hint: ") {
		t.Errorf("%v, %s", err, out)
	}
	ssh(t, "root", "true")
}

// TestKilledWhileItSeals: whenever the service is killed, the next one seals what is
// left, and nothing is missing.
func TestKilledWhileItSeals(t *testing.T) {
	for i := range 8 {
		for range 3 {
			ssh(t, "root", "echo x")
		}
		time.Sleep(time.Duration(i) * 15 * time.Millisecond) // somewhere else each time
		if pid := unitPid("sandtrap.service"); !kill(pid) {
			t.Fatal("nothing was killed")
		}
		must(t, "systemctl", "start", "sandtrap.service")
		err := eventually(func() error {
			if out, err := output("systemctl", "is-active", "sandtrap.service"); err != nil {
				return errors.New(out)
			}
			return verified()
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}
