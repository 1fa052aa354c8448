//go:build appliance

package appliance

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
)

// scene is something that a client does on a connection of its own. It returns when
// nothing more can come.
type scene struct {
	name  string
	user  string // root, when empty
	exact bool   // the order of a program's exit and the end of its output counts
	play  func(f *frames)
}

// simple is a program on a channel of its own, from exec to close.
func simple(command string) func(f *frames) {
	return func(f *frames) {
		f.open(0)
		f.exec(0, command)
		f.wait("< close")
	}
}

// greeted is the end of the message of the day.
const greeted = "permitted by applicable law"

var lifeScenes = []scene{
	{name: "output", play: simple("echo out; sleep 0.3")},
	{name: "output and errors", play: simple("echo out; sleep 0.3; echo err >&2; sleep 0.3; exit 1")},
	{name: "no output", play: simple("exit 255")},
	{name: "no command", play: simple("")},
	{name: "output that waits for the client", exact: true, play: func(f *frames) {
		f.openAs(0, 0)
		f.wait("< open ")
		f.exec(0, "echo out; exit 4")
		f.wait("< eow")
		f.send("window", []byte{msgWindowAdjust}, num(f.theirs[0]), num(1<<20))
		f.wait("< close")
	}},
	{name: "killed", play: simple("kill -TERM $$")},
	{name: "killed with core", play: simple("cd /tmp; ulimit -c unlimited; kill -SEGV $$")},
	{name: "killed without core", play: simple("ulimit -c 0; kill -SEGV $$")},
	{name: "killed by an unusual signal", play: simple("kill -STKFLT $$")},
	{name: "output ends early", exact: true, play: simple("exec >&- 2>&-; sleep 0.3; exit 5")},
	{name: "standard output ends early", exact: true, play: simple("exec >&-; sleep 0.3; echo err >&2; sleep 0.3")},
	{name: "something stays behind", exact: true, play: simple("(sleep 0.5; echo late)& echo out; sleep 0.2; exit 6")},
	{name: "something stays behind on a terminal", play: func(f *frames) {
		f.open(0)
		f.pty(0, "xterm")
		f.exec(0, "trap '' HUP; (sleep 2; echo late)& echo out; sleep 0.3; exit 6")
		f.wait("< close")
	}},
	{name: "shell on a terminal", play: func(f *frames) {
		f.open(0)
		f.pty(0, "xterm")
		f.request(0, "shell")
		f.says(0, "# ")
		f.write(0, "exit 3\r")
		f.wait("< close")
	}},
	{name: "shell", play: func(f *frames) {
		f.open(0)
		f.request(0, "shell")
		f.says(0, greeted)
		f.write(0, "echo out; exit 3\n")
		f.wait("< close")
	}},
	{name: "two shells", play: twoShells},
	{name: "two shells of an account", user: "debian", play: twoShells},
	{name: "two shells on terminals", play: twoShellsOnTerminals},
	{name: "two shells of an account on terminals", user: "debian", play: twoShellsOnTerminals},
	{name: "terminal closed by the program", exact: true, play: func(f *frames) {
		f.open(0)
		f.pty(0, "xterm")
		f.exec(0, "exec <&- >&- 2>&-; sleep 0.3; exit 3")
		f.wait("< close")
	}},
	{name: "hundred channels", play: func(f *frames) {
		for range 100 {
			f.open(0)
			f.exec(0, "echo out; sleep 0.1; exit 1")
			f.wait("< close")
		}
	}},
}

// twoShells are two logins on one connection.
func twoShells(f *frames) {
	for i := range 2 {
		f.open(0)
		f.request(0, "shell")
		if i == 0 {
			f.says(0, greeted)
		}
		f.write(0, "sleep 0.3; echo out; exit 3\n")
		f.wait("< close")
	}
}

func twoShellsOnTerminals(f *frames) {
	for range 2 {
		f.open(0)
		f.pty(0, "xterm")
		f.request(0, "shell")
		f.until(func() bool { return f.over || prompt.Match(f.data[0].Bytes()) })
		f.write(0, "exit 3\r")
		f.wait("< close")
	}
}

