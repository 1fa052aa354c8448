//go:build appliance

package appliance

import (
	"fmt"
	"strings"
)

var requestScenes = []scene{
	{name: "replies that nobody wants", play: func(f *frames) {
		f.open(0)
		f.tell(0, false, "env", str("LANG"), str("C"))
		f.tell(0, false, "env", str("NO"), str("C"))
		f.tell(0, false, "no-such-request")
		f.tell(0, false, "exec", str("echo out; sleep 0.3"))
		f.wait("< close")
	}},
	{name: "unknown requests", play: func(f *frames) {
		f.open(0)
		f.request(0, "no-such-request")
		f.request(0, "no-such-request", str("with a payload"))
		f.request(0, "")
		f.request(0, "exit-status", num(0))
		f.exec(0, "sleep 0.3")
		f.request(0, "no-such-request")
		f.wait("< close")
	}},
	{name: "unknown subsystem", play: func(f *frames) {
		f.open(0)
		f.request(0, "subsystem", str("netconf"))
		f.request(0, "subsystem", str(""))
		f.request(0, "subsystem", str("sftp\xff\x1b[31m"))
		f.exec(0, "echo out; sleep 0.3")
		f.wait("< close")
	}},
	{name: "requests too late", play: func(f *frames) {
		f.open(0)
		f.request(0, "shell")
		f.says(0, greeted)
		f.request(0, "shell")
		f.exec(0, "echo no")
		f.request(0, "subsystem", str("sftp"))
		f.pty(0, "xterm")
		f.request(0, "env", str("LANG"), str("C"))
		f.request(0, "window-change", num(80), num(24), num(0), num(0))
		f.write(0, "exit 3\n")
		f.wait("< close")
	}},
	{name: "window-change without a terminal", play: func(f *frames) {
		f.open(0)
		f.request(0, "window-change", num(80), num(24), num(0), num(0))
		f.close(0)
		f.wait("< close")
	}},
	{name: "window-change", play: func(f *frames) {
		f.open(0)
		f.pty(0, "xterm")
		f.request(0, "window-change", num(81), num(25), num(810), num(250))
		f.exec(0, "trap 'stty size; exit 3' WINCH; stty size; while :; do sleep 0.05; done")
		f.says(0, "25 81")
		f.request(0, "window-change", num(82), num(26), num(820), num(260))
		f.wait("< close")
	}},
	{name: "two terminals", play: func(f *frames) {
		f.open(0)
		f.pty(0, "xterm")
		f.pty(0, "xterm")
		f.wait("< end")
	}},
	{name: "environment", play: func(f *frames) {
		f.open(0)
		for _, name := range []string{"LANG", "LANGUAGE", "LC_", "LC_A", "lang", "LC", "LC_A=B", "LC_a/b", "LC_[", "LC_\xff", "", "PATH"} {
			f.request(0, "env", str(name), str("value"))
		}
		f.exec(0, "sleep 0.3")
		f.wait("< close")
	}},
	{name: "large environment", play: func(f *frames) {
		f.open(0)
		for i := range 131 {
			f.request(0, "env", str(fmt.Sprint("LC_", i)), str("value"))
		}
		f.exec(0, "env | grep -c ^LC_; sleep 0.3")
		f.wait("< close")
	}},
	{name: "long environment", play: func(f *frames) {
		f.open(0)
		f.request(0, "env", str("LC_A"), str(strings.Repeat("x", 100<<10)))
		f.request(0, "env", str("LC_"+strings.Repeat("x", 1<<10)), str("y"))
		f.exec(0, "env | wc -c; sleep 0.3")
		f.wait("< close")
	}},
	{name: "signals", play: signals},
	{name: "signals of an account", user: "debian", play: signals},
	{name: "signal to a subsystem", user: "debian", play: func(f *frames) {
		f.open(0)
		f.request(0, "subsystem", str("sftp"))
		f.request(0, "signal", str("TERM"))
		f.eof(0)
		f.wait("< close")
	}},
	{name: "killed by the client", user: "debian", play: func(f *frames) {
		f.open(0)
		f.exec(0, "echo out; sleep 1000")
		f.says(0, "out")
		f.request(0, "signal", str("KILL"))
		f.wait("< close")
	}},
}

