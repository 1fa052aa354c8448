package frame

import "io"

// usualBuffer is the size in bytes of a reader's buffer unless a frame needs more.
const usualBuffer = 4 << 10

// Reader takes frames off a stream. Its buffer grows for a large frame and shrinks
// behind it.
type Reader struct {
	src   io.Reader
	valid func(Type) bool // what the other side may send
	b     []byte
	from  int // what is there begins here
	to    int // and ends here
	need  int // bytes of the frame that has begun, as far as known
	hello bool
}

// FromLeader returns a Reader of what a leader sends.
func FromLeader(src io.Reader) *Reader { return &Reader{src: src, valid: Type.toFront} }

// FromFront returns a Reader of what a front end sends.
func FromFront(src io.Reader) *Reader { return &Reader{src: src, valid: Type.toLeader} }

// AfterHello returns a Reader of what a front end sends whose Hello was read before.
func AfterHello(src io.Reader) *Reader { return &Reader{src: src, valid: Type.toLeader, hello: true} }

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
	for range 100 { // a reader that returns nothing without an error is broken
		n, err := r.src.Read(r.b[r.to:])
		if n > 0 {
			r.to += n
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

// makeRoom moves what is there to the front of a buffer that holds at least the
// frame that has begun.
func (r *Reader) makeRoom() {
	have := r.b[r.from:r.to]
	if size := max(usualBuffer, r.need, len(have)+headerSize); size > len(r.b) || len(r.b) > usualBuffer && size == usualBuffer {
		r.b = make([]byte, size)
	}
	r.from, r.to = 0, copy(r.b, have)
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
