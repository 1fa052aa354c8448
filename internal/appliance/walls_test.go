//go:build appliance

package appliance

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
)

// attempt is a system call that somebody tries who wants out, by its number on
// x86-64, and the error that must come of it; see errno(3).
type attempt struct {
	name  string
	call  int
	args  string // Perl
	errno string
}

var attempts = []attempt{
	{"mount", 165, `"none", "/mnt", "tmpfs", 0, 0`, "EPERM"},
	{"umount2", 166, `"/proc", 2`, "EPERM"},
	{"pivot_root", 155, `"/", "/mnt"`, "EPERM"},
	{"fsopen", 430, `"tmpfs", 0`, "EPERM"},
	{"open_tree", 428, `-100, "/", 1`, "EPERM"},
	{"unshare: user namespace", 272, `0x10000000`, "EPERM"},
	{"unshare: mount namespace", 272, `0x20000`, "EPERM"},
	{"setns", 308, `0, 0`, "EPERM"},
	{"clone: user namespace", 56, `0x10000011, 0, 0, 0, 0`, "EPERM"},
	{"clone3", 435, `0, 0`, "ENOSYS"},
	{"init_module", 175, `0, 0, ""`, "EPERM"},
	{"finit_module", 313, `0, "", 0`, "EPERM"},
	{"delete_module", 176, `"x", 0`, "EPERM"},
	{"kexec_load", 246, `0, 0, 0, 0`, "EPERM"},
	{"reboot", 169, `0xfee1dead, 672274793, 0x1234567, 0`, "EPERM"},
	{"bpf", 321, `0, 0, 0`, "EPERM"},
	{"perf_event_open", 298, `0, 0, 0, 0, 0`, "EPERM"},
	{"userfaultfd", 323, `0`, "EPERM"},
	{"io_uring_setup", 425, `1, 0`, "EPERM"},
	{"keyctl", 250, `0, 0`, "EPERM"},
	{"add_key", 248, `"user", "x", "y", 1, 0`, "EPERM"},
	{"open_by_handle_at", 304, `-100, 0, 0`, "EPERM"},
	{"name_to_handle_at", 303, `-100, "/", 0, 0, 0`, "EPERM"},
	{"pidfd_getfd", 438, `0, 0, 0`, "EPERM"},
	{"fanotify_init", 300, `0, 0`, "EPERM"},
	{"swapon", 167, `"/x", 0`, "EPERM"},
	{"iopl", 172, `3`, "EPERM"},
	{"syslog", 103, `3, 0, 0`, "EPERM"},
	{"settimeofday", 164, `0, 0`, "EPERM"},
	{"sethostname", 170, `"x", 1`, "EPERM"},
	{"acct", 163, `"/tmp/acct"`, "EPERM"},
	{"quotactl", 179, `0, 0, 0, 0`, "EPERM"},
	{"socket: AF_PACKET", 41, `17, 3, 0`, "EPERM"},
	{"socket: AF_ALG", 41, `38, 5, 0`, "EAFNOSUPPORT"},
	{"socket: AF_VSOCK", 41, `40, 1, 0`, "EAFNOSUPPORT"},
	{"socket: AF_KEY", 41, `15, 3, 2`, "EAFNOSUPPORT"},
	{"socket: AF_BLUETOOTH", 41, `31, 3, 0`, "EAFNOSUPPORT"},
	{"socket: netfilter", 41, `16, 3, 12`, "EPROTONOSUPPORT"},
	{"socket: raw", 41, `2, 3, 1`, "EPERM"},
	{"a call of tomorrow", 1000, ``, "ENOSYS"},
	{"mknod: a disk", 133, `"/tmp/disk", 0060600, 0x800`, "EPERM"},
	{"chroot and out is only the container", 161, `"/nowhere"`, "ENOENT"},
}

