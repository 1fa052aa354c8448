package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sandtrap/sandtrap/internal/config"
)

// kernel wants Linux 5.11: overlay in user namespaces, and pidfd_getfd(2).
func kernel(ctx context.Context, m Machine) Finding {
	release, err := m.read("/proc/sys/kernel/osrelease")
	if err != nil {
		return fail("mount /proc", "cannot tell the kernel's version: %v", err)
	}
	if !atLeast(release, 5, 11) {
		return fail("use Linux 5.11 or later", "Linux %s has no overlay file systems in user namespaces", release)
	}
	return ok("Linux %s", release)
}

var numbers = regexp.MustCompile(`^\D*(\d+)\.(\d+)`)

// atLeast compares the first two numbers of a version.
func atLeast(version string, major, minor int) bool {
	m := numbers.FindStringSubmatch(version)
	if m == nil {
		return false
	}
	a, _ := strconv.Atoi(m[1])
	b, _ := strconv.Atoi(m[2])
	return a > major || a == major && b >= minor
}

// needed are the controllers that limits of targets take.
var needed = []string{"cpu", "memory", "pids"}

// controllers looks whether limits can be enforced.
func controllers(ctx context.Context, m Machine) Finding {
	there, err := m.read("/sys/fs/cgroup/cgroup.controllers")
	missing := lacking(there)
	given, unknown := m.Run(ctx, "systemctl", "show", "-P", "DelegateControllers", "sandtrap-podman.service")
	var detail string
	switch {
	case err != nil:
		detail = "no cgroup v2 at /sys/fs/cgroup"
	case len(missing) > 0:
		detail = "no controllers " + strings.Join(missing, ", ")
	case unknown == nil && len(lacking(given)) > 0:
		detail = "sandtrap-podman.service is not delegated " + strings.Join(lacking(given), ", ") + " (Delegate=)"
	default:
		return ok("cgroup v2 with %s", there)
	}
	if m.Config.Limits.Enforcement == config.EnforcementBestEffort {
		return warn("targets have no limits: keep strangers away from this machine", "%s; limits.enforcement is best-effort", detail)
	}
	return fail("boot with systemd.unified_cgroup_hierarchy=1, or in a container delegate the controllers", "%s", detail)
}

// lacking are the needed controllers that a list has not.
func lacking(there string) []string {
	return slices.DeleteFunc(slices.Clone(needed), func(c string) bool { return contains(strings.Fields(there), c) })
}

func contains(list []string, one string) bool {
	for _, l := range list {
		if l == one {
			return true
		}
	}
	return false
}

// userNamespaces looks whether ordinary accounts may make them.
func userNamespaces(_ context.Context, m Machine) Finding {
	for path, bad := range map[string]string{
		"/proc/sys/user/max_user_namespaces": "0", "/proc/sys/kernel/unprivileged_userns_clone": "0", "/proc/sys/kernel/apparmor_restrict_unprivileged_userns": "1",
	} {
		if value, err := m.read(path); err == nil && value == bad {
			name := strings.ReplaceAll(strings.TrimPrefix(path, "/proc/sys/"), "/", ".")
			if strings.Contains(name, "apparmor") {
				return warn("newuidmap and crun need an AppArmor profile that allows it, as the distribution's packages bring", "%s is %s", name, bad)
			}
			return fail("sysctl -w "+name+" to something else, and in /etc/sysctl.d", "%s is %s: rootless containers cannot be made", name, bad)
		}
	}
	return ok("allowed")
}

// ptrace looks whether the handover helper may take a leader's stream.
func ptrace(_ context.Context, m Machine) Finding {
	value, err := m.read("/proc/sys/kernel/yama/ptrace_scope")
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return ok("no Yama")
	case value == "3":
		return fail("set kernel.yama.ptrace_scope to 2 or less; it takes a reboot", "kernel.yama.ptrace_scope is 3: nobody may take a target's stream")
	}
	return ok("kernel.yama.ptrace_scope is %s", value)
}

// securityModules names what else decides about our programs: nothing says whose denial
// an EACCES was, and the units are tested with AppArmor only.
func securityModules(_ context.Context, m Machine) Finding {
	if enforce, err := m.read("/sys/fs/selinux/enforce"); err == nil && enforce == "1" {
		return warn("if something is refused, see what: ausearch -m avc -ts recent", "SELinux enforces, with which SandTrap is not tested")
	}
	if enabled, err := m.read("/sys/module/apparmor/parameters/enabled"); err == nil && enabled == "Y" {
		return ok("AppArmor")
	}
	return ok("neither SELinux enforces nor AppArmor")
}

