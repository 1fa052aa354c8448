package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// maxFile bounds one file in bytes; the fully commented one has about 6000.
const maxFile = 1 << 20

var errIrregular = errors.New("not a regular file")

// readFile reads a whole file, never more than maxFile bytes.
func readFile(path string) ([]byte, error) {
	// Non-blocking, so that opening a FIFO does not wait for a writer.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, errIrregular
	}
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxFile {
		return nil, fmt.Errorf("larger than %s", Bytes(maxFile))
	}
	return data, nil
}

// readProblem words why a file cannot be read, without the path, which starts
// the line anyway.
func readProblem(path string, err error) Problem {
	var pathError *fs.PathError
	if errors.As(err, &pathError) {
		err = pathError.Err
	}
	return Problem{
		Origin:  Origin{Kind: FromFile, Name: path},
		Message: "cannot be read: " + err.Error(),
	}
}

// dropIns lists conf.d/*.yaml beside the main file, in lexical order. Hidden
// files, such as an editor's, are left out.
func dropIns(path string) ([]string, error) {
	dir := filepath.Join(filepath.Dir(path), "conf.d")
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, Problems{readProblem(dir, err)}
	}
	var paths []string
	for _, entry := range entries {
		if name := entry.Name(); strings.HasSuffix(name, ".yaml") && !strings.HasPrefix(name, ".") {
			paths = append(paths, filepath.Join(dir, name))
		}
	}
	slices.Sort(paths)
	return paths, nil
}

// parseYAML returns the root of the only document in data, nil for an empty
// file, or a Problem with its line.
func parseYAML(name string, data []byte) (*yaml.Node, *Problem) {
	fault := func(line int, message string) *Problem {
		return &Problem{Origin: Origin{Kind: FromFile, Name: name, Line: line}, Message: message}
	}
	if line := strangeLine(data); line > 0 {
		return nil, fault(line, "is not UTF-8 text without control characters")
	}
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	var document, second yaml.Node
	switch err := decoder.Decode(&document); {
	case errors.Is(err, io.EOF):
		return nil, nil
	case err != nil:
		return nil, fault(syntaxProblem(err, data))
	}
	switch err := decoder.Decode(&second); {
	case err == nil:
		return nil, fault(second.Line, "a second YAML document starts here, only one is read")
	case !errors.Is(err, io.EOF):
		return nil, fault(syntaxProblem(err, data))
	}
	return document.Content[0], nil
}

// strangeLine returns the first line the YAML reader would reject without
// saying where, or 0.
func strangeLine(data []byte) int {
	line := 1
	for i := 0; i < len(data); {
		r, size := utf8.DecodeRune(data[i:])
		if r == utf8.RuneError && size == 1 || strangeRune(r) {
			return line
		}
		if r == '\n' {
			line++
		}
		i += size
	}
	return 0
}

// strangeRune reports whether a rune is outside what a YAML stream may hold,
// YAML 1.2.2 section 5.1. The line separators of Unicode are allowed there, but
// they would set our line numbers apart from an editor's.
func strangeRune(r rune) bool {
	switch {
	case r == '\t', r == '\n', r == '\r':
		return false
	case r < 0x20, r >= 0x7f && r < 0xa0, r == 0x2028, r == 0x2029:
		return true
	default:
		return r == 0xfffe || r == 0xffff
	}
}

var (
	syntaxLine    = regexp.MustCompile(`^yaml: (?:line (\d+): )?(.*)$`)
	unknownAnchor = regexp.MustCompile(`^unknown anchor '(.*)' referenced$`)
	grammarFault  = regexp.MustCompile(`^(did not find expected|found undefined tag|found duplicate %|found incompatible)`)
)

// syntaxProblem gets the line out of an error of the YAML reader. The reader
// counts from 0 when the grammar is at fault and from 1 when a token is; on the
// first line it names none.
func syntaxProblem(err error, data []byte) (int, string) {
	text, _, _ := strings.Cut(err.Error(), "\n")
	match := syntaxLine.FindStringSubmatch(text)
	if match == nil {
		return 1, "is not YAML: " + text
	}
	line, _ := strconv.Atoi(match[1])
	message := match[2]
	if anchor := unknownAnchor.FindStringSubmatch(message); anchor != nil {
		before, _, _ := bytes.Cut(data, []byte("*"+anchor[1]))
		return 1 + bytes.Count(before, []byte("\n")), noAnchors
	}
	if grammarFault.MatchString(message) {
		line++
	}
	return max(line, 1), "is not YAML: " + message
}
