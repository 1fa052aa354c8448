// Package attach is the front end's end of a session leader's stream: it starts
// programs in a target and moves their bytes, over whatever streams to the
// leader there are. What the leader says is hostile; whatever it should not say
// ends it, and nobody else's session.
package attach

import (
	"context"

	"github.com/sandtrap/sandtrap/internal/frame"
)

// Size is a terminal's size.
type Size = frame.Size

// Account is who programs run as: a line of the target's passwd(5).
type Account struct {
	Name     string
	UID, GID uint32
	Home     string
	Shell    string
	Made     bool // it was made for this login
}

// Exit is how a program ended. Where Signal is set, a name as in RFC 4254 section
// 6.10 or "SIG" and a number, Status does not count.
type Exit struct {
	Status     int
	Signal     string
	CoreDumped bool
}

// Program is what to run. All text may come from the attacker.
type Program struct {
	User        string // the account's name; a leader knows it from the login
	Path        string
	Argv        []string // with argv[0]
	Env         []string // NAME=value; SSH_TTY is added where there is a terminal
	Dir         string
	PTY         bool
	Size        Size
	Modes       string // encoded terminal modes, RFC 4254 section 8
	Interactive bool   // a login to be noted in utmp(5), with the message of the day
}

// Stream is a running program with its standard streams.
type Stream interface {
	// Write sends to standard input, CloseWrite ends it.
	Write(p []byte) (int, error)
	CloseWrite() error
	// Copy hands output on until it has ended; the buffers are reused.
	Copy(stdout, stderr func([]byte) error) error
	// Exited is closed when Wait would not block: the program has ended, or its
	// leader has. Output may still come.
	Exited() <-chan struct{}
	Wait(ctx context.Context) (Exit, error)
	Resize(ctx context.Context, s Size) error
	// Signal delivers a signal, named without SIG, to the program's process group.
	Signal(ctx context.Context, name string) error
	// Close hangs up and forgets the program.
	Close() error
}