// signals asks for all kinds of signals; the program ignores those that there are.
func signals(f *frames) {
	f.open(0)
	f.request(0, "signal", str("USR1"))
	f.exec(0, "trap '' HUP INT QUIT TERM USR1 USR2 ALRM PIPE; echo out; sleep 2")
	f.says(0, "out")
	for _, name := range []string{"HUP", "INT", "QUIT", "TERM", "USR1", "USR2", "ALRM", "PIPE", "SIGTERM", "15", "term", "INFO@openssh.com", "", "\x1b]0;x\a", "TERM\x00"} {
		f.request(0, "signal", str(name))
	}
	f.request(0, "signal")
	f.request(0, "signal", str("TERM"), str("more"))
	f.request(0, "signal", str("TE\x00RM"))
	f.request(0, "signal", str(strings.Repeat("x", 1000)))
	f.wait("< close")
}

// malformed is a request that ends the connection. Others before it do not.
func malformed(name string, payload ...[]byte) func(f *frames) {
	return func(f *frames) {
		f.open(0)
		f.request(0, name, payload...)
		f.close(0)
		f.wait("< ")
	}
}

// modes is a pty-req with encoded terminal modes.
func modes(encoded string) func(f *frames) {
	return malformed("pty-req", str("xterm"), num(80), num(24), num(0), num(0), str(encoded))
}

var hostileScenes = []scene{
	{name: "exec with more behind", play: malformed("exec", str("echo no"), []byte{0})},
	{name: "exec cut off", play: malformed("exec", num(8), []byte("echo"))},
	{name: "exec without a command", play: malformed("exec")},
	{name: "exec with a NUL", play: malformed("exec", str("echo no\x00echo yes"))},
	{name: "exec with a NUL behind", play: func(f *frames) {
		f.open(0)
		f.exec(0, "sleep 0.3; exit 3\x00")
		f.wait("< close")
	}},
	{name: "shell with a payload", play: malformed("shell", str("sh"))},
	{name: "subsystem with a NUL", play: malformed("subsystem", str("sf\x00tp"))},
	{name: "subsystem with more behind", play: malformed("subsystem", str("sftp"), str("more"))},
	{name: "env with a NUL", play: malformed("env", str("LC_\x00A"), str("x"))},
	{name: "env value with a NUL", play: malformed("env", str("LC_A"), str("x\x00y"))},
	{name: "env without a value", play: malformed("env", str("LC_A"))},
	{name: "window-change cut off", play: malformed("window-change", num(80), num(24))},
	{name: "pty-req with a NUL", play: malformed("pty-req", str("xt\x00erm"), num(80), num(24), num(0), num(0), str(""))},
	{name: "pty-req cut off", play: malformed("pty-req", str("xterm"), num(80))},
	{name: "pty-req with more behind", play: malformed("pty-req", str("xterm"), num(80), num(24), num(0), num(0), str(""), str("more"))},
	{name: "pty-req with escapes", play: malformed("pty-req", str("\x1b[31m\xff"), num(80), num(24), num(0), num(0), str(""))},
	{name: "pty-req of immense size", play: malformed("pty-req", str(""), num(-1), num(-1), num(-1), num(-1), str(""))},
	{name: "modes cut off", play: modes("\x35\x00\x00")},
	{name: "modes without an end", play: modes("\x35\x00\x00\x00\x00")},
	{name: "modes with more behind", play: modes("\x00\x35\x00\x00\x00\x00")},
	{name: "unknown modes", play: modes("\x64\x00\x00\x00\x00\xa0rest")},
	{name: "unknown modes cut off", play: modes("\x64\x00")},
	{name: "speed cut off", play: modes("\x80\x00")},
	{name: "long command", play: func(f *frames) { f.open(0); f.exec(0, "sleep 0.3; : "+strings.Repeat("x", 100<<10)); f.wait("< close") }},
	{name: "too long a command", play: func(f *frames) { f.open(0); f.exec(0, "sleep 0.3; : "+strings.Repeat("x", 200<<10)); f.wait("< close") }},
	{name: "packet of 300 KiB", play: malformed("exec", str(strings.Repeat("x", 300<<10)))},
	{name: "bytes of all kinds", play: func(f *frames) {
		f.open(0)
		f.request(0, "env", str("LC_A"), str("\x1b[31m\xff\xfe"))
		f.exec(0, "printf '%s' \"$LC_A\" '\x1b]0;x\a\xff\xfe'; sleep 0.3")
		f.wait("< close")
	}},
	{name: "unknown channel", play: func(f *frames) {
		f.open(0)
		f.theirs[0] = 77
		f.eof(0)
		f.wait("< end")
	}},
	{name: "data before a program", play: func(f *frames) {
		f.open(0)
		f.send("data", []byte{msgData}, num(f.theirs[0]), str("early\n"))
		f.exec(0, "sleep 0.3")
		f.wait("< close")
	}},
}
