//go:build integration

// These tests keep a pool on the rootless Podman of the disposable system. They
// need the API socket and a target image; see docs/development.md.
package pool

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/oklog/ulid/v2"

	"github.com/sandtrap/sandtrap/internal/event"
	"github.com/sandtrap/sandtrap/internal/frame"
	"github.com/sandtrap/sandtrap/internal/hint"
	"github.com/sandtrap/sandtrap/internal/podman"
	"github.com/sandtrap/sandtrap/internal/target"
)

func env(name, fallback string) string {
	if v := os.Getenv(name); v != "" {
		return v
	}
	return fallback
}

var (
	socket = env("TEST_SOCKET", "/run/sandtrap-pods/podman.sock")
	helper = env("TEST_HANDOVER", "/run/sandtrap-pods/handover.sock")
	layers = env("TEST_LAYER", "/run/sandtrap-pods/layer.sock")
	image  = env("TEST_IMAGE", "localhost/sandtrap-target-debian:latest")
	base   = env("TEST_BASE", "localhost/sandtrap-base-debian:latest")
)

// site is a pool on a real Podman.
type site struct {
	*testing.T
	pool   *Pool
	client *podman.Client
	events *sink
	stop   func()
}

// open starts a pool and does not wait for it. The end of the test removes all its
// containers.
func open(t *testing.T, change func(*Config)) *site {
	t.Helper()
	client, err := podman.Dial(t.Context(), socket)
	if err != nil {
		t.Fatal(err)
	}
	cfg := Config{
		Targets: []Supply{{
			Target: target.Target{
				Name: "test", Image: image, Hostname: "srv01", LoginAs: frame.PolicyExisting, Account: "root",
				Memory: 256 << 20, Pids: 128, CPUs: 1,
			},
			Weight: 1, Min: 2, Max: 4,
		}},
		Burst: 4, MaxLeases: 30, MaxAge: time.Hour, LeaseTimeout: 20 * time.Second, BestEffort: true,
		Sticky: StickySource, StickyWindow: time.Minute, Retain: 100, RetainBytes: 1 << 40,
	}
	if change != nil {
		change(&cfg)
	}
	s := &site{T: t, client: client, events: &sink{}}
	s.pool = New(cfg, Real(client, helper, layers), event.New(s.events), hclog.New(&hclog.LoggerOptions{Output: t.Output(), Level: hclog.Debug}))
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := s.pool.Run(ctx); err != nil {
			t.Error(err)
		}
	}()
	s.stop = sync.OnceFunc(func() { cancel(); <-done })
	t.Cleanup(func() {
		s.stop()
		left, err := client.List(context.Background(), target.Label)
		if err != nil {
			t.Error(err)
		}
		for _, c := range left {
			if err := client.Remove(context.Background(), c.ID); err != nil {
				t.Error(err)
			}
		}
	})
	return s
}

// until waits for a condition that must come true.
func (s *site) until(what string, limit time.Duration, condition func() bool) {
	s.Helper()
	for began := time.Now(); !condition(); time.Sleep(5 * time.Millisecond) {
		if time.Since(began) > limit {
			s.Fatalf("%s: not within %s; status %+v", what, limit, s.pool.Status())
		}
	}
}

func (s *site) untilWarm(n int) {
	s.Helper()
	s.until(fmt.Sprintf("%d targets are warm", n), time.Minute, func() bool { return s.pool.Status().Warm >= n })
}

func (s *site) lease(source string) *Lease {
	s.Helper()
	l, err := s.pool.Lease(s.Context(), Claim{Session: ulid.Make().String(), User: "root", Source: source})
	if err != nil {
		s.Fatal(err)
	}
	return l
}

// run runs a command of the shell to its end.
func (s *site) run(l *Lease, command string) string {
	s.Helper()
	stream := s.start(l, command)
	defer stream.Close()
	_ = stream.CloseWrite()
	var out bytes.Buffer
	to := func(p []byte) error { out.Write(p); return nil }
	if err := stream.Copy(to, to); err != nil {
		s.Fatalf("%s: %v", command, err)
	}
	if ended, err := stream.Wait(s.Context()); err != nil || ended.Status != 0 {
		s.Fatalf("%s: %+v, %v, output %q", command, ended, err, &out)
	}
	return out.String()
}

func (s *site) start(l *Lease, command string) Stream {
	s.Helper()
	stream, err := l.Start(s.Context(), Program{
		User: l.Account.Name, Path: "/bin/sh", Argv: []string{"sh", "-c", command}, Dir: "/", Env: []string{"PATH=/usr/bin:/bin"},
	})
	if err != nil {
		s.Fatalf("%s: %v", command, err)
	}
	return stream
}

func (s *site) container(id string) podman.Container {
	s.Helper()
	list, err := s.client.List(s.Context(), target.Label)
	if err != nil {
		s.Fatal(err)
	}
	for _, c := range list {
		if c.ID == id {
			return c
		}
	}
	s.Fatalf("container %s is gone", id)
	return podman.Container{}
}

