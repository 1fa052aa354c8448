// Package escape tries to get out of a target, as an attacker does: over ssh(1),
// as root and as an ordinary account. What is tried are rows of a table; what must
// come of it is looked at from inside, and from outside whether anything has
// changed. It runs as root in a system where the package is installed; see
// docs/escape-attempts.md, which a test compares with the table.
package escape

import (
	"errors"
	"io/fs"
	"os"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// row is one thing that somebody tries who wants out. It is tried in a process of
// its own.
type row struct {
	name string // unique; the table of the document shows it
	// try is the attempt. It answers in a word or a few: the name of an error as in
	// errno(3), done when nothing refused it, or something that says more.
	try func(facts) string
	// want are the answers that are refusals, for root: "EPERM|EACCES".
	want string
	user string // the same for an ordinary account; empty where it does not differ
	// outside names what is compared after this very row, see aspects. After each
	// group all of them are.
	outside string
	// unshown is why the attempt cannot be seen to succeed in a test system without
	// doing harm, or at all. Empty for rows that TestRowsCanFail sees succeed.
	unshown string
}

// group are rows that have something in common.
type group struct {
	title string
	rows  []row
}

// table is all that is tried by a program inside.
var table = []group{
	{"Mounts and the root directory", mountRows},
	{"Namespaces", namespaceRows},
	{"Other processes", processRows},
	{"Settings of the kernel", settingRows},
	{"Control groups", cgroupRows},
	{"System calls for administrators", callRows},
	{"Sockets and modules behind them", socketRows},
	{"Addresses, and sockets of the machine", networkRows},
	{"Rights", rightRows},
	{"Devices and terminals", deviceRows},
	{"Other sessions", sessionRows},
}

// facts is what the outside tells an attempt, so that it need not guess.
type facts struct {
	Canary   string // a file of the machine's, mode 0644
	Abstract string // an abstract socket of the machine's
	Port     int    // a listener of the machine's, on 127.0.0.1 and ::1
	PID      int    // a process of the machine's
	Key      int    // a System V segment of the machine's
	Queue    string // a POSIX message queue of the machine's
	// Witness has the same of another session. Its file is in /root.
	Witness struct {
		Canary, Abstract, Queue, Shared string
		Port, Key                       int
	}
}

// aspects are what is compared outside; see the document for what each is.
var aspects = []string{"canaries", "cgroups", "clock", "files", "hostname", "modules", "mounts", "processes", "settings"}

const done = "done"

// confined is the answer of attempts that are allowed and lead nowhere.
const confined = "confined"

// fileErrors are the refusals that a file can have; which it is depends on the
// kernel and the machine.
const fileErrors = "EPERM|EACCES|EROFS|ENOENT"

// accepted reports whether an answer is one of want.
func accepted(answer, want string) bool {
	for _, w := range strings.Split(want, "|") {
		if answer == w {
			return true
		}
	}
	return false
}

// wanted is what must come of the row for an account.
func (r row) wanted(account string) string {
	if account != "root" && r.user != "" {
		return r.user
	}
	return r.want
}

// outcome is an error in one word, as the table has it.
func outcome(err error) string {
	var errno syscall.Errno
	switch {
	case err == nil:
		return done
	case errors.As(err, &errno):
		if name := unix.ErrnoName(errno); name != "" {
			return name
		}
	case errors.Is(err, fs.ErrNotExist):
		return "ENOENT"
	}
	return err.Error()
}

// call makes a system call as it is.
func call(number uintptr, args ...uintptr) string {
	var a [6]uintptr
	copy(a[:], args)
	if _, _, errno := syscall.Syscall6(number, a[0], a[1], a[2], a[3], a[4], a[5]); errno != 0 {
		return outcome(errno)
	}
	return done
}

// calls is a row's try that is one system call.
func calls(number uintptr, args ...uintptr) func(facts) string {
	return func(facts) string { return call(number, args...) }
}

// opens tries to open a file.
func opens(path string, flags int) func(facts) string {
	return func(facts) string {
		f, err := os.OpenFile(path, flags|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
		if err == nil {
			_ = f.Close()
		}
		return outcome(err)
	}
}

// writes tries to write text to a file that is there.
func writes(path, text string) func(facts) string {
	return func(facts) string { return write(path, text) }
}

func write(path, text string) string {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return outcome(err)
	}
	defer f.Close()
	_, err = f.WriteString(text)
	return outcome(err)
}

// tame reports whether an attempt is made where it may succeed, to see that it can:
// then it must do no harm.
func tame() bool { return os.Getenv("ESCAPE_TAME") != "" }

// writesTame is writes where the file may be opened and nothing more.
func writesTame(path, text string) func(facts) string {
	return func(f facts) string {
		if tame() {
			return opens(path, os.O_WRONLY)(f)
		}
		return write(path, text)
	}
}

// scratch is a new directory, and what removes it.
func scratch() (string, func()) {
	dir, err := os.MkdirTemp("/tmp", "attempt")
	if err != nil {
		return "/nowhere", func() {}
	}
	return dir, func() { _ = os.RemoveAll(dir) }
}

// sameRoot reports whether a path is the root directory of the attempt itself.
func sameRoot(path string) bool {
	var a, b unix.Stat_t
	return unix.Stat("/", &a) == nil && unix.Stat(path, &b) == nil && a.Dev == b.Dev && a.Ino == b.Ino
}
