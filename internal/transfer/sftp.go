package transfer

import (
	"errors"
	"time"
)

// Types of packets, draft-ietf-secsh-filexfer-02, section 3.
const (
	sftpVersion  = 2
	sftpOpen     = 3
	sftpClose    = 4
	sftpRead     = 5
	sftpWrite    = 6
	sftpLstat    = 7
	sftpFstat    = 8
	sftpSetstat  = 9
	sftpFsetstat = 10
	sftpRemove   = 13
	sftpMkdir    = 14
	sftpRmdir    = 15
	sftpStat     = 17
	sftpRename   = 18
	sftpSymlink  = 20
	sftpStatus   = 101
	sftpHandle   = 102
	sftpData     = 103
	sftpAttrs    = 105
	sftpExtended = 200
)

// The last request of the draft, and the answers, have types up to these.
const (
	sftpLastRequest = sftpSymlink
	sftpFirstAnswer = sftpStatus
)

// Extensions of OpenSSH's that change files, by numbers of ours; see PROTOCOL in its
// sources. Others are answered and change nothing that is followed.
const (
	extensionLsetstat = 1 + iota
	extensionLink
	extensionCopy
)

// Flags of open, section 6.3 of the draft.
const (
	openRead   = 0x01
	openWrite  = 0x02
	openAppend = 0x04
	openCreate = 0x08
	openTrunc  = 0x10
	openExcl   = 0x20
)

// Codes of a status, section 7.
const (
	statusOK  = 0
	statusEOF = 1
)

const (
	// maxHandle is the length of the longest handle, section 3 of the draft.
	maxHandle = 256
	// maxHandles bounds the open files that are followed.
	maxHandles = 256
	// maxHeld bounds what is held of requests that wait for their answer, in bytes:
	// some thousands of requests.
	maxHeld = 512 << 10
	// What a request takes beside its names.
	requestCost = 64
	detailCost  = 200
)

// Errors that end decoding, beside those of all protocols.
var (
	errVersion = errors.New("another version of the protocol than 3")
	errAnswer  = errors.New("an answer without a request")
)

// sftp follows one channel of SFTP.
type sftp struct {
	w        *Watcher
	requests packets
	answers  packets

	outstanding []request // in the order in which they came
	held        int       // bytes, see maxHeld
	handles     map[string]*handle
	unfollowed  bool // maxHandles was met
	seen        seen

	sending   sending
	receiving receiving
}

// seen is the latest answer to a question about a file that is not open. Clients
// ask before they download.
type seen struct {
	path string
	attributes
}

// handle is an open file.
type handle struct {
	path     string
	flags    uint32
	mode     int
	modified int64
	closing  bool // the client has asked to close it
	up, down *content
	// What is known of a file that is read, -1 if it is not.
	size, eof int64
}

func newSFTP(w *Watcher) *sftp {
	s := &sftp{w: w, handles: map[string]*handle{}}
	s.sending.sftp, s.receiving.sftp = s, s
	s.requests.sink, s.answers.sink = &s.sending, &s.receiving
	return s
}

func (s *sftp) input(p []byte) error  { return s.requests.feed(p) }
func (s *sftp) output(p []byte) error { return s.answers.feed(p) }

func (s *sftp) end(reason string) {
	_ = s.receiving.end() // what has come of an answer has gone out
	for key := range s.handles {
		s.close(key, reason)
	}
}

// truncated reports whether h was opened as an empty file.
func (h *handle) truncated() bool {
	return h.flags&openTrunc != 0 || h.flags&openCreate != 0 && h.flags&openExcl != 0
}

// written is what is written to h, from the first time on that somebody does.
func (s *sftp) written(h *handle) *content {
	if h.up == nil {
		h.up = &content{w: s.w, zero: h.truncated()}
	}
	return h.up
}

// opened begins to follow a file.
func (s *sftp) opened(key string, d *detail) {
	s.close(key, reasonOrder)
	if len(s.handles) >= maxHandles {
		if !s.unfollowed {
			s.w.report.Gap(SFTP, "more open files than are followed")
		}
		s.unfollowed = true
		return
	}
	h := &handle{path: d.path, flags: d.flags, mode: d.attributes.permissions(), modified: -1, size: -1, eof: -1}
	if s.seen.path == h.path && h.flags&openWrite == 0 {
		s.learn(h, s.seen.attributes)
	}
	s.handles[key] = h
}

// learn takes what the server says of a file.
func (s *sftp) learn(h *handle, a attributes) {
	h.size = a.length()
	if h.flags&openWrite == 0 {
		h.mode, h.modified = a.permissions(), a.time()
	}
}

// close tells what became of a file, if there is such a handle.
func (s *sftp) close(key, reason string) {
	h := s.handles[key]
	if h == nil {
		return
	}
	delete(s.handles, key)
	f := File{Protocol: SFTP, Direction: Upload, Name: h.path, Time: time.Now().UTC(), Mode: h.mode, Modified: h.modified}
	if h.up != nil || h.flags&openWrite != 0 && h.truncated() {
		s.w.finish(f, s.written(h), reason)
	}
	if h.down == nil && h.eof == 0 {
		h.down = &content{w: s.w}
	}
	if h.down != nil {
		f.Direction, f.Size = Download, h.size
		if reason == "" && !h.readAll() {
			reason = reasonUnread
		}
		s.w.finish(f, h.down, reason)
	}
}

// readAll reports whether a file was read to its end.
func (h *handle) readAll() bool {
	return h.eof >= 0 && h.eof <= h.down.size || h.size >= 0 && h.size <= h.down.size
}