// build makes an image of the tests' own.
func build(t *testing.T, name, containerfile string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "Containerfile"), []byte(containerfile), 0o644); err != nil {
		t.Fatal(err)
	}
	name = "localhost/test-pool-" + name
	out, err := exec.Command("podman", "--url", "unix://"+socket, "build", "--network=none", "--tag", name, dir).CombinedOutput()
	if err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	t.Cleanup(func() { _ = exec.Command("podman", "--url", "unix://"+socket, "rmi", "--force", name).Run() })
	return name
}

func TestTwentyFromIdle(t *testing.T) {
	open(t, nil).untilWarm(2) // the first container of an image takes longer
	began := time.Now()
	s := open(t, func(c *Config) { c.Targets[0].Min, c.Targets[0].Max = 20, 20 })
	s.untilWarm(20)
	t.Logf("20 targets were warm after %s, made in %v ms each", time.Since(began), s.events.values(event.PoolWarm, "duration_ms"))
}

func TestManySessions(t *testing.T) {
	const sessions = 50
	s := open(t, func(c *Config) { c.Targets[0].Max, c.Sticky = 16, StickyOff })
	s.untilWarm(2)
	var wg sync.WaitGroup
	var mu sync.Mutex
	seen := map[string]string{}
	var waits time.Duration
	turns := make(chan struct{}, 5)
	for range sessions {
		turns <- struct{}{}
		wg.Go(func() {
			defer func() { <-turns }()
			l := s.lease("192.0.2.1")
			if out := s.run(l, "id -un; hostname; test -e /tmp/seen || touch /tmp/seen && echo new"); out != "root\nsrv01\nnew\n" {
				t.Errorf("output %q", out)
			}
			l.Release(s.Context())
			l.Captured()
			mu.Lock()
			defer mu.Unlock()
			waits += l.Wait
			if other := seen[l.Container]; other != "" {
				t.Errorf("sessions %s and %s had the same container", other, l.Name)
			}
			seen[l.Container] = l.Name
		})
	}
	wg.Wait()
	t.Logf("waited %s on average", waits/sessions)
	for id, session := range seen {
		if c := s.container(id); c.Name != session || c.Running {
			t.Errorf("container %+v of session %s", c, session)
		}
	}
	s.until("the pool is at rest", time.Minute, func() bool {
		got := s.pool.Status()
		return got.Leased == 0 && got.Draining == 0 && got.Retained == sessions && got.Warm >= 2
	})
	if failed := s.events.values(event.PoolFail, "error"); len(failed) > 1 { // the attempt with limits
		t.Errorf("failures %q", failed)
	}
}

// TestComeBack: what a session left is there for the next of the same source.
func TestComeBack(t *testing.T) {
	for name, containerfile := range map[string]string{"leader": "", "exec": "FROM " + base + "\nCMD [\"/bin/sleep\", \"infinity\"]\n"} {
		t.Run(name, func(t *testing.T) {
			s := open(t, func(c *Config) {
				if containerfile != "" {
					c.Targets[0].Image = build(t, "noleader", containerfile)
				}
			})
			s.untilWarm(2)
			first := s.lease("192.0.2.1")
			s.run(first, "echo hello >/root/left")
			first.Release(s.Context())
			first.Captured()
			other := s.lease("192.0.2.2")
			if s.run(other, "cat /root/left || echo none") == "hello\n" || other.Previous != "" {
				t.Errorf("another source came back to %+v", other)
			}
			again := s.lease("192.0.2.1")
			t.Logf("a lease took %s, coming back %s", other.Wait, again.Wait)
			if out := s.run(again, "cat /root/left"); out != "hello\n" || again.Container != first.Container || again.Previous != first.Name {
				t.Errorf("came back to %+v, found %q", again, out)
			}
			for _, l := range []*Lease{other, again} {
				l.Release(s.Context())
				l.Captured()
				if c := s.container(l.Container); c.Running || c.Name != l.Name {
					t.Errorf("container %+v of session %s", c, l.Name)
				}
			}
		})
	}
}

// babble offers a stream as a leader does, and says what none would.
const babble = "use Socket; use POSIX; socketpair(A, B, AF_UNIX, SOCK_STREAM, 0); POSIX::dup2(fileno(B), 100); syswrite(A, 'y' x 100); sleep"

