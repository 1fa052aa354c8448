package leader

import (
	"syscall"

	"github.com/sandtrap/sandtrap/internal/frame"
)

// signals are the names of RFC 4254, section 6.10.
var signals = [...]struct {
	name   string
	number syscall.Signal
}{
	{"ABRT", syscall.SIGABRT},
	{"ALRM", syscall.SIGALRM},
	{"FPE", syscall.SIGFPE},
	{"HUP", syscall.SIGHUP},
	{"ILL", syscall.SIGILL},
	{"INT", syscall.SIGINT},
	{"KILL", syscall.SIGKILL},
	{"PIPE", syscall.SIGPIPE},
	{"QUIT", syscall.SIGQUIT},
	{"SEGV", syscall.SIGSEGV},
	{"TERM", syscall.SIGTERM},
	{"USR1", syscall.SIGUSR1},
	{"USR2", syscall.SIGUSR2},
}

func signalNumber(name string) (syscall.Signal, bool) {
	for _, s := range signals {
		if s.name == name {
			return s.number, true
		}
	}
	return 0, false
}

func signalName(number syscall.Signal) string {
	for _, s := range signals {
		if s.number == number {
			return s.name
		}
	}
	return "SIG" + itoa(int(number))
}

// exitMessage translates what wait4(2) says of a process that has ended.
func exitMessage(status syscall.WaitStatus) *frame.ExitMessage {
	if status.Signaled() {
		return &frame.ExitMessage{Signal: signalName(status.Signal()), CoreDumped: status.CoreDump()}
	}
	return &frame.ExitMessage{Status: uint32(status.ExitStatus())}
}
