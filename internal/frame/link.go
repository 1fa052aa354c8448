package frame

import (
	"encoding/binary"
	"errors"
	"sync"
)

// Bounds of a link in bytes.
const (
	// MaxUnacked bounds what a side keeps until the other has acknowledged it.
	MaxUnacked = 512 << 10
	// ackEvery is how much a side may receive without saying so. It bounds what
	// stays unacknowledged when all is quiet.
	ackEvery = 64 << 10
	// maxKept is what a buffer holds in the worst case: the largest frame, which
	// waits only for all that will be acknowledged, or what does not wait.
	maxKept = MaxPayload + headerSize + ackEvery
)

// Errors of Send.
var (
	// ErrClosed is the error of a link that was closed without a cause.
	ErrClosed = errors.New("link is closed")
	// ErrStopped is what SendUntil returns when it was told to stop waiting.
	ErrStopped = errors.New("no room for a frame")

	errUnacknowledged = errors.New("the other side does not acknowledge what it is sent")
	errNotSendable    = errors.New("frame is too long or of a type that only the link sends")
	errBusy           = errors.New("link has a stream already")
)

// Link carries frames in both directions over a stream that may break and be
// replaced: every frame arrives once and in order. Each direction is a counted
// sequence of bytes. A side keeps what it has sent until the other has
// acknowledged it, and sends the rest again over the next stream.
//
// Its methods are safe for concurrent use. An idle link keeps next to no memory.
type Link struct {
	turn   chan struct{} // held by whoever waits for room in Send: first come, first served
	room   chan struct{} // there may be room again, for the holder of turn
	work   chan struct{} // there may be something to write, for the writer of a stream
	closed chan struct{} // closed when err is set

	mu  sync.Mutex // guards all below
	err error      // why the link was closed
	// Offsets of what this side sends: acked <= attempted and base <= next <=
	// attempted. The backlog begins at base. While bytes are being written next is
	// in front of them, so that nobody overwrites them, whatever the other side
	// claims to have.
	kept      backlog
	base      uint64
	acked     uint64 // the other side says it has all before
	next      uint64 // written to the present stream
	attempted uint64 // written, or tried to, to any stream
	// Offsets of what the other side sends.
	received uint64
	told     uint64 // it knows that this side has all before

	stream *stream // the present one, or nil
	token  *[16]byte
}

// NewLink returns a link without a stream. What is sent waits for one.
func NewLink() *Link {
	return &Link{turn: make(chan struct{}, 1), room: make(chan struct{}, 1), work: make(chan struct{}, 1), closed: make(chan struct{})}
}

// Send queues a frame, whose payload it copies. It waits while MaxUnacked bytes
// are unacknowledged, whether there is a stream or not, so whoever reads (the
// handle function of a stream) must not call it but for Ping, Pong, Account,
// Opened, Failed and Close, which never wait. After Close it returns the cause.
func (l *Link) Send(f Frame) error { return l.SendUntil(nil, f) }

// SendUntil is Send that stops waiting, with ErrStopped, when stop is closed. The
// frame has not been queued then.
func (l *Link) SendUntil(stop <-chan struct{}, f Frame) error {
	if len(f.Payload) > f.Type.limit() || f.Type == Hello || f.Type == Ack || f.Type.global() && f.Channel != 0 {
		return errNotSendable
	}
	if f.Type.prompt() {
		l.mu.Lock()
		err := l.push(&f)
		l.mu.Unlock()
		if errors.Is(err, errUnacknowledged) {
			_ = l.Close(err)
		}
		return err
	}
	select {
	case l.turn <- struct{}{}:
	case <-stop:
		return ErrStopped
	case <-l.closed:
		return l.Err()
	}
	defer func() { <-l.turn }()
	for {
		l.mu.Lock()
		if l.fits(headerSize + len(f.Payload)) {
			err := l.push(&f)
			l.mu.Unlock()
			return err
		}
		l.mu.Unlock()
		select {
		case <-l.room:
		case <-stop:
			return ErrStopped
		case <-l.closed:
			return l.Err()
		}
	}
}

// fits reports whether a frame of size bytes need not wait. The second case is
// for frames that are too large for the first: less than ackEvery may stay
// unacknowledged for ever.
func (l *Link) fits(size int) bool {
	return l.kept.n+size <= MaxUnacked || l.kept.n < ackEvery
}

// push appends a frame. l.mu is held.
func (l *Link) push(f *Frame) error {
	if l.err != nil {
		return l.err
	}
	if l.kept.n+headerSize+len(f.Payload) > maxKept {
		return errUnacknowledged // the caller closes the link
	}
	var header [headerSize]byte
	l.kept.push(f.appendHeader(header[:0]))
	l.kept.push(f.Payload)
	wake(l.work)
	return nil
}

// wake leaves a note for the one who waits, if there is none yet.
func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Close ends the link for good: waiting calls of Send return cause, as every
// later one does, and a present stream is closed. Frames that were not sent yet
// are dropped. Only the first cause counts; nil stands for ErrClosed.
func (l *Link) Close(cause error) error {
	if cause == nil {
		cause = ErrClosed
	}
	l.mu.Lock()
	if l.err == nil {
		l.err = cause
		l.kept = backlog{}
		close(l.closed)
	}
	cause = l.err
	s := l.stream
	l.mu.Unlock()
	if s != nil {
		s.end(cause) // closing a stream may take its time
	}
	return nil
}

// Err is why the link was closed, nil while it is open.
func (l *Link) Err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err
}

// pending is what to write next: some of the kept bytes, in one piece, which
// stay until wrote. An acknowledgement that is due is queued here, so that no
// more of them can wait than are written.
func (l *Link) pending(limit int) ([]byte, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil {
		return nil, l.err
	}
	if l.received-l.told >= ackEvery {
		var offset [8]byte
		binary.BigEndian.PutUint64(offset[:], l.received)
		if err := l.push(&Frame{Type: Ack, Payload: offset[:]}); err != nil {
			return nil, err
		}
		l.told = l.received
	}
	chunk := l.kept.slice(int(l.next-l.base), limit)
	l.attempted = max(l.attempted, l.next+uint64(len(chunk)))
	return chunk, nil
}

// wrote says how much of pending was written.
func (l *Link) wrote(n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err == nil {
		l.next += uint64(n)
		l.release()
	}
}

// release forgets what the other side has. l.mu is held.
func (l *Link) release() {
	upTo := min(l.acked, l.next)
	if upTo <= l.base {
		return
	}
	l.kept.drop(int(upTo - l.base))
	l.base = upTo
	wake(l.room)
}

// acknowledge handles an Ack. An old one, sent again over a new stream, is
// nothing to complain about.
func (l *Link) acknowledge(payload []byte) error {
	if len(payload) != 8 {
		return malformed("payload of acknowledgement")
	}
	offset := binary.BigEndian.Uint64(payload)
	l.mu.Lock()
	defer l.mu.Unlock()
	if offset > l.attempted {
		return malformed("acknowledges what was not sent")
	}
	if l.err == nil && offset > l.acked {
		l.acked = offset
		l.release()
	}
	return nil
}

// count adds n bytes of whole, handled frames to what was received.
func (l *Link) count(n int) {
	if n == 0 {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.received += uint64(n)
	if l.received-l.told >= ackEvery {
		wake(l.work)
	}
}

// resume begins a new stream whose other side has received everything up to
// offset.
func (l *Link) resume(offset uint64) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil {
		return l.err
	}
	if offset < l.base || offset > l.attempted {
		return malformed("hello with an offset that cannot be")
	}
	l.acked, l.next = offset, offset
	l.release()
	wake(l.work)
	return nil
}
