package record

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"

	"github.com/sandtrap/sandtrap/internal/term"
)

// maxMarker is how much of a hostile text is in a marker, in bytes.
const maxMarker = 256

// Brief is a hostile text for a marker: one line, and the beginning of it.
func Brief(text string) string {
	if len(text) > maxMarker {
		text = strings.ToValidUTF8(text[:maxMarker], "") + "…"
	}
	return strings.ReplaceAll(text, "\n", " ")
}

// maxCastLine is more than a line of a cast has, in bytes: a whole payload, each byte of
// it as an escape.
const maxCastLine = 512 << 10

// castTime is a time as casts of ours have it.
var castTime = regexp.MustCompile(`^(0|[1-9][0-9]*)\.[0-9]{6}$`)

// AddMarkers appends markers to a cast by its file name, at the time of its last event,
// and returns its new size. The first size bytes are what was recorded: more is what an
// earlier call has left that was cut short, and is taken off. A cast that does not end
// there with a line of ours is left as it is, and so is its size. The markers are on
// disk when it returns.
func AddMarkers(dir *os.Root, name string, size int64, texts []string) (int64, error) {
	f, err := openRegular(dir, name, os.O_RDWR)
	if errors.Is(err, os.ErrNotExist) {
		return size, nil
	}
	if err != nil {
		return size, err
	}
	defer f.Close()
	at, err := lastTime(f, size)
	if err != nil || at == "" {
		return size, err
	}
	b := appendMarkers(nil, at, texts)
	if err := f.Truncate(size); err != nil {
		return size, fmt.Errorf("add markers: %w", err)
	}
	_, err = f.WriteAt(b, size)
	if err = errors.Join(err, f.Sync()); err != nil {
		_ = f.Truncate(size) // the next call does, if this fails
		return size, fmt.Errorf("add markers: %w", err)
	}
	return size + int64(len(b)), nil
}

// appendMarkers appends the lines of markers at a time.
func appendMarkers(b []byte, at string, texts []string) []byte {
	for _, text := range texts {
		b = append(append(append(b, '['), at...), `, "m", `...)
		b = append(term.AppendJSON(b, text), "]\n"...)
	}
	return b
}

// lastTime is the time of the last event in the first size bytes of a cast, as it is
// written there; empty where they do not end with an event or the header.
func lastTime(f io.ReaderAt, size int64) (string, error) {
	tail := make([]byte, max(0, min(size, maxCastLine)))
	if _, err := f.ReadAt(tail, max(0, size-int64(len(tail)))); errors.Is(err, io.EOF) {
		return "", nil // it is shorter than that
	} else if err != nil {
		return "", fmt.Errorf("add markers: %w", err)
	}
	line, whole := bytes.CutSuffix(tail, []byte("\n"))
	begin := bytes.LastIndexByte(line, '\n') + 1
	switch {
	case !whole, begin == 0 && int64(len(tail)) < size:
		return "", nil
	case begin == 0 && bytes.HasPrefix(line, []byte("{")):
		return "0.000000", nil
	}
	number, _, ok := strings.Cut(string(line[begin:]), ",")
	number, event := strings.CutPrefix(number, "[")
	if !ok || !event || !castTime.MatchString(number) {
		return "", nil
	}
	return number, nil
}
