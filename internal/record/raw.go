// Package record writes down what goes through one channel. Bytes come in from
// both directions before they are forwarded; a lossless raw log, which is the
// evidence, and an asciicast v2 file, which is the view of it, go out. It also
// reads raw logs back and plays them. docs/recording-format.md describes both
// files.
package record

import (
	"encoding/binary"
	"hash/crc32"
	"time"
)

// The raw format; all numbers are big-endian.
const (
	magic       = "\x89STR\r\n\x1a\n" // not text, and broken by transfers that change line ends
	version     = 1
	headerSize  = 8 + 4 + 8 + 4     // magic, version, start, CRC
	frameHeader = 1 + 3 + 8 + 4 + 4 // kind, zero, time, length, CRC

	// maxPayload is the most one frame carries, in bytes. Longer chunks are
	// split; a reader refuses longer frames.
	maxPayload = 64 << 10
)

// castagnoli is CRC-32C (RFC 3720, appendix B.4).
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Kind says what a frame holds. Readers skip kinds they do not know.
type Kind byte

// The kinds of frames of version 1.
const (
	KindTerminal   Kind = 't' // the client's TERM; only with a pty
	KindCommand    Kind = 'c' // the exec command; a longer one goes on in the next frame
	KindForward    Kind = 'f' // what a forward was asked for, see Options.Forward
	KindResize     Kind = 'r' // window size: columns and rows, uint32 each
	KindOutput     Kind = 'o' // standard output, or what the pty gave
	KindStderr     Kind = 'e' // standard error; only without a pty
	KindInput      Kind = 'i' // what the client sent
	KindInputEOF   Kind = 'z' // the client closed its side; no payload
	KindMarker     Kind = 'm' // a remark in UTF-8, or as near to it as it came
	KindExit       Kind = 'x' // the program's exit status, int32
	KindExitSignal Kind = 'k' // what killed the program: 1 after a core dump or 0, then the signal's name
	KindSignal     Kind = 's' // a signal's name, as the client sent it
	KindTruncated  Kind = 'q' // the quota is reached and the rest is missing; the quota in bytes, uint64
	KindEnd        Kind = '.' // recording ended in good order; no payload
)

// Frame is one entry of a raw log.
type Frame struct {
	Kind Kind
	Time time.Duration // since the start of the recording
	Data []byte        // payload as recorded, any bytes
}

// Size returns the window size of a resize frame; ok is false for other frames.
func (f Frame) Size() (s Size, ok bool) {
	if f.Kind != KindResize || len(f.Data) != 8 {
		return Size{}, false
	}
	return Size{binary.BigEndian.Uint32(f.Data), binary.BigEndian.Uint32(f.Data[4:])}, true
}

// ExitStatus returns the status of an exit frame; ok is false for other frames.
func (f Frame) ExitStatus() (status int, ok bool) {
	if f.Kind != KindExit || len(f.Data) != 4 {
		return 0, false
	}
	return int(int32(binary.BigEndian.Uint32(f.Data))), true
}

// ExitSignal returns what an exit signal frame holds; ok is false for other frames.
func (f Frame) ExitSignal() (name string, coreDumped, ok bool) {
	if f.Kind != KindExitSignal || len(f.Data) == 0 {
		return "", false, false
	}
	return string(f.Data[1:]), f.Data[0] == 1, true
}

// appendHeader appends the header of a raw log that starts at start.
func appendHeader(b []byte, start time.Time) []byte {
	from := len(b)
	b = append(b, magic...)
	b = binary.BigEndian.AppendUint32(b, version)
	b = binary.BigEndian.AppendUint64(b, uint64(start.UnixNano()))
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b[from:], castagnoli))
}

// appendFrame appends a frame; data must not be longer than maxPayload.
func appendFrame(b []byte, kind Kind, at time.Duration, data []byte) []byte {
	from := len(b)
	b = append(b, byte(kind), 0, 0, 0)
	b = binary.BigEndian.AppendUint64(b, uint64(at))
	b = binary.BigEndian.AppendUint32(b, uint32(len(data)))
	sum := crc32.Update(crc32.Checksum(b[from:], castagnoli), castagnoli, data)
	b = binary.BigEndian.AppendUint32(b, sum)
	return append(b, data...)
}
