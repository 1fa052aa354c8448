package escape

import (
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

const cgroup = "/sys/fs/cgroup/"

var cgroupRows = []row{
	{name: "make a child group", try: makesGroup, want: fileErrors, outside: "cgroups"},
	{name: "write cgroup.procs", try: writes(cgroup+"cgroup.procs", "0"), want: fileErrors, outside: "cgroups", unshown: "moves the process"},
	{name: "write cgroup.threads", try: writes(cgroup+"cgroup.threads", "0"), want: fileErrors, outside: "cgroups", unshown: "moves the process"},
	{name: "write cgroup.subtree_control", try: writes(cgroup+"cgroup.subtree_control", "+pids"), want: fileErrors, outside: "cgroups", unshown: "changes the machine"},
	{name: "write cgroup.type", try: writes(cgroup+"cgroup.type", "threaded"), want: fileErrors, outside: "cgroups", unshown: "changes the machine"},
	{name: "write cgroup.freeze", try: writes(cgroup+"cgroup.freeze", "0"), want: fileErrors, outside: "cgroups", unshown: "the first group of a machine has none"},
	{name: "write cgroup.kill", try: writes(cgroup+"cgroup.kill", "1"), want: fileErrors, outside: "cgroups", unshown: "kills"},
	{name: "write memory.max", try: writes(cgroup+"memory.max", "max"), want: fileErrors, outside: "cgroups", unshown: "the first group of a machine has none"},
	{name: "write memory.swap.max", try: writes(cgroup+"memory.swap.max", "max"), want: fileErrors, outside: "cgroups", unshown: "the first group of a machine has none"},
	{name: "write memory.high", try: writes(cgroup+"memory.high", "max"), want: fileErrors, outside: "cgroups", unshown: "the first group of a machine has none"},
	{name: "write memory.reclaim", try: writes(cgroup+"memory.reclaim", "1"), want: fileErrors, outside: "cgroups", unshown: "not every kernel has it"},
	{name: "write pids.max", try: writes(cgroup+"pids.max", "max"), want: fileErrors, outside: "cgroups", unshown: "the first group of a machine has none"},
	{name: "write cpu.max", try: writes(cgroup+"cpu.max", "max"), want: fileErrors, outside: "cgroups", unshown: "the first group of a machine has none"},
	{name: "write cpuset.cpus", try: writes(cgroup+"cpuset.cpus", "0-1"), want: fileErrors, outside: "cgroups", unshown: "the first group of a machine has none"},
	{name: "write release_agent", try: writes(cgroup+"release_agent", "/tmp/attempt"), want: fileErrors, outside: "cgroups", unshown: "cgroup v1 has it"},
	{name: "write notify_on_release", try: writes(cgroup+"notify_on_release", "1"), want: fileErrors, outside: "cgroups", unshown: "cgroup v1 has it"},
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
	if string(text) != "0::/\n" {
		return "the group is " + string(text)
	}
	return confined
}
