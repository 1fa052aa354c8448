package seal

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/sandtrap/sandtrap/internal/evidence"
)

// The files of a seal in the directory of a session.
const (
	sumsFile      = "SHA256SUMS"
	signatureFile = evidence.SealFile
	sealFile      = "seal.json"
	// artifactsFile has the sums of the artifacts that the session brought. It is not
	// part of sumsFile, so that a copy of the directory alone checks.
	artifactsFile = "ARTIFACTS.SHA256SUMS"

	// toState leads from a session's directory to the state directory.
	toState = "../../../../../"
)

// Bounds of a session's directory.
const (
	maxSums  = 64 << 20 // bytes of a file of sums
	maxFiles = 1 << 18
	maxDepth = 8
)

// sum is one line of what sha256sum(1) writes.
type sum struct{ hash, name string }

// appendSum appends the line of a file. Names are escaped as sha256sum does.
func appendSum(b []byte, s sum) []byte {
	name := strings.NewReplacer(`\`, `\\`, "\n", `\n`, "\r", `\r`).Replace(s.name)
	if name != s.name {
		b = append(b, '\\')
	}
	b = append(b, s.hash...)
	b = append(b, "  "...)
	b = append(b, name...)
	return append(b, '\n')
}

// errSums means that a file is none of sums as they are written here.
var errSums = errors.New("not a list of SHA-256 sums")

// readSums parses what appendSum has written. Each name is there once.
func readSums(r io.Reader) ([]sum, error) {
	var all []sum
	seen := make(map[string]bool)
	lines := bufio.NewReader(io.LimitReader(r, maxSums+1))
	for size := 0; ; {
		line, err := lines.ReadString('\n')
		if err == io.EOF && line == "" {
			return all, nil
		}
		if err != nil && err != io.EOF {
			return nil, err
		}
		if size += len(line); size > maxSums || len(all) >= maxFiles {
			return nil, fmt.Errorf("%w: it is too long", errSums)
		}
		s, ok := parseSum(line)
		if !ok || seen[s.name] {
			return nil, fmt.Errorf("%w: line %d", errSums, len(all)+1)
		}
		seen[s.name] = true
		all = append(all, s)
	}
}

var unescape = strings.NewReplacer(`\\`, `\`, `\n`, "\n", `\r`, "\r")

func parseSum(line string) (sum, bool) {
	line, ended := strings.CutSuffix(line, "\n")
	line, escaped := strings.CutPrefix(line, `\`)
	hash, name, ok := strings.Cut(line, "  ")
	if !ended || !ok || !evidence.IsHash(hash) || name == "" || strings.ContainsAny(name, "\x00\r") {
		return sum{}, false
	}
	if escaped {
		name = unescape.Replace(name)
	}
	return sum{hash, name}, true
}

// covered lists the files of a session that its sums have, in order, by their paths in
// its directory: all but those that come after, the pin, and drafts that were given up.
func covered(root *os.Root) ([]string, error) {
	var names []string
	err := fs.WalkDir(root.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && strings.Count(name, "/") >= maxDepth, len(names) >= maxFiles:
			return errors.New("the session's directory is too deep or too large")
		case d.IsDir(), exempt(name):
			return nil
		case !d.Type().IsRegular():
			return fmt.Errorf("%q is no regular file", name)
		}
		names = append(names, name)
		return nil
	})
	slices.Sort(names)
	return names, err
}

func exempt(name string) bool {
	switch name {
	case sumsFile, signatureFile, evidence.PinFile:
		return true
	}
	return strings.HasSuffix(name, draftSuffix)
}

// hashFile returns the SHA-256 of a regular file. It ends with ctx.
func hashFile(ctx context.Context, root *os.Root, name string, sync bool) (string, error) {
	f, err := evidence.OpenRegular(root, name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	if sync {
		if err := f.Sync(); err != nil {
			return "", err
		}
	}
	h := sha256.New()
	if _, err := io.Copy(h, reader{ctx, f}); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// reader ends with ctx.
type reader struct {
	ctx context.Context
	r   io.Reader
}

func (r reader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.r.Read(p)
}

// readFile reads a small file.
func readFile(root *os.Root, name string, most int64) ([]byte, error) {
	f, err := evidence.OpenRegular(root, name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, most+1))
	if err == nil && int64(len(b)) > most {
		err = &fs.PathError{Op: "read", Path: name, Err: fmt.Errorf("larger than %d bytes", most)}
	}
	return b, err
}

func hashOf(b []byte) string {
	h := sha256.Sum256(b)
	return hex.EncodeToString(h[:])
}

// plain reports whether a name can be a file's below the directory.
func plain(name string) bool {
	return fs.ValidPath(name) && name != "."
}
