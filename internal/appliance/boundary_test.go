//go:build appliance

package appliance

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// lines runs a command in a session as root and returns the lines that it printed.
func lines(t *testing.T, command string) []string {
	t.Helper()
	got := ssh(t, "root", command)
	if got.stderr != "" {
		t.Errorf("%s: %s", command, got.stderr)
	}
	return strings.Split(strings.TrimRight(got.stdout, "\n"), "\n")
}

// TestProcessLimits holds what a login shows against what Debian 12 has, and what a
// program may do against it. Each limit is there for root and for a user.
func TestProcessLimits(t *testing.T) {
	const show = `grep -E '^Max (file size|core file|open files|locked memory|processes|msgqueue)' /proc/self/limits | tr -s ' '`
	for _, user := range []string{"root", "debian"} {
		got := strings.Split(strings.TrimSpace(ssh(t, user, show).stdout), "\n")
		for i, want := range []string{
			"Max file size 4294967296 4294967296 bytes", "Max core file size 0 unlimited bytes", "Max processes ",
			"Max open files 1024 4096 files", "Max locked memory 8388608 8388608 bytes", "Max msgqueue size 819200 819200 bytes",
		} {
			if i >= len(got) || !strings.HasPrefix(strings.TrimSpace(got[i]), want) || strings.Contains(got[i], "unlimited") && !strings.Contains(want, "unlimited") {
				t.Errorf("%s: limits %q, want %q", user, got, want)
				break
			}
		}
	}
	for command, want := range map[string]string{
		"ulimit -Hn 4097 2>&1 || echo no":                                                                            "no",
		"ulimit -f unlimited 2>&1 || echo no":                                                                        "no",
		"perl -e 'my @f; 1 while open $f[@f], q(<), q(/dev/null); print scalar @f < 1025'":                           "1",
		"truncate -s 4294967296 /tmp/f && stat -c %s /tmp/f; rm /tmp/f":                                              "4294967296",
		"truncate -s 4294967297 /tmp/f; stat -c %s /tmp/f":                                                           "0",
		"cd /tmp; sh -c 'kill -SEGV $$'; find / -xdev -name 'core*' -newer /run/utmp -type f 2>/dev/null; echo none": "none",
	} {
		if got := ssh(t, "root", command).stdout; !strings.HasSuffix(strings.TrimSpace(got), want) {
			t.Errorf("%s: %q, want %q", command, got, want)
		}
	}
}

// hidden are paths through which the kernel tells too much, or takes orders. They are
// not there, or empty, or not to be opened.
var hidden = []string{
	"/proc/kcore", "/proc/keys", "/proc/timer_list", "/proc/timer_stats", "/proc/latency_stats", "/proc/sched_debug",
	"/proc/acpi", "/proc/scsi", "/sys/firmware", "/sys/fs/selinux", "/sys/devices/virtual/powercap",
	"/proc/kmsg", "/proc/kpagecount", "/proc/kpageflags", "/proc/kpagecgroup", "/proc/vmallocinfo", "/proc/slabinfo",
	"/sys/kernel/debug", "/sys/kernel/tracing", "/sys/kernel/security", "/sys/fs/bpf", "/dev/mem", "/dev/kmsg", "/dev/fuse", "/dev/net/tun",
	"/run/.containerenv",
}

