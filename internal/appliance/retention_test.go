//go:build appliance

package appliance

import (
	"errors"
	"strings"
	"testing"
)

// TestRetentionOfEvidence: what is beyond its bounds goes with the timer's unit, the chain of seals
// knows of it, and the timer runs with the service.
func TestRetentionOfEvidence(t *testing.T) {
	for range 3 {
		ssh(t, "root", "true")
	}
	newest := lastSession(t).ID
	configure(t, "retention: {sessions_count: 1}\n")
	err := eventually(func() error {
		if out, err := output("systemctl", "start", "sandtrap-gc.service"); err != nil {
			return errors.New(out)
		}
		out, err := output("sandtrap", "list", "-q")
		if err != nil || out != newest {
			return errors.New("there are more sessions: " + out)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	if out, err := output("sandtrap", "verify", "--all"); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	if out := must(t, "sandtrap", "events", "--kind", "session.remove", "-n", "1"); !strings.Contains(out, "count") {
		t.Errorf("no event of a removal: %s", out)
	}
	if state := must(t, "systemctl", "is-active", "sandtrap-gc.timer"); state != "active" {
		t.Errorf("sandtrap-gc.timer is %s", state)
	}
}
