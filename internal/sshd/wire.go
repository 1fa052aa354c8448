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

// isVariable reports whether name and value can stand in an environment at all;
// see environ(7).
func isVariable(name, value string) bool {
	return name != "" && !strings.ContainsAny(name, "=\x00") && !strings.ContainsRune(value, 0)
}
