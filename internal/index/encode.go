package index

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/sandtrap/sandtrap/internal/evidence"
)

// maxRecord bounds what one session may have in the index, in bytes. Of a session with
// more the lists stay outside.
const maxRecord = 128 << 10

var errRecord = errors.New("malformed record")

const (
	flagPartial = 1 << iota
	flagEnded
	flagRecovered
)

// appendEntry appends an entry without its Dir. Only sessions that are over have a
// place in the index.
func appendEntry(b []byte, e *Entry) ([]byte, error) {
	id, err := ulid.ParseStrict(e.ID)
	if err != nil {
		return b, err
	}
	start := len(b)
	b = append(b, id[:]...)
	b = binary.LittleEndian.AppendUint64(b, e.stamp)
	if b = appendBasics(b, e); len(b)-start > maxRecord/2 { // by a user's name of some 30,000 bytes, or the like
		return b[:start], errRecord
	}
	lists := len(b)
	if !e.partial {
		if b = appendLists(b, e); len(b)-start <= maxRecord {
			return b, nil
		}
	}
	b = b[:lists]
	b[start+len(id)+8] |= flagPartial
	return b, nil
}

func appendBasics(b []byte, e *Entry) []byte {
	var flags byte
	if !e.End.IsZero() {
		flags |= flagEnded
	}
	if e.State == evidence.StateRecovered {
		flags |= flagRecovered
	}
	b = append(b, flags)
	b = appendTime(b, e.Start)
	if flags&flagEnded != 0 {
		b = appendTime(b, e.End)
	}
	for _, n := range []uint64{uint64(e.Channels), uint64(e.Forwards), uint64(e.FirstPort)} {
		b = binary.AppendUvarint(b, n)
	}
	for _, s := range []string{e.Source, e.User, e.Client, e.HASSH, e.Target, e.FirstKind, e.FirstWords, e.FirstPlace} {
		b = appendText(b, s)
	}
	return b
}

func appendLists(b []byte, e *Entry) []byte {
	for _, list := range [][]string{e.Users, e.Passwords, e.Keys, e.Commands} {
		b = binary.AppendUvarint(b, uint64(len(list)))
		for _, s := range list {
			b = appendText(b, s)
		}
	}
	b = binary.AppendUvarint(b, uint64(len(e.Files)))
	for _, f := range e.Files {
		b, _ = hex.AppendDecode(b, []byte(f.SHA256)) // a hash, see isHash
		b = appendTime(appendText(b, f.Name), f.Time)
	}
	return b
}

func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// appendTime keeps nanoseconds, for any year.
func appendTime(b []byte, t time.Time) []byte {
	b = binary.AppendVarint(b, t.Unix())
	return binary.AppendUvarint(b, uint64(t.Nanosecond()))
}

// decoder takes a record apart. Its texts are parts of the record's.
type decoder struct {
	rest string
	bad  bool
}

// decodeBasics is the way back, but for the ID, see idIn, and the lists: rest is where
// they are.
func decodeBasics(record string, e *Entry) (rest string, err error) {
	const fixed = len(ulid.ULID{}) + 8 + 1
	if len(record) < fixed || len(record) > maxRecord {
		return "", errRecord
	}
	*e = Entry{stamp: stampIn(record), State: evidence.StateClosed, Users: e.Users[:0], Passwords: e.Passwords[:0], Keys: e.Keys[:0], Commands: e.Commands[:0], Files: e.Files[:0]}
	flags := record[fixed-1]
	d := decoder{rest: record[fixed:]}
	e.partial = flags&flagPartial != 0
	if flags&flagRecovered != 0 {
		e.State = evidence.StateRecovered
	}
	e.Start = d.time()
	if flags&flagEnded != 0 {
		e.End = d.time()
	}
	e.Channels, e.Forwards, e.FirstPort = int(d.number()), int(d.number()), uint32(d.number())
	for _, s := range []*string{&e.Source, &e.User, &e.Client, &e.HASSH, &e.Target, &e.FirstKind, &e.FirstWords, &e.FirstPlace} {
		*s = d.text()
	}
	if d.bad {
		return "", errRecord
	}
	return d.rest, nil
}

// decodeLists completes an entry. What its lists hold is overwritten, their memory used
// again.
func decodeLists(rest string, e *Entry) error {
	rest, err := decodeTexts(rest, e)
	if err != nil {
		return err
	}
	return decodeFiles(rest, e)
}

// decodeTexts decodes all lists but that of files: rest is where it is.
func decodeTexts(lists string, e *Entry) (rest string, err error) {
	d := decoder{rest: lists}
	if !e.partial {
		e.Users, e.Passwords, e.Keys, e.Commands = d.texts(e.Users[:0]), d.texts(e.Passwords[:0]), d.texts(e.Keys[:0]), d.texts(e.Commands[:0])
	}
	if d.bad {
		return "", errRecord
	}
	return d.rest, nil
}

func decodeFiles(rest string, e *Entry) error {
	d := decoder{rest: rest}
	if !e.partial {
		e.Files = d.files(e.Files[:0])
	}
	if d.bad || d.rest != "" {
		return errRecord
	}
	return nil
}

// decodeEntry is the way back, but for the ID.
func decodeEntry(record string, e *Entry) error {
	rest, err := decodeBasics(record, e)
	if err != nil {
		return err
	}
	return decodeLists(rest, e)
}

// idIn and stampIn are what a record begins with; it must be long enough.
func idIn(record string) (id ulid.ULID) {
	copy(id[:], record)
	return id
}

func stampIn(record string) uint64 {
	var b [8]byte
	copy(b[:], record[len(ulid.ULID{}):])
	return binary.LittleEndian.Uint64(b[:])
}

func (d *decoder) number() uint64 {
	var n uint64
	for i := 0; i < len(d.rest) && i < binary.MaxVarintLen64; i++ {
		c := d.rest[i]
		n |= uint64(c&0x7f) << (7 * i)
		if c < 0x80 {
			d.rest = d.rest[i+1:]
			return n
		}
	}
	d.bad, d.rest = true, ""
	return 0
}

func (d *decoder) time() time.Time {
	zigzag := d.number()
	seconds := int64(zigzag>>1) ^ -int64(zigzag&1)
	nanoseconds := d.number()
	if nanoseconds >= uint64(time.Second) {
		d.bad = true
		return time.Time{}
	}
	return time.Unix(seconds, int64(nanoseconds)).UTC()
}

func (d *decoder) text() string {
	n := d.number()
	if n > uint64(len(d.rest)) {
		d.bad, d.rest = true, ""
		return ""
	}
	s := d.rest[:n]
	d.rest = d.rest[n:]
	return s
}

func (d *decoder) texts(list []string) []string {
	for n := d.number(); n > 0 && !d.bad; n-- { // each takes a byte at least
		list = append(list, d.text())
	}
	return list
}

func (d *decoder) files(list []File) []File {
	for n := d.number(); n > 0 && !d.bad; n-- {
		if len(d.rest) < hashBytes {
			d.bad = true
			break
		}
		hash := hex.EncodeToString([]byte(d.rest[:hashBytes]))
		d.rest = d.rest[hashBytes:]
		list = append(list, File{SHA256: hash, Name: d.text(), Time: d.time()})
	}
	return list
}
