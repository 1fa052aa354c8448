package sshd

import "strings"

// Payloads of the requests of RFC 4254, as ssh.Unmarshal wants them.

// ptyRequest is section 6.2, "pty-req".
type ptyRequest struct {
	Term          string
	Columns, Rows uint32
	Width, Height uint32 // pixels
	Modes         string // encoded terminal modes, section 8
}

// envRequest is section 6.4, "env".
type envRequest struct{ Name, Value string }

// windowChange is section 6.7.
type windowChange struct {
	Columns, Rows uint32
	Width, Height uint32
}

// commandRequest is section 6.5, "exec" (command) and "subsystem" (name).
type commandRequest struct{ Command string }

// exitStatus is section 6.10.
type exitStatus struct{ Status uint32 }

// exitSignal is section 6.10.
type exitSignal struct {
	Signal     string
	CoreDumped bool
	Message    string
	Language   string
}

// signalRequest is section 6.9.
type signalRequest struct{ Signal string }

// wireSignal is what OpenSSH calls a signal: the names of RFC 4254, section 6.10,
// and one word for all others.
func wireSignal(name string) string {
	switch name {
	case "ABRT", "ALRM", "FPE", "HUP", "ILL", "INT", "KILL", "PIPE", "QUIT", "SEGV", "TERM", "USR1", "USR2":
		return name
	}
	return "SIG@openssh.com"
}

// isSafe reports whether C can have a string whole, as OpenSSH asks: a zero byte may
// only be its last. A client that sends another is cut off by sshd.
func isSafe(s string) bool {
	at := strings.IndexByte(s, 0)
	return at < 0 || at == len(s)-1
}

// isVariable reports whether name and value can stand in an environment at all;
// see environ(7).
func isVariable(name, value string) bool {
	return name != "" && !strings.ContainsAny(name, "=\x00") && !strings.ContainsRune(value, 0)
}
