// Package persona holds the servers that SandTrap can claim to be. A persona is an
// sshd_config(5) as such a server has it; the first line is a comment with the
// identification string that it sends. The same file goes to a real sshd, which the
// tests compare with.
package persona

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Default is the persona of a host that names none.
const Default = "debian-12"

const (
	suffix = ".conf"
	prefix = "# SSH-2.0-"
	// maxFile bounds a file, in bytes.
	maxFile = 64 << 10
)

//go:embed *.conf
var files embed.FS

// Persona is a server to imitate.
type Persona struct {
	Name       string
	Version    string // what follows SSH-2.0- in its identification string; RFC 4253, section 4.2
	Config     []byte // the whole file
	Directives []Directive
}

// Directive is one line of an sshd_config(5).
type Directive struct {
	Line    int    // from 1
	Keyword string // in lower case
	Value   string // all arguments, without the blanks around them
}

// Names lists the personas that come with the program.
func Names() []string {
	found, _ := fs.Glob(files, "*"+suffix) // the pattern is good
	for i, name := range found {
		found[i] = strings.TrimSuffix(name, suffix)
	}
	slices.Sort(found)
	return found
}

// Load returns the persona of a name out of Names, or of a file with an absolute path.
func Load(name string) (*Persona, error) {
	text, err := read(name)
	if err != nil {
		return nil, fmt.Errorf("read persona: %w", err)
	}
	return parse(name, text)
}

func read(name string) ([]byte, error) {
	if !filepath.IsAbs(name) {
		text, err := files.ReadFile(name + suffix)
		if err != nil {
			return nil, fmt.Errorf("there is none of this name, only %s; a file needs an absolute path", strings.Join(Names(), ", "))
		}
		return text, nil
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(text) > maxFile {
		err = fmt.Errorf("%s is longer than %d bytes", name, maxFile)
	}
	return text, err
}

// parse reads an sshd_config as far as a persona needs it: one keyword a line with
// its arguments.
func parse(name string, text []byte) (*Persona, error) {
	p := &Persona{Name: name, Config: text}
	for i, line := range strings.Split(string(bytes.TrimSuffix(text, []byte("\n"))), "\n") {
		if i == 0 {
			version, ok := strings.CutPrefix(line, prefix)
			if !ok || version == "" {
				return nil, errors.New("read persona: the first line must be a comment with the identification string, such as \"" + prefix + "OpenSSH_9.2p1 Debian-2\"")
			}
			p.Version = version
			continue
		}
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		end := strings.IndexAny(line, " \t=")
		if end < 0 {
			end = len(line)
		}
		value := strings.TrimLeft(line[end:], " \t=")
		p.Directives = append(p.Directives, Directive{Line: i + 1, Keyword: strings.ToLower(line[:end]), Value: value})
	}
	return p, nil
}
