//go:build appliance

package appliance

import (
	"strings"
	"testing"
)

// TestHardening keeps the exposure of the units, as systemd-analyze(1) counts it, below
// what it was when somebody last looked, in tenths.
func TestHardening(t *testing.T) {
	for unit, most := range map[string]string{
		"sandtrap.service": "10", "sandtrap-filter.service": "10", "sandtrap-handover.service": "10", "sandtrap-gc.service": "10",
		// It runs as root, and reads a directory of the account sandtrap.
		"sandtrap-hostkeys.service": "11",
		// It changes an attribute of files that belong to subordinate ids.
		"sandtrap-quota.service": "13",
		// It reads files that belong to subordinate ids.
		"sandtrap-layer.service": "13",
		// It writes files of control groups.
		"sandtrap-balance.service": "10",
		// It mounts, for everybody.
		"sandtrap-store.service": "58",
		// newuidmap is setuid root, crun makes namespaces, and 32-bit programs run in targets.
		"sandtrap-podman.service": "48",
	} {
		if out, err := output("systemd-analyze", "security", "--no-pager", "--threshold="+most, unit); err != nil {
			t.Errorf("%s is exposed more than it was:\n%s", unit, out)
		}
	}
}

// TestDoctor finds nothing that fails where the package has just been installed.
func TestDoctor(t *testing.T) {
	out, err := output("sandtrap", "doctor")
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	for _, check := range []string{"kernel", "podman", "image", "sockets", "units"} {
		if !strings.Contains(out, "ok       "+check) {
			t.Errorf("%s is not well:\n%s", check, out)
		}
	}
	must(t, "systemctl", "stop", "sandtrap-filter.socket", "sandtrap-filter.service")
	t.Cleanup(func() { must(t, "systemctl", "start", "sandtrap-filter.socket") })
	if out, err := output("sandtrap", "doctor"); err == nil || !strings.Contains(out, "sandtrap-filter.socket is inactive") {
		t.Errorf("without the filter: %v\n%s", err, out)
	}
}
