package descriptor

import (
	"net"
	"os"
	"syscall"
	"testing"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"
)

// kinds are descriptors of many kinds, by name.
func kinds(t *testing.T) map[string]int {
	t.Helper()
	all := map[string]int{}
	add := func(name string, f *os.File, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		all[name] = int(f.Fd())
	}
	r, w, err := os.Pipe()
	add("reading end", r, err)
	add("writing end", w, err)
	master, slave, err := pty.Open()
	add("master", master, err)
	add("slave", slave, err)
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	add("device", null, err)
	file, err := os.CreateTemp(t.TempDir(), "")
	add("file", file, err)
	path, err := os.OpenFile("/dev/ptmx", unix.O_PATH, 0)
	add("path", path, err)
	for name, kind := range map[string]int{"stream": syscall.SOCK_STREAM, "datagrams": syscall.SOCK_DGRAM} {
		pair, err := syscall.Socketpair(syscall.AF_UNIX, kind|syscall.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		add(name, os.NewFile(uintptr(pair[0]), name), nil)
		add(name+"'s other end", os.NewFile(uintptr(pair[1]), name), nil)
	}
	listener, err := net.Listen("unix", t.TempDir()+"/s")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	f, err := listener.(*net.UnixListener).File()
	add("listener", f, err)
	all["nothing"] = 1 << 20
	return all
}

// TestKinds: each kind is taken for what it is, and nothing else is.
func TestKinds(t *testing.T) {
	for name, fd := range kinds(t) {
		for what, is := range map[string]bool{
			"reading end": IsPipe(fd, unix.O_RDONLY), "writing end": IsPipe(fd, unix.O_WRONLY), "master": IsTerminal(fd), "stream": IsStream(fd),
		} {
			if want := name == what || name == what+"'s other end"; is != want {
				t.Errorf("%s taken for a %s: %v", name, what, is)
			}
		}
	}
}

func TestFromMessage(t *testing.T) {
	if got := FromMessage([]byte("garbage")); got != nil {
		t.Errorf("descriptors %d of garbage", got)
	}
	if got := FromMessage(unix.UnixRights(3, 4, 5)); len(got) != 3 || got[2] != 5 {
		t.Errorf("descriptors %d", got)
	}
	if got := FromMessage(unix.UnixCredentials(&unix.Ucred{})); got != nil {
		t.Errorf("descriptors %d of credentials", got)
	}
}

func TestFile(t *testing.T) {
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	f, err := File(p[0], "pipe")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if flags, err := unix.FcntlInt(uintptr(p[0]), unix.F_GETFL, 0); err != nil || flags&unix.O_NONBLOCK == 0 {
		t.Errorf("flags %#x, %v", flags, err)
	}
	Close([]int{p[1]})
	if n, err := f.Read(make([]byte, 1)); n != 0 || err == nil {
		t.Errorf("read %d, %v", n, err)
	}
	if _, err := File(1<<20, "nothing"); err == nil {
		t.Error("a file of nothing")
	}
}
