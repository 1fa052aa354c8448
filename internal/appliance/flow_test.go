//go:build appliance

package appliance

import (
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	xssh "golang.org/x/crypto/ssh"
)

// anonymous is the service's own memory in KiB, RssAnon in proc_pid_status(5).
func anonymous(t *testing.T) int {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", unitPid("sandtrap.service")))
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range strings.Split(string(status), "\n") {
		if f := strings.Fields(line); len(f) > 1 && f[0] == "RssAnon:" {
			n, err := strconv.Atoi(f[1])
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	t.Fatal("no RssAnon")
	return 0
}

// maxGrowth is what ten stuck channels may cost in all, in KiB: their windows, and
// what the runtime has not given back.
const maxGrowth = 64 << 10

// A program that writes without end to a client that does not read waits, as does a
// client that writes to a program that does not read. Nothing piles up between.
func TestBackPressure(t *testing.T) {
	w, err := dialWire(address, freshSource(), "OpenSSH_9.2p1 Debian-2+deb12u3", "root")
	if err != nil {
		t.Fatal(err)
	}
	f := newFrames(t, w)
	defer f.leave()
	before := anonymous(t)
	f.mu.Lock()
	f.frozen = true
	f.mu.Unlock()
	const writers = 8
	for i := range writers {
		f.open(i)
		f.exec(i, "yes")
	}
	for i := range writers { // the window is full: 2 MiB of it
		f.until(func() bool { return f.over || f.data[i].Len() >= 2<<20-32<<10 })
	}
	f.mu.Lock()
	f.frozen = false
	f.mu.Unlock()
	f.open(writers)
	f.exec(writers, "sleep 1000")
	sent := 0
	for f.windowOf(writers) >= 16<<10 {
		f.mu.Lock()
		f.window[writers] -= 16 << 10
		f.mu.Unlock()
		f.send("", []byte{msgData}, num(f.theirs[writers]), str(strings.Repeat("x", 16<<10)))
		sent += 16 << 10
	}
	if sent < 2<<20 || sent > 4<<20 {
		t.Errorf("%d bytes were taken for a program that does not read", sent)
	}
	f.open(writers + 1) // the connection is as good as before
	f.exec(writers+1, "ps ax | grep -c '[y]es$'")
	f.wait("< close")
	if got := strings.Fields(f.output(writers + 1)); len(got) == 0 || got[0] != strconv.Itoa(writers) {
		t.Errorf("%q of the programs run, want %d", got, writers)
	}
	if grown := anonymous(t) - before; grown > maxGrowth {
		t.Errorf("the service has %d KiB more than before", grown)
	} else {
		t.Logf("the service has %d KiB more than before", grown)
	}
}

func (f *frames) windowOf(channel int) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.window[channel]
}

// stream writes 300 MB whose hash is known to who wrote them.
const (
	streamSize = 300_000_000
	stream     = `yes "$(seq 1000)" | head -c 300000000`
)

// A client that reads slowly and then quickly gets all of it, unchanged, and the
// service is none the larger for it.
func TestLongStream(t *testing.T) {
	configure(t, "recording:\n  max_bytes: 2GiB\n")
	c := dial(t, freshSource(), "root")
	want, err := run(c, stream+" | sha256sum")
	if err != nil {
		t.Fatal(err)
	}
	s, err := c.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	out, err := s.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	before := anonymous(t)
	if err := s.Start(stream); err != nil {
		t.Fatal(err)
	}
	h := sha256.New()
	small := make([]byte, 512)
	for range 10_000 {
		n, err := out.Read(small)
		if err != nil {
			t.Fatal(err)
		}
		h.Write(small[:n])
	}
	slow := anonymous(t) - before
	n, err := io.Copy(h, out)
	if err != nil || fmt.Sprintf("%x", h.Sum(nil)) != strings.Fields(want)[0] {
		t.Errorf("after %d more bytes (%v) the hash is not that of the target, %s", n, err, want)
	}
	if err := s.Wait(); err != nil {
		t.Error(err)
	}
	if grown := max(slow, anonymous(t)-before); grown > maxGrowth {
		t.Errorf("the service has %d KiB more than before", grown)
	}
}

// Keys are exchanged again and again in the middle of transfers, by ssh(1) and by
// either side, and no byte is lost.
func TestRekey(t *testing.T) {
	configure(t, "recording:\n  max_bytes: 2GiB\n")
	local := filepath.Join(t.TempDir(), "data")
	must(t, "sh", "-c", "head -c 30000000 /dev/urandom >"+local)
	want := strings.Fields(must(t, "sha256sum", local))[0]
	source := freshSource()
	file, err := os.Open(local)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	c := sshFrom(source, "-v", "-o", "LogLevel=DEBUG1", "-o", "RekeyLimit=1M", "root@127.0.0.1", "tee /tmp/data; sha256sum </tmp/data >&2")
	c = withLog(c)
	r := finish(t, c, file)
	if got := fmt.Sprintf("%x", sha256.Sum256([]byte(r.stdout))); got != want || !strings.Contains(r.stderr, want) || r.status != 0 {
		t.Errorf("%d bytes back with the hash %s, status %d, want %s there and back", len(r.stdout), got, r.status, want)
	}
	if n := strings.Count(r.stderr, "SSH2_MSG_NEWKEYS received"); n < 10 {
		t.Errorf("keys were exchanged %d times", n)
	}
}

// withLog lets ssh(1) say what it does.
func withLog(c *exec.Cmd) *exec.Cmd {
	for i, a := range c.Args {
		if a == "LogLevel=ERROR" {
			c.Args[i] = "LogLevel=DEBUG1"
		}
	}
	return c
}

// The window changes of a flood are few to the program, and the last one counts.
func TestWindowChangeFlood(t *testing.T) {
	c := dial(t, freshSource(), "root")
	s, err := c.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.RequestPty("xterm", 24, 80, xssh.TerminalModes{}); err != nil {
		t.Fatal(err)
	}
	out := &collector{}
	s.Stdout = out
	if err := s.Start("trap 'stty size' WINCH; echo ready; while :; do sleep 0.05; done"); err != nil {
		t.Fatal(err)
	}
	if err := eventually(out.has("ready")); err != nil {
		t.Fatal(err)
	}
	for i := range 10_000 {
		if err := s.WindowChange(1+i%200, 1+i%300); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.WindowChange(77, 99); err != nil {
		t.Fatal(err)
	}
	if err := eventually(out.has("77 99")); err != nil {
		t.Fatal(err)
	}
	_ = c.Close()
	evidence := lastSession(t)
	cast := readCast(t, evidence, 0)
	if last := strings.LastIndex(cast, `"r"`); !strings.HasPrefix(strings.ReplaceAll(cast[last:], ", ", ","), `"r","99x77"`) {
		t.Errorf("the last size in the cast is %.40s", cast[last:])
	}
	t.Logf("%d of 10002 sizes were recorded", strings.Count(cast, `"r"`))
}
