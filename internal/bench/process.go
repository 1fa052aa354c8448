package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// process is one process of this machine. Sizes are in bytes.
type process struct {
	pid, parent, threads int
	uid                  uint32
	name                 string
	anonymous, resident  int64 // RssAnon and VmRSS, see proc_pid_status(5)
}

// processes lists all that run; those that end meanwhile are left out.
func processes() (map[int]process, error) {
	directories, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return nil, err
	}
	all := map[int]process{}
	for _, dir := range directories {
		text, err := os.ReadFile(filepath.Join(dir, "status"))
		if err != nil {
			continue
		}
		if p := parseProcess(text); p.pid != 0 {
			all[p.pid] = p
		}
	}
	return all, nil
}

// parseProcess reads /proc/PID/status.
func parseProcess(text []byte) process {
	fields := parseFields(text)
	number := func(name string) int64 { n, _ := strconv.ParseInt(first(fields[name]), 10, 64); return n }
	return process{
		pid: int(number("Pid")), parent: int(number("PPid")), threads: int(number("Threads")), uid: uint32(number("Uid")),
		name: first(fields["Name"]), anonymous: number("RssAnon") << 10, resident: number("VmRSS") << 10,
	}
}

// parseFields reads lines of "name: value", as of /proc/meminfo.
func parseFields(text []byte) map[string]string {
	fields := map[string]string{}
	for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
		name, value, _ := strings.Cut(lines.Text(), ":")
		fields[name] = strings.TrimSpace(value)
	}
	return fields
}

func first(value string) string {
	word, _, _ := strings.Cut(value, "\t")
	word, _, _ = strings.Cut(word, " ")
	return word
}

// targets returns the monitors (conmon) of uid and all that runs below them:
// what the containers of SandTrap's account consist of.
func targets(all map[int]process, uid uint32) (conmons int, members []process) {
	below := map[int]bool{}
	for pid, p := range all {
		if p.name == "conmon" && p.uid == uid {
			below[pid] = true
			conmons++
		}
	}
	for again := true; again; {
		again = false
		for pid, p := range all {
			if !below[pid] && below[p.parent] {
				below[pid], again = true, true
			}
		}
	}
	for pid := range below {
		members = append(members, all[pid])
	}
	return conmons, members
}

// podmanAccount is the account that SandTrap's containers belong to.
func podmanAccount(ctx context.Context) (uint32, error) {
	pid, err := mainPID(ctx, podmanAPI)
	if err != nil {
		return 0, err
	}
	info, err := os.Stat(fmt.Sprintf("/proc/%d", pid))
	if err != nil {
		return 0, err
	}
	return info.Sys().(*syscall.Stat_t).Uid, nil
}

// apiProcess is the process of Podman's service that does the work: rootless
// Podman continues in a second one, in its own user namespace, whose name is that
// of /proc/self/exe at first.
func apiProcess(all map[int]process, service int) process {
	for _, p := range all {
		if p.parent == service && (p.name == "podman" || p.name == "exe") {
			return p
		}
	}
	return all[service]
}

// descriptors counts the open files of a process.
func descriptors(pid int) (int, error) {
	names, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	return len(names), err
}

// kernelMemory is what the kernel holds for processes and containers of the whole
// machine, in bytes: slab, stacks, page tables and memory per processor. The part
// of the slab that it could give back, mostly names and inodes of files, is also
// returned by itself.
func kernelMemory() (held, reclaimable int64, err error) {
	text, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0, 0, err
	}
	held, reclaimable = parseKernelMemory(text)
	return held, reclaimable, nil
}

func parseKernelMemory(text []byte) (held, reclaimable int64) {
	fields := parseFields(text)
	bytes := func(name string) int64 { n, _ := strconv.ParseInt(first(fields[name]), 10, 64); return n << 10 }
	return bytes("Slab") + bytes("KernelStack") + bytes("PageTables") + bytes("Percpu"), bytes("SReclaimable")
}

// cgroup is the directory of the control group that a server runs in. What it starts for
// a session moves to another one, at least where systemd makes one for it.
func (s *server) cgroup(ctx context.Context) (string, error) {
	var text string
	var err error
	switch s.name {
	case sandtrap:
		text, err = command(ctx, "systemctl", "show", "--property=MainPID", "--value", unit)
	case host:
		text, err = command(ctx, "systemctl", "show", "--property=MainPID", "--value", "bench-sshd.service")
	case inside:
		text, err = command(ctx, "podman", "inspect", "--format", "{{.State.Pid}}", "bench-sshd")
	}
	if err != nil {
		return "", err
	}
	groups, err := os.ReadFile(filepath.Join("/proc", text, "cgroup"))
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(groups)) {
		if path, ok := strings.CutPrefix(strings.TrimSpace(line), "0::"); ok {
			return filepath.Join("/sys/fs/cgroup", path), nil
		}
	}
	return "", fmt.Errorf("%s runs in no control group of version 2", s.name)
}

// parseUsage is the processor time in a cpu.stat; see "CPU Interface Files" in the
// kernel's cgroup-v2.rst.
func parseUsage(text []byte) time.Duration {
	for line := range strings.Lines(string(text)) {
		if n, ok := strings.CutPrefix(line, "usage_usec "); ok {
			usec, _ := strconv.ParseInt(strings.TrimSpace(n), 10, 64)
			return time.Duration(usec) * time.Microsecond
		}
	}
	return 0
}