func seccomp(_ context.Context, m Machine) Finding {
	actions, err := m.read("/proc/sys/kernel/seccomp/actions_avail")
	if err != nil || !strings.Contains(actions, "errno") {
		return fail("use a kernel with CONFIG_SECCOMP_FILTER", "the kernel cannot filter system calls")
	}
	const profile = "/usr/lib/sandtrap/pods/seccomp.json"
	if _, err := os.Stat(filepath.Join(m.Root, profile)); err != nil {
		return fail("install the package again", "the profile of targets is missing: %v", err)
	}
	return ok("profile %s", profile)
}

// corePattern looks whether a program of a target that crashes has the kernel start a
// program here, as root and outside of every sandbox: RLIMIT_CORE does not keep it from
// that, see core(5).
func corePattern(_ context.Context, m Machine) Finding {
	pattern, err := m.read("/proc/sys/kernel/core_pattern")
	if err == nil && strings.HasPrefix(pattern, "|") {
		return warn("sysctl -w kernel.core_pattern=core, and in /etc/sysctl.d", "crashes in targets are handed to a program that runs as root: %.60q", pattern)
	}
	return ok("crashes in targets start nothing")
}

// Accounts of the package.
const (
	frontEnd = "sandtrap"
	pods     = "sandtrap-pods"
	filter   = "sandtrap-filter"
	quota    = "sandtrap-quota"
	layer    = "sandtrap-layer"
)

func accounts(_ context.Context, m Machine) Finding {
	for _, name := range []string{frontEnd, pods, filter, quota, layer} {
		if err := m.Account(name); err != nil {
			return fail("systemd-sysusers sandtrap.conf", "account %s is missing", name)
		}
	}
	return ok("%s, %s, %s, %s, %s", frontEnd, pods, filter, quota, layer)
}

// leastIDs is what a target of the usual kind has, see subuid(5).
const leastIDs = 65536

func subordinateIDs(_ context.Context, m Machine) Finding {
	for _, file := range []string{"/etc/subuid", "/etc/subgid"} {
		text, err := m.read(file)
		if err != nil {
			return fail("/usr/libexec/sandtrap/subordinate-ids "+pods, "%v", err)
		}
		count := 0
		for _, line := range strings.Split(text, "\n") {
			if field := strings.Split(line, ":"); len(field) == 3 && field[0] == pods {
				n, _ := strconv.Atoi(field[2])
				count += n
			}
		}
		if count < leastIDs {
			return fail("/usr/libexec/sandtrap/subordinate-ids "+pods, "%s gives %s %d ids, want %d", file, pods, count, leastIDs)
		}
	}
	return ok("at least %d for %s", leastIDs, pods)
}

// Marks of a file system's free space, in bytes.
const (
	littleSpace = 5 << 30
	noSpace     = 512 << 20
)

func disk(_ context.Context, m Machine) Finding {
	var seen []string
	for _, path := range []string{m.Config.StateDir, "/var/lib/pods"} {
		n, err := m.Free(filepath.Join(m.Root, path))
		if err != nil {
			return fail("make "+path+": systemd-tmpfiles --create sandtrap.conf", "%v", err)
		}
		text := fmt.Sprintf("%s has %d MiB free", path, n>>20)
		least := uint64(noSpace)
		if path == m.Config.StateDir {
			least = max(least, uint64(m.Config.Recording.MinFree))
		}
		switch {
		case n < least:
			return fail("make room: no program starts when too little can be recorded, see recording.min_free", "%s", text)
		case n < littleSpace:
			return warn("make room: recordings and stopped containers grow", "%s", text)
		}
		seen = append(seen, text)
	}
	return ok("%s", strings.Join(seen, ", "))
}

// state looks who may read the evidence and the configuration.
func state(_ context.Context, m Machine) Finding {
	for path, most := range map[string]fs.FileMode{m.Config.StateDir: 0o750, "/etc/sandtrap": 0o750} {
		info, err := os.Stat(filepath.Join(m.Root, path))
		if err != nil {
			return fail("systemd-tmpfiles --create sandtrap.conf", "%v", err)
		}
		if mode := info.Mode().Perm(); mode&^most != 0 {
			return warn(fmt.Sprintf("chmod %o %s", most, path), "%s is open to others (%#o)", path, mode)
		}
	}
	return ok("%s and /etc/sandtrap are private", m.Config.StateDir)
}

// released is a day before which no clock of a running SandTrap can be right.
var released = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func clock(ctx context.Context, m Machine) Finding {
	now := m.Now()
	if now.Before(released) {
		return fail("set the clock: evidence with a wrong time is worth little", "it says %s", now.UTC().Format(time.RFC3339))
	}
	synced, err := m.Run(ctx, "timedatectl", "show", "-P", "NTPSynchronized")
	if err != nil || synced != "yes" {
		return warn("run systemd-timesyncd or chrony: times in evidence should be comparable with those of others", "it is not known to be synchronised")
	}
	return ok("synchronised")
}
