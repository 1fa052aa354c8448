package session

import (
	"fmt"
	"path"
	"strings"

	"github.com/sandtrap/sandtrap/internal/pool"
	"github.com/sandtrap/sandtrap/internal/record"
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
		x.LoginShell = true
	case sshd.Exec:
		x.Argv = []string{shell, "-c", p.Command}
	case sshd.Subsystem:
		x.Argv = []string{shell, "-c", sftpServer} // there is no other
		x.Subsystem = true
	}
	return x
}

// size is what sshd makes of a client's numbers; see ioctl_tty(2), TIOCSWINSZ.
func size(s sshd.Size) pool.Size {
	return pool.Size{Columns: uint16(s.Columns), Rows: uint16(s.Rows), Width: uint16(s.Width), Height: uint16(s.Height)}
}

// cells is what a recording knows of a size.
func cells(s sshd.Size) record.Size { return record.Size{Columns: s.Columns, Rows: s.Rows} }

// takesSignals reports whether sshd delivers a client's signals. It does so with the
// rights of the account, which it has dropped all others for; root's it has not.
func takesSignals(account target.Account, p sshd.Program) bool {
	return account.UID != 0 && p.Kind != sshd.Subsystem
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
	env = append(env, "USER="+account.Name, "LOGNAME="+account.Name, "HOME="+account.Home, "PATH="+path, "SHELL="+account.Shell)
	if p.Term != "" {
		env = append(env, "TERM="+p.Term)
	}
	env = append(env, "MOTD_SHOWN=pam",
		fmt.Sprintf("SSH_CLIENT=%s %d %d", l.Source.Addr(), l.Source.Port(), l.Local.Port()),
		fmt.Sprintf("SSH_CONNECTION=%s %d %s %d", l.Source.Addr(), l.Source.Port(), l.Local.Addr(), l.Local.Port()),
	)
	if p.Display != "" {
		env = append(env, "DISPLAY="+p.Display)
	}
	if p.AuthSock != "" {
		env = append(env, "SSH_AUTH_SOCK="+p.AuthSock)
	}
	return dedupe(env)
}

// dedupe keeps the last value of each variable, in the place of the first: what sshd
// sets wins over what the client sent.
func dedupe(env []string) []string {
	at := map[string]int{}
	var out []string
	for _, e := range env {
		name, _, _ := strings.Cut(e, "=")
		if i, ok := at[name]; ok {
			out[i] = e
			continue
		}
		at[name] = len(out)
		out = append(out, e)
	}
	return out
}
