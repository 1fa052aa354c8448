package doctor

import (
	"context"
	"errors"
	"maps"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sandtrap/sandtrap/internal/config"
)

// files of a machine on which all is well.
var files = map[string]string{
	"/proc/sys/kernel/osrelease":             "6.12.1-amd64",
	"/proc/sys/user/max_user_namespaces":     "50000",
	"/proc/sys/kernel/yama/ptrace_scope":     "1",
	"/proc/sys/kernel/core_pattern":          "core",
	"/proc/sys/kernel/seccomp/actions_avail": "kill_process errno allow",
	"/sys/fs/cgroup/cgroup.controllers":      "cpuset cpu io memory pids",
	"/etc/subuid":                            "root:1:1\nsandtrap-pods:100000:65536\n",
	"/etc/subgid":                            "sandtrap-pods:100000:65536\n",
	"/usr/lib/sandtrap/pods/seccomp.json":    "{}",
	"/proc/self/mounts":                      "/dev/vda / ext4 rw 0 0\n/dev/loop0 /var/lib/pods/data xfs rw,nodev,noatime,prjquota 0 0\n",
	"/etc/sandtrap/sandtrap.yaml":            "",

	"/etc/sandtrap/hostkeys/ssh_host_rsa_key":     "x",
	"/etc/sandtrap/hostkeys/ssh_host_ecdsa_key":   "x",
	"/etc/sandtrap/hostkeys/ssh_host_ed25519_key": "x",
	"/etc/sandtrap/sealkey/seal_ed25519_key":      "x",
	"/etc/sandtrap/allowed_signers":               "x",

	"/var/lib/pods/x":     "",
	"/var/lib/sandtrap/x": "",
}

const podmanSays = `{"host":{"ociRuntime":{"name":"crun","version":"crun version 1.21\ncommit"},"security":{"rootless":true,"seccompEnabled":true,
"seccompProfilePath":"/usr/lib/sandtrap/pods/seccomp.json"},"freeLocks":2000},"store":{"graphDriverName":"overlay","graphStatus":{"Backing Filesystem":"extfs"}},
"version":{"Version":"5.4.2"}}`

// answers of commands, by their beginning; the longest counts.
var answers = map[string]string{
	"systemctl --version": "systemd 257 (257.7-1)\n+PAM", "systemctl is-enabled": "enabled", "systemctl is-active": "active",
	"systemctl show -P Listen": "0.0.0.0:22 (Stream)\n[::]:22 (Stream)", "systemctl show -P ActiveState": "inactive\n\ninactive",
	"systemctl show -P DelegateControllers":                   "cpu cpuset io memory pids",
	"podman --url unix:///run/sandtrap-pods/podman.sock info": podmanSays, "podman --url unix:///run/sandtrap-pods/podman.sock image": "0123456789abcdef0123",
	"timedatectl": "yes",
}

