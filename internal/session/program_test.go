package session

import (
	"net/netip"
	"slices"
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
		"USER=root", "LOGNAME=root", "HOME=/root", "PATH=" + rootPath, "SHELL=/bin/bash", "MOTD_SHOWN=pam",
		"SSH_CLIENT=192.0.2.7 40000 22", "SSH_CONNECTION=192.0.2.7 40000 198.51.100.1 22",
	}
	adminEnv := []string{
		"USER=admin", "LOGNAME=admin", "HOME=/home/admin", "PATH=" + userPath, "SHELL=/bin/sh", "MOTD_SHOWN=pam",
		"SSH_CLIENT=2001:db8::7 40000 2222", "SSH_CONNECTION=2001:db8::7 40000 2001:db8::1 2222",
	}
	with := func(before, env []string) []string { return append(append([]string(nil), before...), env...) }
	onTerminal := slices.Insert(slices.Clone(rootEnv), 5, "TERM=xterm")
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
				User: "root", Path: "/bin/bash", Argv: []string{"-bash"}, Dir: "/root", PTY: true, Size: pool.Size{Columns: 80, Rows: 4464}, Modes: "\x00", LoginShell: true,
				Env: with([]string{"LANG=C"}, onTerminal),
			},
		},
		{
			"command", v6, admin, sshd.Program{Kind: sshd.Exec, Command: "echo '\x00'; id"},
			pool.Program{User: "admin", Path: "/bin/sh", Dir: "/home/admin", Argv: []string{"sh", "-c", "echo '\x00'; id"}, Env: adminEnv},
		},
		{
			"sftp", v4, root, sshd.Program{Kind: sshd.Subsystem, Command: "sftp"},
			pool.Program{User: "root", Path: "/bin/bash", Dir: "/root", Argv: []string{"bash", "-c", sftpServer}, Env: rootEnv, Subsystem: true},
		},
		{
			"environment of the client's making", v4, root,
			sshd.Program{Kind: sshd.Shell, Env: []string{"LANG=first", "HOME=/tmp", "PATH=/evil", "SSH_CLIENT=1.2.3.4 1 1", "LC_A=x", "LANG=last", "TERM=dumb"}},
			pool.Program{User: "root", Path: "/bin/bash", Dir: "/root", Argv: []string{"-bash"}, LoginShell: true, Env: []string{
				"LANG=last", "HOME=/root", "PATH=" + rootPath, "SSH_CLIENT=192.0.2.7 40000 22", "LC_A=x", "TERM=dumb",
				"USER=root", "LOGNAME=root", "SHELL=/bin/bash", "MOTD_SHOWN=pam", rootEnv[7],
			}},
		},
		{
			"agent and display", v4, root,
			sshd.Program{Kind: sshd.Shell, Env: []string{"DISPLAY=evil:0"}, Display: "localhost:10.0", AuthSock: "/tmp/ssh-XXXXXXXXXX/agent.7"},
			pool.Program{
				User: "root", Path: "/bin/bash", Dir: "/root", Argv: []string{"-bash"},
				LoginShell: true, Env: with([]string{"DISPLAY=localhost:10.0"}, with(rootEnv, []string{"SSH_AUTH_SOCK=/tmp/ssh-XXXXXXXXXX/agent.7"})),
			},
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
