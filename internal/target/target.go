// Package target knows what an attacker lands in: the image and settings of a
// container, and the accounts inside it.
package target

import (
	"bufio"
	"bytes"
	"fmt"
	"strconv"
	"strings"

	"github.com/sandtrap/sandtrap/internal/frame"
	"github.com/sandtrap/sandtrap/internal/podman"
)

// Target is one kind of container that attackers land in.
type Target struct {
	Name     string // the operator's name for it
	Image    string
	Hostname string
	LoginAs  frame.Policy
	Account  string // the fallback of LoginAs
	Memory   int64  // bytes
	Pids     int64  // tasks
	CPUs     float64
}

// Labels of containers and images.
const (
	// Label marks every container that SandTrap made, with the target's name.
	Label = "io.sandtrap.target"
	// LeaderLabel is on images that have a session leader, and on their
	// containers: the path of its program inside.
	LeaderLabel = "io.sandtrap.leader"
	// ImageLabel holds the digest of a container's image.
	ImageLabel = "io.sandtrap.image"
)

// Policy is what target.login_as in sandtrap.yaml(5) calls name, and
// PolicyExisting for any other name.
func Policy(name string) frame.Policy {
	switch name {
	case "create":
		return frame.PolicyCreate
	case "fallback":
		return frame.PolicyFallback
	}
	return frame.PolicyExisting
}

// Spec describes a container of this target made from that very image, whatever its
// name stands for by now.
// Without limits it takes whatever the host has.
func (t Target) Spec(name string, image podman.Image, unlimited bool) podman.Spec {
	labels := map[string]string{Label: t.Name, ImageLabel: image.Digest}
	leader := image.Labels[LeaderLabel]
	if leader != "" {
		labels[LeaderLabel] = leader
	}
	return podman.Spec{
		Image: t.Image, ImageID: strings.TrimPrefix(image.Digest, "sha256:"), Name: name, Hostname: t.Hostname, Labels: labels,
		Memory: t.Memory, Pids: t.Pids, CPUs: t.CPUs, Unlimited: unlimited,
	}
}

// Account is one line of the target's passwd(5).
type Account struct {
	Name, Home, Shell string
	UID, GID          uint32
	Made              bool // it was made for the login
	Baited            bool // the login's bait is in its home directory
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
		account, ok := parseAccount(lines.Text())
		if _, taken := a.byName[account.Name]; ok && !taken { // the first line wins, as for getpwnam(3)
			a.byName[account.Name] = account
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

func parseAccount(line string) (Account, bool) {
	f := strings.Split(line, ":")
	if len(f) != 7 || f[0] == "" || !canLogIn(f[6]) {
		return Account{}, false
	}
	uid, err := strconv.ParseUint(f[2], 10, 32)
	if err != nil {
		return Account{}, false
	}
	gid, err := strconv.ParseUint(f[3], 10, 32)
	if err != nil {
		return Account{}, false
	}
	return Account{Name: f[0], UID: uint32(uid), GID: uint32(gid), Home: f[5], Shell: f[6]}, true
}

func canLogIn(shell string) bool {
	return strings.HasPrefix(shell, "/") && !strings.HasSuffix(shell, "/nologin") && !strings.HasSuffix(shell, "/false") && !strings.HasSuffix(shell, "/sync")
}

// Lookup returns the account a login name lands in: its own where the target has
// it and policy allows that, the fallback otherwise. No account is ever made.
func (a Accounts) Lookup(user string, policy frame.Policy) Account {
	if account, ok := a.byName[user]; ok && policy != frame.PolicyFallback {
		return account
	}
	return a.fallback
}
