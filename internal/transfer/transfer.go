// Package transfer watches files that go through a channel: SFTP version 3
// (draft-ietf-secsh-filexfer-02, as OpenSSH speaks it) and the protocol of scp.
// It is given what passes in either direction, after it was recorded and before it
// goes on, and changes none of it. Out come the files, with their content, and what
// else was done to the target's files.
//
// Both ends are hostile: who owns a target owns its sftp-server too. What cannot be
// followed ends the watching, never the transfer.
package transfer

import "time"

// Protocols, as in File.Protocol.
const (
	SFTP = "sftp"
	SCP  = "scp"
)

// Directions, as in File.Direction, seen by the client.
const (
	Upload   = "upload"
	Download = "download"
)

// File is a file that was transferred, whole or in part.
type File struct {
	Protocol  string
	Direction string
	// Name is the name as it was sent; hostile. In a directory that scp sends it
	// begins with the directory's name.
	Name string
	Time time.Time // when it was closed, or given up
	// Size is the file's size in bytes as it was announced or, where it was not, the
	// end of what was transferred.
	Size int64
	// Transferred are the bytes of content that went through, acknowledged where the
	// protocol does so.
	Transferred int64
	// Offset is where the content that was transferred begins, in a transfer that
	// was resumed.
	Offset int64
	// Mode are the permissions as they were sent, see chmod(2); -1 when none were.
	Mode int
	// Modified is the time of the last change as it was sent, in seconds since
	// 1970; -1 when none was.
	Modified int64
	// SHA256 is the hash, in hexadecimal, of all that was transferred; empty where
	// not all of it is known.
	SHA256 string
	// Artifact is what Store.Commit was given: the hash of what was captured. It is
	// SHA256 unless something is missing. Empty when nothing was captured.
	Artifact string
	Captured int64 // bytes in the artifact
	// Complete says that the artifact is the file, or would be if the limits had let
	// it in; Reason is why it is not, or why it was not captured: one of our words.
	Complete bool
	Reason   string
}

// Operation is something other than a transfer that was done to a file, or tried.
type Operation struct {
	Protocol  string
	Operation string // one of our words
	// Path and NewPath are names as they were sent; hostile. NewPath is that of a
	// rename, a link or a copy.
	Path, NewPath string
	Mode          int   // -1 when none was sent
	Size          int64 // -1 when none was sent
	Accepted      bool  // the server's answer
}

// Reporter takes what was found. Its methods may be called from several goroutines.
type Reporter interface {
	File(File)
	Operation(Operation)
	// Gap says that something is not told from here on, and why. Reasons are our
	// words, but for one that quotes an error of the store.
	Gap(protocol, reason string)
	// Panic says that a mistake of ours was met, on the stack where that was. A Gap
	// follows.
	Panic(value any)
}

// Store takes the content of files.
type Store interface {
	// Temp makes a temporary file.
	Temp() (Temp, error)
}

// Temp is a temporary file. Exactly one of Commit and Discard ends it.
type Temp interface {
	Write([]byte) (int, error)
	ReadAt(p []byte, offset int64) (int, error)
	// Commit keeps the first size bytes under their hash.
	Commit(sha256 string, size int64) error
	Discard()
}
