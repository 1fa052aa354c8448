package escape

import (
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

const cgroup = "/sys/fs/cgroup/"

var cgroupRows = []row{
	{name: "make a child group", try: makesGroup, want: fileErrors, outside: "cgroups"},
	{name: "write cgroup.procs", try: writesTame(cgroup+"cgroup.procs", "0"), want: fileErrors, outside: "cgroups", unshown: "moves the process"},
	{name: "write cgroup.threads", try: writesTame(cgroup+"cgroup.threads", "0"), want: fileErrors, outside: "cgroups", unshown: "moves the process"},
	{name: "write cgroup.subtree_control", try: writesTame(cgroup+"cgroup.subtree_control", "+pids"), want: fileErrors, outside: "cgroups", unshown: "changes the machine"},
	{name: "write cgroup.type", try: writesTame(cgroup+"cgroup.type", "threaded"), want: fileErrors, outside: "cgroups", unshown: "changes the machine"},
	{name: "write cgroup.freeze", try: writesTame(cgroup+"cgroup.freeze", "0"), want: fileErrors, outside: "cgroups", unshown: "the first group of a machine has none"},
	{name: "write cgroup.kill", try: writesTame(cgroup+"cgroup.kill", "1"), want: fileErrors, outside: "cgroups", unshown: "kills"},
	{name: "write memory.max", try: writesTame(cgroup+"memory.max", "max"), want: fileErrors, outside: "cgroups", unshown: "the first group of a machine has none"},
	{name: "write memory.swap.max", try: writesTame(cgroup+"memory.swap.max", "max"), want: fileErrors, outside: "cgroups", unshown: "the first group of a machine has none"},
	{name: "write memory.high", try: writesTame(cgroup+"memory.high", "max"), want: fileErrors, outside: "cgroups", unshown: "the first group of a machine has none"},
	{name: "write memory.reclaim", try: writesTame(cgroup+"memory.reclaim", "1"), want: fileErrors, outside: "cgroups", unshown: "not every kernel has it"},
	{name: "write pids.max", try: writesTame(cgroup+"pids.max", "max"), want: fileErrors, outside: "cgroups", unshown: "the first group of a machine has none"},
	{name: "write cpu.max", try: writesTame(cgroup+"cpu.max", "max"), want: fileErrors, outside: "cgroups", unshown: "the first group of a machine has none"},
	{name: "write cpuset.cpus", try: writesTame(cgroup+"cpuset.cpus", "0-1"), want: fileErrors, outside: "cgroups", unshown: "the first group of a machine has none"},
	{name: "write release_agent", try: writesTame(cgroup+"release_agent", "/tmp/attempt"), want: fileErrors, outside: "cgroups", unshown: "cgroup v1 has it"},
	{name: "write notify_on_release", try: writesTame(cgroup+"notify_on_release", "1"), want: fileErrors, outside: "cgroups", unshown: "cgroup v1 has it"},
	{name: "limits of the groups above", try: climbsGroups, want: confined, outside: "cgroups", unshown: "there is nothing above the first group"},
}

func makesGroup(facts) string {
	path := filepath.Join(cgroup, "attempt")
	err := os.Mkdir(path, 0o755)
	if err == nil {
		_ = unix.Rmdir(path)
	}
	return outcome(err)
}

// climbsGroups looks for a group above the target's own, which its cgroup namespace
// hides: see cgroup_namespaces(7).
func climbsGroups(facts) string {
	for _, above := range []string{"..", "../..", "../../.."} {
		if _, err := os.Stat(filepath.Join("/proc/self/root", cgroup) + "/" + above + "/cgroup.controllers"); err == nil {
			return above + " is a group"
		}
	}
	text, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return outcome(err)
	}
	for line := range strings.Lines(string(text)) {
		if !strings.HasSuffix(line, ":/\n") {
			return "the group is " + line
		}
	}
	return confined
}
