package index

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/sandtrap/sandtrap/internal/evidence"
)

// captureFile lists what was found in a target after its session, one JSON object a
// line.
const captureFile = "capture.jsonl"

// Bounds of what is read of it.
const (
	maxCapture      = 64 << 20 // bytes
	maxCaptureLine  = 256 << 10
	maxCaptureFiles = 100_000
)

// captured are the files of a session's capture.jsonl, if it has one. Lines that are no
// file's, or are not understood, are passed over; the error tells of such as are beyond
// the bounds.
func captured(root *os.Root) ([]File, error) {
	st, err := root.Lstat(captureFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err == nil && !st.Mode().IsRegular() {
		err = errors.New("no regular file")
	}
	var f *os.File
	if err == nil {
		f, err = root.Open(captureFile)
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", captureFile, err)
	}
	defer f.Close()
	files, err := readCaptured(f)
	if err != nil {
		return files, fmt.Errorf("read %s: %w", captureFile, err)
	}
	return files, nil
}

func readCaptured(r io.Reader) ([]File, error) {
	limited := &io.LimitedReader{R: r, N: maxCapture}
	lines := bufio.NewScanner(limited)
	lines.Buffer(nil, maxCaptureLine)
	var files []File
	for lines.Scan() {
		var line struct {
			SHA256 string        `json:"sha256"`
			Path   evidence.Text `json:"path"`
		}
		if json.Unmarshal(lines.Bytes(), &line) != nil || !isHash(line.SHA256) {
			continue
		}
		if len(files) == maxCaptureFiles {
			return files, fmt.Errorf("more than %d files", maxCaptureFiles)
		}
		files = append(files, File{SHA256: line.SHA256, Name: cut(string(line.Path))})
	}
	if err := lines.Err(); err != nil {
		return files, err
	}
	if limited.N == 0 {
		return files, fmt.Errorf("more than %d bytes", maxCapture)
	}
	return files, nil
}
