package escape

import (
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// Files of /proc and /sys that set something of the whole kernel, and what would be
// written there. All of it is harmless.
var settingRows = append(settingFileRows(
	"/proc/sys/kernel/core_pattern", "|/tmp/attempt %p",
	"/proc/sys/kernel/modprobe", "/tmp/attempt",
	"/proc/sys/kernel/hotplug", "/tmp/attempt",
	"/proc/sys/kernel/poweroff_cmd", "/tmp/attempt",
	"/proc/sys/kernel/sysrq", "1",
	"/proc/sys/kernel/hostname", "attempt",
	"/proc/sys/kernel/domainname", "attempt",
	"/proc/sys/kernel/randomize_va_space", "0",
	"/proc/sys/kernel/kptr_restrict", "0",
	"/proc/sys/kernel/dmesg_restrict", "0",
	"/proc/sys/kernel/unprivileged_bpf_disabled", "0",
	"/proc/sys/kernel/yama/ptrace_scope", "0",
	"/proc/sys/kernel/ns_last_pid", "1000",
	"/proc/sys/kernel/keys/maxkeys", "1",
	"/proc/sys/kernel/usermodehelper/bset", "0 0",
	"/proc/sys/fs/suid_dumpable", "2",
	"/proc/sys/fs/protected_symlinks", "0",
	"/proc/sys/fs/protected_hardlinks", "0",
	"/proc/sys/fs/binfmt_misc/register", ":attempt:M::attempt::/bin/sh:",
	"/proc/sys/vm/overcommit_memory", "1",
	"/proc/sys/vm/drop_caches", "1",
	"/proc/sys/vm/mmap_min_addr", "0",
	"/proc/sys/user/max_user_namespaces", "1000",
	"/proc/sys/net/ipv4/ip_forward", "1",
	"/proc/sys/net/ipv4/ping_group_range", "0 4294967295",
	"/proc/sys/net/core/bpf_jit_enable", "1",
	"/proc/sysrq-trigger", "h",
	"/proc/irq/0/smp_affinity", "1",
	"/proc/irq/default_smp_affinity", "1",
	"/proc/mtrr", "x",
	"/proc/acpi/wakeup", "x",
	"/proc/scsi/scsi", "x",
	"/sys/kernel/uevent_helper", "/tmp/attempt",
	"/sys/kernel/mm/transparent_hugepage/enabled", "always",
	"/sys/kernel/mm/ksm/run", "0",
	"/sys/kernel/profiling", "1",
	"/sys/kernel/kexec_crash_size", "0",
	"/sys/kernel/cpu_byteorder", "x",
	"/sys/power/state", "x",
	"/sys/power/pm_test", "none",
	"/sys/module/kernel/parameters/panic", "0",
	"/sys/bus/pci/rescan", "0",
	"/sys/bus/platform/drivers_probe", "x",
	"/sys/devices/system/cpu/online", "x",
	"/sys/block/loop0/uevent", "x",
	"/sys/class/net/lo/mtu", "1500",
	"/sys/firmware/acpi/interrupts/sci", "x",
), secretRows...)

// rare are those that a test system may not have, or not let its own root write:
// then their row cannot be seen to fail there.
const rare = " kernel/hotplug kernel/modprobe kernel/sysrq user/max_user_namespaces sysrq-trigger kernel/yama/ptrace_scope kernel/usermodehelper/bset kernel/unprivileged_bpf_disabled fs/binfmt_misc/register" +
	" net/core/bpf_jit_enable kernel/poweroff_cmd mtrr acpi/wakeup scsi/scsi irq/0/smp_affinity "

func settingFileRows(pairs ...string) []row {
	var all []row
	for i := 0; i < len(pairs); i += 2 {
		r := row{name: "write " + pairs[i], try: writesTame(pairs[i], pairs[i+1]), want: fileErrors, outside: "settings"}
		if strings.HasPrefix(pairs[i], "/sys/") || strings.Contains(rare, " "+strings.TrimPrefix(strings.TrimPrefix(pairs[i], "/proc/"), "sys/")+" ") {
			r.unshown = "not every kernel has it or lets it be written"
		}
		all = append(all, r)
	}
	return all
}

// secretRows read what tells about the machine or its memory.
var secretRows = []row{
	{name: "read /proc/kcore", try: readsFile("/proc/kcore"), want: fileErrors + "|empty", outside: "settings", unshown: "locked down in some kernels"},
	{name: "read /proc/kmsg", try: readsFile("/proc/kmsg"), want: fileErrors, outside: "settings", unshown: "a read takes from the log, and an empty one waits"},
	{name: "read /proc/keys", try: readsFile("/proc/keys"), want: fileErrors + "|empty", outside: "settings", unshown: "not every kernel has keys there"},
	{name: "read /proc/timer_list", try: readsFile("/proc/timer_list"), want: fileErrors + "|empty", outside: "settings", unshown: "not every kernel has it"},
	{name: "read /proc/vmallocinfo", try: readsFile("/proc/vmallocinfo"), want: fileErrors + "|empty", outside: "settings"},
	{name: "read /proc/pagetypeinfo", try: readsFile("/proc/pagetypeinfo"), want: fileErrors + "|empty", outside: "settings"},
	{name: "read /proc/slabinfo", try: readsFile("/proc/slabinfo"), want: fileErrors + "|empty", outside: "settings", unshown: "not every kernel has it"},
	{name: "addresses in /proc/kallsyms", try: readsSymbols, want: confined, outside: "settings"},
	{name: "read /sys/kernel/debug", try: listsDirectory("/sys/kernel/debug"), want: fileErrors + "|empty", outside: "settings", unshown: "a mount that not every system has"},
	{name: "read /sys/kernel/tracing", try: listsDirectory("/sys/kernel/tracing"), want: fileErrors + "|empty", outside: "settings", unshown: "a mount that not every system has"},
	{name: "read /sys/kernel/security", try: listsDirectory("/sys/kernel/security"), want: fileErrors + "|empty", outside: "settings", unshown: "a mount that not every system has"},
	{name: "read /sys/firmware", try: listsDirectory("/sys/firmware"), want: fileErrors + "|empty", outside: "settings", unshown: "not every machine has it"},
	{name: "read /sys/fs/selinux", try: listsDirectory("/sys/fs/selinux"), want: fileErrors + "|empty", outside: "settings", unshown: "not every machine has it"},
}

func readsFile(path string) func(facts) string {
	return func(facts) string {
		fd, err := unix.Open(path, unix.O_RDONLY|unix.O_NONBLOCK, 0)
		if err != nil {
			return outcome(err)
		}
		n, err := unix.Read(fd, make([]byte, 64))
		switch {
		case err != nil:
			return outcome(err)
		case n == 0:
			return "empty"
		}
		return done
	}
}

func listsDirectory(path string) func(facts) string {
	return func(facts) string {
		entries, err := os.ReadDir(path)
		switch {
		case err != nil:
			return outcome(err)
		case len(entries) == 0:
			return "empty"
		}
		return done
	}
}

// readsSymbols looks for a kernel address other than zero.
func readsSymbols(facts) string {
	text, err := os.ReadFile("/proc/kallsyms")
	if err != nil {
		return confined
	}
	for line := range strings.Lines(string(text)) {
		if address, _, _ := strings.Cut(line, " "); strings.Trim(address, "0") != "" {
			return done
		}
	}
	return confined
}
