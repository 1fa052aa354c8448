package frame

import "io"

// firstBuffer is the size in bytes that a reader's buffer begins with.
const firstBuffer = 4 << 10

// Reader takes frames off a stream. Its buffer grows with what arrives at once
// and shrinks when less does.
type Reader struct {
	src    io.Reader
	valid  func(Type) bool // what the other side may send
	keep   int             // bytes of buffer for many frames; a single one may need more
	b      []byte
	from   int // what is there begins here
	to     int // and ends here
	need   int // bytes of the frame that has begun, as far as known
	full   bool
	sparse int // reads in a row that left most of the buffer unused
	hello  bool
}

// FromLeader returns a Reader of what a leader sends.
func FromLeader(src io.Reader) *Reader {
	return &Reader{src: src, valid: Type.toFront, keep: 64 << 10}
}

// FromFront returns a Reader of what a front end sends.
func FromFront(src io.Reader) *Reader {
	return &Reader{src: src, valid: Type.toLeader, keep: MaxData + headerSize}
}

// Next returns the next frame if all of it has arrived, and reports whether it
// has. The first frame must be a Hello of this Version, and no other may be one.
// An error wraps ErrMalformed. The payload is valid until Fill.
func (r *Reader) Next() (Frame, bool, error) {
	have := r.b[r.from:r.to]
	if len(have) < headerSize {
		r.need = headerSize
		return Frame{}, false, nil
	}
	f, n, err := parseHeader(have)
	if err != nil {
		return Frame{}, false, err
	}
	if r.hello && !r.valid(f.Type) {
		return Frame{}, false, malformed("type of the other direction")
	}
	if !r.hello && f.Type != Hello {
		return Frame{}, false, malformed("no hello")
	}
	if r.need = headerSize + n; len(have) < r.need {
		return Frame{}, false, nil
	}
	f.Payload = have[headerSize:r.need:r.need]
	r.from += r.need
	if !r.hello {
		r.hello = true
		return f, true, checkHello(f.Payload)
	}
	return f, true, nil
}

func checkHello(payload []byte) error {
	var m HelloMessage
	if err := m.Decode(payload); err != nil {
		return err
	}
	if m.Version != Version {
		return malformed("hello of another version")
	}
	return nil
}

// Fill reads once. The end of the stream is io.ErrUnexpectedEOF: no stream of ours
// ends in peace.
func (r *Reader) Fill() error {
	r.makeRoom()
	free := r.b[r.to:]
	for range 100 { // a reader that returns nothing without an error is broken
		n, err := r.src.Read(free)
		if n > 0 {
			r.to += n
			r.full = n == len(free)
			if r.sparse++; n >= len(r.b)/4 {
				r.sparse = 0
			}
			return nil
		}
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return &failure{"read frames", err}
		}
	}
	return &failure{"read frames", io.ErrNoProgress}
}

// makeRoom moves what is there to the front where that is cheap or must be, to a
// buffer that holds at least the frame that has begun.
func (r *Reader) makeRoom() {
	have, size := r.to-r.from, len(r.b)
	switch {
	case r.full && size < r.keep:
		size = min(2*size, r.keep)
	case have == 0 && (size > r.keep || r.sparse >= 64):
		size, r.sparse = firstBuffer, 0
	}
	size = max(size, r.need, firstBuffer)
	switch {
	case size != len(r.b):
		b := make([]byte, size)
		copy(b, r.b[r.from:r.to])
		r.b = b
	case have < 1<<10, r.from+r.need > size:
		copy(r.b, r.b[r.from:r.to])
	default:
		return
	}
	r.from, r.to = 0, have
}

// Serve hands the frames that arrive to handle, one at a time, but for the Hello,
// until the stream ends or handle fails, and always returns an error.
func (r *Reader) Serve(handle func(Frame) error) error {
	for {
		first := !r.hello
		f, ok, err := r.Next()
		if err == nil && !ok {
			err = r.Fill()
		} else if err == nil && !first {
			err = handle(f)
		}
		if err != nil {
			return err
		}
	}
}
