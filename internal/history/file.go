package history

import (
	"bufio"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net/netip"
	"os"

	"github.com/oklog/ulid/v2"

	"github.com/sandtrap/sandtrap/internal/auth"
)

const (
	historyName = "history"
	secretName  = "secret"
	newSuffix   = ".new"

	recordSize = 72
	// maxLive is how many records there are to remember at most.
	maxLive = maxAccepted + maxBaits + maxPlanted
	// maxRecords bounds the file: it is written anew when it holds so many.
	maxRecords = 2 * maxLive
)

// The kinds of records.
const (
	kindAccepted = 'a'
	kindBait     = 'b'
	kindPlanted  = 'p'
)

// record is one thing to remember. On disk all have the same size, so that a torn one
// spoils no other.
type record struct {
	kind    byte
	source  netip.Addr
	digest  digest
	session ulid.ULID
}

// encode writes: checksum of all the rest (4 bytes), kind, 3 of nothing, address (16),
// digest (32), session (16).
func (r record) encode() []byte {
	b := make([]byte, recordSize)
	b[4] = r.kind
	if r.source.IsValid() {
		source := r.source.As16()
		copy(b[8:], source[:])
	}
	copy(b[24:], r.digest[:])
	copy(b[56:], r.session[:])
	binary.BigEndian.PutUint32(b, crc32.ChecksumIEEE(b[4:]))
	return b
}

// decode reads what encode wrote. ok is false for anything else.
func decode(b []byte) (r record, ok bool) {
	if len(b) != recordSize || binary.BigEndian.Uint32(b) != crc32.ChecksumIEEE(b[4:]) {
		return record{}, false
	}
	r.kind, r.source = b[4], netip.AddrFrom16([16]byte(b[8:24])).Unmap()
	copy(r.digest[:], b[24:56])
	copy(r.session[:], b[56:72])
	return r, r.kind == kindAccepted || r.kind == kindBait || r.kind == kindPlanted
}

// file is where records are.
type file struct {
	root    *os.Root
	f       *os.File // open for appending
	records int      // in it
	broken  bool     // it may end with a part of a record
}

func openFile(dir string) (*file, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	return &file{root: root}, nil
}

func (f *file) close() error {
	var err error
	if f.f != nil {
		err = f.f.Close()
	}
	return errors.Join(err, f.root.Close())
}

// secret reads the secret, or makes one: what is remembered means nothing without it,
// and chance would say something else.
func (f *file) secret() (auth.Secret, error) {
	var secret auth.Secret
	b, err := f.root.ReadFile(secretName)
	switch {
	case err == nil && len(b) == len(secret):
		copy(secret[:], b)
		return secret, nil
	case err == nil:
		return secret, fmt.Errorf("%s has %d bytes instead of %d", secretName, len(b), len(secret))
	case !errors.Is(err, os.ErrNotExist):
		return secret, err
	}
	_, _ = rand.Read(secret[:]) // it never fails
	return secret, f.replace(secretName, func(w io.Writer) error {
		_, err := w.Write(secret[:])
		return err
	})
}

// read hands over every whole record. What is damaged is left out.
func (f *file) read(take func(record)) error {
	in, err := f.root.Open(historyName)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	defer in.Close()
	return readRecords(io.LimitReader(in, maxRecords*recordSize), take)
}

func readRecords(in io.Reader, take func(record)) error {
	r := bufio.NewReader(in)
	b := make([]byte, recordSize)
	for {
		switch _, err := io.ReadFull(r, b); {
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			return nil
		case err != nil:
			return err
		}
		if one, ok := decode(b); ok {
			take(one)
		}
	}
}

// replace puts a file in the place of another, whole or not at all, on the disk when
// it returns.
func (f *file) replace(name string, write func(io.Writer) error) error {
	if err := f.root.Remove(name + newSuffix); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	out, err := f.root.OpenFile(name+newSuffix, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	buffered := bufio.NewWriter(out)
	err = write(buffered)
	if err = errors.Join(err, buffered.Flush(), out.Sync(), out.Close()); err == nil {
		err = f.root.Rename(name+newSuffix, name)
	}
	if err != nil {
		return err
	}
	dir, err := f.root.Open(".")
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// append adds a record. It is safe from a crash of this process; one of the machine may
// take the latest.
func (f *file) append(r record) error {
	if f.f == nil {
		return errors.New("the file of the history is not open")
	}
	n, err := f.f.Write(r.encode())
	f.broken = f.broken || n > 0 && n < recordSize
	f.records++
	return err
}

// take remembers a record that was read.
func (s *Store) take(r record) {
	switch r.kind {
	case kindAccepted:
		s.accepted.Add(r.source, r.digest)
	case kindBait:
		s.baits.Add(r.digest, r.session)
	case kindPlanted:
		s.planted.Add(planted{r.source, r.digest}, struct{}{})
	}
}

// append brings a record to the file. Store.mu is held.
func (s *Store) append(r record) {
	if s.file.records >= maxRecords || s.file.broken {
		s.err = s.compact() // the record is among what is remembered
		return
	}
	s.err = s.file.append(r)
}

// compact writes the file anew, with what is remembered, the oldest first. Store.mu is
// held, or nobody else has the store yet.
func (s *Store) compact() error {
	f := s.file
	records := 0
	err := f.replace(historyName, func(w io.Writer) error {
		for r := range s.live {
			if _, err := w.Write(r.encode()); err != nil {
				return err
			}
			records++
		}
		return nil
	})
	if err != nil {
		return err
	}
	next, err := f.root.OpenFile(historyName, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	if f.f != nil {
		f.f.Close()
	}
	f.f, f.records, f.broken = next, records, false
	return nil
}

// live yields all that is remembered and kept.
func (s *Store) live(yield func(record) bool) {
	for _, source := range s.accepted.Keys() {
		sum, _ := s.accepted.Peek(source)
		if !yield(record{kind: kindAccepted, source: source, digest: sum}) {
			return
		}
	}
	for _, sum := range s.baits.Keys() {
		id, _ := s.baits.Peek(sum)
		if !yield(record{kind: kindBait, digest: sum, session: id}) {
			return
		}
	}
	for _, p := range s.planted.Keys() {
		if !yield(record{kind: kindPlanted, source: p.source, digest: p.key}) {
			return
		}
	}
}
