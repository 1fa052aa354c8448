//go:build appliance

package appliance

import (
	"fmt"
	"strings"
	"testing"
)

// lands runs a command and compares what it prints, blanks aside. Names that
// ssh(1) refuses are no hindrance.
func lands(t *testing.T, user, command, want string) {
	t.Helper()
	c := dial(t, freshSource(), user)
	defer c.Close()
	out, err := run(c, command)
	if got := strings.Join(strings.Fields(out), " "); got != want || err != nil {
		t.Errorf("%q lands as %q, %v, want %q", user, got, err, want)
	}
}

const whoami = `echo $(id -un) $(id -u):$(id -g) $HOME $USER $LOGNAME $SHELL $(pwd)`

// Every login name has an account: its own, where the target has one that can log
// in, or that of target.account.
func TestAccounts(t *testing.T) {
	root := "root 0:0 /root root root /bin/bash /root"
	for user, want := range map[string]string{
		"root":        root,
		"debian":      "debian 1000:1000 /home/debian debian debian /bin/bash /home/debian",
		"admin":       "admin 1001:1001 /home/admin admin admin /bin/bash /home/admin",
		"nobody1":     root, // unknown
		"daemon":      root, // known, but without a login shell
		"sync":        root,
		"../etc":      root,
		"a:b":         root,
		"-froot":      root,
		"\xff\xfe":    root,
		"Root":        root, // names are case-sensitive
		"root\nadmin": root,
	} {
		lands(t, user, whoami, want)
	}
	lands(t, "debian", "id", "uid=1000(debian) gid=1000(debian) groups=1000(debian),4(adm),27(sudo)")
	lands(t, "debian", "cat /etc/shadow 2>&1 | tail -c 18", "Permission denied")
	lands(t, "root", "id", "uid=0(root) gid=0(root) groups=0(root)")
}

func TestAccountsFallBack(t *testing.T) {
	configure(t, "target:\n  login_as: fallback\n  account: debian\n")
	want := "debian 1000:1000 /home/debian debian debian /bin/bash /home/debian"
	for _, user := range []string{"root", "admin", "debian", "oracle"} {
		lands(t, user, whoami, want)
	}
}

// Accounts are made for names that the target does not have, as adduser(8) makes
// them; nonsense gets the fallback.
func TestAccountsAreMade(t *testing.T) {
	configure(t, "target:\n  login_as: create\n")
	c := dial(t, freshSource(), "oracle")
	for _, tt := range []struct{ command, want string }{
		{whoami, "oracle 1002:1002 /home/oracle oracle oracle /bin/bash /home/oracle"},
		{"id", "uid=1002(oracle) gid=1002(oracle) groups=1002(oracle),100(users)"},
		{"stat -c '%a %U:%G %n' ~ ~/.bashrc ~/.profile ~/.bash_logout", "700 oracle:oracle /home/oracle 644 oracle:oracle /home/oracle/.bashrc 644 oracle:oracle /home/oracle/.profile 644 oracle:oracle /home/oracle/.bash_logout"},
		{"ls -A", ".bash_logout .bashrc .profile"},
		{"getent passwd oracle", "oracle:x:1002:1002:,,,:/home/oracle:/bin/bash"},
		{"getent group oracle", "oracle:x:1002:"},
		{"touch ~/x && echo made && head -c1 /etc/shadow 2>&1 | grep -c denied", "made 1"},
		{"stat -c '%a %U:%G' /etc/passwd /etc/shadow /etc/group", "644 root:root 640 root:shadow 644 root:root"},
	} {
		out, err := run(c, tt.command)
		if got := strings.Join(strings.Fields(out), " "); got != tt.want || err != nil {
			t.Errorf("%s: %q, %v, want %q", tt.command, got, err, tt.want)
		}
	}
	_ = c.Close()
	term := openTerminal(t, freshSource(), "postgres@127.0.0.1")
	if err := eventually(term.out.has("postgres@srv01")); err != nil {
		t.Error(err)
	}
	term.enter(t, "exit\n")
	_ = term.wait()
	root := "root 0:0 /root root root /bin/bash /root"
	for _, user := range []string{"root", "../../etc/x", "a:b", "-x", "\xff", "x\ny", strings.Repeat("a", 300)} {
		lands(t, user, whoami, root)
	}
	lands(t, "debian", whoami, "debian 1000:1000 /home/debian debian debian /bin/bash /home/debian")
	if s := lastSession(t); s.Target.Account != "debian" {
		t.Error(fmt.Sprint(s.Target))
	}
}
