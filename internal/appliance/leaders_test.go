//go:build appliance

package appliance

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sandtrap/sandtrap/internal/evidence"
)

// liarImage is a target whose session leader is this binary.
func liarImage(t *testing.T, arguments ...string) string {
	t.Helper()
	binary, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	const path = "/usr/lib/openssh/" + fakeLeader
	command := `["` + strings.Join(append([]string{path}, arguments...), `","`) + `"]`
	return buildImage(t, "liar", "COPY "+fakeLeader+" "+path+"\nLABEL io.sandtrap.leader="+path+"\nCMD "+command+"\n",
		map[string][]byte{fakeLeader: binary})
}

// A leader that lies, hangs, floods or dies costs the session that it is of, and
// no other.
func TestLyingLeaders(t *testing.T) {
	configure(t, "target:\n  image: "+liarImage(t)+"\npool:\n  lease_timeout: 5s\n")
	honest := dial(t, freshSource(), "root")
	numbers := startCommand(t, honest, "i=0; while read line; do i=$((i+1)); echo $i $line; done; echo $i lines")
	before := usage(t)
	var wg sync.WaitGroup
	limit := make(chan struct{}, 8)
	for _, name := range slices.Sorted(maps.Keys(lies)) {
		wg.Go(func() {
			limit <- struct{}{}
			defer func() { <-limit }()
			began := time.Now()
			r := finish(t, sshCommand(name+"@127.0.0.1", "echo in"), nil)
			ended := r.status != 0 || slices.Contains(tooLate, name)
			if !ended || r.stdout == "in\n" || time.Since(began) > 60*time.Second {
				t.Errorf("%s: %.300s after %s", name, fmt.Sprintf("%+v", r), time.Since(began))
			}
			if tells(r.stderr) {
				t.Errorf("%s: the client is told %q", name, r.stderr)
			}
		})
	}
	wg.Wait()
	if _, err := fmt.Fprintln(numbers.stdin, "still here"); err != nil {
		t.Fatal(err)
	}
	if err := eventually(numbers.out.has("1 still here\n")); err != nil {
		t.Errorf("the honest session: %v", err)
	}
	_ = numbers.stdin.Close()
	if err := numbers.end(t); err != nil {
		t.Errorf("the honest session ended with %v", err)
	}
	_ = honest.Close()
	settles(t)
	before.compare(t)
}

// tells reports whether a text that a client sees is of our making.
func tells(text string) bool {
	for _, word := range []string{"podman", "container", "sandtrap", "leader", "frame", "lease", "target"} {
		if strings.Contains(strings.ToLower(text), word) {
			return true
		}
	}
	return false
}

// A target that cannot serve is no reason to fail in another way than by saying
// so, and the next configuration is served.
func TestUselessImages(t *testing.T) {
	for name, image := range map[string]func(t *testing.T) string{
		"leader hangs":           func(t *testing.T) string { return liarImage(t, "hang") },
		"leader says nothing":    func(t *testing.T) string { return liarImage(t, "silent") },
		"leader says garbage":    func(t *testing.T) string { return liarImage(t, "garbage") },
		"no such leader":         func(t *testing.T) string { return buildImage(t, "useless", `CMD ["/no/such/leader"]`, nil) },
		"main process is gone":   func(t *testing.T) string { return buildImage(t, "useless", `CMD ["/bin/true"]`, nil) },
		"no label, main is gone": func(t *testing.T) string { return plainImage(t, `CMD ["true"]`) },
	} {
		t.Run(name, func(t *testing.T) {
			since := strconv.FormatInt(time.Now().Unix(), 10)
			tryConfigure(t, "target:\n  image: "+image(t)+"\npool:\n  start_timeout: 6s\n")
			_, _ = output("systemctl", "restart", "sandtrap.service") // it must not get ready
			log := must(t, "journalctl", "-u", "sandtrap", "-o", "cat", "--since", "@"+since)
			if !strings.Contains(log, "Target could not be made") && !strings.Contains(log, "Container removed") {
				t.Errorf("the journal does not say that targets fail:\n%s", log)
			}
			if strings.Contains(log, "panic") || strings.Contains(log, "goroutine") {
				t.Errorf("it crashed:\n%s", log)
			}
			if state, _ := output("systemctl", "is-active", "sandtrap.socket"); state != "active" {
				t.Errorf("the socket is %s", state)
			}
		})
		if r := ssh(t, "root", "echo in"); r.stdout != "in\n" {
			t.Errorf("after %s: %+v", name, r)
		}
	}
	settles(t)
}

// plainImage is a target without a session leader.
func plainImage(t *testing.T, containerfile string) string {
	t.Helper()
	return buildImage(t, "plain", "LABEL io.sandtrap.leader=\"\"\n"+containerfile+"\n", nil)
}

// Without a shell nobody gets in, as with sshd.
func TestImageWithoutShell(t *testing.T) {
	for name, image := range map[string]string{
		"leader":    buildImage(t, "shellless", "RUN rm /bin/bash\n", nil),
		"no leader": plainImage(t, "RUN rm /bin/bash\nCMD [\"sleep\", \"infinity\"]"),
	} {
		t.Run(name, func(t *testing.T) {
			configure(t, "target:\n  image: "+image+"\n")
			for _, args := range [][]string{{"echo in"}, {"-tt"}} {
				r := finish(t, sshCommand(append([]string{"root@127.0.0.1"}, args...)...), nil)
				if r.status == 0 || r.stdout == "in\n" || tells(r.stdout+r.stderr) {
					t.Errorf("%v: %+v", args, r)
				}
			}
			settles(t)
		})
	}
}

// Images without a session leader are served by Podman's exec.
func TestImageWithoutLeader(t *testing.T) {
	configure(t, "target:\n  image: "+plainImage(t, `CMD ["sleep", "infinity"]`)+"\n")
	r := finish(t, sshCommand("root@127.0.0.1", "cat; echo err >&2; id -un; exit 5"), strings.NewReader("in\n"))
	if r.stdout != "in\nroot\n" || r.stderr != "err\n" || r.status != 5 {
		t.Errorf("%+v", r)
	}
	term := openTerminal(t, freshSource(), "debian@127.0.0.1")
	if err := eventually(term.out.has("$ ")); err != nil {
		t.Fatal(err)
	}
	term.enter(t, "echo $((6*7)) $(id -un); stty size; exit 6\n")
	if err := term.wait(); err == nil || err.Error() != "exit status 6" {
		t.Errorf("the shell ended with %v", err)
	}
	if got := term.out.String(); !strings.Contains(got, "42 debian") || !strings.Contains(got, "30 100") {
		t.Errorf("on the screen: %s", got)
	}
	if s := lastSession(t); s.State != evidence.StateClosed || string(s.Login.User) != "debian" || s.Target.Account != "debian" {
		t.Errorf("session = %+v", s)
	}
	settles(t)
}
