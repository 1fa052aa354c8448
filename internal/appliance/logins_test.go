//go:build appliance

package appliance

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
)

// visit is a login to a target that was prepared by root, and put back in order
// after it.
type visit struct {
	name        string
	setUp, undo string // commands of root
	user        string
	play        func(f *frames) string
}

// environment shows what the shell was started with, in the order of it.
const environment = `tr '\0' '\n' </proc/$$/environ; echo "$0 $# $-"; pwd; umask; ulimit -a; ulimit -Ha | grep core; nice; tty;
ps -o pid=,pgid=,sid=,tpgid=,tty= $$ | sed "s/\b$$\b/SELF/g"; grep -E '^Sig(Ign|Blk)' /proc/$$/status; ls -l /proc/$$/fd | sed 's/.*[0-9] \([0-9]* ->\)/\1/'`

// asks runs a command, with variables that a client sends.
func asks(command string) func(f *frames) string {
	return func(f *frames) string {
		f.open(0)
		f.request(0, "env", str("LC_B"), str("b"))
		f.request(0, "env", str("LANG"), str("de_DE.UTF-8"))
		f.request(0, "env", str("LC_B"), str("c"))
		f.exec(0, command)
		f.wait("< close")
		return f.output(0)
	}
}

// asksOnTerminal runs a command on a terminal.
func asksOnTerminal(term, command string) func(f *frames) string {
	return func(f *frames) string {
		f.open(0)
		f.pty(0, term)
		f.exec(0, command)
		f.wait("< close")
		return f.output(0)
	}
}

// types gives a login shell input without a terminal.
func types(input string) func(f *frames) string {
	return func(f *frames) string {
		f.open(0)
		f.request(0, "shell")
		f.write(0, input)
		f.eof(0)
		f.wait("< close")
		return f.output(0)
	}
}

// typesOnTerminal gives a login shell on a terminal input when it has its prompt.
func typesOnTerminal(input string) func(f *frames) string {
	return func(f *frames) string {
		f.open(0)
		f.pty(0, "xterm")
		f.request(0, "shell")
		f.until(func() bool { return f.over || prompt.Match(f.data[0].Bytes()) })
		f.write(0, input+"\r")
		f.wait("< close")
		return f.output(0)
	}
}

// asksForSFTP says hello to the subsystem.
func asksForSFTP(f *frames) string {
	f.open(0)
	f.request(0, "subsystem", str("sftp"))
	f.write(0, string(sftpInit))
	f.eof(0)
	f.wait("< close")
	return f.output(0)
}

const (
	makeRC = `mkdir -p ~/.ssh /home/debian/.ssh; echo 'echo "rc $0 $#"; id -un; tty; cat; env | grep -E "^(SSH_TTY|TERM|HOME|LC_B)=" | sort; ps -o args= $PPID | cut -c1-12; echo err >&2; exit 5' | tee ~/.ssh/rc >/home/debian/.ssh/rc`
	noRC   = `rm -rf ~/.ssh /home/debian/.ssh`
	say    = `echo "command $*"; echo $?`
)

var visits = []visit{
	{name: "command", user: "root", play: asks(environment)},
	{name: "command of an account", user: "debian", play: asks(environment)},
	{name: "command on a terminal", user: "root", play: asksOnTerminal("xterm-256color", environment)},
	{name: "terminal without a name", user: "root", play: asksOnTerminal("", environment)},
	{name: "shell", user: "root", play: types(environment + "\n")},
	{name: "shell of an account", user: "debian", play: types(environment + "\n")},
	{name: "shell on a terminal", user: "debian", play: typesOnTerminal("exit 3")},
	{name: "hushed shell", setUp: "touch ~/.hushlogin", undo: "rm ~/.hushlogin", user: "root", play: types("echo in\n")},
	{name: "hushed terminal", setUp: "touch ~/.hushlogin", undo: "rm ~/.hushlogin", user: "root", play: typesOnTerminal("exit 3")},
	{name: "no message of the day", setUp: "mv /etc/motd /etc/motd.old", undo: "mv /etc/motd.old /etc/motd", user: "root", play: types("echo in\n")},
	{name: "rc", setUp: makeRC, undo: noRC, user: "root", play: asks(say)},
	{name: "rc of an account", setUp: makeRC, undo: noRC, user: "debian", play: asks(say)},
	{name: "rc on a terminal", setUp: makeRC, undo: noRC, user: "root", play: asksOnTerminal("xterm", say)},
	{name: "rc of a shell", setUp: makeRC, undo: noRC, user: "debian", play: types(say + "\n")},
	{name: "rc and sftp", setUp: makeRC, undo: noRC, user: "debian", play: asksForSFTP},
	{name: "rc of the machine", setUp: "echo 'echo sshrc $0 $#' >/etc/ssh/sshrc", undo: "rm /etc/ssh/sshrc", user: "debian", play: asks(say)},
	{name: "rc of the machine and sftp", setUp: "echo 'echo sshrc >&2' >/etc/ssh/sshrc", undo: "rm /etc/ssh/sshrc", user: "debian", play: asksForSFTP},
	{name: "environment of the account", setUp: "mkdir ~/.ssh; echo A=b >~/.ssh/environment; echo C=d >~/.pam_environment", undo: noRC + "; rm ~/.pam_environment", user: "root", play: asks("env | grep -E '^[AC]='; echo done")},
	{name: "environment of the machine", setUp: `printf 'A=b\nexport B="c d"\n#C=d\nLANG=fr\nPATH=/bin:/usr/bin\n' >/etc/environment; echo LC_TIME=C >/etc/default/locale`, undo: "rm -f /etc/environment /etc/default/locale", user: "root", play: asks("tr '\\0' '\\n' </proc/$$/environ")},
	{name: "BASH_ENV", setUp: "echo 'echo bashrc' >>/home/debian/.bashrc; sed -i 1i'echo first' /home/debian/.bashrc", undo: "cp /etc/skel/.bashrc /home/debian/", user: "debian", play: asks("echo done")},
	{name: "no home", setUp: "mv /home/debian /home/x", undo: "mv /home/x /home/debian", user: "debian", play: asks("pwd")},
	{name: "no home on a terminal", setUp: "mv /home/debian /home/x", undo: "mv /home/x /home/debian", user: "debian", play: asksOnTerminal("xterm", "pwd")},
	{name: "home of somebody else", setUp: "chown root /home/debian; chmod 700 /home/debian", undo: "chown debian /home/debian; chmod 755 /home/debian", user: "debian", play: asks("pwd")},
	{name: "shell that is not executable", setUp: "cp /etc/motd /bin/odd; usermod -s /bin/odd debian", undo: "usermod -s /bin/bash debian; rm /bin/odd", user: "debian", play: asks("echo in")},
	{name: "shell that cannot be executed", setUp: "cp /etc/motd /bin/odd; chmod 755 /bin/odd; usermod -s /bin/odd debian", undo: "usermod -s /bin/bash debian; rm /bin/odd", user: "debian", play: asks("echo in")},
	{name: "shell that is not there", setUp: "usermod -s /bin/odd debian", undo: "usermod -s /bin/bash debian", user: "debian", play: asks("echo in")},
	{name: "other shell", setUp: "usermod -s /bin/sh debian", undo: "usermod -s /bin/bash debian", user: "debian", play: types("echo $0 $- $SHELL\n")},
	{name: "nologin", setUp: "usermod -s /usr/sbin/nologin debian", undo: "usermod -s /bin/bash debian", user: "debian", play: types("echo in\n")},
	{name: "false", setUp: "usermod -s /bin/false debian", undo: "usermod -s /bin/bash debian", user: "debian", play: types("echo in\n")},
	{name: "/etc/nologin", setUp: "echo closed >/etc/nologin", undo: "rm /etc/nologin", user: "debian", play: asks("echo in")},
	{name: "/etc/nologin and root", setUp: "echo closed >/etc/nologin", undo: "rm /etc/nologin", user: "root", play: asks("echo in")},
}