// well is such a machine, with changes to its files and answers. An answer that
// starts with "!" fails.
func well(t *testing.T, changed map[string]string) Machine {
	t.Helper()
	m := Machine{Config: config.Default(), Root: t.TempDir(), Now: func() time.Time { return time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC) }}
	m.Account = func(name string) error {
		if changed[name] != "" {
			return errors.New("unknown user")
		}
		return nil
	}
	m.Free = func(string) (uint64, error) { return 100 << 30, nil }
	there := maps.Clone(files)
	for path, text := range changed {
		if strings.HasPrefix(path, "/") {
			there[path] = text
		}
	}
	for path, text := range there {
		if text == "-" {
			continue
		}
		full := filepath.Join(m.Root, path)
		if err := os.MkdirAll(filepath.Dir(full), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(full, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	m.Run = func(_ context.Context, name string, args ...string) (string, error) {
		line, best := strings.Join(append([]string{name}, args...), " "), ""
		for _, list := range []map[string]string{answers, changed} {
			for start := range list {
				if strings.HasPrefix(line, start) && len(start) >= len(best) {
					best = start
				}
			}
		}
		text, ok := changed[best]
		if !ok {
			text = answers[best]
		}
		if rest, failed := strings.CutPrefix(text, "!"); failed {
			return rest, errors.New("exit status 1")
		}
		return text, nil
	}
	listen(t, m)
	return m
}

// listen makes the sockets. Paths of sockets are short, so it goes there.
func listen(t *testing.T, m Machine) {
	t.Helper()
	dir := filepath.Join(m.Root, "run/sandtrap-pods")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Chdir(dir)
	for _, name := range []string{"podman.sock", "filter.sock", "handover.sock", "quota.sock", "layer.sock"} {
		l, err := net.Listen("unix", name)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		if err := os.Chmod(name, 0o660); err != nil {
			t.Fatal(err)
		}
	}
}

func TestAllIsWell(t *testing.T) {
	for _, f := range Examine(t.Context(), well(t, nil)) {
		if f.Level != OK || f.Hint != "" || f.Detail == "" {
			t.Errorf("%+v", f)
		}
	}
}

func TestWhatIsWrong(t *testing.T) {
	podman := "podman --url unix:///run/sandtrap-pods/podman.sock info"
	for name, tt := range map[string]struct {
		changed map[string]string
		check   string
		level   Level
		detail  string
	}{
		"old kernel":           {map[string]string{"/proc/sys/kernel/osrelease": "5.10.0-x"}, "kernel", Failure, "5.10"},
		"no cgroup v2":         {map[string]string{"/sys/fs/cgroup/cgroup.controllers": "-"}, "cgroup", Failure, "no cgroup v2"},
		"none for Podman":      {map[string]string{"systemctl show -P DelegateControllers": "pids"}, "cgroup", Failure, "sandtrap-podman.service is not delegated cpu, memory"},
		"old crun":             {map[string]string{podman: strings.Replace(podmanSays, "1.21", "0.17", 1)}, "runtime", Warning, "0.17"},
		"no store":             {map[string]string{"/proc/self/mounts": "/dev/vda / ext4 rw 0 0"}, "store", Failure, "not mounted"},
		"a store of ext4":      {map[string]string{"/proc/self/mounts": "x /var/lib/pods/data ext4 rw 0 0"}, "store", Failure, "ext4 without project quotas"},
		"a store without them": {map[string]string{"/proc/self/mounts": "x /var/lib/pods/data xfs rw,noquota 0 0"}, "store", Failure, "without project quotas"},
		"a store in trouble":   {map[string]string{storeData: "not a directory"}, "store", Failure, "no target can be made"},
		"a read-only store":    {map[string]string{"/proc/self/mounts": "x /var/lib/pods/data xfs ro,prjquota 0 0"}, "store", Failure, "read-only"},
		"no memory controller": {map[string]string{"/sys/fs/cgroup/cgroup.controllers": "cpu pids"}, "cgroup", Failure, "memory"},
		"no user namespaces":   {map[string]string{"/proc/sys/user/max_user_namespaces": "0"}, "user-namespaces", Failure, "user.max_user_namespaces is 0"},
		"nobody may trace":     {map[string]string{"/proc/sys/kernel/yama/ptrace_scope": "3"}, "ptrace", Failure, "is 3"},
		"SELinux":              {map[string]string{"/sys/fs/selinux/enforce": "1"}, "security-modules", Warning, "SELinux enforces"},
		"no seccomp":           {map[string]string{"/proc/sys/kernel/seccomp/actions_avail": ""}, "seccomp", Failure, "cannot filter"},
		"a core pattern":       {map[string]string{"/proc/sys/kernel/core_pattern": "|/usr/share/apport/apport -p%p"}, "core-pattern", Warning, "apport"},
		"no profile":           {map[string]string{"/usr/lib/sandtrap/pods/seccomp.json": "-"}, "seccomp", Failure, "missing"},
		"no account":           {map[string]string{"sandtrap-filter": "gone"}, "accounts", Failure, "sandtrap-filter"},
		"no subordinate ids":   {map[string]string{"/etc/subgid": "root:1:65536"}, "subordinate-ids", Failure, "/etc/subgid gives sandtrap-pods 0 ids"},
		"old systemd":          {map[string]string{"systemctl --version": "systemd 252 (252.1)"}, "systemd", Failure, "252"},
		"old Podman":           {map[string]string{podman: strings.Replace(podmanSays, "5.4.2", "4.3.1", 1)}, "podman", Failure, "4.3.1"},
		"Podman of root":       {map[string]string{podman: strings.Replace(podmanSays, `"rootless":true`, `"rootless":false`, 1)}, "podman", Failure, "as root"},
		"few locks":            {map[string]string{podman: strings.Replace(podmanSays, "2000", "20", 1)}, "podman", Warning, "20 locks"},
		"no Podman":            {map[string]string{podman: "!cannot connect"}, "podman", Failure, "cannot connect"},
		"no Podman, runtime":   {map[string]string{podman: "!"}, "runtime", Failure, "not known"},
		"no Podman, storage":   {map[string]string{podman: "!"}, "storage", Failure, "not known"},
		"runc":                 {map[string]string{podman: strings.Replace(podmanSays, `"crun"`, `"runc"`, 1)}, "runtime", Warning, "runc"},
		"another profile":      {map[string]string{podman: strings.Replace(podmanSays, "/usr/lib/sandtrap/pods", "/usr/share/containers", 1)}, "runtime", Warning, "/usr/share"},
		"vfs":                  {map[string]string{podman: strings.Replace(podmanSays, `"overlay"`, `"vfs"`, 1)}, "storage", Warning, "vfs"},
		"no image":             {map[string]string{"podman --url unix:///run/sandtrap-pods/podman.sock image": "!"}, "image", Failure, "not there"},
		"not enabled":          {map[string]string{"systemctl is-enabled": "!disabled"}, "units", Warning, "disabled"},
		"a socket is down":     {map[string]string{"systemctl is-active sandtrap-filter.socket": "!failed"}, "units", Failure, "sandtrap-filter.socket is failed"},
		"the service failed":   {map[string]string{"systemctl is-active sandtrap.service": "!failed"}, "units", Failure, "sandtrap.service is failed"},
		"the port is taken": {map[string]string{"systemctl show -P ActiveState": "active\n\ninactive", "systemctl is-active sandtrap.socket": "!failed"},
			"port", Failure, "real sshd"},
		"another port": {map[string]string{"systemctl show -P Listen": "0.0.0.0:2222 (Stream)"}, "port", Warning, "2222"},
		"no clock":     {map[string]string{"timedatectl": "no"}, "clock", Warning, "not known"},
	} {
		t.Run(name, func(t *testing.T) { expect(t, well(t, tt.changed), tt.check, tt.level, tt.detail) })
	}
}

// expect looks at the outcome of one check. What is wrong has a hint.
func expect(t *testing.T, m Machine, check string, level Level, detail string) {
	t.Helper()
	for _, f := range Examine(t.Context(), m) {
		if f.Check == check {
			if f.Level != level || !strings.Contains(f.Detail, detail) || f.Hint == "" {
				t.Errorf("%+v, want %s and %q", f, level, detail)
			}
			return
		}
	}
	t.Errorf("there is no check %s", check)
}

func TestWithoutLimits(t *testing.T) {
	m := well(t, map[string]string{"/sys/fs/cgroup/cgroup.controllers": ""})
	m.Config.Limits.Enforcement = config.EnforcementBestEffort
	expect(t, m, "cgroup", Warning, "best-effort")
	m = well(t, map[string]string{"/proc/self/mounts": ""})
	m.Config.Limits.Enforcement = config.EnforcementBestEffort
	expect(t, m, "store", Warning, "not mounted")
}

func TestSmallStore(t *testing.T) {
	for free, level := range map[uint64]Level{2 << 30: Failure, 10 << 30: Warning} {
		m := well(t, nil)
		m.Free = func(path string) (uint64, error) {
			if strings.HasSuffix(path, storeData) {
				return free, nil
			}
			return 100 << 30, nil
		}
		expect(t, m, "store", level, "targets of 512MiB")
	}
}

// TestSmallStoreForSeveral counts with what is kept ready of all targets.
func TestSmallStoreForSeveral(t *testing.T) {
	for free, want := range map[uint64]Finding{
		// One more than 2 and 3 that are ready, of 512 MiB.
		3<<30 - 1: {Level: Failure, Detail: storeData + " has room for 5 more targets of 512MiB"},
		// Up to 16 and 8, and 64 in use.
		3 << 30:    {Level: Warning, Detail: storeData + " has room for 6 targets of 512MiB, and 88 are configured"},
		44<<30 - 1: {Level: Warning, Detail: storeData + " has room for 87 targets of 512MiB, and 88 are configured"},
		44 << 30:   {Level: OK, Detail: "xfs, 512MiB for each target"},
	} {
		m := well(t, nil)
		m.Config.Targets = []config.TargetEntry{{Name: "debian", Min: 2}, {Name: "web", Min: 3, Max: 8}}
		m.Free = func(string) (uint64, error) { return free, nil }
		if f := store(t.Context(), m); f.Level != want.Level || f.Detail != want.Detail {
			t.Errorf("with %d bytes: %+v, want %+v", free, f, want)
		}
	}
}

// TestImages looks for that of each target, and says where the missing ones come from.
func TestImages(t *testing.T) {
	const inspect = "podman --url unix:///run/sandtrap-pods/podman.sock image inspect --format {{.Id}} "
	const debian, web, mine, yours = "localhost/sandtrap-target-debian:latest", "localhost/sandtrap-target-web:latest", "localhost/sandtrap-target-mine:latest", "yours:1"
	const build, is = "systemctl start sandtrap-target-debian-build.service", " is 0123456789abcdef012, "
	for name, tt := range map[string]struct {
		missing []string
		want    Finding
	}{
		"all there": {nil, Finding{Level: OK, Detail: debian + is + mine + is + yours + is + web + strings.TrimSuffix(is, ", ")}},
		"shipped":   {[]string{debian}, Finding{Level: Failure, Detail: debian + " is not there", Hint: build + ", or build your own"}},
		"two": {[]string{debian, web}, Finding{
			Level: Failure, Detail: debian + ", " + web + " are not there", Hint: build + " sandtrap-target-web-build.service, or build your own",
		}},
		"not":  {[]string{mine, yours}, Finding{Level: Failure, Detail: mine + ", " + yours + " are not there", Hint: "build your own"}},
		"both": {[]string{debian, yours}, Finding{Level: Failure, Detail: debian + ", " + yours + " are not there", Hint: build + "; build your own " + yours}},
	} {
		t.Run(name, func(t *testing.T) {
			changed := map[string]string{}
			for _, image := range tt.missing {
				changed[inspect+image] = "!"
			}
			m := well(t, changed)
			m.Config.Targets = []config.TargetEntry{{Name: "debian"}, {Name: "mine"}, {Name: "other", Image: yours}, {Name: "web"}}
			if f := image(t.Context(), m); f != tt.want {
				t.Errorf("%+v, want %+v", f, tt.want)
			}
		})
	}
}

// TestShipped: each image that the package builds is one that is looked for.
func TestShipped(t *testing.T) {
	for _, name := range shipped {
		text, err := os.ReadFile("../../quadlet/sandtrap-target-" + name + ".build")
		if err != nil || !strings.Contains(string(text), "\nImageTag=localhost/sandtrap-target-"+name+":latest\n") {
			t.Errorf("%s: %v\n%s", name, err, text)
		}
	}
	if units, err := filepath.Glob("../../quadlet/sandtrap-target-*.build"); err != nil || len(units) != len(shipped) {
		t.Errorf("%v are built, %v are known: %v", units, shipped, err)
	}
}

func TestPastTheFilter(t *testing.T) {
	m := well(t, nil)
	m.Config.Podman.Socket = podmanSocket
	expect(t, m, "sockets", Warning, "passes by")
}

func TestOpenSocket(t *testing.T) {
	m := well(t, nil)
	if err := os.Chmod("filter.sock", 0o666); err != nil {
		t.Fatal(err)
	}
	expect(t, m, "sockets", Failure, "mode")
	if err := os.Remove("filter.sock"); err != nil {
		t.Fatal(err)
	}
	expect(t, m, "sockets", Failure, "no such file")
}

func TestDisk(t *testing.T) {
	for size, level := range map[uint64]Level{100 << 20: Failure, 1 << 30: Warning} {
		m := well(t, nil)
		m.Free = func(string) (uint64, error) { return size, nil }
		expect(t, m, "disk", level, "free")
	}
	m := well(t, nil)
	m.Free = free
	if err := os.RemoveAll(filepath.Join(m.Root, "var/lib/pods")); err != nil {
		t.Fatal(err)
	}
	if f := disk(t.Context(), m); f.Level != Failure {
		t.Errorf("without a directory: %+v", f)
	}
}

func TestOpenState(t *testing.T) {
	m := well(t, nil)
	if err := os.Chmod(filepath.Join(m.Root, "var/lib/sandtrap"), 0o755); err != nil {
		t.Fatal(err)
	}
	expect(t, m, "state", Warning, "open to others")
}

func TestHostKeys(t *testing.T) {
	const key = "/etc/sandtrap/hostkeys/ssh_host_rsa_key"
	expect(t, well(t, map[string]string{key: "-"}), "host-keys", Failure, "no such file")
	m := well(t, nil)
	old := filepath.Join(m.Root, "var/lib/sandtrap/hostkeys")
	if err := os.MkdirAll(old, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(old, "ssh_host_rsa_key"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	expect(t, m, "host-keys", Warning, "1 keys are in /var/lib/sandtrap/hostkeys")
	m = well(t, nil)
	if err := os.Chmod(filepath.Join(m.Root, key), 0o640); err != nil {
		t.Fatal(err)
	}
	expect(t, m, "host-keys", Failure, "open to others (0640)")
	m = well(t, map[string]string{key: "-"})
	if err := os.MkdirAll(filepath.Join(m.Root, "etc/credstore.encrypted"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(m.Root, "etc/credstore.encrypted/ssh_host_rsa_key"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if f := hostKeys(t.Context(), m); f.Level != OK {
		t.Errorf("an operator's own: %+v", f)
	}
}

func TestSealKey(t *testing.T) {
	expect(t, well(t, map[string]string{sealKey: "-"}), "seal-key", Failure, "no such file")
	expect(t, well(t, map[string]string{allowedSigners: "-"}), "seal-key", Warning, "no public keys")
	for path, mode := range map[string]os.FileMode{sealKey: 0o640, allowedSigners: 0o664} {
		m := well(t, nil)
		if err := os.Chmod(filepath.Join(m.Root, path), mode); err != nil {
			t.Fatal(err)
		}
		expect(t, m, "seal-key", Failure, "others (0")
	}
}

func TestClockOfLongAgo(t *testing.T) {
	m := well(t, nil)
	m.Now = func() time.Time { return time.Unix(0, 0) }
	expect(t, m, "clock", Failure, "1970")
}

func TestLocal(t *testing.T) {
	m := Local(config.Default())
	if out, err := m.Run(t.Context(), "echo", "x"); out != "x" || err != nil {
		t.Errorf("Run = %q, %v", out, err)
	}
	if n, err := m.Free("/"); n == 0 || err != nil {
		t.Errorf("Free = %d, %v", n, err)
	}
	if m.Account("root") != nil || m.Account("no-such-account") == nil {
		t.Error("accounts are not told apart")
	}
}
