// Package doctor looks at a machine and says what would keep SandTrap from working
// there, or from holding to its limits: one finding a check, with what to do about it.
package doctor

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sandtrap/sandtrap/internal/config"
)

// Level is how a check came out.
type Level string

// The levels. A Warning does not keep the service from working as configured.
const (
	OK      Level = "ok"
	Warning Level = "warning"
	Failure Level = "failure"
)

// Finding is the outcome of one check.
type Finding struct {
	Check  string `json:"check"` // a fixed name
	Level  Level  `json:"level"`
	Detail string `json:"detail"`         // what was seen
	Hint   string `json:"hint,omitempty"` // what to do, where anything is to be done
}

// Machine is what is looked at. The zero value is not of use; Local returns the one
// that the program runs on.
type Machine struct {
	Config config.Config
	// Root is put before every path.
	Root string
	// Run runs a command and returns what it printed, standard error included.
	Run func(ctx context.Context, name string, args ...string) (string, error)
	// Free is how many bytes of the file system of a path are free for everybody.
	Free func(path string) (uint64, error)
	// Account looks an account up.
	Account func(name string) error
	Now     func() time.Time

	podman func() (podmanInfo, error) // what Podman says of itself, asked once
}

// runTimeout bounds one command.
const runTimeout = 20 * time.Second

// Local is the machine that the program runs on, with the configuration it has.
func Local(c config.Config) Machine {
	return Machine{
		Config: c, Now: time.Now, Free: free,
		Run: func(ctx context.Context, name string, args ...string) (string, error) {
			ctx, cancel := context.WithTimeout(ctx, runTimeout)
			defer cancel()
			out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
			return strings.TrimSpace(string(out)), err
		},
		Account: func(name string) error { _, err := user.Lookup(name); return err },
	}
}

func free(path string) (uint64, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(path, &s); err != nil {
		return 0, &fs.PathError{Op: "statfs", Path: path, Err: err}
	}
	return s.Bavail * uint64(s.Bsize), nil
}

// read returns a small file.
func (m Machine) read(path string) (string, error) {
	b, err := os.ReadFile(filepath.Join(m.Root, path))
	return strings.TrimSpace(string(b)), err
}

// check is one thing to look at. It names what it saw and what to do.
type check struct {
	name string
	look func(ctx context.Context, m Machine) Finding
}

func ok(format string, args ...any) Finding {
	return Finding{Level: OK, Detail: fmt.Sprintf(format, args...)}
}

func warn(hint, format string, args ...any) Finding {
	return Finding{Level: Warning, Detail: fmt.Sprintf(format, args...), Hint: hint}
}

func fail(hint, format string, args ...any) Finding {
	return Finding{Level: Failure, Detail: fmt.Sprintf(format, args...), Hint: hint}
}

// Examine runs all checks in their order.
func Examine(ctx context.Context, m Machine) []Finding {
	m.podman = sync.OnceValues(func() (podmanInfo, error) { return m.askPodman(ctx) })
	var all []Finding
	for _, c := range checks {
		f := c.look(ctx, m)
		f.Check = c.name
		all = append(all, f)
	}
	return all
}

// checks go from the kernel up.
var checks = []check{
	{"kernel", kernel},
	{"cgroup", controllers},
	{"user-namespaces", userNamespaces},
	{"ptrace", ptrace},
	{"security-modules", securityModules},
	{"seccomp", seccomp},
	{"core-pattern", corePattern},
	{"accounts", accounts},
	{"subordinate-ids", subordinateIDs},
	{"systemd", systemdVersion},
	{"podman", podmanVersion},
	{"runtime", runtime},
	{"storage", storage},
	{"store", store},
	{"image", image},
	{"sockets", sockets},
	{"units", units},
	{"port", port},
	{"state", state},
	{"host-keys", hostKeys},
	{"seal-key", sealKeys},
	{"disk", disk},
	{"clock", clock},
}
