//go:build appliance || vm

package escape

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// outside is the machine, as it looks while attempts are made.
type outside struct {
	facts       facts
	possessions *possessions
	witness     *conversation
	sessions    []*session
	offset      float64 // of the clock to the time since boot, in seconds
	before      map[string]string
}

// look is an aspect in lines of text, which stay the same while nothing happens.
func (o *outside) look(aspect string) string {
	switch aspect {
	case "canaries":
		return o.canaries()
	case "cgroups":
		return o.cgroups()
	case "clock":
		return o.clock()
	case "files":
		return files()
	case "hostname":
		return contents("/proc/sys/kernel/hostname", "/proc/sys/kernel/domainname", "/etc/hostname")
	case "modules":
		return modules()
	case "mounts":
		return contents("/proc/1/mounts")
	case "processes":
		return processes()
	case "settings":
		return settings()
	}
	return "no such aspect"
}

// newOutside lays out what attempts look for. The witness is a session of its own.
func newOutside(t *testing.T) *outside {
	t.Helper()
	o := &outside{facts: facts{
		Canary: filepath.Join(stateDir, "canary"), Abstract: "@escape-machine", Queue: "escape-machine", Key: 0x5eed01, PID: os.Getpid(),
	}}
	w := &o.facts.Witness
	w.Canary, w.Abstract, w.Queue, w.Shared, w.Port, w.Key = "/root/witness-file", "@escape-witness", "escape-witness", "/dev/shm/escape-witness", 4711, 0x5eed02
	if err := os.WriteFile(o.facts.Canary, []byte(canaryText), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Remove(o.facts.Canary) })
	var err error
	if o.possessions, err = newPossessions(0, o.facts.Key, o.facts.Abstract, o.facts.Queue); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(o.possessions.close)
	o.facts.Port = o.possessions.port
	s := login(t, "root")
	s.upload(t)
	o.sessions = []*session{s}
	o.witness = converse(t, s.command("exec /tmp/x/"+programName+" witness"), o.facts)
	if got, err := o.witness.hear(); got != "ready" {
		t.Fatalf("the witness says %q, %v", got, err)
	}
	o.offset = clockOffset()
	return o
}

// remember looks at everything, twice, as a first look may change something: systemd
// mounts binfmt_misc when somebody looks into it.
func (o *outside) remember() {
	o.before = map[string]string{}
	for range 2 {
		for _, a := range aspects {
			o.before[a] = o.look(a)
		}
	}
}

// unchanged compares an aspect with what it was. The pool goes on meanwhile, so
// that it may take a moment. What has changed is told once.
func (o *outside) unchanged(aspect string) error {
	now := ""
	err := eventually(settling, func() error {
		if now = o.look(aspect); now != o.before[aspect] {
			return fmt.Errorf("%s changed: %s", aspect, difference(o.before[aspect], now))
		}
		return nil
	})
	if err != nil {
		o.before[aspect] = now
	}
	return err
}

// settling is how long a container may take to be made or removed.
const settling = time.Minute

// difference are the lines that one of two texts has.
func difference(before, after string) string {
	var all []string
	for _, d := range []struct{ sign, a, b string }{{"-", before, after}, {"+", after, before}} {
		has := map[string]bool{}
		for line := range strings.Lines(d.b) {
			has[line] = true
		}
		for line := range strings.Lines(d.a) {
			if !has[line] {
				all = append(all, d.sign+strings.TrimSpace(line))
			}
		}
	}
	return strings.Join(all, "\n")
}

// contents are files as far as they can be read.
func contents(paths ...string) string {
	var all strings.Builder
	for _, p := range paths {
		text, err := os.ReadFile(p)
		fmt.Fprintf(&all, "%s: %s %v\n", p, strings.TrimSpace(string(text)), err)
	}
	return all.String()
}

// canaries are things of the machine and of the other session that nobody touches,
// and whether that session still answers.
func (o *outside) canaries() string {
	echo, err := o.witness.ask("echo")
	return fmt.Sprintf("%s%s\n%s %v\n", contents(o.facts.Canary), o.possessions.state(), echo, err)
}

func clockOffset() float64 {
	var since unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &since); err != nil {
		return math.NaN()
	}
	return float64(time.Now().UnixNano())/1e9 - float64(since.Nano())/1e9
}

func (o *outside) clock() string {
	if moved := clockOffset() - o.offset; math.Abs(moved) > 5 {
		return fmt.Sprintf("moved by %.0f s", moved)
	}
	return "goes"
}

func modules() string {
	text, _ := os.ReadFile("/proc/modules")
	var all []string
	for line := range strings.Lines(string(text)) {
		name, _, _ := strings.Cut(line, " ")
		all = append(all, name+"\n")
	}
	sort.Strings(all)
	return strings.Join(all, "")
}

// settings are the files that rows try to write, and what else is set with a call.
func settings() string {
	// These change by themselves, or cannot be read.
	except := map[string]bool{"/proc/sys/kernel/ns_last_pid": true, "/proc/sysrq-trigger": true, "/sys/firmware/acpi/interrupts/sci": true}
	paths := []string{"/proc/swaps", "/sys/kernel/kexec_loaded"}
	for _, r := range settingRows {
		if path, ok := strings.CutPrefix(r.name, "write "); ok && !except[path] {
			paths = append(paths, path)
		}
	}
	formats, _ := filepath.Glob("/proc/sys/fs/binfmt_misc/*")
	return contents(paths...) + strings.Join(formats, "\n")
}

