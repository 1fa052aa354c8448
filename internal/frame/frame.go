// Package frame is the language between SandTrap and the session leader, the
// small program of ours that waits inside a target: typed messages about numbered
// channels, over a stream. The bytes of programs are not among them: the front end
// gets their terminals and pipes themselves. docs/leader-protocol.md describes it. The package is
// linked into the leader, so it imports next to nothing.
package frame

import (
	"encoding/binary"
	"errors"
)

// Version is the protocol's. Both sides must have the same.
const Version = 5

// Descriptor is the number at which process 1 of a container that starts has the
// front end's end of the leader's stream, a connected unix(7) socket.
const Descriptor = 100

// Type says what a frame is about.
type Type byte

// The types. Those marked ">" go to the leader, "<" come from it.
const (
	Hello   Type = 'H' // ><  the first of each side, and no other
	Ping    Type = 'P' // >   asks for a Pong
	Pong    Type = 'Q' //  <
	Login   Type = 'L' // >   once: who the attacker is
	Account Type = 'A' //  <  the answer to Login
	Open    Type = 'O' // >   start a program on a new channel
	Opened  Type = 'o' //  <  it runs; its streams come along as descriptors
	Failed  Type = 'f' //  <  Login (channel 0) or Open came to nothing; text
	Signal  Type = 'S' // >   a signal's name without SIG, RFC 4254 section 6.10
	Close   Type = 'C' // >   forget the channel
	Exit    Type = 'X' //  <  how the program ended

	Capture  Type = 'V' // >   once, at the end: tell what goes with the target
	Item     Type = 'I' //  <  one thing of that
	Content  Type = 'B' //  <  some of the content of the item before
	Captured Type = 'E' //  <  that was all
)

// Bounds in bytes.
const (
	headerSize = 8
	// HelloSize is how long a Hello is, with its header.
	HelloSize = headerSize + 2
	// MaxPayload bounds the payload of any frame; only Open needs so much.
	MaxPayload = 512 << 10
)

// MaxChannel is the highest channel number. Numbers are the front end's choice
// and are not used twice on one link.
const MaxChannel = 1<<16 - 1

// Frame is one message. On the wire its header is the type, a zero byte, the
// channel (2 bytes) and the payload's length (4 bytes), all big-endian.
type Frame struct {
	Type    Type
	Channel uint16
	Payload []byte
}

// ErrMalformed is wrapped by every error about what the other side sent.
var ErrMalformed = errors.New("malformed frame")

// malformed is an error that wraps ErrMalformed and says what is wrong. Package
// fmt would cost the leader memory.
type malformed string

func (m malformed) Error() string { return ErrMalformed.Error() + ": " + string(m) }
func (malformed) Unwrap() error   { return ErrMalformed }

var errNotSendable = errors.New("frame is too long or on a channel where there is none")

// failure is an error with the attempt that it ended.
type failure struct {
	attempt string
	err     error
}

func (f *failure) Error() string { return f.attempt + ": " + f.err.Error() }
func (f *failure) Unwrap() error { return f.err }

// limit is the largest payload of a type, or -1 when there is no such type.
func (t Type) limit() int {
	switch t {
	case Open:
		return MaxPayload
	case Item:
		return MaxItem
	case Content:
		return MaxContent
	case Ping, Pong, Close, Opened:
		return 0
	case Hello, Login, Account, Failed, Signal, Exit, Capture, Captured:
		return 4 << 10
	}
	return -1
}

// toLeader reports whether the front end may send t once a stream has begun, and
// toFront whether the leader may.
func (t Type) toLeader() bool {
	switch t {
	case Ping, Login, Open, Signal, Close, Capture:
		return true
	}
	return false
}

func (t Type) toFront() bool {
	switch t {
	case Pong, Account, Opened, Failed, Exit, Item, Content, Captured:
		return true
	}
	return false
}

// global reports whether t is about the link as a whole: its channel is 0.
func (t Type) global() bool {
	switch t {
	case Hello, Ping, Pong, Login, Account, Capture, Item, Content, Captured:
		return true
	}
	return false
}

// Header returns the header of f. An error says that f cannot be sent.
func (f *Frame) Header() (h [headerSize]byte, err error) {
	if len(f.Payload) > f.Type.limit() || f.Type.global() && f.Channel != 0 {
		return h, errNotSendable
	}
	h[0] = byte(f.Type)
	binary.BigEndian.PutUint16(h[2:], f.Channel)
	binary.BigEndian.PutUint32(h[4:], uint32(len(f.Payload)))
	return h, nil
}

// parseHeader reads a header, whose payload comes behind it, and checks what can
// be checked without knowing the channels.
func parseHeader(h []byte) (f Frame, size int, err error) {
	f = Frame{Type: Type(h[0]), Channel: binary.BigEndian.Uint16(h[2:])}
	n := binary.BigEndian.Uint32(h[4:])
	switch limit := f.Type.limit(); {
	case limit < 0:
		return f, 0, malformed("unknown type")
	case h[1] != 0:
		return f, 0, malformed("second byte is not zero")
	case n > uint32(limit):
		return f, 0, malformed("payload is longer than its type allows")
	case f.Type.global() && f.Channel != 0:
		return f, 0, malformed("a channel where there is none")
	}
	return f, int(n), nil
}
