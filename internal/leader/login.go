package leader

import (
	"errors"
	"strings"
	"syscall"

	"github.com/sandtrap/sandtrap/internal/frame"
)

// login is who has logged in.
type login struct {
	account
	records
	monitor     int      // the process that sshd would have written in logout records
	environment []string // what pam_env(8) has set
	greeted     bool     // the message of the day was for the first program
}

// logIn handles the Login frame and answers it.
func (w *worker) logIn(payload []byte) error {
	var m frame.LoginMessage
	if err := m.Decode(payload); err != nil {
		return err
	}
	if w.login != nil {
		return errors.Join(frame.ErrMalformed, errors.New("second login"))
	}
	a, ok := databases{w.root}.choose(&m)
	if !ok {
		w.send(frame.Failed, 0, []byte("No account to log in with"))
		return nil
	}
	baited := plantBait(w.root, a, m.BaitName, m.Bait)
	w.login = &login{account: a, records: newRecords(w.root, m.Source), monitor: syscall.Getpid()}
	answer := frame.AccountMessage{Name: a.name, UID: a.uid, GID: a.gid, Home: a.home, Shell: a.shell, Made: a.made, Baited: baited}
	w.send(frame.Account, 0, answer.Encode())
	// The rest is done while the client hears that and says what it wants.
	return w.enter(w.login)
}

// enter becomes the account of a login. What needs root is done before.
func (w *worker) enter(l *login) error {
	closeAll(w.gate)
	w.gate = -1
	refreshMotd(w.root)
	l.environment = readEnvironment(w.root, l.home)
	w.title.set("sshd: " + l.name + " [priv]")
	if l.uid == 0 || syscall.Geteuid() != 0 {
		return nil
	}
	l.keepOpen()
	if w.decoys {
		if pid, err := startPrivileged(); err == nil {
			l.monitor = pid
		}
	}
	if err := syscall.Setgroups(ints(l.groups)); err != nil {
		return err
	}
	if err := syscall.Setresgid(int(l.gid), int(l.gid), int(l.gid)); err != nil {
		return err
	}
	if err := syscall.Setresuid(int(l.uid), int(l.uid), int(l.uid)); err != nil {
		return err
	}
	w.title.set("sshd: " + l.name)
	return nil
}

func ints(ids []uint32) []int {
	out := make([]int, len(ids))
	for i, id := range ids {
		out[i] = int(id)
	}
	return out
}

// credential is what programs get that the worker has not: root's groups. nil
// when it has become the account.
func (l *login) credential() *syscall.Credential {
	if syscall.Geteuid() != 0 {
		return nil
	}
	return &syscall.Credential{Uid: l.uid, Gid: l.gid, Groups: l.groups}
}

// showTitle names the terminals in use, as sshd does, with the one of starting, if
// any.
func (w *worker) showTitle(starting *channel) {
	var ttys []string
	for _, c := range w.order {
		if c.pty != nil && c.pidfd >= 0 && c != starting {
			ttys = append(ttys, c.pty.line())
		}
	}
	if starting != nil && starting.pty != nil {
		ttys = append(ttys, starting.pty.line())
	}
	name := "notty"
	if len(ttys) > 0 {
		name = strings.Join(ttys, ",")
	}
	w.title.set("sshd: " + w.login.name + "@" + name)
}
