//go:build appliance

package appliance

import "testing"

// TestHardening keeps the exposure of the units, as systemd-analyze(1) counts it, below
// what it was when somebody last looked, in tenths.
func TestHardening(t *testing.T) {
	for unit, most := range map[string]string{
		"sandtrap.service": "10", "sandtrap-filter.service": "10", "sandtrap-handover.service": "10",
		// newuidmap is setuid root, and crun makes namespaces.
		"sandtrap-podman.service": "46",
	} {
		if out, err := output("systemd-analyze", "security", "--no-pager", "--threshold="+most, unit); err != nil {
			t.Errorf("%s is exposed more than it was:\n%s", unit, out)
		}
	}
}
