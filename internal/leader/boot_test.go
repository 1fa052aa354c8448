package leader

import (
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/sandtrap/sandtrap/internal/attach"
	"github.com/sandtrap/sandtrap/internal/frame"
)

// testContainer is process 1 in namespaces of its own, with directories that are
// not the machine's.
func testContainer() int {
	if syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, "") != nil || syscall.Mount("proc", "/proc", "proc", 0, "") != nil {
		return 10
	}
	for _, directory := range []string{"/run", "/etc", "/var/log"} {
		if syscall.Mount("tmpfs", directory, "tmpfs", 0, "mode=755") != nil {
			return 11
		}
	}
	for path, text := range map[string]string{
		"/etc/passwd":      "root:x:0:0::/:/bin/sh\nvisitor:x:1234:1235::/:/bin/sh\n",
		"/etc/group":       "root:x:0:\nextra:x:77:visitor\n",
		"/run/utmp":        "",
		"/var/log/wtmp":    "",
		"/var/log/lastlog": "",
	} {
		if os.WriteFile(path, []byte(text), 0o644) != nil {
			return 12
		}
	}
	return Main()
}

// container starts the leader as process 1 and returns a front end without a
// login. args follow the leader's path.
func container(t *testing.T, args ...string) *attach.Leader {
	t.Helper()
	return connect(t, takeStream(t, boots(t, args...)))
}

// boots starts the leader as process 1 and returns its id.
func boots(t *testing.T, args ...string) int {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root to make namespaces")
	}
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(path, args...)
	cmd.Env = []string{roleEnv + "=container"}
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID | syscall.CLONE_NEWNS | syscall.CLONE_NEWNET}
	if err := cmd.Start(); err != nil {
		t.Skip("cannot make namespaces here: ", err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // takes all with it
		_ = cmd.Wait()
	})
	return cmd.Process.Pid
}

// takeStream takes what process 1 offers, as the helper on the host does.
func takeStream(t *testing.T, pid int) *net.UnixConn {
	t.Helper()
	process, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(process)
	for end := time.Now().Add(deadline); ; pause() {
		fd, err := unix.PidfdGetfd(process, frame.Descriptor, 0)
		if err == nil {
			return unixConn(t, fd)
		}
		if time.Now().After(end) {
			t.Fatalf("process 1 offers nothing: %v", err)
		}
	}
}

func enter(t *testing.T, l *attach.Leader, user string) {
	t.Helper()
	if _, err := l.Login(t.Context(), frame.LoginMessage{User: user, Policy: frame.PolicyExisting, Source: "192.0.2.7"}); err != nil {
		t.Fatal(err)
	}
}

// processes lists what runs: parent's name, name, command line, user ids and
// groups.
const processes = `cd /proc; for p in $(ls | grep '^[0-9]' | sort -n); do
	[ $p = $$ ] || [ $(grep PPid $p/status | cut -f2) != $$ ] || continue
	parent=$(grep PPid $p/status | cut -f2)
	echo "$(cat $parent/comm) > $(cat $p/comm): $(cut -d '' -f1 $p/cmdline | head -n1 | tr -d '\0'), $(grep Uid $p/status | cut -f2-5 | tr '\t' ' '), $(grep Groups $p/status | cut -f2 | sed 's/ $//')"
done 2>/dev/null | cat -v`

func TestBootRoot(t *testing.T) {
	l := container(t, "--", "/bin/touch /run/started")
	enter(t, l, "root")
	// The image's command comes a moment later.
	if got := output(t, l, shell("until [ -e /run/started ]; do sleep 0.01; done; cat /run/sshd.pid")); got.stdout == "" || got.exit.Status != 0 {
		t.Errorf("got %+v", got)
	}
	want := `> init: init, 0 0 0 0,
init > sshd: sshd: /usr/sbin/sshd [listener] 0 of 10-100 startups, 0 0 0 0,
sshd > sshd: sshd: root@notty, 0 0 0 0,
sshd > sh: sh, 0 0 0 0, 0
`
	compareProcesses(t, l, want)
}

func compareProcesses(t *testing.T, l *attach.Leader, want string) {
	t.Helper()
	got := output(t, l, shell(processes))
	var lines []string
	for line := range strings.Lines(got.stdout) {
		if !strings.Contains(line, "> sh: sh, ") || strings.HasPrefix(line, "sshd") { // no subshells
			lines = append(lines, strings.TrimSpace(line)+"\n")
		}
	}
	if diff := cmp.Diff(want, strings.Join(lines, "")); diff != "" {
		t.Error(diff, got.stderr)
	}
}

func TestBootUser(t *testing.T) {
	l := container(t, "/no/such/init")
	enter(t, l, "visitor")
	want := `> init: init, 0 0 0 0,
init > sshd: sshd: /usr/sbin/sshd [listener] 0 of 10-100 startups, 0 0 0 0,
sshd > sshd: sshd: visitor@notty, 1234 1234 1234 1234, 77 1235
sshd > sshd: sshd: visitor [priv], 0 0 0 0,
sshd > sh: sh, 1234 1234 1234 1234, 77 1235
`
	compareProcesses(t, l, want)
	got := output(t, l, terminal("stat -c %u:%a $(tty); cat /proc/$PPID/environ; ls -l /proc/$PPID/fd 2>&1 | grep -c denied; echo x >/etc/new"))
	if !strings.HasPrefix(got.stdout, "1234:620\r\n") || got.exit.Status == 0 {
		t.Errorf("got %+v", got)
	}
	// The records are root's, and yet written.
	if got := output(t, l, shell("tr -d '\\0' </run/utmp; wc -c </var/log/wtmp")).stdout; !strings.Contains(got, "192.0.2.7") && !strings.Contains(got, "pts") || !strings.HasSuffix(got, strconv.Itoa(2*recordSize)+"\n") {
		t.Errorf("records %q", got)
	}
}