// TestSystemCalls makes them in a session as root.
func TestSystemCalls(t *testing.T) {
	if runtime.GOARCH != "amd64" {
		t.Skip("the numbers are those of x86-64")
	}
	var script strings.Builder
	script.WriteString("use Errno; my %name; for (keys %!) { my $c = \"Errno::$_\"; $name{&$c} = $_ } $name{11} = 'EAGAIN'; $name{95} = 'EOPNOTSUPP';\n")
	for _, a := range attempts {
		args := ""
		if a.args != "" {
			args = ", " + a.args
		}
		// A literal must be a variable: the call may write to it.
		fmt.Fprintf(&script, "{ my @a = (%d%s); $! = 0; my $r = syscall($a[0]%s); print $r < 0 ? $name{$!+0} : 'done', qq(\\n); }\n", a.call, args, parameters(a.args))
	}
	got := ssh(t, "root", "perl -e '"+script.String()+"'")
	lines := strings.Split(strings.TrimSpace(got.stdout), "\n")
	if len(lines) != len(attempts) {
		t.Fatalf("%d answers to %d calls: %+v", len(lines), len(attempts), got)
	}
	for i, a := range attempts {
		if lines[i] == "" || !strings.Contains(a.errno, lines[i]) {
			t.Errorf("%s: %s, want %s", a.name, lines[i], a.errno)
		}
	}
}

// parameters hands the elements of @a on.
func parameters(args string) string {
	if args == "" {
		return ""
	}
	var all strings.Builder
	for i := range strings.Count(args, ",") + 1 {
		fmt.Fprintf(&all, ", $a[%d]", i+1)
	}
	return all.String()
}

// TestOrdinaryPrograms run all the same.
func TestOrdinaryPrograms(t *testing.T) {
	for command, want := range map[string]string{
		"perl -e 'print 6*7'":                                                                      "42",
		"echo a >/tmp/a && tar -C /tmp -cf - a | tar -tf -":                                        "a",
		"setarch --addr-no-randomize true && echo personality":                                     "personality",
		"(sleep 0.1 & wait; echo jobs)":                                                            "jobs",
		"ip -o link show lo 2>/dev/null | grep -c LOOPBACK || ss -H -l >/dev/null && echo sockets": "sockets",
		"python3 -c 'import os, threading; threading.Thread(target=os.getpid).start(); print(1)'":  "1",
		"su - debian -c 'id -un'":                                                                  "debian",
		"apt-get --version | head -n 1 | cut -d' ' -f1":                                            "apt",
	} {
		if got := ssh(t, "root", command); !strings.Contains(got.stdout, want) {
			t.Errorf("%s: %+v, want %s", command, got, want)
		}
	}
}

// TestNothingOutsideIsReached looks, from inside a session, for what must not be
// there, and from outside whether anything has changed.
func TestNothingOutsideIsReached(t *testing.T) {
	canary := "/var/lib/sandtrap/canary"
	if err := os.WriteFile(canary, []byte("evidence"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Remove(canary) })
	for command, refusal := range map[string]string{
		"cat " + canary:                                                       "No such file",
		"ls /run/sandtrap-pods/":                                              "No such file",
		"ls /var/lib/pods":                                                    "No such file",
		"echo x >/proc/sys/kernel/core_pattern":                               "Read-only file system|Permission denied",
		"echo b >/proc/sysrq-trigger":                                         "Read-only file system|Permission denied|No such file",
		"echo 1 >/sys/kernel/mm/transparent_hugepage/enabled":                 "Read-only file system|Permission denied|No such file",
		"cat /proc/kcore | head -c 1":                                         "Permission denied|Operation not permitted|No such file",
		"mkdir /sys/fs/cgroup/escape":                                         "Read-only file system|Permission denied|No such file",
		"nsenter -t 1 -m true":                                                "not permitted|Permission denied|failed",
		"bash -c 'echo x >/dev/tcp/10.0.0.1/22'":                              "Network is unreachable",
		"dd if=/dev/sda of=/dev/null count=1":                                 "No such file",
		"mount -t proc proc /mnt":                                             "permission denied|not permitted|must be superuser",
		"echo 1 >/proc/1/oom_score_adj; echo -1000 >/proc/self/oom_score_adj": "Permission denied|denied",
	} {
		got := ssh(t, "root", command)
		all := got.stdout + got.stderr
		found := false
		for _, r := range strings.Split(refusal, "|") {
			found = found || strings.Contains(all, r)
		}
		if !found && (got.status == 0 || all != "") {
			t.Errorf("%s: %+v, want %s", command, got, refusal)
		}
	}
	if text, err := os.ReadFile(canary); err != nil || string(text) != "evidence" {
		t.Errorf("the canary is %q, %v", text, err)
	}
}
