package leader

import (
	"bytes"
	"slices"
	"strconv"
	"strings"

	"github.com/sandtrap/sandtrap/internal/frame"
)

// What is read of the files in /etc, which an attacker may have rewritten before
// coming back.
const (
	maxDatabase = 1 << 20 // bytes of one file
	maxGroups   = 256
)

// account is a line of passwd(5), with the groups of group(5).
type account struct {
	name, home, shell string
	uid, gid          uint32
	groups            []uint32 // with gid
	made              bool
}

// databases are the files of accounts in /etc, below another root in tests.
type databases struct{ root string }

func (d databases) path(name string) string { return d.root + "/etc/" + name }

// choose finds the account that a login lands in.
func (d databases) choose(m *frame.LoginMessage) (account, bool) {
	if m.Policy != frame.PolicyFallback {
		a, state := d.lookUp(m.User)
		if state == unknown && m.Policy == frame.PolicyCreate {
			a, state = d.create(m.User), usable
			if a.name == "" {
				state = unknown
			}
		}
		if state == usable {
			return a, true
		}
	}
	a, state := d.lookUp(m.Fallback)
	return a, state == usable
}

// state is what is known of an account.
type state int

const (
	unknown state = iota
	unusable
	usable
)

// lookUp finds an account with its groups. As for getpwnam(3), the first line
// wins.
func (d databases) lookUp(name string) (account, state) {
	passwd, err := readFile(d.path("passwd"), maxDatabase)
	if err != nil || !possibleName(name) {
		return account{}, unknown
	}
	for line := range lines(passwd) {
		first, _, _ := bytes.Cut(line, []byte{':'})
		if string(first) != name {
			continue
		}
		a, ok := parseAccount(line)
		if !ok {
			return account{}, unusable
		}
		a.groups = d.groups(name, a.gid)
		return a, usable
	}
	return account{}, unknown
}

// possibleName reports whether a line of passwd(5) can begin with name.
func possibleName(name string) bool {
	return name != "" && len(name) <= 256 && !strings.ContainsAny(name, ":\n\x00") && name[0] != '+' && name[0] != '-' && name[0] != '#'
}

// parseAccount reads a line whose account can log in.
func parseAccount(line []byte) (account, bool) {
	f := strings.Split(string(line), ":")
	if len(f) != 7 || f[0] == "" {
		return account{}, false
	}
	uid, err1 := strconv.ParseUint(f[2], 10, 32)
	gid, err2 := strconv.ParseUint(f[3], 10, 32)
	a := account{name: f[0], uid: uint32(uid), gid: uint32(gid), home: f[5], shell: f[6]}
	if a.shell == "" {
		a.shell = "/bin/sh"
	}
	if a.home == "" {
		a.home = "/"
	}
	fits := len(a.home) <= 1024 && len(a.shell) <= 1024 && a.home[0] == '/'
	ok := err1 == nil && err2 == nil && a.uid != 1<<32-1 && a.gid != 1<<32-1
	return a, ok && fits && loginShell(a.shell)
}

// loginShell reports whether somebody can log in with this shell.
func loginShell(path string) bool {
	name := path[strings.LastIndexByte(path, '/')+1:]
	return path[0] == '/' && !slices.Contains([]string{"", "nologin", "false", "sync"}, name)
}

// groups are the ids of the groups that name is a member of, gid first.
func (d databases) groups(name string, gid uint32) []uint32 {
	groups := []uint32{gid}
	group, err := readFile(d.path("group"), maxDatabase)
	if err != nil {
		return groups
	}
	for line := range lines(group) {
		id, members, ok := parseGroup(line)
		if !ok || slices.Contains(groups, id) || len(groups) == maxGroups {
			continue
		}
		for member := range bytes.SplitSeq(members, []byte{','}) {
			if string(member) == name {
				groups = append(groups, id)
				break
			}
		}
	}
	return groups
}

// parseGroup reads a line of group(5).
func parseGroup(line []byte) (id uint32, members []byte, ok bool) {
	f := bytes.SplitN(line, []byte{':'}, 5)
	if len(f) != 4 || len(f[0]) == 0 {
		return 0, nil, false
	}
	n, err := strconv.ParseUint(string(f[2]), 10, 32)
	return uint32(n), f[3], err == nil
}
