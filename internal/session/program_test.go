package session

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sandtrap/sandtrap/internal/pool"
	"github.com/sandtrap/sandtrap/internal/sshd"
	"github.com/sandtrap/sandtrap/internal/target"
)

func TestProgram(t *testing.T) {
	root := target.Account{Name: "root", UID: "0", Home: "/root", Shell: "/bin/bash"}
	admin := target.Account{Name: "admin", UID: "1000", Home: "/home/admin", Shell: "/bin/sh"}
	v4 := sshd.Login{Source: netip.MustParseAddrPort("192.0.2.7:40000"), Local: netip.MustParseAddrPort("198.51.100.1:22")}
	v6 := sshd.Login{Source: netip.MustParseAddrPort("[2001:db8::7]:40000"), Local: netip.MustParseAddrPort("[2001:db8::1]:2222")}
	rootEnv := []string{
		"USER=root", "LOGNAME=root", "HOME=/root", "SHELL=/bin/bash", "PATH=" + rootPath, "MAIL=/var/mail/root",
		"SSH_CLIENT=192.0.2.7 40000 22", "SSH_CONNECTION=192.0.2.7 40000 198.51.100.1 22",
	}
	adminEnv := []string{
		"USER=admin", "LOGNAME=admin", "HOME=/home/admin", "SHELL=/bin/sh", "PATH=" + userPath, "MAIL=/var/mail/admin",
		"SSH_CLIENT=2001:db8::7 40000 2222", "SSH_CONNECTION=2001:db8::7 40000 2001:db8::1 2222",
	}
	with := func(before, env []string, after ...string) []string {
		return append(append(append([]string(nil), before...), env...), after...)
	}
	tests := []struct {
		name    string
		login   sshd.Login
		account target.Account
		program sshd.Program
		tty     int
		want    pool.Program
	}{
		{
			"shell with a terminal", v4, root,
			sshd.Program{Kind: sshd.Shell, PTY: true, Term: "xterm", Size: sshd.Size{Columns: 80, Rows: 24}, Env: []string{"LANG=C"}}, 2,
			pool.Program{
				User: "root", Dir: "/root", TTY: true, Size: pool.Size{Columns: 80, Rows: 24}, Command: []string{"/bin/bash", "-l"},
				Env: with([]string{"LANG=C"}, rootEnv, "SSH_TTY=/dev/pts/2", "TERM=xterm"),
			},
		},
		{
			"command", v6, admin, sshd.Program{Kind: sshd.Exec, Command: "echo '\x00'; id"}, -1,
			pool.Program{User: "admin", Dir: "/home/admin", Command: []string{"/bin/sh", "-c", "echo '\x00'; id"}, Env: adminEnv},
		},
		{
			"sftp", v4, root, sshd.Program{Kind: sshd.Subsystem, Command: "sftp"}, -1,
			pool.Program{User: "root", Dir: "/root", Command: []string{"/bin/bash", "-c", sftpServer}, Env: rootEnv},
		},
		{
			"unknown subsystem", v4, root, sshd.Program{Kind: sshd.Subsystem, Command: "sftp; reboot"}, -1,
			pool.Program{User: "root", Dir: "/root", Command: []string{"/bin/bash", "-c", "exit 1"}, Env: rootEnv},
		},
		{
			"environment of the client's making", v4, root,
			sshd.Program{Kind: sshd.Shell, Env: []string{"LANG=first", "HOME=/tmp", "PATH=/evil", "SSH_CLIENT=1.2.3.4 1 1", "LC_A=x", "LANG=last", "TERM=dumb"}}, -1,
			pool.Program{User: "root", Dir: "/root", Command: []string{"/bin/bash", "-l"}, Env: with([]string{"LC_A=x", "LANG=last", "TERM=dumb"}, rootEnv)},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, program(tt.login, tt.account, tt.program, tt.tty)); diff != "" {
				t.Errorf("program (-want +got):\n%s", diff)
			}
		})
	}
}
