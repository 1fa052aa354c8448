//go:build appliance

package appliance

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
)

// resources are what the service holds at a moment.
type resources struct {
	pid, descriptors, threads int
	resident                  int // KiB
}

// room is what the service may have more at rest than before: what it keeps for
// the next time.
var room = resources{descriptors: 12, threads: 8, resident: 64 << 10}

func usage(t *testing.T) resources {
	t.Helper()
	u, err := readUsage()
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func readUsage() (resources, error) {
	u := resources{pid: unitPid("sandtrap.service")}
	dir := fmt.Sprintf("/proc/%d/", u.pid)
	fds, err := os.ReadDir(dir + "fd")
	if err != nil {
		return u, err
	}
	status, err := os.ReadFile(dir + "status")
	if err != nil {
		return u, err
	}
	u.descriptors = len(fds)
	for _, line := range strings.Split(string(status), "\n") {
		f := strings.Fields(line)
		if len(f) > 1 && f[0] == "Threads:" {
			u.threads, err = strconv.Atoi(f[1])
		} else if len(f) > 1 && f[0] == "VmRSS:" {
			u.resident, err = strconv.Atoi(f[1])
		}
		if err != nil {
			return u, err
		}
	}
	return u, nil
}

// compare fails when the same process does not come back to what it held before.
func (before resources) compare(t *testing.T) {
	t.Helper()
	before.compareWithin(t, patience)
}

func (before resources) compareWithin(t *testing.T, longest time.Duration) {
	t.Helper()
	err := eventuallyWithin(longest, func() error {
		now, err := readUsage()
		switch {
		case err != nil:
			return err
		case now.pid != before.pid:
			return fmt.Errorf("the service was started again: process %d in place of %d", now.pid, before.pid)
		case now.descriptors > before.descriptors+room.descriptors || now.threads > before.threads+room.threads || now.resident > before.resident+room.resident:
			return fmt.Errorf("the service holds %+v, and held %+v", now, before)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}
