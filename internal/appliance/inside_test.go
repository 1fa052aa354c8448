//go:build appliance

package appliance

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
)

// probePath is where the image of this test has testdata/inside/probe.
const probePath = "/usr/local/share/probe"

// host is something that lets a client in: the appliance, or a real sshd.
type host struct {
	source  string
	command func(args ...string) *exec.Cmd // ssh(1)
}

// scenario is one way of being logged in. It returns all that the client saw.
type scenario struct {
	name string
	play func(t *testing.T, h host) string
}

var scenarios = []scenario{
	{"shell", func(t *testing.T, h host) string { return shellView(t, h, "root") }},
	{"command", func(t *testing.T, h host) string { return commandView(t, h, "root") }},
	{"terminal", func(t *testing.T, h host) string { return commandView(t, h, "root", "-tt") }},
	{"sftp", sftpView},
	{"user-shell", func(t *testing.T, h host) string { return shellView(t, h, "debian") }},
	{"user-command", func(t *testing.T, h host) string { return commandView(t, h, "debian") }},
}

// The probe begins when everything that a login starts has had time to start.
const probeCommand = "sleep 2; . " + probePath

// shellView is a login shell on a terminal. What comes before the probe is the
// greeting, what comes after it the good-bye.
func shellView(t *testing.T, h host, user string) string {
	term := openTerminalWith(t, h.command("-tt", user+"@127.0.0.1"))
	if err := eventually(term.out.matches(`[#$] $`)); err != nil {
		t.Fatal(err)
	}
	term.enter(t, probeCommand+"\n")
	if err := eventually(term.out.matches(`(?m)^== end\r?\n(.|\n)*[#$] $`)); err != nil {
		t.Fatal(err)
	}
	term.enter(t, "exit 3\n")
	if err := term.wait(); err == nil || err.Error() != "exit status 3" {
		t.Errorf("the shell ended with %v, want exit status 3", err)
	}
	return term.out.String()
}

// commandView is a command without a terminal, or with one ("-tt").
func commandView(t *testing.T, h host, user string, options ...string) string {
	if len(options) == 0 {
		r := finish(t, h.command(user+"@127.0.0.1", probeCommand), nil)
		return r.stdout + "\n== stderr\n" + r.stderr
	}
	term := openTerminalWith(t, h.command(append(options, user+"@127.0.0.1", probeCommand)...))
	if err := term.wait(); err != nil {
		t.Error(err)
	}
	return term.out.String()
}

// sftpView is a command beside a file transfer on one connection.
func sftpView(t *testing.T, h host) string {
	control := filepath.Join(t.TempDir(), "control")
	files := h.command("-M", "-S", control, "-s", "root@127.0.0.1", "sftp")
	out := &collector{}
	files.Stdout = out
	stdin, err := files.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := files.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = stdin.Close()
		_ = files.Wait()
	}()
	if _, err := stdin.Write(sftpInit); err != nil {
		t.Fatal(err)
	}
	if err := eventually(out.has("posix-rename@openssh.com")); err != nil {
		t.Fatal(err)
	}
	return finish(t, h.command("-S", control, "root@127.0.0.1", probeCommand), nil).stdout
}

// sftpInit is the first message of an SFTP client, version 3.
var sftpInit = []byte{0, 0, 0, 5, 1, 0, 0, 0, 3}

// TestInsideView compares what an attacker can see from inside with what a login
// through a real sshd in a container of the same image shows. Whatever differs is
// listed, with a reason, in testdata/inside/differences.
func TestInsideView(t *testing.T) {
	image := probeImage(t)
	referenceImage(t, image)
	configure(t, "target:\n  image: "+image+"\n")
	// The machine can do all at once; the pool would lease what has just booted.
	reference := playAll(t, "sshd", true, func(t *testing.T, name string) host {
		return newReference(t, image, "reference-"+name)
	})
	waitBooted(t)
	product := playAll(t, "sandtrap", false, func(*testing.T, string) host {
		source := freshSource()
		return host{source, func(args ...string) *exec.Cmd {
			return withPassword(exec.Command("ssh", append(append(clientOptions("2222", source), sshOptions...), args...)...))
		}}
	})
	found := differences{path: "testdata/inside/differences"}
	for _, s := range scenarios {
		if product[s.name] != nil && reference[s.name] != nil {
			found.compare(s.name, reference[s.name], product[s.name])
		}
	}
	found.check(t)
}

// playAll plays all scenarios, each on a host of its own.
func playAll(t *testing.T, side string, atOnce bool, to func(t *testing.T, name string) host) map[string]view {
	var mu sync.Mutex // guards views
	views := map[string]view{}
	t.Run(side, func(t *testing.T) {
		for _, s := range scenarios {
			t.Run(s.name, func(t *testing.T) {
				if atOnce {
					t.Parallel()
				}
				h := to(t, s.name)
				text := s.play(t, h)
				keep(t, s.name+"-"+side, text)
				mu.Lock()
				defer mu.Unlock()
				views[s.name] = readView(text, h.source)
			})
		}
	})
	return views
}

// clientOptions say where from and to which port a client connects.
func clientOptions(port, source string) []string { return []string{"-p", port, "-b", source} }

// keep leaves a view for whoever wants to look at it.
func keep(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(os.TempDir(), "inside-"+name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// waitBooted waits for warm targets in which nothing has happened for some
// seconds, so that the probe sees what the login changed and not what init did.
func waitBooted(t *testing.T) {
	t.Helper()
	before, since := "", time.Now()
	err := eventually(func() error {
		now := strings.Join(warmProcesses(t), "\n")
		if now != before || !strings.Contains(now, "warm-") {
			before, since = now, time.Now()
		}
		if time.Since(since) < 4*time.Second {
			return fmt.Errorf("warm targets are still starting:\n%s", now)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// warmProcesses lists the processes of the warm targets as this machine sees them.
func warmProcesses(t *testing.T) []string {
	t.Helper()
	var all []string
	for _, name := range runningTargets(t) {
		pid := podman(t, "inspect", "--format", "{{.State.Pid}}", name)
		tree, _ := output("ps", "-o", "pid=,comm=", "--ppid", pid)
		all = append(all, name, tree)
	}
	return all
}

// matches is a condition for eventually.
func (c *collector) matches(pattern string) func() error {
	re := regexp.MustCompile(pattern)
	return func() error {
		if got := c.String(); !re.MatchString(got) {
			return missing{pattern, got}
		}
		return nil
	}
}
