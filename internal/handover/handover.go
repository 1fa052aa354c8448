// Package handover gives the front end the stream of a session leader. Leader and
// front end belong to different accounts, and neither can reach the other: the
// container's first process keeps a connected socket at frame.Descriptor, and a
// small server of the account that owns the containers takes a copy of it by
// pidfd_getfd(2), which the owner of a user namespace may, and passes it on by
// SCM_RIGHTS, see unix(7).
//
// It is a server of package helper: a client asks by the container's id, and the
// answer is one byte 0 with the descriptor.
package handover
