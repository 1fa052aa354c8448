// Package target knows what an attacker lands in: the image and settings of a
// container, and the accounts inside it.
package target

import (
	"bufio"
	"bytes"
	"fmt"
	"strings"

	"github.com/sandtrap/sandtrap/internal/podman"
)

// Target is one kind of container that attackers land in.
type Target struct {
	Name     string // the operator's name for it
	Image    string
	Hostname string
	Account  string // where a login lands whose user the target does not have
	Memory   int64  // bytes
	Pids     int64  // tasks
	CPUs     float64
}

// Label marks every container that SandTrap made, with the target's name.
const Label = "io.sandtrap.target"

// Spec describes a container of this target. Without limits it takes whatever
// the host has.
func (t Target) Spec(name string, unlimited bool) podman.Spec {
	return podman.Spec{
		Image: t.Image, Name: name, Hostname: t.Hostname,
		Labels: map[string]string{Label: t.Name},
		Memory: t.Memory, Pids: t.Pids, CPUs: t.CPUs, Unlimited: unlimited,
	}
}

// Account is one line of the target's passwd(5).
type Account struct {
	Name, Home, Shell string
	UID               string
}

// Accounts are the users of a target that can log in.
type Accounts struct {
	byName   map[string]Account
	fallback Account
}

// MaxPasswd bounds the passwd file that is read out of an image, in bytes.
const MaxPasswd = 64 << 10

// ParseAccounts reads passwd(5) lines and skips malformed ones and accounts
// without a login shell. fallback must be among the rest.
func ParseAccounts(passwd []byte, fallback string) (Accounts, error) {
	a := Accounts{byName: map[string]Account{}}
	lines := bufio.NewScanner(bytes.NewReader(passwd))
	lines.Buffer(nil, MaxPasswd)
	for lines.Scan() {
		f := strings.Split(lines.Text(), ":")
		if len(f) != 7 || f[0] == "" || !canLogIn(f[6]) {
			continue
		}
		if _, taken := a.byName[f[0]]; !taken { // the first line wins, as for getpwnam(3)
			a.byName[f[0]] = Account{Name: f[0], UID: f[2], Home: f[5], Shell: f[6]}
		}
	}
	if err := lines.Err(); err != nil {
		return Accounts{}, fmt.Errorf("read accounts: %w", err)
	}
	var ok bool
	if a.fallback, ok = a.byName[fallback]; !ok {
		return Accounts{}, fmt.Errorf("account %q with a login shell is not in the image", fallback)
	}
	return a, nil
}

func canLogIn(shell string) bool {
	return strings.HasPrefix(shell, "/") && !strings.HasSuffix(shell, "/nologin") && !strings.HasSuffix(shell, "/false") && !strings.HasSuffix(shell, "/sync")
}

// Lookup returns the account a login name lands in: its own where the target has
// it, the fallback otherwise.
func (a Accounts) Lookup(user string) Account {
	if account, ok := a.byName[user]; ok {
		return account
	}
	return a.fallback
}