// TestLogins compares what a login finds, and what the files of a target make of it,
// with a real sshd. Whatever differs is listed, with a reason, in
// testdata/logins/differences.
func TestLogins(t *testing.T) {
	reference := loopbackReference(t)
	found := differences{path: "testdata/logins/differences"}
	var wg sync.WaitGroup
	theirs, ours := view{}, view{}
	all := slices.Concat(visits, terminals())
	wg.Go(func() {
		for _, v := range all {
			theirs[v.name] = v.at(t, reference, freshSource())
		}
	})
	// One target sees all of them, as who comes again gets the one of the last time.
	source := freshSource()
	for _, v := range all {
		ours[v.name] = v.at(t, address, source)
	}
	wg.Wait()
	for _, v := range all {
		t.Logf("%s\nsshd:\n%s\nsandtrap:\n%s", v.name, strings.Join(theirs[v.name], "\n"), strings.Join(ours[v.name], "\n"))
	}
	found.compare("sshd", theirs, ours)
	found.check(t)
}

// at plays a visit and returns the lines of what the client saw, without what cannot
// be equal.
func (v visit) at(t *testing.T, address, source string) []string {
	if v.setUp != "" {
		asRoot(t, address, source, v.setUp)
	}
	w, err := dialWire(address, source, "OpenSSH_9.2p1 Debian-2+deb12u3", v.user)
	text := "refused"
	if err == nil {
		f := newFrames(t, w)
		text = v.play(f)
		for _, line := range f.leave() {
			if strings.HasPrefix(line, "< exit-") {
				text += "\n" + line
			}
		}
		left(t, address)
	}
	if v.undo != "" {
		asRoot(t, address, source, v.undo)
	}
	text = strings.ReplaceAll(strings.ReplaceAll(text, source, "SOURCE"), "\r\n", "\n")
	n := normal{source: source}
	var lines []string
	for _, line := range strings.Split(text, "\n") {
		line = busy.ReplaceAllString(volatile.ReplaceAllString(line, ""), "${1}00000")
		if line = n.line(line); line != "" {
			lines = append(lines, line)
		}
	}
	return lines
}

// volatile are the shell's own pipes.
var volatile = regexp.MustCompile(`^[3-9] -> pipe.*`)

// busy is bash's mask of signals while it starts a program, SIGCHLD and for a moment SIGINT
// and SIGTERM as well: that can be as quick as to read it then. TestInsideView looks at the
// mask too.
var busy = regexp.MustCompile(`^(SigBlk:\s*0{11})1(0000|4002)$`)

var prompt = regexp.MustCompile(`[#$] $`)

func asRoot(t *testing.T, address, source, command string) {
	t.Helper()
	w, err := dialWire(address, source, "OpenSSH_9.2p1 Debian-2+deb12u3", "root")
	if err != nil {
		t.Error(fmt.Errorf("%s: %w", command, err))
		return
	}
	f := newFrames(t, w)
	f.open(0)
	f.exec(0, command)
	f.wait("< close")
	_ = f.leave()
	left(t, address)
}

// left waits until a connection's target is free for the next one of its source.
func left(t *testing.T, where string) {
	if where == address {
		lastSession(t)
	}
}
