//go:build vm

package limits

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestLimitsAreInTheKernel: what the configuration says is what the kernel has, for a
// target and for all of them together.
func TestLimitsAreInTheKernel(t *testing.T) {
	v := logIn(t)
	group := v.group()
	for file, want := range map[string]string{
		"memory.max": "134217728", "memory.swap.max": "0", "pids.max": "64", "cpu.max": "100000 100000",
	} {
		if got := read(t, group, file); got != want {
			t.Errorf("%s is %q, want %q", file, got, want)
		}
	}
	for file, want := range map[string]string{"memory.swap.max": "0", "pids.max": "12288", "cpu.weight": "20", "io.weight": "default 20"} {
		if got := read(t, podGroup, file); got != want {
			t.Errorf("%s of all targets is %q, want %q", file, got, want)
		}
	}
	slice := filepath.Dir(podGroup)
	for file, want := range map[string]string{"cpu.weight": "50", "io.weight": "default 50", "pids.max": "24576"} {
		if got := read(t, slice, file); got != want {
			t.Errorf("%s of the slice is %q, want %q", file, got, want)
		}
	}
	if got := read(t, slice+"/sandtrap.service", "memory.low"); got != "134217728" {
		t.Errorf("memory.low of the front end is %q", got)
	}
	for file, want := range map[string]string{"cpu.weight": "10000", "io.weight": "default 10000", "memory.low": "268435456"} {
		if got := read(t, podGroup+"/api", file); got != want {
			t.Errorf("%s of Podman itself is %q, want %q", file, got, want)
		}
	}
	if got := read(t, podGroup, "memory.max"); got == "max" {
		t.Error("all targets together have no limit of memory")
	}
	if got := v.does("df -k --output=size / | tail -n 1"); got != "65536" {
		t.Errorf("df shows %q KiB", got)
	}
	// What the target sees of itself it cannot change.
	for _, file := range []string{"memory.max", "pids.max", "cpu.max"} {
		if out, err := v.run("echo max >/sys/fs/cgroup/" + file); err == nil {
			t.Errorf("%s was written: %s", file, out)
		}
	}
}

// beside runs an abuse in one session and shows what another one feels of it.
func beside(t *testing.T, name string, abuse func(v *visitor)) {
	t.Helper()
	other := logIn(t).listen()
	quiet, _ := other.measure(t, 30)
	abuser := logIn(t)
	done := make(chan struct{})
	go func() {
		defer close(done)
		abuse(abuser)
	}()
	time.Sleep(2 * time.Second)
	median, longest := other.measure(t, 60)
	t.Logf("%s: echo of another session %v, before %v (median); longest %v", name, median, quiet, longest)
	if longest > 30*time.Second {
		t.Errorf("another session's echo took %v", longest)
	}
	<-done
	abuser.Close()
	if got := logIn(t).does("echo still here"); got != "still here" {
		t.Errorf("afterwards: %q", got)
	}
}

func TestForkBomb(t *testing.T) {
	beside(t, "fork bomb", func(v *visitor) {
		group := v.group()
		if err := v.begins("bomb() { bomb | bomb & }; bomb; sleep 20"); err != nil {
			t.Error(err)
			return
		}
		eventually(t, func() error {
			if count(t, group, "pids.events", "max") == 0 {
				return fmt.Errorf("the bomb has not met its limit: %s tasks", read(t, group, "pids.current"))
			}
			return nil
		})
		if peak := count(t, group, "pids.peak", ""); peak > 64 {
			t.Errorf("there were %d tasks, more than 64", peak)
		}
	})
}

func TestMemoryHog(t *testing.T) {
	for name, hog := range map[string]string{
		"heap":   "tail /dev/zero; kill -l $?",
		"tmpfs":  "dd if=/dev/zero of=/dev/shm/x bs=1M count=300 2>&1; ls -s /dev/shm",
		"python": "python3 -c 'x = bytearray(1 << 30)'; kill -l $?",
	} {
		t.Run(name, func(t *testing.T) {
			beside(t, name, func(v *visitor) {
				group := v.group()
				out, _ := v.run(hog)
				t.Logf("from inside: %q", out)
				if killed := count(t, group, "memory.events", "oom_kill"); killed == 0 && name != "tmpfs" {
					t.Error("nothing was killed")
				}
				if peak := count(t, group, "memory.peak", ""); peak > 128<<20 {
					t.Errorf("it had %d bytes", peak)
				}
			})
		})
	}
}

func TestDiskFill(t *testing.T) {
	beside(t, "disk fill", func(v *visitor) {
		out, err := v.run("dd if=/dev/zero of=/root/big bs=1M count=200")
		if err == nil || !strings.Contains(out, "No space left on device") {
			t.Errorf("%v: %s", err, out)
		}
		if _, err = v.run("echo more >/etc/more"); err == nil {
			t.Error("more was written")
		}
		v.does("rm /root/big && echo more >/etc/more")
		for _, way := range []string{
			"fallocate -l 200M /root/big", "truncate -s 100M /tmp/sparse && cp --reflink=never --sparse=never /tmp/sparse /root/big",
			"for i in 1 2 3 4; do dd if=/dev/zero of=/var/tmp/$i bs=1M count=50 || exit; done",
			"cp -a /usr /usr2", "echo x >/root/f; cd /root; for i in $(seq 300); do cat f f f f f f f f >g && cat g >>f || exit; done; false",
		} {
			if out, err = v.run(way); err == nil {
				t.Errorf("%s: no error\n%s", way, out)
			}
			v.does("rm -rf /root/big /root/f /root/g /tmp/sparse /var/tmp/? /usr2")
		}
	})
}

// TestInodeFill: empty files count, too.
func TestInodeFill(t *testing.T) {
	v := logIn(t)
	out, err := v.run("mkdir /root/many && cd /root/many && for i in $(seq 100); do mkdir $i && (cd $i && seq 200 | xargs touch) || exit; done")
	if err == nil || !strings.Contains(out, "No space left on device") {
		t.Errorf("%v: %.300s", err, out)
	}
	logIn(t).does("seq 200 | xargs touch")
}

func TestProcessorHog(t *testing.T) {
	beside(t, "processor hog", func(v *visitor) {
		group := v.group()
		weighs := func(want string) {
			eventually(t, func() error {
				if got := read(t, group, "cpu.weight"); got != want {
					return fmt.Errorf("it has a weight of %s, want %s", got, want)
				}
				return nil
			})
		}
		before := count(t, group, "cpu.stat", "nr_throttled")
		weighs("100")
		if err := v.begins("for i in 1 2 3 4; do timeout 30 sh -c 'while :; do :; done' & done; wait"); err != nil {
			t.Fatal(err)
		}
		weighs("1") // it goes behind others
		weighs("100")
		if after := count(t, group, "cpu.stat", "nr_throttled"); after == before {
			t.Error("it was never throttled")
		}
	})
}

// TestOutputFlood: what is written is recorded up to a bound, where the channel ends.
func TestOutputFlood(t *testing.T) {
	beside(t, "output flood", func(v *visitor) {
		out, err := v.run("cat /dev/zero")
		if err == nil || len(out) == 0 || len(out) > 8<<20 {
			t.Errorf("%d bytes came, %v", len(out), err)
		}
	})
	if got := must(t, "sh", "-c", "journalctl -u sandtrap -o cat SANDTRAP_EVENT=recording.truncate | wc -l"); got == "0" {
		t.Error("nothing says that the recording was cut off")
	}
}
