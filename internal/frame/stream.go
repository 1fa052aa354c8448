package frame

import (
	"io"
	"sync"
	"time"
)

// maxWrite bounds one write to a stream, in bytes.
const maxWrite = 64 << 10

// firstBuffer is the size in bytes that a reader's buffer begins with.
const firstBuffer = 4 << 10

// drainTime is how long a stream that cannot be written to is still read: what
// the other side said last may be on its way.
const drainTime = time.Second

// RunFront serves one stream as the front end, from the hello to the end of the
// stream, and always returns an error. token is the link's secret: the same for
// each of its streams, unknown to anybody else. handle gets every frame from the
// leader; see run.
func (l *Link) RunFront(rw io.ReadWriter, token [16]byte, handle func(Frame) error) error {
	s := &stream{link: l, rw: rw, valid: Type.toFront, in: reader{src: rw, keep: 64 << 10}}
	return s.run(func() error { return s.greet(token) }, handle)
}

// RunLeader serves one stream as the leader. The first token that is shown to a
// link is the only one that it accepts. After an error before the greeting was
// over, whatever it is, the link is as it was.
func (l *Link) RunLeader(rw io.ReadWriter, handle func(Frame) error) error {
	s := &stream{link: l, rw: rw, valid: Type.toLeader, in: reader{src: rw, keep: MaxData + headerSize}}
	return s.run(s.welcome, handle)
}

// stream is one stream of a link.
type stream struct {
	link  *Link
	rw    io.ReadWriter
	valid func(Type) bool // what the other side may send
	in    reader

	once    sync.Once
	stopped chan struct{} // closed by end
	cause   error         // set by end
}

// run greets, then reads in the calling goroutine and writes in another one.
//
// The payload that handle gets is valid during the call, of which there is one
// at a time. handle must not take long, and must not wait for anything that
// needs the link. Its error closes the link, as does ErrMalformed: a frame that
// was handled in part cannot be handled again. After any other error the link
// can go on over another stream.
//
// A stream that is an io.Closer is closed at the end, or earlier by Link.Close;
// one that is not should return from Read and Write some day: run waits for them.
func (s *stream) run(greet func() error, handle func(Frame) error) error {
	l := s.link
	s.stopped = make(chan struct{})
	if err := s.enter(); err != nil {
		s.end(err)
		return err
	}
	defer s.leave()
	if err := greet(); err != nil {
		s.end(err)
		return s.cause
	}
	var writer sync.WaitGroup
	writer.Go(s.write)
	fatal, err := s.read(handle)
	if fatal {
		_ = l.Close(err)
	}
	s.end(err)
	writer.Wait()
	return s.cause
}

// end ends the stream; only the first cause counts.
func (s *stream) end(cause error) {
	s.once.Do(func() {
		s.cause = cause
		close(s.stopped)
		if c, ok := s.rw.(io.Closer); ok {
			_ = c.Close()
		}
	})
}

// enter makes s the link's stream.
func (s *stream) enter() error {
	l := s.link
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil {
		return l.err
	}
	if l.stream != nil {
		return errBusy
	}
	l.stream = s
	return nil
}

func (s *stream) leave() {
	s.link.mu.Lock()
	defer s.link.mu.Unlock()
	s.link.stream = nil
}

// greet is the front end's part of the greeting.
func (s *stream) greet(token [16]byte) error {
	if err := s.sendHello(token); err != nil {
		return err
	}
	m, err := s.readHello()
	if err != nil {
		return err
	}
	if m.Token != token {
		return malformed("hello with another token")
	}
	return s.link.resume(m.Received)
}

// welcome is the leader's.
func (s *stream) welcome() error {
	m, err := s.readHello()
	if err != nil {
		return err
	}
	l := s.link
	if l.token != nil && !same(l.token, &m.Token) {
		return malformed("hello with another token")
	}
	if err := l.resume(m.Received); err != nil {
		return err
	}
	l.token = &m.Token
	return s.sendHello(m.Token)
}