// TestHiddenPaths reads them as root.
func TestHiddenPaths(t *testing.T) {
	command := "for p in " + strings.Join(hidden, " ") + `; do
		if [ -d $p ]; then n=$(find $p -mindepth 1 2>/dev/null | head -c 64 | wc -c); else n=$(head -c 64 $p 2>/dev/null | wc -c); fi
		echo $p $n
	done`
	got := lines(t, command)
	var want []string
	for _, p := range hidden {
		want = append(want, p+" 0")
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestNothingOfTheMachineIsWritable writes where Podman mounts things, and to what the
// kernel has for the machine as a whole.
func TestNothingOfTheMachineIsWritable(t *testing.T) {
	for _, path := range []string{
		"/proc/sys/kernel/hostname", "/proc/sys/vm/drop_caches", "/proc/irq/0/smp_affinity", "/proc/bus/x", "/proc/fs/x",
		"/sys/kernel/x", "/sys/fs/cgroup/cgroup.procs", "/sys/fs/cgroup/memory.max", "/sys/firmware/x", "/proc/acpi/x",
	} {
		if got := ssh(t, "root", "echo x 2>/dev/null >"+path+" && echo written"); got.stdout != "" {
			t.Errorf("%s can be written to: %+v", path, got)
		}
	}
	// What is written to a file that a mount brings in stays in memory of the machine.
	begin := time.Now()
	ssh(t, "root", "head -c 3000000 /dev/zero >/run/.containerenv")
	err := filepath.WalkDir("/run/pods", func(path string, d os.DirEntry, err error) error {
		if info, ierr := os.Stat(path); err == nil && ierr == nil && info.Mode().IsRegular() && info.Size() >= 3000000 && info.ModTime().After(begin) {
			t.Errorf("%s has %d bytes, written from inside", path, info.Size())
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestMounts lists what a target has mounted: nothing from the machine, and memory only
// within bounds.
func TestMounts(t *testing.T) {
	allowed := map[string]string{ // mount point to file system
		"/": "overlay", "/proc": "proc", "/dev": "tmpfs", "/sys": "sysfs", "/dev/pts": "devpts", "/dev/mqueue": "mqueue", "/dev/shm": "tmpfs",
		"/sys/fs/cgroup": "cgroup2", "/run/.containerenv": "tmpfs",
	}
	sizes := map[string]string{"/dev": "65536k", "/dev/shm": "64000k"}
	for _, line := range lines(t, "cut -d' ' -f2-4 /proc/mounts") {
		f := strings.Fields(line)
		kind, known := allowed[f[0]]
		switch {
		case strings.HasPrefix(f[0], "/proc/") || strings.HasPrefix(f[0], "/sys/firmware") || strings.HasPrefix(f[0], "/sys/devices/"):
			if !strings.Contains(","+f[2]+",", ",ro,") {
				t.Errorf("%s is covered, but not read-only: %s", f[0], f[2])
			}
		case f[0] == "/dev/null" || f[0] == "/dev/zero" || f[0] == "/dev/full" || f[0] == "/dev/tty" || f[0] == "/dev/random" || f[0] == "/dev/urandom":
		case !known || kind != f[1]:
			t.Errorf("%s is mounted", line)
		}
		if size := sizes[f[0]]; size != "" && !strings.Contains(f[2], "size="+size) {
			t.Errorf("%s is not bounded to %s: %s", f[0], size, f[2])
		}
	}
}

// TestDevices lists what there is, and tries to make and open others.
func TestDevices(t *testing.T) {
	got := lines(t, `find /dev /run /tmp /etc /root ! -type l \( -exec test -b {} \; -o -exec test -c {} \; \) -print | LC_ALL=C sort`)
	want := []string{"/dev/full", "/dev/null", "/dev/pts/ptmx", "/dev/random", "/dev/tty", "/dev/urandom", "/dev/zero", "/run/.containerenv"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("devices (-want +got):\n%s", diff)
	}
	for _, node := range []string{"b 8 0", "b 7 0", "c 1 1", "c 10 229", "c 1 11", "c 5 1"} {
		if got := ssh(t, "root", "mknod /tmp/node "+node); got.status == 0 || !strings.Contains(got.stderr, "not permitted") {
			t.Errorf("mknod %s: %+v", node, got)
		}
	}
}

// TestNamespaces compares a target's with the machine's and with another target's.
func TestNamespaces(t *testing.T) {
	const list = `for n in cgroup ipc mnt net pid user uts; do readlink /proc/self/ns/$n; done`
	first, second := lines(t, list), lines(t, list)
	here := strings.Split(must(t, "sh", "-c", list), "\n")
	for i := range here {
		if len(first) != len(here) || len(second) != len(here) || first[i] == here[i] || second[i] == here[i] || first[i] == second[i] {
			t.Errorf("namespaces of two targets %q and %q, of the machine %q", first, second, here)
			break
		}
	}
}