// TestImagesThatFail: the operator is told what is wrong.
func TestImagesThatFail(t *testing.T) {
	for name, test := range map[string]struct{ containerfile, want, hint string }{
		"ends":       {"FROM " + image + "\nCMD [\"/bin/true\"]\n", "ends at once", "run --rm"},
		"silent":     {"FROM " + image + "\nCMD [\"/bin/sleep\", \"infinity\"]\n", "does not answer", "label io.sandtrap.leader"},
		"noleader":   {"FROM " + base + "\nCMD [\"/bin/true\"]\n", "ends at once", "run --rm"},
		"noprogram":  {"FROM " + base + "\nCMD [\"/nonexistent\"]\n", "nonexistent", ""},
		"babbling":   {"FROM " + image + "\nCMD [\"/usr/bin/perl\", \"-e\", \"" + babble + "\"]\n", "speaks another language", "another version"},
		"no account": {"FROM " + image + "\nRUN sed -i s/^root/toor/ /etc/passwd\n", `account "root"`, ""},
	} {
		t.Run(name, func(t *testing.T) {
			s := open(t, func(c *Config) {
				c.Targets[0].Image = build(t, strings.ReplaceAll(name, " ", "-"), test.containerfile)
				c.Burst = 1
			})
			var failure error
			s.until("the failure shows", 2*time.Minute, func() bool {
				failure = s.pool.Status().Failure
				return failure != nil && strings.Contains(failure.Error(), test.want)
			})
			if !strings.Contains(hint.Of(failure), test.hint) {
				t.Errorf("failure %v, hint %q", failure, hint.Of(failure))
			}
			t.Logf("failure: %v; hint: %s", failure, hint.Of(failure))
			s.stop()
		})
	}
}

// killLeader ends the session leader in a container.
const killLeader = `for p in /proc/[0-9]*; do
	test "$(readlink $p/exe)" != /usr/lib/openssh/sshd-session || kill -9 ${p#/proc/}
done; true`

func (s *site) inside(container, command string) {
	s.Helper()
	e, err := s.client.Exec(s.Context(), container, podman.ExecOptions{User: "root", Command: []string{"/bin/sh", "-c", command}})
	if err != nil {
		s.Fatal(err)
	}
	defer e.Close()
	if err := e.Copy(func([]byte) error { return nil }, func([]byte) error { return nil }); err != nil {
		s.Fatal(err)
	}
}

func (s *site) warmIDs() []string {
	s.pool.mu.Lock()
	defer s.pool.mu.Unlock()
	var ids []string
	for _, c := range s.pool.stocks[0].warm {
		ids = append(ids, c.id)
	}
	return ids
}

// TestLeaderIsKilled, as "kill -9 -1" does, in a warm target and under a session,
// which must not hang.
func TestLeaderIsKilled(t *testing.T) {
	s := open(t, nil)
	s.untilWarm(2)
	l := s.lease("192.0.2.1")
	stream := s.start(l, "sleep 1000")
	defer stream.Close()
	s.inside(l.Container, killLeader)
	dead := s.warmIDs()[0]
	s.inside(dead, killLeader)
	began := time.Now()
	none := func([]byte) error { return nil }
	err := stream.Copy(none, none)
	t.Logf("the session's stream ended after %s: %v", time.Since(began), err)
	l.Release(s.Context())
	l.Captured()
	s.until("the dead target is removed", 50*time.Second, func() bool {
		return slices.Contains(s.events.values(event.PoolRemove, "container"), any(dead))
	})
	s.untilWarm(2)
}

// TestPodmanRestarts under a session: its programs go on, and warm targets wait on.
func TestPodmanRestarts(t *testing.T) {
	s := open(t, nil)
	s.untilWarm(2)
	l := s.lease("192.0.2.1")
	s.untilWarm(2)
	before := s.warmIDs()
	stream := s.start(l, "echo before; read x; echo after $x")
	defer stream.Close()
	got := make(chan string, 10)
	ended := make(chan error, 1)
	go func() {
		to := func(p []byte) error { got <- string(p); return nil }
		ended <- stream.Copy(to, to)
	}()
	if text := <-got; text != "before\n" {
		t.Fatalf("output %q", text)
	}
	if out, err := exec.Command("systemctl", "restart", "sandtrap-podman.service").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	began := time.Now()
	if _, err := stream.Write([]byte("restart\n")); err != nil {
		t.Fatal(err)
	}
	if text := <-got; text != "after restart\n" {
		t.Errorf("output %q after the restart", text)
	}
	t.Logf("the stream went on after %s", time.Since(began))
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if left := strings.Join(s.warmIDs(), " "); left != strings.Join(before, " ") {
		t.Errorf("warm were %q and are %q", before, left)
	}
	s.run(l, "true")
	l.Release(s.Context())
	l.Captured()
	if c := s.container(l.Container); c.Running || c.Name != l.Name {
		t.Errorf("container %+v", c)
	}
}

// TestCrashLeavesEvidence: the container of a session that was cut off before it
// got its name is stopped and named by the next pool, others of its kind go.
func TestCrashLeavesEvidence(t *testing.T) {
	s := open(t, nil)
	s.untilWarm(2)
	l := s.lease("192.0.2.1")
	s.run(l, "true")
	s.stop()
	unused := "warm-" + ulid.Make().String()
	if err := s.client.Rename(t.Context(), l.Container, unused); err != nil { // as if it had not come to that
		t.Fatal(err)
	}
	l.leader.Close()
	next := open(t, func(c *Config) { c.Owners = map[string]string{l.Container: l.Name} })
	next.untilWarm(2)
	if c := next.container(l.Container); c.Running || c.Name != l.Name {
		t.Errorf("container %+v of session %s", c, l.Name)
	}
	if size, err := next.client.Size(t.Context(), l.Container); err != nil || size < 0 {
		t.Errorf("size %d, %v", size, err)
	}
	next.stop()
}