// same compares secrets in a time that does not depend on them.
func same(a, b *[16]byte) bool {
	var differ byte
	for i := range a {
		differ |= a[i] ^ b[i]
	}
	return differ == 0
}

func (s *stream) sendHello(token [16]byte) error {
	l := s.link
	l.mu.Lock()
	m := HelloMessage{Version: Version, Token: token, Received: l.received}
	l.told = l.received
	l.mu.Unlock()
	f := Frame{Type: Hello, Payload: m.Encode()}
	if _, err := s.rw.Write(append(f.appendHeader(nil), f.Payload...)); err != nil {
		return &failure{"write hello", err}
	}
	return nil
}

func (s *stream) readHello() (m HelloMessage, err error) {
	f, _, err := s.in.next()
	for f.Type == 0 && err == nil {
		if err = s.in.fill(); err == nil {
			f, _, err = s.in.next()
		}
	}
	switch {
	case err != nil:
		return m, err
	case f.Type != Hello:
		return m, malformed("no hello")
	}
	if err := m.Decode(f.Payload); err != nil {
		return m, err
	}
	if m.Version != Version {
		return m, malformed("hello of another version")
	}
	return m, nil
}

// read handles frames until one cannot be read, which ends the stream, or
// handled, which is fatal to the link.
func (s *stream) read(handle func(Frame) error) (fatal bool, err error) {
	l, handled := s.link, 0
	for {
		f, size, err := s.in.next()
		if err != nil {
			return true, err
		}
		if f.Type == 0 {
			l.count(handled)
			handled = 0
			if err := s.in.fill(); err != nil {
				return false, err
			}
			continue
		}
		switch {
		case !s.valid(f.Type):
			err = malformed("type of the other direction")
		case f.Type == Ack:
			err = l.acknowledge(f.Payload)
		default:
			err = handle(f)
		}
		if err != nil {
			return true, err
		}
		handled += size
	}
}

// write writes what there is until the stream ends.
func (s *stream) write() {
	l := s.link
	for {
		select {
		case <-s.stopped:
			return
		default:
		}
		chunk, err := l.pending(maxWrite)
		if err != nil {
			_ = l.Close(err)
			return
		}
		if len(chunk) == 0 {
			select {
			case <-l.work:
			case <-s.stopped:
				return
			}
			continue
		}
		n, err := s.rw.Write(chunk)
		l.wrote(n)
		if err != nil {
			err = &failure{"write frames", err}
			select {
			case <-s.stopped:
			case <-time.After(drainTime):
				s.end(err)
			}
			return
		}
	}
}

// reader takes frames off a stream. Its buffer grows with what arrives at once.
type reader struct {
	src      io.Reader
	keep     int // bytes of buffer for many frames; a single one may need more
	b        []byte
	from, to int  // what is there
	need     int  // bytes of the frame that has begun, as far as known
	full     bool // the last read filled the buffer
	sparse   int  // reads in a row that left most of it unused
}

// next is the next frame, if all of it is there, and its size on the wire. The
// zero frame stands for one that is not.
func (r *reader) next() (Frame, int, error) {
	have := r.b[r.from:r.to]
	if len(have) < headerSize {
		r.need = headerSize
		return Frame{}, 0, nil
	}
	f, n, err := parseHeader(have)
	if err != nil {
		return Frame{}, 0, err
	}
	if r.need = headerSize + n; len(have) < r.need {
		return Frame{}, 0, nil
	}
	f.Payload = have[headerSize:r.need:r.need]
	r.from += r.need
	return f, r.need, nil
}

// fill reads once. It invalidates every payload handed out.
func (r *reader) fill() error {
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
			err = io.ErrUnexpectedEOF // no stream of ours ends in peace
		}
		if err != nil {
			return &failure{"read frames", err}
		}
	}
	return &failure{"read frames", io.ErrNoProgress}
}

// makeRoom moves what is there to the front where that is cheap or must be, to a
// buffer that holds at least the frame that has begun.
func (r *reader) makeRoom() {
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
