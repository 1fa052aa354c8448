package session

import (
	"fmt"
	"strings"

	"github.com/sandtrap/sandtrap/internal/pool"
	"github.com/sandtrap/sandtrap/internal/sshd"
	"github.com/sandtrap/sandtrap/internal/target"
)

// sftpServer is where Debian's sshd_config(5) points Subsystem sftp.
const sftpServer = "/usr/lib/openssh/sftp-server"

// program is what sshd would start for p: the account's login shell, a command
// given to that shell, or a subsystem's command; see sshd(8), LOGIN PROCESS.
func program(l sshd.Login, account target.Account, p sshd.Program, tty int) pool.Program {
	x := pool.Program{
		User: account.Name, Dir: account.Home, TTY: p.PTY, Size: pool.Size(p.Size),
		Env: environment(l, account, p, tty),
	}
	switch p.Kind {
	case sshd.Shell:
		x.Command = []string{account.Shell, "-l"}
	case sshd.Exec:
		x.Command = []string{account.Shell, "-c", p.Command}
	case sshd.Subsystem:
		x.Command = []string{account.Shell, "-c", subsystem(p.Command)}
	}
	return x
}

// subsystem is the command of a subsystem. One that is not configured is refused
// by the shell, since sshd's refusal would come before the lease.
func subsystem(name string) string {
	if name == "sftp" {
		return sftpServer
	}
	return "exit 1"
}

// Debian's PATH from login.defs(5), for root and for everybody else.
const (
	rootPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	userPath = "/usr/local/bin:/usr/bin:/bin:/usr/local/games:/usr/games"
)

// environment is what sshd sets for a login, after what the client asked for;
// see sshd(8) and ssh(1), ENVIRONMENT.
func environment(l sshd.Login, account target.Account, p sshd.Program, tty int) []string {
	path := userPath
	if account.UID == "0" {
		path = rootPath
	}
	env := append([]string(nil), p.Env...)
	env = append(env,
		"USER="+account.Name, "LOGNAME="+account.Name, "HOME="+account.Home, "SHELL="+account.Shell,
		"PATH="+path, "MAIL=/var/mail/"+account.Name,
		fmt.Sprintf("SSH_CLIENT=%s %d %d", l.Source.Addr(), l.Source.Port(), l.Local.Port()),
		fmt.Sprintf("SSH_CONNECTION=%s %d %s %d", l.Source.Addr(), l.Source.Port(), l.Local.Addr(), l.Local.Port()),
	)
	if p.PTY {
		env = append(env, fmt.Sprintf("SSH_TTY=/dev/pts/%d", tty), "TERM="+p.Term)
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
