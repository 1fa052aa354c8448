//go:build appliance || vm

package escape

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// plays are the programs of the scenarios, in their order.
var plays = []func(t *testing.T, o *outside, s *session){
	func(t *testing.T, o *outside, s *session) {
		s.run(t, nil, "cd / && mv /root /was && ln -s /var/lib/sandtrap /root")
		if got := s.run(t, nil, "cat ~/canary /root/canary; ls /root/"); strings.Contains(got, canaryText) || strings.Contains(got, "sessions") {
			t.Errorf("it reads %q", got)
		}
	},
	withPasswd("rm /etc/passwd; ln -s /var/lib/sandtrap/canary /etc/passwd"),
	withPasswd("rm /etc/passwd; mkfifo /etc/passwd"),
	withPasswd("rm /etc/group; mkfifo /etc/group"),
	withPasswd("rm /etc/passwd; ln -s /dev/zero /etc/passwd"),
	func(t *testing.T, o *outside, s *session) {
		s.run(t, nil, "ln -s /var/lib/sandtrap/canary /root/up")
		out := s.transfer(t, "put /proc/version /root/up\nput /proc/version /root/../../../../var/lib/sandtrap/canary\n")
		if got := contents(o.facts.Canary); !strings.Contains(got, canaryText) {
			t.Errorf("the machine's file is %s after %s", got, out)
		}
	},
	func(t *testing.T, o *outside, s *session) {
		s.run(t, nil, "ln -s /var/lib/sandtrap/canary /root/down")
		to := filepath.Join(filepath.Dir(askpassPath()), "down")
		s.transfer(t, "get /root/down "+to+"\nget /proc/1/root/var/lib/sandtrap/canary "+to+"\n")
		if text, err := os.ReadFile(to); err == nil && strings.Contains(string(text), canaryText) {
			t.Errorf("it got %q", text)
		}
	},
	func(t *testing.T, o *outside, s *session) {
		got := s.run(t, nil, `cd /root && ln -s / root && ln -sf ../../../../etc/shadow .bash_history && mkfifo fifo && cp /bin/sh sh && chmod 6777 sh &&
			mkdir -p "$(printf 'a\nb')/..." && touch -- -rf '*' "$(printf '\033]0;x\a')" && rm -rf /etc/hosts && ln -s /proc/1/fd /etc/hosts &&
			rm -f /etc/hostname && ln -s /dev/zero /etc/hostname && chmod 4777 /root && echo left`)
		if !strings.HasSuffix(got, "left\n") {
			t.Errorf("it left %q", got)
		}
	},
	func(t *testing.T, o *outside, s *session) {
		s.run(t, nil, "kill -KILL -1; exec sleep 1000")
		ended := make(chan struct{})
		go func() { defer close(ended); _ = s.master.Wait() }()
		select {
		case <-ended:
		case <-time.After(patience):
			t.Error("the connection goes on")
		}
	},
	func(t *testing.T, o *outside, s *session) {
		s.start(t, "kill -STOP -1; kill -STOP 1; for p in /proc/[0-9]*; do kill -STOP ${p#/proc/}; done; sleep 1000")
		time.Sleep(3 * time.Second) // there is nothing that would tell
	},
	func(t *testing.T, o *outside, s *session) {
		s.start(t, `for f in /proc/[0-9]*/fd/*; do head -c 100000 /dev/urandom >$f & done 2>/dev/null; sleep 1; echo written`)
		time.Sleep(5 * time.Second)
	},
	exhausts,
	func(t *testing.T, o *outside, s *session) {
		s.run(t, nil, "ln -sf /dev/zero /bin/bash; ln -sf /dev/zero /bin/sh; ln -sf /dev/zero /bin/dash")
		s.run(t, nil, "echo in")
	},
	func(t *testing.T, o *outside, s *session) {
		s.run(t, nil, "rm -f /dev/ptmx; ln -s /dev/zero /dev/ptmx; chmod 000 /dev/pts /dev/pts/ptmx")
		c := s.ssh("-tt")
		c.Args = append(c.Args, "tty")
		timer := time.AfterFunc(patience, func() { _ = c.Process.Kill() })
		defer timer.Stop()
		_, _ = c.CombinedOutput()
	},
	func(t *testing.T, o *outside, s *session) {
		before := stoppedContainers(t)
		s.run(t, nil, "for i in $(seq 100); do truncate -s 4G /root/big$i; done")
		s.gone = true
		s.logout()
		s.sealed(t)
		if after := stoppedContainers(t); after < before {
			t.Errorf("%d containers are kept, and were %d", after, before)
		}
	},
	func(t *testing.T, o *outside, s *session) {
		s.run(t, nil, "cd /usr/lib/openssh && mv sshd-session was && cp /bin/true sshd-session")
		s.again(t)
	},
}

