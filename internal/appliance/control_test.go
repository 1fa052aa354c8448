//go:build appliance

package appliance

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sandtrap/sandtrap/internal/evidence"
)

const controlSocket = "/run/sandtrap/control.sock"

// liveSession is the id of the newest live session from a source, once it has one.
func liveSession(t *testing.T, source string) string {
	t.Helper()
	id := ""
	err := eventually(func() error {
		out, err := output("sandtrap", "status", "--format", "json")
		if err != nil {
			return errors.New(out)
		}
		var status struct {
			Live []struct {
				ID       string
				Source   evidence.Endpoint
				Channels []struct{}
			}
		}
		if err := json.Unmarshal([]byte(out), &status); err != nil {
			return err
		}
		for _, s := range status.Live {
			if s.Source.IP == source && len(s.Channels) > 0 {
				id = s.ID
				return nil
			}
		}
		return fmt.Errorf("no live session from %s in %s", source, out)
	})
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// background is a verb of sandtrap that goes on.
func watchVerb(t *testing.T, args ...string) (*exec.Cmd, *collector) {
	t.Helper()
	out := &collector{}
	c := exec.Command("sandtrap", append([]string{"watch"}, args...)...)
	c.Stdout = out
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Process.Kill() })
	return c, out
}

// A session with the real client is watched by two at once while it goes on, and by a
// third who takes nothing; an operator ends it.
func TestWatchAndTerminate(t *testing.T) {
	source := freshSource()
	term := openTerminal(t, source, "root@127.0.0.1")
	id := liveSession(t, source)
	one, seenByOne := watchVerb(t, "--from-start", id)
	two, seenByTwo := watchVerb(t, id)
	stuck, _ := watchVerb(t, "--from-start", id)
	suspend(t, stuck.Process)
	for i := range 3 {
		word := fmt.Sprintf("word-%d", i)
		if i == 0 { // the second may not look on yet
			if err := eventually(func() error {
				term.enter(t, "\n")
				time.Sleep(100 * time.Millisecond)
				return seenByTwo.has("#")()
			}); err != nil {
				t.Fatal(err)
			}
		}
		term.enter(t, fmt.Sprintf("echo word-$((%d+0)); printf '\\033]0;title\\007'\n", i))
		for _, seen := range []*collector{term.out, seenByOne, seenByTwo} {
			if err := eventually(seen.has(word + "\r")); err != nil {
				t.Fatal(err)
			}
		}
	}
	if strings.Contains(seenByOne.String(), "\x1b]0;title") {
		t.Error("a title reached the operator's terminal")
	}
	// More than lies in any socket between the service and who takes nothing.
	term.enter(t, "seq 1 1000000 | tail -c 6000000; echo all-$((1+1))\n")
	for _, seen := range []*collector{term.out, seenByOne, seenByTwo} {
		if err := eventually(seen.has("all-2\r")); err != nil {
			t.Fatal("a watcher who takes nothing holds up the session or other watchers")
		}
	}
	if got := must(t, "sandtrap", "terminate", id); got != "terminated "+id {
		t.Errorf("terminate says %q", got)
	}
	var exit *exec.ExitError
	if err := term.wait(); !errors.As(err, &exit) || exit.ExitCode() != 255 || !strings.Contains(term.out.String(), "closed") {
		t.Errorf("the client ended with %v, and said\n%s", err, term.out.String()[max(0, len(term.out.String())-300):])
	}
	for _, c := range []*exec.Cmd{one, two} {
		if err := c.Wait(); err != nil {
			t.Errorf("a watcher ended with %v", err)
		}
	}
	s := lastSession(t)
	if s.ID != id || s.State != evidence.StateClosed || s.EndReason != "terminated by operator" || s.Channels[0].EndReason != s.EndReason {
		t.Errorf("session %+v", s)
	}
	if state := podman(t, "inspect", "--format", "{{.State.Running}}", id); state != "false" {
		t.Errorf("its container runs: %s", state)
	}
	if got := must(t, "journalctl", "-o", "cat", "SANDTRAP_TERMINATED_SESSION="+id); !strings.Contains(got, "operator_uid=0") {
		t.Errorf("the journal has %q", got)
	}
}

// A session does not take longer because somebody watches it and reads nothing.
func TestStuckWatcherSlowsNobody(t *testing.T) {
	source := freshSource()
	c := startCommand(t, dial(t, source, "root"), "read x; seq 1 2000000; echo end")
	stuck, _ := watchVerb(t, liveSession(t, source))
	suspend(t, stuck.Process)
	if _, err := c.stdin.Write([]byte("\n")); err != nil {
		t.Fatal(err)
	}
	if err := c.end(t); err != nil || !strings.HasSuffix(c.out.String(), "\nend\n") {
		t.Errorf("ended with %v after %d bytes", err, len(c.out.String()))
	}
}

