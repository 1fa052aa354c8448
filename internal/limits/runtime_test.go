//go:build vm

package limits

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// TestOldRuntime: doctor names a crun of a version that was never tried. LIMITS_CRUN
// is such a program; without it the machine's own says that it is one.
func TestOldRuntime(t *testing.T) {
	const crun, kept = "/usr/bin/crun", "/usr/bin/crun.vm"
	must(t, "cp", "-p", crun, kept)
	t.Cleanup(func() {
		must(t, "mv", kept, crun)
		logIn(t).does("true")
	})
	if old := os.Getenv("LIMITS_CRUN"); old != "" {
		must(t, "install", "-m", "755", old, crun+".old")
	} else {
		script := "#!/bin/sh\ncase \" $* \" in *' --version '*) exec echo 'crun version 0.17';; esac\nexec " + kept + " \"$@\"\n"
		if err := os.WriteFile(crun+".old", []byte(script), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	must(t, "mv", crun+".old", crun)
	eventually(t, func() error { // Podman may be slower than doctor waits
		out, _ := exec.Command("sandtrap", "doctor").CombinedOutput()
		line := finding(string(out), "runtime")
		if !strings.HasPrefix(line, "warning") || !strings.Contains(line, "0.17") {
			return fmt.Errorf("doctor:\n%s", out)
		}
		t.Logf("doctor: %s", line)
		return nil
	})
}