// stoppedContainers is how many stopped containers there are.
func stoppedContainers(t *testing.T) int {
	t.Helper()
	list, err := output("podman", "--url", podmanURL, "ps", "--all", "--quiet", "--filter", "status=exited")
	if err != nil {
		t.Fatal(list)
	}
	return len(strings.Fields(list))
}

// TestScenarios turns a session against the rest.
func TestScenarios(t *testing.T) {
	if len(plays) != len(scenarios) {
		t.Fatalf("%d programs for %d scenarios", len(plays), len(scenarios))
	}
	o := newOutside(t)
	o.remember()
	for i, c := range scenarios {
		t.Run(c.name, func(t *testing.T) {
			s := login(t, "root")
			plays[i](t, o, s)
			s.logout()
			s.sealed(t)
			for _, a := range aspects {
				if err := o.unchanged(a); err != nil {
					t.Error(err)
				}
			}
		})
	}
	fresh := login(t, "debian")
	if got := fresh.run(t, nil, "echo in"); got != "in\n" {
		t.Errorf("nobody is let in any more: %q", got)
	}
	eventsAreWhole(t)
}

// start starts a command that does not come back.
func (s *session) start(t *testing.T, command string) {
	t.Helper()
	c := s.command(command)
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = c.Process.Kill()
		_ = c.Wait()
	})
}

// transfer has sftp(1) do something on the session's connection.
func (s *session) transfer(t *testing.T, batch string) string {
	t.Helper()
	c := exec.Command("sftp", "-o", "ControlPath="+s.control, "-F", "none", "-P", "2222", s.user+"@127.0.0.1")
	stdin, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		_, _ = io.WriteString(stdin, batch)
		_ = stdin.Close()
	}()
	timer := time.AfterFunc(patience, func() { _ = c.Process.Kill() })
	defer timer.Stop()
	out, _ := c.CombinedOutput()
	return string(out)
}

// withPasswd replaces the list of accounts, and logs in again with what is there.
func withPasswd(command string) func(t *testing.T, o *outside, s *session) {
	return func(t *testing.T, o *outside, s *session) {
		s.run(t, nil, command)
		if got := s.run(t, nil, "echo in"); strings.Contains(got, canaryText) {
			t.Errorf("it reads %q", got)
		}
		s.again(t)
	}
}

// again comes back from the same source, which is given the same target. Whether
// that lets anybody in is the target's affair; that it ends is ours.
func (s *session) again(t *testing.T) {
	t.Helper()
	s.logout()
	s.sealed(t)
	c := s.command("echo in")
	c.Args = append(c.Args[:1:1], append([]string{"-o", "ControlPath=none"}, c.Args[1:]...)...)
	timer := time.AfterFunc(patience, func() {
		t.Error("the source gets no answer")
		_ = c.Process.Kill()
	})
	defer timer.Stop()
	out, _ := c.CombinedOutput()
	if strings.Contains(string(out), canaryText) {
		t.Errorf("it reads %q", out)
	}
}

// exhausts starts processes until there may be no more, or some hundreds where
// nothing limits them.
func exhausts(t *testing.T, o *outside, s *session) {
	dir, err := s.cgroup()
	if err != nil {
		t.Fatal(err)
	}
	n := 300
	text, _ := os.ReadFile(filepath.Join(dir, "pids.max"))
	if limit, err := strconv.Atoi(strings.TrimSpace(string(text))); err == nil {
		n = limit + 50
	}
	s.start(t, fmt.Sprintf("i=0; while [ $i -lt %d ]; do sleep 1000 & i=$((i+1)); done; exec sleep 1000", n))
	time.Sleep(5 * time.Second)
	s.run(t, nil, "echo in")
}