// openConfig is a configuration that everybody may read.
func openConfig(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/var/tmp", "control")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	path := dir + "/sandtrap.yaml"
	if err := errors.Join(os.WriteFile(path, []byte("{}\n"), 0o644), os.Chmod(dir, 0o755)); err != nil {
		t.Fatal(err)
	}
	return path
}

// The socket answers root and the group; no other account of the machine or of ours
// reaches it, nor does a target.
func TestWhoMayControl(t *testing.T) {
	config := openConfig(t)
	must(t, "useradd", "-G", "sandtrap", "operator1")
	t.Cleanup(func() { _, _ = output("userdel", "-r", "operator1") })
	if got := must(t, "stat", "-c", "%a %U %G", controlSocket, "/run/sandtrap"); got != "660 sandtrap sandtrap\n750 sandtrap sandtrap" {
		t.Errorf("modes %q", got)
	}
	for _, name := range []string{"nobody", "sandtrap-pods", "sandtrap-filter", "sandtrap-quota"} {
		c := exec.Command("runuser", "-u", name, "--", "sandtrap", "--config", config, "status")
		out, err := c.CombinedOutput()
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.ExitCode() != 1 || !bytes.Contains(out, []byte("ask the service at "+controlSocket+": permission denied")) || !bytes.Contains(out, []byte("group sandtrap")) {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
	}
	// The filter is in the group, to read the configuration. It does not see the socket.
	if files, err := os.ReadDir(fmt.Sprintf("/proc/%d/root/run/sandtrap", unitPid("sandtrap-filter.service"))); err == nil && len(files) > 0 {
		t.Errorf("the filter sees %v", files)
	}
	must(t, "runuser", "-u", "operator1", "--", "sandtrap", "status")
	must(t, "runuser", "-u", "operator1", "--", "sandtrap", "reload")
	operator, err := user.Lookup("operator1")
	if err != nil {
		t.Fatal(err)
	}
	var e struct {
		Action string
		UID    int `json:"operator_uid"`
	}
	newest := must(t, "sandtrap", "events", "--kind", "control.act", "-n", "1", "--format", "json")
	if err := json.Unmarshal([]byte(newest), &e); err != nil || e.Action != "reload" || strconv.Itoa(e.UID) != operator.Uid {
		t.Errorf("event %s, want uid %s", newest, operator.Uid)
	}
	inside := ssh(t, "root", "ls -la /run/sandtrap /run/sandtrap-pods 2>&1; grep -c sandtrap /proc/net/unix; find / -xdev -type s 2>/dev/null | grep -i -e sandtrap -e control")
	if strings.Count(inside.stdout, "No such file") != 2 || !strings.HasSuffix(inside.stdout, "\n0\n") {
		t.Errorf("from inside:\n%s", inside.stdout)
	}
}

// Without the service each verb says so; the socket is gone, and is back with it.
func TestControlWithoutService(t *testing.T) {
	must(t, "systemctl", "stop", "sandtrap.socket", "sandtrap.service")
	t.Cleanup(func() { must(t, "systemctl", "start", "sandtrap.socket", "sandtrap.service") })
	if _, err := os.Stat(controlSocket); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket is left: %v", err)
	}
	for _, args := range [][]string{{"status"}, {"watch"}, {"reload"}, {"metrics"}} {
		out, err := exec.Command("sandtrap", args...).CombinedOutput()
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.ExitCode() != 5 || !bytes.Contains(out, []byte("the service does not answer")) {
			t.Errorf("%v: %v\n%s", args, err, out)
		}
	}
	must(t, "sandtrap", "events", "-n", "1") // needs none
	must(t, "systemctl", "start", "sandtrap.socket", "sandtrap.service")
	must(t, "sandtrap", "status")
	// One that was killed leaves its socket behind, which the next one replaces.
	must(t, "systemctl", "kill", "-s", "KILL", "sandtrap.service")
	if err := eventually(func() error { _, err := output("sandtrap", "status"); return err }); err != nil {
		t.Error(err)
	}
}

// Events are followed as they happen, with Cowrie's names too.
func TestEventsAreFollowed(t *testing.T) {
	followed := map[string]*collector{"text": {}, "cowrie": {}}
	for format, out := range followed {
		c := exec.Command("sandtrap", "events", "-f", "-n", "0", "--format", format)
		c.Stdout = out
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Process.Kill(); _ = c.Wait() })
	}
	if err := eventually(func() error { // until both look on
		ssh(t, "root", "echo followed-$((40+2))")
		return errors.Join(followed["text"].has(`exec.start`)(), followed["cowrie"].has(`"eventid":"cowrie.command.input"`)())
	}); err != nil {
		t.Fatal(err)
	}
}
