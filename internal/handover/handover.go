// Package handover gives the front end the stream of a session leader. Leader and
// front end belong to different accounts, and neither can reach the other: the
// container's first process keeps a connected socket at frame.Descriptor, and a
// small server of the account that owns the containers takes a copy of it by
// pidfd_getfd(2), which the owner of a user namespace may, and passes it on by
// SCM_RIGHTS, see unix(7).
//
// A client connects to the server's socket and sends the container's id, 64
// lower-case hexadecimal digits, and a newline. The answer is one byte 0 with the
// descriptor, or a line that says why there is none. Then the server closes.
package handover

import "strings"

// Sizes in bytes.
const (
	idSize    = 64
	maxAnswer = 256 // of a line
)

// isID reports whether s is what Podman calls a container.
func isID(s string) bool {
	return len(s) == idSize && strings.Trim(s, "0123456789abcdef") == ""
}