var clientScenes = []scene{
	{name: "the client ends its input", play: func(f *frames) {
		f.open(0)
		f.exec(0, "cat; echo done; sleep 0.3; exit 7")
		f.write(0, "in\n")
		f.says(0, "in")
		f.eof(0)
		f.wait("< close")
	}},
	{name: "the client ends its input on a terminal", play: func(f *frames) {
		f.open(0)
		f.pty(0, "xterm")
		f.exec(0, "echo out; sleep 0.5; exit 7")
		f.says(0, "out")
		f.eof(0)
		f.wait("< close")
	}},
	{name: "the client closes", play: func(f *frames) {
		f.open(0)
		f.exec(0, "echo out; sleep 0.5; exit 8")
		f.says(0, "out")
		f.close(0)
		f.wait("< close")
	}},
	{name: "the client closes on a terminal", play: func(f *frames) {
		f.open(0)
		f.pty(0, "xterm")
		f.exec(0, "trap '' HUP; echo out; sleep 0.5; exit 8")
		f.says(0, "out")
		f.close(0)
		f.wait("< close")
	}},
	{name: "the client wants no more output", play: func(f *frames) {
		f.open(0)
		f.exec(0, "echo err >&2; sleep 0.3; yes")
		f.says(0, "y\ny\n")
		f.mu.Lock()
		f.muted = true // some of it is on its way
		f.mu.Unlock()
		f.tell(0, false, "eow@openssh.com")
		f.wait("< close")
	}},
	{name: "the program takes no more input", play: noInput},
	{name: "the program takes no more input, then ends", play: func(f *frames) {
		f.open(0)
		f.exec(0, "exec <&-; echo out; sleep 0.5")
		f.says(0, "out")
		f.wait("< close")
	}},
	{name: "unread input", play: func(f *frames) {
		f.open(0)
		f.exec(0, "echo out; sleep 0.5; exit 9")
		f.says(0, "out")
		f.write(0, strings.Repeat("x", 300<<10))
		f.wait("< close")
	}},
	{name: "unread input with an end", play: func(f *frames) {
		f.open(0)
		f.exec(0, "echo out; sleep 0.5; exit 9")
		f.says(0, "out")
		f.write(0, strings.Repeat("x", 300<<10))
		f.eof(0)
		f.wait("< close")
	}},
	{name: "sftp", play: func(f *frames) {
		f.open(0)
		f.request(0, "subsystem", str("sftp"))
		f.write(0, string(sftpInit))
		f.says(0, "posix-rename")
		f.eof(0)
		f.wait("< close")
	}},
	{name: "errors of a client", play: func(f *frames) {
		f.open(0)
		f.exec(0, "echo out; sleep 0.5")
		f.says(0, "out")
		f.send("stderr", []byte{msgExtendedData}, num(f.theirs[0]), num(1), str("err"))
		f.wait("< close")
	}},
}

// noInput writes to a program that has closed its standard input.
func noInput(f *frames) {
	f.open(0)
	f.exec(0, "exec <&-; echo out; sleep 0.5")
	f.says(0, "out")
	f.write(0, "x")
	f.wait("< close")
}

// TestFrames compares, message by message, what a client of SandTrap and one of a
// real sshd get. Whatever differs is listed, with a reason, in
// testdata/frames/differences.
func TestFrames(t *testing.T) {
	reference := loopbackReference(t)
	found := differences{path: "testdata/frames/differences"}
	for _, s := range slices.Concat(lifeScenes, clientScenes, requestScenes, hostileScenes) {
		compareFrames(t, &found, reference, "OpenSSH_9.2p1 Debian-2+deb12u3", s)
	}
	// sshd tells only OpenSSH that a program takes no more input.
	for _, s := range []scene{lifeScenes[0], {name: "the program takes no more input", play: noInput}} {
		s.name = "libssh2: " + s.name
		compareFrames(t, &found, reference, "libssh2_1.10.0", s)
	}
	found.check(t)
}

// rehearsals is how often each server plays a scene: some messages race, also with
// sshd.
const rehearsals = 2

// compareFrames plays a scene with both. Everything that SandTrap does must be
// something that sshd does.
func compareFrames(t *testing.T, found *differences, reference, version string, s scene) {
	var theirs, ours [rehearsals]string
	var wg sync.WaitGroup
	for i := range rehearsals {
		wg.Go(func() { theirs[i] = strings.Join(playFrames(t, reference, version, s), "\n") })
		wg.Go(func() { ours[i] = strings.Join(playFrames(t, address, version, s), "\n") })
	}
	wg.Wait()
	slices.Sort(theirs[:])
	slices.Sort(ours[:])
	for _, one := range slices.Compact(ours[:]) {
		if !slices.Contains(theirs[:], one) {
			found.compare("sshd", view{s.name: strings.Split(theirs[0], "\n")}, view{s.name: strings.Split(one, "\n")})
		}
	}
	found.scenarios = []string{"sshd"}
	t.Logf("%s\nsshd:\n%s\nsandtrap:\n%s", s.name, strings.Join(slices.Compact(theirs[:]), "\n or\n"), strings.Join(ours[:], "\n or\n"))
}

func playFrames(t *testing.T, address, version string, s scene) []string {
	t.Helper()
	user := s.user
	if user == "" {
		user = "root"
	}
	w, err := dialWire(address, freshSource(), version, user)
	if err != nil {
		t.Error(fmt.Errorf("%s at %s: %w", s.name, address, err))
		return nil
	}
	f := newFrames(t, w)
	s.play(f)
	lines := f.leave()
	if !s.exact {
		sortEnds(lines)
	}
	return lines
}

// sortEnds brings what tells of a program's end into one order where nothing is
// between: it happens at the same moment, and sshd sends it in several orders, the
// last output of a terminal included.
func sortEnds(lines []string) {
	rank := func(line string) int {
		return slices.IndexFunc([]string{"< data", "< eof", "< exit-", "< eow"}, func(p string) bool { return strings.HasPrefix(line, p) })
	}
	for i := range lines {
		for j := i; j > 0 && rank(lines[j]) >= 0 && rank(lines[j]) < rank(lines[j-1]); j-- {
			lines[j], lines[j-1] = lines[j-1], lines[j]
		}
	}
}
