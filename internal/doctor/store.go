package doctor

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/sandtrap/sandtrap/internal/config"
)

// storeData is where the store is mounted, see sandtrap-store.service.
const storeData = "/var/lib/pods/data"

const brokenHint = "look in the kernel's log for why; the next boot mounts it anew"

const storeHint = "see systemctl status sandtrap-store.service"

// store looks whether what targets write is bounded.
func store(_ context.Context, m Machine) Finding {
	unbounded := fail
	if m.Config.Limits.Enforcement == config.EnforcementBestEffort {
		unbounded = warn
	}
	kind, options := m.mount(storeData)
	switch {
	case kind == "":
		return unbounded(storeHint, "%s is not mounted: what targets write has no bounds", storeData)
	case kind != "xfs" || !slices.Contains(options, "prjquota"):
		return unbounded(storeHint, "%s is %s without project quotas: what targets write has no bounds", storeData, kind)
	case slices.Contains(options, "ro"):
		return fail(brokenHint, "%s is read-only: no target can be made", storeData)
	}
	// A file system that the kernel has given up still tells how much is free.
	if _, err := os.ReadDir(filepath.Join(m.Root, storeData)); err != nil && !errors.Is(err, fs.ErrPermission) && !errors.Is(err, fs.ErrNotExist) {
		return fail(brokenHint, "no target can be made: %v", err)
	}
	free, err := m.Free(filepath.Join(m.Root, storeData))
	if err != nil {
		return fail(storeHint, "%v", err)
	}
	share := m.Config.Target.Disk
	// What is kept ready and one more, and all that there can ever be.
	least, most := 1, m.Config.Pool.MaxLeases
	for _, t := range m.Config.AllTargets() {
		least, most = least+t.Min, most+t.Max
	}
	fit := free / uint64(share)
	if fit < uint64(least) {
		return fail("enlarge podman.store_size, or lower target.disk", "%s has room for %d more targets of %s", storeData, fit, share)
	}
	if fit < uint64(most) {
		return warn("enlarge podman.store_size, or lower target.disk or pool.max_leases", "%s has room for %d targets of %s, and %d are configured", storeData, fit, share, most)
	}
	return ok("xfs, %s for each target", share)
}

// mount is what is mounted at a path last, and how, see proc_pid_mounts(5).
func (m Machine) mount(path string) (kind string, options []string) {
	table, err := m.read("/proc/self/mounts")
	if err != nil {
		return "", nil
	}
	for _, line := range strings.Split(table, "\n") {
		if f := strings.Fields(line); len(f) > 3 && f[1] == path {
			kind, options = f[2], strings.Split(f[3], ",")
		}
	}
	return kind, options
}
