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
	root := target.Account{Name: "root", Home: "/root", Shell: "/bin/bash"}
	admin := target.Account{Name: "admin", UID: 1000, GID: 1000, Home: "/home/admin", Shell: "/bin/sh"}
	v4 := sshd.Login{Source: netip.MustParseAddrPort("192.0.2.7:40000"), Local: netip.MustParseAddrPort("198.51.100.1:22")}
	v6 := sshd.Login{Source: netip.MustParseAddrPort("[2001:db8::7]:40000"), Local: netip.MustParseAddrPort("[2001:db8::1]:2222")}
	rootEnv := []string{
		"USER=root", "LOGNAME=root", "HOME=/root", "SHELL=/bin/bash", "PATH=" + rootPath, "MOTD_SHOWN=pam",
		"SSH_CLIENT=192.0.2.7 40000 22", "SSH_CONNECTION=192.0.2.7 40000 198.51.100.1 22",
	}
	adminEnv := []string{
		"USER=admin", "LOGNAME=admin", "HOME=/home/admin", "SHELL=/bin/sh", "PATH=" + userPath, "MOTD_SHOWN=pam",
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
		want    pool.Program
	}{
		{
			"shell with a terminal", v4, root,
			sshd.Program{Kind: sshd.Shell, PTY: true, Term: "xterm", Size: sshd.Size{Columns: 80, Rows: 70000}, Modes: "\x00", Env: []string{"LANG=C"}},
			pool.Program{
				User: "root", Path: "/bin/bash", Argv: []string{"-bash"}, Dir: "/root", PTY: true, Size: pool.Size{Columns: 80, Rows: 65535}, Modes: "\x00", Interactive: true,
				Env: with([]string{"LANG=C"}, rootEnv, "TERM=xterm"),
			},
		},
		{
			"command", v6, admin, sshd.Program{Kind: sshd.Exec, Command: "echo '\x00'; id"},
			pool.Program{User: "admin", Path: "/bin/sh", Dir: "/home/admin", Argv: []string{"sh", "-c", "echo '\x00'; id"}, Env: adminEnv},
		},
		{
			"sftp", v4, root, sshd.Program{Kind: sshd.Subsystem, Command: "sftp"},
			pool.Program{User: "root", Path: "/bin/bash", Dir: "/root", Argv: []string{"bash", "-c", sftpServer}, Env: rootEnv},
		},
		{
			"environment of the client's making", v4, root,
			sshd.Program{Kind: sshd.Shell, Env: []string{"LANG=first", "HOME=/tmp", "PATH=/evil", "SSH_CLIENT=1.2.3.4 1 1", "LC_A=x", "LANG=last", "TERM=dumb"}},
			pool.Program{User: "root", Path: "/bin/bash", Dir: "/root", Argv: []string{"-bash"}, Interactive: true, Env: with([]string{"LC_A=x", "LANG=last", "TERM=dumb"}, rootEnv)},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, program(tt.login, tt.account, tt.program)); diff != "" {
				t.Errorf("program (-want +got):\n%s", diff)
			}
		})
	}
}