// cgroups are the groups of the sessions and of what is above them, with their
// limits.
func (o *outside) cgroups() string {
	var all strings.Builder
	for _, s := range o.sessions {
		root, err := s.cgroup()
		if err != nil {
			fmt.Fprintln(&all, err)
			continue
		}
		_ = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				fmt.Fprintln(&all, path, limits(path))
			}
			return nil
		})
		for dir := filepath.Dir(root); strings.HasPrefix(dir, "/sys/fs/cgroup/"); dir = filepath.Dir(dir) {
			fmt.Fprintln(&all, dir, limits(dir))
		}
	}
	return all.String()
}

// limits are the settings of one group.
func limits(dir string) string {
	files, _ := filepath.Glob(filepath.Join(dir, "*.max"))
	for _, name := range []string{"memory.high", "cgroup.subtree_control", "cgroup.type", "cgroup.freeze", "cpuset.cpus"} {
		files = append(files, filepath.Join(dir, name))
	}
	var all []string
	for _, f := range files {
		if text, err := os.ReadFile(f); err == nil {
			all = append(all, filepath.Base(f)+"="+strings.TrimSpace(string(text)))
		}
	}
	return strings.Join(all, " ")
}

// cgroup is the directory of the group that a session's target is in.
func (s *session) cgroup() (string, error) {
	if s.group != "" {
		return s.group, nil
	}
	pid, err := output("podman", "--url", podmanURL, "inspect", "--format", "{{.State.Pid}}", s.record.Target.Container)
	if err != nil {
		return "", errors.New(pid)
	}
	text, err := os.ReadFile("/proc/" + pid + "/cgroup")
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(text)) {
		if path, ok := strings.CutPrefix(strings.TrimSpace(line), "0::"); ok {
			s.group = filepath.Join("/sys/fs/cgroup", path)
			return s.group, nil
		}
	}
	return "", fmt.Errorf("process %s is in no group: %s", pid, text)
}

// files are those of the machine that nothing changes while it only runs SandTrap:
// all of /etc by content, and which there are where escapes would leave some.
func files() string {
	var all []string
	sum := sha256.New()
	_ = filepath.WalkDir("/etc", func(path string, d fs.DirEntry, err error) error {
		if err == nil {
			info, _ := d.Info()
			text := ""
			if d.Type().IsRegular() {
				raw, _ := os.ReadFile(path)
				text = fmt.Sprintf("%x", sha256.Sum256(raw))
			}
			fmt.Fprintln(sum, path, info.Mode(), text)
		}
		return nil
	})
	all = append(all, fmt.Sprintf("/etc %x", sum.Sum(nil)))
	for _, dir := range []string{"/", "/root", "/run", "/tmp", "/var/tmp", "/dev", "/var/lib", stateDir, "/usr/bin", "/usr/sbin", "/usr/libexec/sandtrap", "/usr/lib/systemd/system", "/var/spool", "/run/systemd/system"} {
		entries, _ := os.ReadDir(dir)
		for _, e := range entries {
			all = append(all, filepath.Join(dir, e.Name())+" "+e.Type().String())
		}
	}
	all = append(all, oddEvidence()...)
	return strings.Join(all, "\n")
}

// oddEvidence is everything in the state directory that is neither a directory nor
// an ordinary file without rights to run.
func oddEvidence() []string {
	var odd []string
	_ = filepath.WalkDir(stateDir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return nil
		}
		if info, err := d.Info(); err == nil && (!info.Mode().IsRegular() || info.Mode()&0o111 != 0) {
			odd = append(odd, path+" "+info.Mode().String())
		}
		return nil
	})
	return odd
}

// known are the programs that the account of the containers runs on the machine
// itself. Podman asks the package manager for versions when it is asked about itself,
// which the pool does twice a minute.
var known = map[string]bool{"podman": true, "podman pause": true, "conmon": true, "crun": true, "handover": true, "catatonit": true, "monitor": true, "clean-up": true,
	"sleep": true, "sh": true, "newuidmap": true, "newgidmap": true, "exe": true, "podman-filter": true, "runc": true, "bash": true, "dash": true, "dpkg": true, "dpkg-query": true}

// processes are those of the containers' accounts that are not in a namespace of a
// target, beside known programs.
func processes() string {
	mine, err := os.Readlink("/proc/1/ns/pid")
	if err != nil {
		return err.Error()
	}
	pods, _ := output("id", "-u", "sandtrap-pods")
	low, high := subordinate("sandtrap-pods")
	var all []string
	found, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range found {
		var st unix.Stat_t
		ns, err := os.Readlink(dir + "/ns/pid")
		if err != nil || ns != mine || unix.Stat(dir, &st) != nil {
			continue
		}
		name, _ := os.ReadFile(dir + "/comm")
		comm := strings.TrimSpace(string(name))
		foreign := uint64(st.Uid) >= low && uint64(st.Uid) < high
		if foreign || strconv.Itoa(int(st.Uid)) == pods && !known[comm] {
			all = append(all, fmt.Sprintf("%s of %d", comm, st.Uid))
		}
	}
	return strings.Join(all, "\n")
}

// subordinate is the range of ids in /etc/subuid; see subuid(5).
func subordinate(account string) (low, high uint64) {
	text, _ := os.ReadFile("/etc/subuid")
	for line := range strings.Lines(string(text)) {
		f := strings.Split(strings.TrimSpace(line), ":")
		if len(f) == 3 && f[0] == account {
			low, _ = strconv.ParseUint(f[1], 10, 32)
			n, _ := strconv.ParseUint(f[2], 10, 32)
			return low, low + n
		}
	}
	return 1 << 31, 1 << 31
}