// Process 1 becomes the init that the image has, and holds nothing of the link.
func TestBootInit(t *testing.T) {
	l := container(t, "/bin/sh", "-c", "ls -l /proc/1/fd >/run/fds; exec sleep 1000")
	enter(t, l, "root")
	got := output(t, l, shell("until [ -s /run/fds ]; do sleep 0.01; done; cat /proc/1/comm; tr '\\0' '\\n' </proc/1/environ; grep -c null /run/fds; grep -c pipe /run/fds; cat /run/sshd.pid; pwd"))
	f := strings.Fields(got.stdout)
	if len(f) < 3 || f[0] != "sleep" && f[0] != "sh" {
		t.Errorf("got %q", got.stdout)
	}
	if !strings.Contains(got.stdout, "HOME=/\nTERM=linux\n") || !strings.Contains(got.stdout, "\n3\n0\n") {
		t.Errorf("got %q", got.stdout)
	}
}

// Before the login the worker is next to nothing, and answers.
func TestDoze(t *testing.T) {
	boot := boots(t)
	l := connect(t, takeStream(t, boot))
	worker := child(t, child(t, boot))
	for range 3 {
		if err := l.Ping(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if got := ownMemory(t, worker); got > 100 {
		t.Errorf("%d kB in use", got)
	}
	enter(t, l, "root")
	if got := ownMemory(t, worker); got < 200 {
		t.Errorf("%d kB in use after the login: is process %d the worker?", got, worker)
	}
	if err := l.Ping(t.Context()); err != nil {
		t.Error(err)
	}
}

// A front end that leaves, or sends what is none of its business, is the end of the
// worker whether that dozes or not.
func TestDozeEnds(t *testing.T) {
	for name, sent := range map[string]string{
		"nothing":           "",
		"another frame":     "Q\x00\x00\x00\x00\x00\x00\x00",
		"half a ping":       "P\x00\x00",
		"half another":      "L\x00",
		"a login, no name":  "L\x00\x00\x00\x00\x00\x00\x00",
		"ping of a channel": "P\x00\x00\x01\x00\x00\x00\x00",
	} {
		t.Run(name, func(t *testing.T) {
			stream := takeStream(t, boots(t))
			defer stream.Close()
			hello := "H\x00\x00\x00\x00\x00\x00\x02\x00" + string(rune(frame.Version))
			if _, err := stream.Write([]byte(hello + sent)); err != nil {
				t.Fatal(err)
			}
			b := make([]byte, frame.HelloSize)
			if _, err := io.ReadFull(stream, b); err != nil || string(b) != hello {
				t.Fatalf("%q, %v", b, err)
			}
			if err := stream.CloseWrite(); err != nil {
				t.Fatal(err)
			}
			_ = stream.SetReadDeadline(time.Now().Add(deadline))
			if n, err := stream.Read(b); n > 0 || errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("got %q, %v", b[:n], err)
			}
		})
	}
}

// child is the only child of a process.
func child(t *testing.T, pid int) int {
	t.Helper()
	lists, err := filepath.Glob("/proc/" + strconv.Itoa(pid) + "/task/*/children") // of each thread
	if err != nil {
		t.Fatal(err)
	}
	var ids string
	for _, path := range lists {
		b, err := os.ReadFile(path)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
		ids += string(b)
	}
	id, err := strconv.Atoi(strings.TrimSpace(ids))
	if err != nil {
		t.Fatalf("children of %d: %q", pid, ids)
	}
	return id
}

// ownMemory is the memory that a process has for itself, in kB; see RssAnon in proc(5).
func ownMemory(t *testing.T, pid int) int {
	t.Helper()
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(b), "RssAnon:")
	f := strings.Fields(after)
	kilobytes, err := strconv.Atoi(f[0])
	if err != nil {
		t.Fatal(err)
	}
	return kilobytes
}

// The decoys are copies of a running Go program. Starting many shows whether one
// in a thousand fails: LEADER_STARTS=1000 go test -run TestManyStarts
func TestManyStarts(t *testing.T) {
	n, err := strconv.Atoi(os.Getenv("LEADER_STARTS"))
	if err != nil {
		n = 10
	}
	for i := range n {
		if !t.Run(strconv.Itoa(i), func(t *testing.T) {
			l := container(t, "--", "/bin/true")
			enter(t, l, "visitor")
			if got := output(t, l, shell("echo hello; grep -c ^State /proc/[2-9]/status /proc/[1-9][0-9]/status | wc -l")).stdout; !strings.HasPrefix(got, "hello\n") {
				t.Errorf("got %q", got)
			}
		}) {
			return
		}
	}
}
