//go:build vm

package limits

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestHostsThatCannot: where a machine cannot hold a target to its limits, the service
// does not serve and says why, and doctor names it.
func TestHostsThatCannot(t *testing.T) {
	const podmanDropIn = "/etc/systemd/system/sandtrap-podman.service.d/vm.conf"
	for _, host := range []struct {
		name         string
		change, undo func(t *testing.T)
		says         string // the service
		check        string // of doctor
	}{
		{
			"no delegated controllers",
			func(t *testing.T) {
				write(t, podmanDropIn, "[Service]\nDelegate=no\nDelegateSubgroup=\nExecStartPost=\n")
				restartPodman(t)
			},
			func(t *testing.T) {
				_ = os.Remove(podmanDropIn)
				restartPodman(t)
			},
			"cgroup", "cgroup",
		},
		{
			"no subordinate ids",
			func(t *testing.T) {
				must(t, "sed", "-i.vm", "/^sandtrap-pods:/d", "/etc/subuid", "/etc/subgid")
				restartPodman(t)
			},
			func(t *testing.T) {
				for _, file := range []string{"/etc/subuid", "/etc/subgid"} {
					must(t, "mv", file+".vm", file)
				}
				restartPodman(t)
			},
			"/etc/subuid", "subordinate-ids",
		},
		{
			"a read-only store",
			func(t *testing.T) { remount(t, "ro,prjquota") },
			func(t *testing.T) { remount(t, "rw,prjquota") },
			"sandtrap: Podman does not answer", "store",
		},
		{
			"a store that the kernel has given up",
			func(t *testing.T) { must(t, "xfs_io", "-x", "-c", "shutdown", storeData) },
			func(t *testing.T) { remount(t, "prjquota") },
			"input/output error", "store",
		},
		{
			"a store without quotas",
			func(t *testing.T) { remount(t, "noquota") },
			func(t *testing.T) { remount(t, "prjquota") },
			"the store does not limit projects", "store",
		},
	} {
		t.Run(host.name, func(t *testing.T) {
			must(t, "systemctl", "stop", "sandtrap.socket", "sandtrap.service")
			since := time.Now().Format("2006-01-02 15:04:05")
			defer func() {
				must(t, "systemctl", "stop", "sandtrap.service")
				host.undo(t)
				must(t, "systemctl", "start", "sandtrap.socket", "sandtrap.service")
				logIn(t).does("true")
			}()
			host.change(t)
			must(t, "systemctl", "start", "--no-block", "sandtrap.service")
			eventually(t, func() error {
				out := must(t, "journalctl", "-u", "sandtrap", "-o", "cat", "--no-pager", "--since", since)
				for _, line := range strings.Split(out, "\n") {
					trouble := strings.Contains(line, "target trouble") || strings.Contains(line, "does not answer")
					if trouble && strings.Contains(line, host.says) {
						t.Logf("the service says: %.400s", line)
						return nil
					}
				}
				return fmt.Errorf("the service does not say %q:\n%s", host.says, out)
			})
			if state, _ := exec.Command("systemctl", "is-active", "sandtrap.service").Output(); strings.TrimSpace(string(state)) == "active" {
				t.Error("it serves")
			}
			out, err := exec.Command("sandtrap", "doctor").CombinedOutput()
			line := finding(string(out), host.check)
			t.Logf("doctor: %s", line)
			if err == nil || !strings.HasPrefix(line, "failure") {
				t.Errorf("doctor: %v\n%s", err, out)
			}
		})
	}
}

// TestAppArmor: the machine enforces it as Debian ships it, and all of this works.
func TestAppArmor(t *testing.T) {
	if on, err := os.ReadFile("/sys/module/apparmor/parameters/enabled"); err != nil || strings.TrimSpace(string(on)) != "Y" {
		t.Errorf("AppArmor is not on: %q, %v", on, err)
	}
	logIn(t).does("true")
	out, err := exec.Command("sandtrap", "doctor").CombinedOutput()
	var failed *exec.ExitError
	if err != nil && (!errors.As(err, &failed) || strings.Contains(string(out), "failure")) {
		t.Errorf("doctor: %v\n%s", err, out)
	}
	t.Logf("doctor:\n%s", out)
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// restartPodman starts Podman anew with everything of it, such as the process that
// keeps its user namespace.
func restartPodman(t *testing.T) {
	t.Helper()
	must(t, "systemctl", "stop", "sandtrap-podman.service")
	_ = exec.Command("systemctl", "kill", "--kill-whom=all", "--signal=KILL", "sandtrap-podman.service").Run()
	time.Sleep(time.Second)
	must(t, "systemctl", "daemon-reload")
	_ = exec.Command("systemctl", "start", "sandtrap-podman.service").Run() // it may be made unable to
}

// remount mounts the store anew with other options, as its service would.
func remount(t *testing.T, options string) {
	t.Helper()
	unmount(t)
	must(t, "mount", "-t", "xfs", "-o", "loop,nodev,noatime,"+options, "/var/lib/pods/store.xfs", storeData)
	must(t, "systemctl", "start", "sandtrap-podman.service")
}

// unmount unmounts the store, with an end of everything that uses it.
func unmount(t *testing.T) {
	t.Helper()
	must(t, "systemctl", "stop", "sandtrap-podman.service", "sandtrap-quota.service", "sandtrap-layer.service")
	_ = exec.Command("systemctl", "kill", "--kill-whom=all", "--signal=KILL", "sandtrap-podman.service").Run()
	eventually(t, func() error {
		out, err := exec.Command("umount", storeData).CombinedOutput()
		if err != nil {
			return fmt.Errorf("%s: %w", out, err)
		}
		return nil
	})
}

// finding is doctor's line about one check.
func finding(out, check string) string {
	for _, line := range strings.Split(out, "\n") {
		if f := strings.Fields(line); len(f) > 1 && f[1] == check {
			return line
		}
	}
	return ""
}
