package systemd

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coreos/go-systemd/v22/journal"
	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/go-hclog"
	"go.uber.org/goleak"
)

// childVariable makes the test binary a service that was started by socket
// activation and tells which sockets it was given.
const childVariable = "TEST_CHILD"

func TestMain(m *testing.M) {
	if os.Getenv(childVariable) == "" {
		goleak.VerifyTestMain(m)
		return
	}
	// The parent cannot know our pid beforehand.
	os.Setenv("LISTEN_PID", strconv.Itoa(os.Getpid()))
	listeners, err := Listeners("ssh")
	if err != nil {
		fmt.Print("error: ", err)
		os.Exit(0)
	}
	for _, l := range listeners {
		fmt.Print(l.Addr(), " ")
	}
	fmt.Print("left: ", os.Getenv("LISTEN_FDS"), os.Getenv("LISTEN_FDNAMES"), os.Getenv("LISTEN_PID"))
	os.Exit(0)
}

// child runs the test binary with sockets and returns what it says.
func child(t *testing.T, names string, sockets ...*os.File) string {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childVariable+"=1", "LISTEN_FDS="+strconv.Itoa(len(sockets)), "LISTEN_FDNAMES="+names)
	cmd.ExtraFiles = sockets
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// filer is a socket with a file.
type filer interface {
	File() (*os.File, error)
	Close() error
}

func file(t *testing.T, socket filer) *os.File {
	t.Helper()
	defer socket.Close()
	f, err := socket.File()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func tcp(t *testing.T) (*os.File, string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return file(t, l.(*net.TCPListener)), l.Addr().String()
}

func TestListeners(t *testing.T) {
	first, firstAddress := tcp(t)
	second, secondAddress := tcp(t)
	packets, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	datagrams := file(t, packets.(*net.UDPConn))
	const prefix = "error: take sockets from systemd: "
	tests := []struct {
		name, names string
		sockets     []*os.File
		want        string
	}{
		{"none", "", nil, "left: "},
		{"two in order", "ssh:ssh", []*os.File{first, second}, firstAddress + " " + secondAddress + " left: "},
		{"another name", "http", []*os.File{first}, prefix + "unexpected FileDescriptorName=http, want ssh"},
		{"one of another name", "ssh:http", []*os.File{first, second}, prefix + "unexpected FileDescriptorName=http, want ssh"},
		{"datagrams of another name", "ssh:dns", []*os.File{first, datagrams}, prefix + "unexpected FileDescriptorName=dns, want ssh"},
		{"no name", "", []*os.File{first}, prefix + "unexpected FileDescriptorName=LISTEN_FD_3, want ssh"},
		{"datagrams", "ssh:ssh", []*os.File{first, datagrams}, prefix + "a socket named ssh does not listen for streams: "},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := child(t, tt.names, tt.sockets...)
			if strings.HasPrefix(tt.want, prefix) && strings.HasPrefix(got, tt.want) && !strings.Contains(got, "\n") {
				return
			}
			if got != tt.want {
				t.Errorf("service says %q, want %q", got, tt.want)
			}
		})
	}
}

func TestListenersWithoutSystemd(t *testing.T) {
	t.Setenv("LISTEN_FDS", "1")
	t.Setenv("LISTEN_PID", "1") // meant for somebody else
	if got, err := Listeners("ssh"); err != nil || len(got) != 0 {
		t.Errorf("Listeners = %v, %v", got, err)
	}
}

// manager is systemd's end of NOTIFY_SOCKET.
type manager struct {
	t    *testing.T
	conn *net.UnixConn
}

func newManager(t *testing.T) *manager {
	t.Helper()
	dir, err := os.MkdirTemp("", "sd") // short: a socket's path has 107 bytes
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		conn.Close()
		os.RemoveAll(dir)
	})
	t.Setenv("NOTIFY_SOCKET", path)
	return &manager{t, conn}
}

// received is every message that has come.
func (m *manager) received() []string {
	m.t.Helper()
	raw, err := m.conn.SyscallConn()
	if err != nil {
		m.t.Fatal(err)
	}
	var all []string
	buffer := make([]byte, 4096)
	err = raw.Read(func(fd uintptr) bool {
		for {
			n, _, err := syscall.Recvfrom(int(fd), buffer, syscall.MSG_DONTWAIT)
			if err != nil {
				if !errors.Is(err, syscall.EAGAIN) {
					m.t.Error(err)
				}
				return true
			}
			all = append(all, string(buffer[:n]))
		}
	})
	if err != nil {
		m.t.Error(err)
	}
	return all
}

