package index

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"slices"

	"github.com/oklog/ulid/v2"

	"github.com/sandtrap/sandtrap/internal/evidence"
)

// The index lies in index/sessions below the state directory: a line that names its
// version, then records. A record is its length and its CRC-32C, four bytes each, least
// significant first, and what appendEntry makes. The last record of a session counts.
const (
	directory = "index"
	fileName  = "sessions"
	newPrefix = fileName + ".new-"

	// header changes with every change of what is kept or how.
	header     = "sandtrap index 1\n"
	headerName = "sandtrap index "

	frameBytes = 8
)

// ErrVersion means that another version of the program made the index.
var ErrVersion = errors.New("another version of sandtrap made it")

// errTorn means that the last record is not whole: it is being written, or whoever did
// was killed.
var errTorn = errors.New("the last record is not whole")

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// appendRecord appends a framed record.
func appendRecord(b, record []byte) []byte {
	b = binary.LittleEndian.AppendUint32(b, uint32(len(record)))
	b = binary.LittleEndian.AppendUint32(b, crc32.Checksum(record, castagnoli))
	return append(b, record...)
}

// readBuffer is how much is read at a time.
const readBuffer = 256 << 10

// scan reads an index and visits its records from the beginning; at is where each
// begins with its frame, and it counts until visit returns. It returns where the last
// good record ends, and an error for what comes there: ErrVersion, errTorn, damage, or
// one of reading. A record that visit refuses is damage.
func scan(r io.Reader, visit func(record []byte, at int64) error) (end int64, err error) {
	in := bufio.NewReaderSize(r, readBuffer)
	first := make([]byte, len(header))
	if n, err := io.ReadFull(in, first); err != nil || string(first) != header {
		if n > len(headerName) && string(first[:len(headerName)]) == headerName {
			return 0, ErrVersion
		}
		return 0, errors.New("it does not begin like one")
	}
	end = int64(len(header))
	var frame [frameBytes]byte
	record := make([]byte, 0, maxRecord)
	for {
		if _, err := io.ReadFull(in, frame[:]); err == io.EOF {
			return end, nil
		} else if err != nil {
			return end, torn(err)
		}
		n := binary.LittleEndian.Uint32(frame[:])
		if n > maxRecord || n < uint32(len(ulid.ULID{}))+8 {
			return end, fmt.Errorf("damaged at byte %d", end)
		}
		record = record[:n]
		if _, err := io.ReadFull(in, record); err != nil {
			return end, torn(err)
		}
		if crc32.Checksum(record, castagnoli) != binary.LittleEndian.Uint32(frame[4:]) {
			return end, fmt.Errorf("damaged at byte %d", end)
		}
		if err := visit(record, end); err != nil {
			return end, fmt.Errorf("damaged at byte %d: %w", end, err)
		}
		end += frameBytes + int64(n)
	}
}

// window reads single records. Sessions are looked up the newest first, and their records
// mostly lie in the order in which they ended, or the other way round where the index was
// built at once: so it reads what is on both sides of one, too.
type window struct {
	file  io.ReaderAt
	start int64
	bytes []byte
}

const (
	windowBytes  = 32 << 10
	windowBefore = windowBytes / 2
)

// record returns the record whose frame begins at a place that scan told, until the next
// call.
func (w *window) record(at int64) ([]byte, error) {
	frame, err := w.read(at, frameBytes)
	if err != nil {
		return nil, err
	}
	size, sum := binary.LittleEndian.Uint32(frame), binary.LittleEndian.Uint32(frame[4:])
	if size > maxRecord {
		return nil, errRecord
	}
	record, err := w.read(at+frameBytes, int(size))
	if err == nil && crc32.Checksum(record, castagnoli) != sum {
		err = errRecord
	}
	return record, err
}

func (w *window) read(at int64, n int) ([]byte, error) {
	if at < w.start || at+int64(n) > w.start+int64(len(w.bytes)) {
		w.start = max(at-windowBefore, 0)
		size := max(windowBytes, int(at-w.start)+n)
		w.bytes = slices.Grow(w.bytes[:0], size)[:size]
		got, err := w.file.ReadAt(w.bytes, w.start)
		w.bytes = w.bytes[:got]
		if w.start+int64(got) < at+int64(n) {
			return nil, err
		}
	}
	return w.bytes[at-w.start:][:n], nil
}

func torn(err error) error {
	if err == io.EOF || errors.Is(err, io.ErrUnexpectedEOF) {
		return errTorn
	}
	return err
}

// openFile opens the index of a state directory for reading.
func openFile(state string) (*os.File, error) {
	root, err := os.OpenRoot(state)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	return openIn(root)
}

func openIn(root *os.Root) (*os.File, error) {
	return evidence.OpenRegular(root, directory+"/"+fileName)
}
