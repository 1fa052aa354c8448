package capture

import (
	"fmt"
	"strings"
	"time"

	"github.com/sandtrap/sandtrap/internal/evidence"
	"github.com/sandtrap/sandtrap/internal/frame"
)

const (
	kindFile    = "file"
	kindProcess = "process"
)

var kindNames = map[frame.ItemKind]string{
	frame.KindFile: kindFile, frame.KindDirectory: "directory", frame.KindLink: "link", frame.KindFIFO: "fifo", frame.KindSocket: "socket",
	frame.KindCharDevice: "device", frame.KindBlockDevice: "device", frame.KindUnknown: "unknown", frame.KindProcess: kindProcess, frame.KindNet: "net",
}

var originNames = map[frame.Origin]string{frame.OriginLayer: "layer", frame.OriginTmpfs: "tmpfs", frame.OriginProcess: "process"}

var changeNames = map[frame.Change]string{frame.Added: "added", frame.Changed: "changed", frame.Deleted: "deleted"}

// Reasons, of which an entry may have two.
const (
	reasonFileLimit    = "more than capture.max_file_bytes"
	reasonSessionLimit = "more than capture.max_session_bytes in this session"
	reasonSpace        = "less than recording.min_free is free"
	reasonStore        = "could not be stored"
	reasonRead         = "could not be read"
	reasonShort        = "not all of it came"
	reasonSparse       = "sparse: the artifact ends at its first hole"
	reasonHardLink     = "hard link: content as of an earlier entry"
	reasonDeletedFile  = "deleted, held by a process"
	reasonMemfd        = "memfd"
	reasonReplaced     = "in place of the image's: what that held is gone"

	reasonTime  = "more than capture.max_time"
	reasonFiles = "more than capture.max_files"
	reasonTold  = "not everything could be read"
)

var noteReasons = map[frame.Note]string{
	frame.NoteUnreadable: reasonRead, frame.NoteHardLink: reasonHardLink, frame.NoteSparse: reasonSparse,
	frame.NoteDeleted: reasonDeletedFile, frame.NoteMemfd: reasonMemfd, frame.NoteReplaced: reasonReplaced,
}

func joined(a, b string) string {
	if a == "" || b == "" {
		return a + b
	}
	return a + "; " + b
}

// describe makes an entry of an item.
func describe(m *frame.ItemMessage) *evidence.CaptureEntry {
	e := &evidence.CaptureEntry{
		Kind: kindNames[m.Kind], Where: originNames[m.Origin], Change: changeNames[m.Change], Path: evidence.Text(m.Path),
		Link: evidence.Text(m.Link), Reason: noteReasons[m.Note], PID: m.PID, PPID: m.PPID,
	}
	switch m.Kind {
	case frame.KindProcess:
		e.UID, e.GID, e.Start = &m.UID, &m.GID, when(m.Modified)
		for _, argument := range strings.Split(strings.TrimSuffix(m.Text, "\x00"), "\x00") {
			e.Arguments = append(e.Arguments, evidence.Text(argument))
		}
		return e
	case frame.KindNet:
		e.Line = evidence.Text(m.Text)
		return e
	}
	e.Modified, e.Altered = when(m.Modified), when(m.Altered)
	if m.Kind == frame.KindUnknown {
		e.Modified = nil // of the mark
		return e
	}
	e.UID, e.GID, e.Mode = &m.UID, &m.GID, fmt.Sprintf("%04o", m.Mode&0o7777)
	if m.Kind == frame.KindFile {
		size := int64(m.Size)
		e.Size = &size
		if m.Links > 1 {
			e.Links = m.Links
		}
	}
	return e
}

// when is a time of the kernel's, or nothing where it is none that JSON can hold.
func when(nanoseconds int64) *time.Time {
	t := time.Unix(0, nanoseconds).UTC()
	if y := t.Year(); y < 1 || y > 9999 {
		return nil
	}
	return &t
}