func TestNotify(t *testing.T) {
	m := newManager(t)
	Status("warming targets")
	Ready("4/4 warm")
	Stopping("draining")
	want := []string{"STATUS=warming targets", "READY=1\nSTATUS=4/4 warm", "STOPPING=1\nSTATUS=draining"}
	if diff := cmp.Diff(want, m.received()); diff != "" {
		t.Errorf("messages (-want +got):\n%s", diff)
	}
	Reloading()
	got := m.received()
	if len(got) != 1 || !strings.HasPrefix(got[0], "RELOADING=1\nMONOTONIC_USEC=") { // both, or Type=notify-reload does not take it
		t.Fatalf("messages %q", got)
	}
	if usec, err := strconv.ParseInt(strings.TrimSpace(got[0][len("RELOADING=1\nMONOTONIC_USEC="):]), 10, 64); err != nil || usec <= 0 {
		t.Errorf("time %d, %v", usec, err)
	}
}

func TestNotifyWithoutSystemd(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "")
	Ready("x")
	t.Setenv("NOTIFY_SOCKET", filepath.Join(t.TempDir(), "none"))
	Ready("x")
}

func TestWatchdog(t *testing.T) {
	m := newManager(t)
	t.Setenv("WATCHDOG_USEC", "30000000") // 30 s
	t.Setenv("WATCHDOG_PID", strconv.Itoa(os.Getpid()))
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex // guards healthy
		healthy := true
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			Watchdog(ctx, func() bool {
				mu.Lock()
				defer mu.Unlock()
				return healthy
			})
			close(ended)
		}()
		pings := func(d time.Duration) int {
			time.Sleep(d)
			synctest.Wait()
			got := m.received()
			for _, one := range got {
				if one != "WATCHDOG=1" {
					t.Errorf("message %q", one)
				}
			}
			return len(got)
		}
		if n := pings(time.Minute + time.Second); n != 7 { // at once, then every 10 s
			t.Errorf("%d pings in a minute, want 7", n)
		}
		mu.Lock()
		healthy = false
		mu.Unlock()
		if n := pings(time.Minute); n != 0 {
			t.Errorf("%d pings while not healthy", n)
		}
		mu.Lock()
		healthy = true
		mu.Unlock()
		if n := pings(time.Minute); n != 6 {
			t.Errorf("%d pings after recovery, want 6", n)
		}
		cancel()
		<-ended
		if n := pings(time.Minute); n != 0 {
			t.Errorf("%d pings after the end", n)
		}
	})
}

func TestWatchdogOff(t *testing.T) {
	for _, usec := range []string{"", "nonsense"} {
		t.Setenv("WATCHDOG_USEC", usec)
		Watchdog(t.Context(), func() bool {
			t.Error("asked without a watchdog")
			return true
		})
	}
}

func TestUnderJournal(t *testing.T) {
	t.Setenv("JOURNAL_STREAM", "")
	if UnderJournal() {
		t.Error("the journal is said to read standard error")
	}
	var st syscall.Stat_t
	if err := syscall.Fstat(2, &st); err != nil {
		t.Fatal(err)
	}
	t.Setenv("JOURNAL_STREAM", fmt.Sprintf("%d:%d", st.Dev, st.Ino))
	if !UnderJournal() {
		t.Error("the journal is not recognised")
	}
}

func TestJournalLog(t *testing.T) {
	log := hclog.New(&hclog.LoggerOptions{Level: hclog.Info})
	j := JournalLog{Logger: log}
	j.Accept("pool", hclog.Debug, "too quiet")
	if !journal.Enabled() {
		j.Accept("pool", hclog.Warn, "target trouble", "error", errors.New("x"), "odd") // must not panic where there is no journal
	}
	for in, want := range map[any]string{
		"plain": "plain", 7: "7", "two words": `"two words"`, "a\nb\x1b[2J": `"a\nb\x1b[2J"`, "é": `"\u00e9"`, `q"`: `"q\""`,
	} {
		if got := value(in); got != want {
			t.Errorf("value(%q) = %s, want %s", in, got, want)
		}
	}
	for level, want := range map[hclog.Level]journal.Priority{
		hclog.Error: journal.PriErr, hclog.Warn: journal.PriWarning, hclog.Info: journal.PriInfo, hclog.Debug: journal.PriDebug, hclog.Trace: journal.PriDebug,
	} {
		if got := priority(level); got != want {
			t.Errorf("priority(%s) = %d, want %d", level, got, want)
		}
	}
}
