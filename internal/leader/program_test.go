package leader

import (
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/sandtrap/sandtrap/internal/attach"
)

func TestExit(t *testing.T) {
	l := loggedIn(t)
	for _, test := range []struct {
		command string
		want    attach.Exit
	}{
		{"exit 0", attach.Exit{}},
		{"exit 7", attach.Exit{Status: 7}},
		{"exit 143", attach.Exit{Status: 143}},
		{"kill -TERM $$", attach.Exit{Signal: "TERM"}},
		{"kill -KILL $$", attach.Exit{Signal: "KILL"}},
		{"kill -USR1 $$", attach.Exit{Signal: "USR1"}},
		{"kill -34 $$", attach.Exit{Signal: "SIG34"}},
		{"kill -BUS $$", attach.Exit{Signal: "SIG7"}},
	} {
		t.Run(test.command, func(t *testing.T) {
			p := shell("ulimit -c 0; " + test.command)
			if diff := cmp.Diff(test.want, output(t, l, p).exit); diff != "" {
				t.Error(diff)
			}
			p.PTY = true
			if diff := cmp.Diff(test.want, output(t, l, p).exit); diff != "" {
				t.Error("with a terminal: ", diff)
			}
		})
	}
}

func TestStreams(t *testing.T) {
	l := loggedIn(t)
	s := start(t, l, shell("cat; echo done >&2; exit 3"))
	for _, text := range []string{"one ", "two"} {
		if _, err := s.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	want := result{stdout: "one two", stderr: "done\n", exit: attach.Exit{Status: 3}}
	if diff := cmp.Diff(want, collect(t, s), cmp.AllowUnexported(result{})); diff != "" {
		t.Error(diff)
	}
}

func TestProgramsRunAtOnce(t *testing.T) {
	l := loggedIn(t)
	first := start(t, l, shell("read a; echo first $a"))
	second := start(t, l, shell("read a; echo second $a"))
	for _, s := range []attach.Stream{second, first} {
		if _, err := s.Write([]byte("x\n")); err != nil {
			t.Fatal(err)
		}
	}
	if got := collect(t, second).stdout; got != "second x\n" {
		t.Errorf("got %q", got)
	}
	if got := collect(t, first).stdout; got != "first x\n" {
		t.Errorf("got %q", got)
	}
}

func TestCannotExecute(t *testing.T) {
	l := loggedIn(t)
	script := t.TempDir() + "/script"
	if err := os.WriteFile(script, []byte("no interpreter"), 0o755); err != nil {
		t.Fatal(err)
	}
	for path, text := range map[string]string{
		"/bin/foo": "/bin/foo: No such file or directory\n",
		"/etc":     "/etc: Permission denied\n",
		script:     script + ": Exec format error\n",
	} {
		p := attach.Program{Path: path, Argv: []string{"-x"}, Dir: "/"}
		want := result{stderr: text, exit: attach.Exit{Status: 1}}
		if diff := cmp.Diff(want, output(t, l, p), cmp.AllowUnexported(result{})); diff != "" {
			t.Error(diff)
		}
		p.PTY = true
		want = result{stdout: strings.ReplaceAll(text, "\n", "\r\n"), exit: attach.Exit{Status: 1}}
		if diff := cmp.Diff(want, output(t, l, p), cmp.AllowUnexported(result{})); diff != "" {
			t.Error(diff)
		}
	}
}

func TestNoHome(t *testing.T) {
	l := loggedIn(t)
	p := shell("pwd")
	p.Dir = "/nowhere"
	want := result{stdout: "/\n", stderr: "Could not chdir to home directory /nowhere: No such file or directory\n"}
	if diff := cmp.Diff(want, output(t, l, p), cmp.AllowUnexported(result{})); diff != "" {
		t.Error(diff)
	}
}

// ignoredBelowGo is what the test itself was started with of the signals 32 and
// 33, which belong to the C library: Go's runtime leaves them as they are.
func ignoredBelowGo(t *testing.T) uint64 {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	line := regexp.MustCompile(`(?m)^SigIgn:\t([0-9a-f]+)$`).FindSubmatch(status)
	mask, err := strconv.ParseUint(string(line[1]), 16, 64)
	if err != nil {
		t.Fatal(err)
	}
	return mask & (1<<31 | 1<<32)
}

// What a program inherits is what it has under a real sshd.
func TestInheritance(t *testing.T) {
	l := loggedIn(t)
	script := `readlink /proc/$$/fd/0; readlink /proc/$$/fd/1; readlink /proc/$$/fd/2
grep -E '^(SigBlk|SigIgn|Umask)' /proc/self/status
ulimit -Sn
cut -d' ' -f19 /proc/self/stat
pwd; env | grep -v -E '^(PWD|_|SHLVL|OLDPWD|SSH_TTY)=' | sort`
	priority, err := unix.Getpriority(unix.PRIO_PROCESS, 0) // 20 less the nice value
	if err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf("FD\nFD\nFD\nUmask:\t0022\nSigBlk:\t0000000000000000\nSigIgn:\t%016x\n1024\n%d\n/\nHOME=/\nPATH=/usr/bin:/bin\n",
		ignoredBelowGo(t), 20-priority)
	got := output(t, l, shell(script))
	if text := regexp.MustCompile(`pipe:\[[0-9]+\]`).ReplaceAllString(got.stdout, "FD"); text != want {
		t.Errorf("got %q (%s), want %q", text, got.stderr, want)
	}
	want = strings.ReplaceAll(want, "\n", "\r\n")
	got = output(t, l, terminal(script))
	if text := terminalName.ReplaceAllString(got.stdout, "FD"); text != want {
		t.Errorf("with a terminal: got %q, want %q", text, want)
	}
	ls := attach.Program{Path: "/bin/ls", Argv: []string{"ls", "/proc/self/fd"}, Dir: "/"}
	// The last one is the directory.
	if got := output(t, l, ls).stdout; got != "0\n1\n2\n3\n" {
		t.Errorf("descriptors %q", got)
	}
}

func TestSession(t *testing.T) {
	l := loggedIn(t)
	// Fields 5 and 6 are the process group and the session.
	for _, p := range []attach.Program{shell("cut -d' ' -f5,6 /proc/$$/stat; echo $$"), terminal("cut -d' ' -f5,6 /proc/$$/stat; echo $$")} {
		f := strings.Fields(output(t, l, p).stdout)
		if len(f) != 3 || f[0] != f[1] || f[1] != f[2] {
			t.Errorf("process group, session and process are %v", f)
		}
	}
}

func TestSignal(t *testing.T) {
	l := loggedIn(t)
	s := start(t, l, shell("trap 'echo got it; exit 4' USR1; echo ready; while :; do sleep 0.01; done"))
	ready := make(chan struct{})
	done := make(chan string, 1)
	go func() {
		var text strings.Builder
		_ = s.Copy(func(p []byte) error {
			if text.Len() == 0 {
				close(ready)
			}
			text.Write(p)
			return nil
		}, func([]byte) error { return nil })
		done <- text.String()
	}()
	<-ready
	for _, name := range []string{"NONSENSE", "USR1"} {
		if err := s.Signal(t.Context(), name); err != nil {
			t.Fatal(err)
		}
	}
	exit, err := s.Wait(t.Context())
	if err != nil || exit.Status != 4 {
		t.Errorf("exit %+v, %v", exit, err)
	}
	if got := <-done; got != "ready\ngot it\n" {
		t.Errorf("got %q", got)
	}
}

func TestBackgroundHoldsOutput(t *testing.T) {
	l := loggedIn(t)
	s := start(t, l, shell("(read x <&3; echo late) 3<&0 & exit 5"))
	if exit, err := s.Wait(t.Context()); err != nil || exit.Status != 5 {
		t.Fatalf("exit %+v, %v", exit, err)
	}
	// Its standard input has ended with the main program.
	if got := collect(t, s).stdout; got != "late\n" {
		t.Errorf("got %q", got)
	}
}

func TestTooManyPrograms(t *testing.T) {
	l := loggedIn(t)
	var running []attach.Stream
	for range maxChannels {
		running = append(running, start(t, l, shell("read x")))
	}
	_, err := l.Start(t.Context(), shell("true"))
	if refused := new(attach.Refused); !errors.As(err, &refused) {
		t.Errorf("got %v", err)
	}
	running[0].CloseWrite()
	if got := collect(t, running[0]); got.exit.Status != 1 {
		t.Errorf("got %+v", got)
	}
	// The channel is free soon after its last frame.
	for l.Ping(t.Context()) == nil {
		if s, err := l.Start(t.Context(), shell("true")); err == nil {
			collect(t, s)
			break
		}
	}
}

func TestCloseHangsUp(t *testing.T) {
	l := loggedIn(t)
	for _, p := range []attach.Program{
		terminal("echo $$; trap '' INT; sleep 1000"),
		shell("echo $$; read x"),
	} {
		s := start(t, l, p)
		pid := 0
		stop := errors.New("enough")
		err := s.Copy(func(b []byte) error {
			pid, _ = strconv.Atoi(strings.TrimSpace(string(b)))
			return stop
		}, nil)
		if !errors.Is(err, stop) || pid == 0 {
			t.Fatalf("copy: %v, process %d", err, pid)
		}
		s.Close()
		waitGone(t, pid)
	}
	if err := l.Ping(t.Context()); err != nil {
		t.Error(err)
	}
}

// waitGone waits until there is no such process, not even a dead one.
func waitGone(t *testing.T, pid int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	for ctx.Err() == nil {
		if _, err := os.Stat("/proc/" + strconv.Itoa(pid)); err != nil {
			return
		}
		pause()
	}
	t.Errorf("process %d is still there", pid)
}
