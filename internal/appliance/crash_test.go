//go:build appliance

package appliance

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"
)

// TestCrashLoop ends parts of the appliance at random moments, while sessions do
// things, and looks that it puts itself in order, as often as TEST_CRASHES says.
// TEST_SEED repeats a run, as far as time permits.
func TestCrashLoop(t *testing.T) {
	crashes, err := strconv.Atoi(os.Getenv("TEST_CRASHES"))
	if err != nil {
		t.Skip("takes some seconds a crash: set TEST_CRASHES=100")
	}
	seed := uint64(time.Now().UnixNano())
	if s := os.Getenv("TEST_SEED"); s != "" {
		if seed, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("TEST_SEED=%d", seed)
	// No container may go for another reason.
	configure(t, "pool:\n  retain: 10000\n")
	forget(t)
	loop := &crashLoop{T: t, random: rand.New(rand.NewPCG(seed, 0)), count: map[string]int{}}
	for i := range crashes {
		loop.iteration(i)
		if i%8 == 7 {
			settlesWhole(t)
		}
	}
	settlesWhole(t)
	opened := len(openedSessions(t))
	t.Logf("%d crashes, %d sessions: %v", crashes, opened, loop.count)
	if opened < crashes {
		t.Errorf("%d sessions in %d crashes: the appliance was away too long", opened, crashes)
	}
}

// TestBusyUntilTheEnd opens sessions until the system ends under it: the load of
// packaging/disposable/crash.
func TestBusyUntilTheEnd(t *testing.T) {
	if os.Getenv("APPLIANCE_CRASH") == "" {
		t.Skip("for packaging/disposable/crash")
	}
	loop := &crashLoop{T: t, random: rand.New(rand.NewPCG(rand.Uint64(), 0))}
	for {
		client := loop.client()
		go func() { _ = client.Wait() }()
		loop.pause(400)
		if loop.random.IntN(3) == 0 {
			_ = client.Process.Kill() // it may have ended
		}
	}
}

// TestAtRest shows what packaging/disposable/crash looks for after a boot.
func TestAtRest(t *testing.T) {
	settlesWhole(t)
	if r := ssh(t, "root", "echo in"); r.stdout != "in\n" {
		t.Errorf("%+v", r)
	}
	settlesWhole(t)
}

// forget removes the evidence of earlier tests, whose settings were others.
func forget(t *testing.T) {
	t.Helper()
	must(t, "systemctl", "stop", "sandtrap.service")
	must(t, "find", stateDir+"/sessions", stateDir+"/events", "-mindepth", "1", "-delete")
	must(t, "rm", stateDir+"/chain") // as if nothing had ever been sealed
	for name := range containers(t) {
		podman(t, "rm", "--force", "--time", "0", name)
	}
	must(t, "systemctl", "start", "sandtrap.service")
}

type crashLoop struct {
	*testing.T
	random *rand.Rand
	count  map[string]int // what was broken how often
}

// fault breaks something. It reports whether there was anything to break.
type fault struct {
	name string
	do   func(l *crashLoop) bool
}

var faults = []fault{
	{"sandtrap", func(l *crashLoop) bool { return kill(unitPid("sandtrap.service")) }},
	{"podman service", func(l *crashLoop) bool { return l.killOne(podmanService()) }},
	{"podman restart", func(l *crashLoop) bool {
		_, err := output("systemctl", "restart", "sandtrap-podman.service")
		return err == nil
	}},
	{"conmon", func(l *crashLoop) bool {
		var pids []int
		for pid := range processes("conmon") {
			pids = append(pids, pid)
		}
		return l.killOne(pids)
	}},
	{"container", func(l *crashLoop) bool { return l.killOne(mainProcesses()) }},
	{"leader", func(l *crashLoop) bool { return l.killOne(leaders()) }},
}

// iteration breaks one thing while one to three sessions go on.
func (l *crashLoop) iteration(i int) {
	l.Helper()
	err := eventually(func() error {
		if len(mainProcesses()) == 0 || unitPid("sandtrap.service") == 0 {
			return errors.New("the appliance does not come back")
		}
		return nil
	})
	if err != nil {
		l.Fatalf("crash %d: %v", i, err)
	}
	var clients []*exec.Cmd
	for range 1 + l.random.IntN(3) {
		clients = append(clients, l.client())
	}
	l.pause(1200)
	f := faults[(i+l.random.IntN(len(faults)))%len(faults)]
	if f.do(l) {
		l.count[f.name]++
	} else {
		l.count["nothing"]++
	}
	l.pause(300)
	for _, c := range clients {
		_ = c.Process.Kill() // it may have ended
		_ = c.Wait()
	}
}

func (l *crashLoop) pause(most int) {
	time.Sleep(time.Duration(l.random.IntN(most)) * time.Millisecond)
}

// client is a session that goes on until it is ended.
func (l *crashLoop) client() *exec.Cmd {
	l.Helper()
	switch l.random.IntN(3) {
	case 0:
		c := sshCommand("root@127.0.0.1", "while :; do echo line; sleep 0.01; done")
		l.start(c)
		return c
	case 1:
		c := sshCommand("-tt", "root@127.0.0.1")
		terminal, err := pty.Start(c)
		if err != nil {
			l.Fatal(err)
		}
		go func() {
			defer terminal.Close()
			_, _ = io.WriteString(terminal, "for i in 1 2 3 4 5 6 7 8 9; do ls -la /; sleep 0.1; done\n")
			_, _ = io.Copy(io.Discard, terminal) // until ssh has gone
		}()
		return c
	default:
		c := sshCommand("root@127.0.0.1", "cat >/tmp/upload")
		c.Stdin = endless{}
		// Or the copier of our side would not see that ssh has gone.
		c.WaitDelay = time.Second
		l.start(c)
		return c
	}
}

// endless is a file that never ends.
type endless struct{}

func (endless) Read(p []byte) (int, error) {
	time.Sleep(time.Millisecond)
	return len(p), nil
}

func (l *crashLoop) start(c *exec.Cmd) {
	l.Helper()
	if err := c.Start(); err != nil {
		l.Fatal(err)
	}
}

func (l *crashLoop) killOne(pids []int) bool {
	return len(pids) > 0 && kill(pids[l.random.IntN(len(pids))])
}

// kill ends a process, as what the kernel does when memory runs out.
func kill(pid int) bool { return pid > 1 && syscall.Kill(pid, syscall.SIGKILL) == nil }

// unitPid is a unit's main process, 0 when there is none.
func unitPid(unit string) int {
	out, _ := output("systemctl", "show", "--value", "-p", "MainPID", unit)
	pid, _ := strconv.Atoi(out)
	return pid
}

// podmanService are the processes of the API service: a rootless Podman starts
// itself again in its user namespace.
func podmanService() []int {
	main := unitPid("sandtrap-podman.service")
	if main == 0 {
		return nil
	}
	return append(children(main), main)
}

// children are the processes that one started.
func children(pid int) []int {
	var pids []int
	out, _ := output("ps", "-o", "pid=", "--ppid", fmt.Sprint(pid))
	for _, field := range strings.Fields(out) {
		if child, err := strconv.Atoi(field); err == nil {
			pids = append(pids, child)
		}
	}
	return pids
}

// mainProcesses are the first processes of the containers that run: the only
// children of their monitors but programs that were started later.
func mainProcesses() []int {
	var pids []int
	for conmon := range processes("conmon") {
		for _, child := range children(conmon) {
			if comm, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", child)); strings.TrimSpace(string(comm)) == "init" {
				pids = append(pids, child)
			}
		}
	}
	return pids
}

// leaders are the session leaders of the containers: they pose as sshd below the
// container's init.
func leaders() []int {
	inits := map[int]bool{}
	for _, pid := range mainProcesses() {
		inits[pid] = true
	}
	var pids []int
	for pid := range processes("sshd") {
		if parent, err := parentOf(pid); err == nil && inits[parent] {
			pids = append(pids, pid)
		}
	}
	return pids
}

func parentOf(pid int) (int, error) {
	out, err := exec.CommandContext(context.Background(), "ps", "-o", "ppid=", "-p", fmt.Sprint(pid)).Output()
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(string(out)))
}
