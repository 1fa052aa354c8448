package session

import (
	"fmt"
	"math"
	"path"
	"strings"

	"github.com/sandtrap/sandtrap/internal/pool"
	"github.com/sandtrap/sandtrap/internal/sshd"
	"github.com/sandtrap/sandtrap/internal/target"
)

// sftpServer is where Debian's sshd_config(5) points Subsystem sftp.
const sftpServer = "/usr/lib/openssh/sftp-server"

// program is what sshd would start for p: the account's login shell, a command
// given to that shell, or a subsystem's command; see sshd(8), LOGIN PROCESS.
func program(l sshd.Login, account target.Account, p sshd.Program) pool.Program {
	shell := path.Base(account.Shell)
	x := pool.Program{
		User: account.Name, Path: account.Shell, Dir: account.Home, Env: environment(l, account, p),
		PTY: p.PTY, Size: size(p.Size), Modes: p.Modes,
	}
	switch p.Kind {
	case sshd.Shell:
		x.Argv = []string{"-" + shell} // which makes it a login shell
		x.Interactive = true
	case sshd.Exec:
		x.Argv = []string{shell, "-c", p.Command}
	case sshd.Subsystem:
		x.Argv = []string{shell, "-c", sftpServer} // there is no other
	}
	return x
}

// hearsSignals reports whether sshd delivers signals to a program. That is done by the
// process of sshd that keeps its rights after the login, which there is not for root;
// and subsystems are spared.
func hearsSignals(account target.Account, p sshd.Program) bool {
	return account.UID != 0 && p.Kind != sshd.Subsystem
}

// size fits a client's numbers into what a terminal can be told; see
// ioctl_tty(2), TIOCSWINSZ.
func size(s sshd.Size) pool.Size {
	return pool.Size{Columns: uint16(min(s.Columns, math.MaxUint16)), Rows: uint16(min(s.Rows, math.MaxUint16))}
}

// The PATH that Debian's sshd has, for root and for everybody else.
const (
	rootPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	userPath = "/usr/local/bin:/usr/bin:/bin:/usr/games"
)

// environment is what sshd and Debian's PAM set for a login, after what the client
// asked for; see sshd(8) and ssh(1), ENVIRONMENT. SSH_TTY is added where the
// terminal is.
func environment(l sshd.Login, account target.Account, p sshd.Program) []string {
	path := userPath
	if account.UID == 0 {
		path = rootPath
	}
	env := append([]string(nil), p.Env...)
	env = append(env,
		"USER="+account.Name, "LOGNAME="+account.Name, "HOME="+account.Home, "SHELL="+account.Shell,
		"PATH="+path, "MOTD_SHOWN=pam",
		fmt.Sprintf("SSH_CLIENT=%s %d %d", l.Source.Addr(), l.Source.Port(), l.Local.Port()),
		fmt.Sprintf("SSH_CONNECTION=%s %d %s %d", l.Source.Addr(), l.Source.Port(), l.Local.Addr(), l.Local.Port()),
	)
	if p.PTY {
		env = append(env, "TERM="+p.Term)
	}
	return dedupe(env)
}

// dedupe keeps the last value of each variable, so that what sshd sets wins over
// what the client sent.
func dedupe(env []string) []string {
	last := map[string]int{}
	for i, e := range env {
		name, _, _ := strings.Cut(e, "=")
		last[name] = i
	}
	var out []string
	for i, e := range env {
		name, _, _ := strings.Cut(e, "=")
		if last[name] == i {
			out = append(out, e)
		}
	}
	return out
}
