package record

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"time"
)

// ErrFormat means that the data is not a raw log of a version known here.
var ErrFormat = errors.New("not a SandTrap raw log of version 1")

// ErrCorrupt means that a raw log was changed after it was written: a checksum
// or a length is wrong. What lies behind that place cannot be trusted.
var ErrCorrupt = errors.New("raw log is corrupt")

// Reader reads a raw log. Its input may be hostile: memory is bounded by the
// largest frame, 64 KiB.
type Reader struct {
	r      *bufio.Reader
	start  time.Time
	offset int64
	err    error
	bad    int64 // size of the frame that err is about, 0 where Skip cannot help
	// skipped is whether that before was skipped.
	skipped bool
}

// NewReader reads the header. The error wraps ErrFormat for other files,
// io.ErrUnexpectedEOF for a header cut short, or is the underlying reader's.
func NewReader(r io.Reader) (*Reader, error) {
	br := bufio.NewReader(r)
	var h [headerSize]byte
	n, err := io.ReadFull(br, h[:])
	switch {
	case n >= len(magic) && string(h[:len(magic)]) != magic:
		return nil, ErrFormat
	case errors.Is(err, io.EOF):
		return nil, fmt.Errorf("read raw log header: %w", io.ErrUnexpectedEOF)
	case err != nil:
		return nil, fmt.Errorf("read raw log header: %w", err)
	case binary.BigEndian.Uint32(h[8:]) != version:
		return nil, fmt.Errorf("%w: version %d", ErrFormat, binary.BigEndian.Uint32(h[8:]))
	case crc32.Checksum(h[:20], castagnoli) != binary.BigEndian.Uint32(h[20:]):
		return nil, fmt.Errorf("%w: header checksum", ErrCorrupt)
	}
	start := time.Unix(0, int64(binary.BigEndian.Uint64(h[12:]))).UTC()
	return &Reader{r: br, start: start, offset: headerSize}, nil
}

// Start returns the wall-clock time that frame times count from.
func (r *Reader) Start() time.Time { return r.start }

// Offset returns where the next frame begins, in bytes from the start of the
// log: behind the last good one when Next failed.
func (r *Reader) Offset() int64 { return r.offset }

// Next returns the next frame; its Data belongs to the caller. The error is
// io.EOF between frames, io.ErrUnexpectedEOF when the log ends within a frame
// (a crash, or a live recording in mid-write), or wraps ErrCorrupt. Errors stay,
// but see Skip.
func (r *Reader) Next() (Frame, error) {
	if r.err != nil {
		return Frame{}, r.err
	}
	f, err := r.read()
	if err != nil {
		r.err = err
		return Frame{}, err
	}
	r.skipped = false
	r.offset += frameHeader + int64(len(f.Data))
	return f, nil
}

// Skip goes on behind a single frame whose checksum is wrong, so that Next can return
// what is intact after it. It returns false where nobody knows where that would be: the
// frame before was damaged too, or its length cannot be true.
func (r *Reader) Skip() bool {
	if r.bad == 0 {
		return false
	}
	r.offset += r.bad
	r.err, r.bad, r.skipped = nil, 0, true
	return true
}

// NextIntact is Next that leaves out the damaged frames it can Skip. damaged, which may
// be nil, is told of each.
func (r *Reader) NextIntact(damaged func(error)) (Frame, error) {
	for {
		f, err := r.Next()
		if !errors.Is(err, ErrCorrupt) || !r.Skip() {
			return f, err
		}
		if damaged != nil {
			damaged(err)
		}
	}
}

func (r *Reader) read() (Frame, error) {
	var h [frameHeader]byte
	if _, err := io.ReadFull(r.r, h[:]); err != nil {
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return Frame{}, err
		}
		return Frame{}, fmt.Errorf("read frame at %d: %w", r.offset, err)
	}
	at, length := binary.BigEndian.Uint64(h[4:]), binary.BigEndian.Uint32(h[12:])
	if length > maxPayload || at > math.MaxInt64 {
		return Frame{}, fmt.Errorf("%w: frame at %d has impossible length or time", ErrCorrupt, r.offset)
	}
	data := make([]byte, length)
	if _, err := io.ReadFull(r.r, data); err != nil {
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return Frame{}, io.ErrUnexpectedEOF
		}
		return Frame{}, fmt.Errorf("read frame at %d: %w", r.offset, err)
	}
	if crc32.Update(crc32.Checksum(h[:16], castagnoli), castagnoli, data) != binary.BigEndian.Uint32(h[16:]) {
		if !r.skipped {
			r.bad = frameHeader + int64(length)
		}
		return Frame{}, fmt.Errorf("%w: checksum of the frame at %d", ErrCorrupt, r.offset)
	}
	return Frame{Kind: Kind(h[0]), Time: time.Duration(at), Data: data}, nil
}
