package transfer

import "encoding/binary"

// maxPacket is the length of the longest packet in bytes that OpenSSH's
// sftp-server(8) and sftp(1) take.
const maxPacket = 256 << 10

// packets cuts one direction of SFTP into packets: a length of four bytes, a type
// of one, the rest. Content of files is passed on as it comes.
type packets struct {
	sink packetSink
	head []byte // of a packet, with its length
	want int    // bytes that head must have before it is looked at
	body int    // bytes of content to come
	skip int    // bytes to come after that, which mean nothing
}

// packetSink takes what a packet has after its length.
type packetSink interface {
	// need is how many bytes of a packet must be there for packet. It is asked again
	// when they are.
	need(head []byte, length int) int
	// packet takes the packet, or its beginning where rest bytes follow, and says how
	// many of those are content.
	packet(head []byte, rest int) (content int, err error)
	content(p []byte)
	// end follows packet and what there was of content.
	end() error
}

func (s *packets) feed(p []byte) error {
	for len(p) > 0 {
		switch {
		case s.body > 0:
			n := min(s.body, len(p))
			s.sink.content(p[:n])
			p, s.body = p[n:], s.body-n
			if s.body == 0 {
				if err := s.sink.end(); err != nil {
					return err
				}
			}
		case s.skip > 0:
			n := min(s.skip, len(p))
			p, s.skip = p[n:], s.skip-n
		default:
			s.want = max(s.want, 5)
			n := min(s.want-len(s.head), len(p))
			s.head, p = append(s.head, p[:n]...), p[n:]
			if len(s.head) == s.want {
				if err := s.look(); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// look takes a packet if there is enough of it.
func (s *packets) look() error {
	length := int(binary.BigEndian.Uint32(s.head))
	if length < 1 || length > maxPacket {
		return errMalformed
	}
	s.want = 4 + s.sink.need(s.head[4:], length)
	switch {
	case s.want > 4+length:
		return errMalformed
	case s.want > len(s.head):
		return nil
	}
	rest := 4 + length - len(s.head)
	content, err := s.sink.packet(s.head[4:], rest)
	if err != nil {
		return err
	}
	s.body, s.skip, s.want = content, rest-content, 0
	if s.head = s.head[:0]; cap(s.head) > 4096 {
		s.head = nil
	}
	if content == 0 {
		return s.sink.end()
	}
	return nil
}

// fields reads what a packet is made of; draft-ietf-secsh-filexfer-02, section 3.
type fields struct {
	left []byte
	bad  bool // something was not there
}

func (f *fields) take(n int) []byte {
	if n > len(f.left) {
		f.bad, f.left = true, nil
		return nil
	}
	p := f.left[:n]
	f.left = f.left[n:]
	return p
}

func (f *fields) byte() byte {
	if p := f.take(1); p != nil {
		return p[0]
	}
	return 0
}

func (f *fields) uint32() uint32 {
	if p := f.take(4); p != nil {
		return binary.BigEndian.Uint32(p)
	}
	return 0
}

func (f *fields) uint64() uint64 {
	if p := f.take(8); p != nil {
		return binary.BigEndian.Uint64(p)
	}
	return 0
}

// bytes is a string. It is valid until the packet has been dealt with.
func (f *fields) bytes() []byte { return f.take(int(f.uint32())) }

// name is a string that is kept, its beginning if it is too long for a name.
func (f *fields) name() string {
	p := f.bytes()
	return string(p[:min(len(p), maxName)])
}

// handle is one that is kept. What is too long is never one that is followed.
func (f *fields) handle() string {
	p := f.bytes()
	return string(p[:min(len(p), maxHandle+1)])
}

// attributes are those of a file; section 5 of the draft.
type attributes struct {
	has      uint32
	size     uint64
	mode     uint32
	modified uint32
}

const (
	hasSize  = 1
	hasOwner = 2
	hasMode  = 4
	hasTimes = 8
)

func (f *fields) attributes() attributes {
	a := attributes{has: f.uint32()}
	if a.has&hasSize != 0 {
		a.size = f.uint64()
	}
	if a.has&hasOwner != 0 {
		f.take(8)
	}
	if a.has&hasMode != 0 {
		a.mode = f.uint32()
	}
	if a.has&hasTimes != 0 {
		f.uint32()
		a.modified = f.uint32()
	}
	return a
}

// permissions are those that chmod(2) sets, or -1.
func (a attributes) permissions() int {
	if a.has&hasMode == 0 {
		return -1
	}
	return int(a.mode & 0o7777)
}

// length is the size, or -1.
func (a attributes) length() int64 {
	if a.has&hasSize == 0 || a.size > 1<<63-1 {
		return -1
	}
	return int64(a.size)
}

// time is that of the last change, or -1.
func (a attributes) time() int64 {
	if a.has&hasTimes == 0 {
		return -1
	}
	return int64(a.modified)
}
