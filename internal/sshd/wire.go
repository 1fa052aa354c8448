package sshd

import (
	"strings"

	"golang.org/x/crypto/ssh"
)

// Messages of the transport and payloads of the requests of RFC 4254, as
// ssh.Unmarshal wants them.

// disconnectMessage is RFC 4253, section 11.1.
type disconnectMessage struct {
	Reason      uint32 `sshtype:"1"`
	Description string
	Language    string
}

// unimplemented is RFC 4253, section 11.4.
type unimplemented struct {
	Sequence uint32 `sshtype:"3"`
}

// debugMessage is RFC 4253, section 11.3.
type debugMessage struct {
	Display  bool `sshtype:"4"`
	Message  string
	Language string
}

// ptyRequest is section 6.2, "pty-req".
type ptyRequest struct {
	Term          string
	Columns, Rows uint32
	Width, Height uint32 // pixels
	Modes         string // encoded terminal modes, section 8
}

func (m ptyRequest) size() Size { return Size{m.Columns, m.Rows, m.Width, m.Height} }

// envRequest is section 6.4, "env".
type envRequest struct{ Name, Value string }

// windowChange is section 6.7.
type windowChange struct {
	Columns, Rows uint32
	Width, Height uint32
}

func (m windowChange) size() Size { return Size(m) }

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

// takenSignal reports whether OpenSSH delivers a signal of this name: some of RFC
// 4254, section 6.10.
func takenSignal(name string) bool {
	switch name {
	case "HUP", "INT", "KILL", "QUIT", "TERM", "USR1", "USR2":
		return true
	}
	return false
}

// endOfWrite is the request that says that nobody reads any more; see PROTOCOL of
// OpenSSH, section 2.1.
const endOfWrite = "eow@openssh.com"

// knowsEndOfWrite reports whether sshd sends endOfWrite to a client with this
// identification line; see compat.c of OpenSSH, SSH_NEW_OPENSSH.
func knowsEndOfWrite(ident string) bool {
	_, software, _ := strings.Cut(strings.TrimPrefix(ident, "SSH-"), "-")
	version, ok := strings.CutPrefix(software, "OpenSSH")
	for _, old := range []string{"_2", "_3", "_4"} {
		ok = ok && !strings.HasPrefix(version, old)
	}
	return ok
}

// decode reads a payload into m as sshd does: nothing may be left over. texts are
// the strings of it that sshd keeps as C strings: a NUL at their end does not
// count, and no other may be there.
func decode(payload []byte, m any, texts ...*string) bool {
	if ssh.Unmarshal(payload, m) != nil {
		return false
	}
	for _, text := range texts {
		*text = strings.TrimSuffix(*text, "\x00")
		if strings.Contains(*text, "\x00") {
			return false
		}
	}
	return true
}

// wholeModes reports whether encoded terminal modes (RFC 4254, section 8) can be
// read. An argument that is cut off is the end of the connection for sshd.
func wholeModes(modes string) bool {
	const end, undefined = 0, 160
	for len(modes) > 0 {
		if modes[0] == end || modes[0] >= undefined {
			return true // the rest is not read
		}
		if len(modes) < 5 {
			return false
		}
		modes = modes[5:]
	}
	return true
}

// matches reports whether a name matches a pattern; see PATTERNS in
// ssh_config(5).
func matches(name, pattern string) bool {
	for ; pattern != ""; name, pattern = name[1:], pattern[1:] {
		if pattern[0] == '*' {
			rest := strings.TrimLeft(pattern, "*")
			for i := range len(name) + 1 {
				if rest == "" || matches(name[i:], rest) {
					return true
				}
			}
			return false
		}
		if name == "" || pattern[0] != '?' && pattern[0] != name[0] {
			return false
		}
	}
	return name == ""
}
