// Package enrich tells what files on this machine know of an address: its country and
// autonomous system from MaxMind DB files, and which lists of addresses have it. It
// asks nobody, and what is not there is not an error.
package enrich

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"unicode/utf8"

	"github.com/oschwald/maxminddb-golang/v2"

	"github.com/sandtrap/sandtrap/internal/admission"
)

// Source is what is known of an address. The zero value is nothing.
type Source struct {
	Country      string   // ISO 3166-1 alpha-2
	ASN          uint32   // number of the autonomous system
	Organisation string   // who runs that; text of strangers, at most maxOrganisation bytes of UTF-8
	Lists        []string // names, in the order of the configuration
}

// Known reports whether there is anything.
func (s Source) Known() bool {
	return s.Country != "" || s.ASN != 0 || s.Organisation != "" || len(s.Lists) > 0
}

// List is a list of addresses in a file as admission.ReadPrefixFile takes it.
type List struct{ Name, Path string }

// Database is what was read. It does not change, and is safe for concurrent use. A nil
// one knows nothing.
type Database struct {
	readers []*maxminddb.Reader
	lists   []named
}

type named struct {
	name string
	set  admission.Set
}

// Bounds of what is held in memory. Files are read and not mapped: a mapped one that
// somebody writes over ends the process that looks at it (SIGBUS).
const (
	maxFiles = 16
	maxBytes = 256 << 20 // of all databases; those of cities have 70 MiB
	// maxOrganisation is how much of a name is told, in bytes.
	maxOrganisation = 256
)

// Open reads databases, at paths of files or of directories with files *.mmdb, and lists.
// What does not exist is left out. The error tells of what is there and of no use; the
// rest is in the Database all the same.
func Open(geoip []string, lists []List) (*Database, error) {
	d := &Database{}
	var problems []error
	left := int64(maxBytes)
	for _, path := range geoip {
		for _, file := range databases(path) {
			if len(d.readers) == maxFiles {
				problems = append(problems, fmt.Errorf("read %s: more than %d databases", file, maxFiles))
				break
			}
			reader, size, err := open(file, left)
			switch {
			case errors.Is(err, fs.ErrNotExist):
			case err != nil:
				problems = append(problems, fmt.Errorf("read database %s: %w", file, err))
			default:
				d.readers = append(d.readers, reader)
				left -= size
			}
		}
	}
	for _, l := range lists {
		prefixes, err := admission.ReadPrefixFile(l.Path)
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			problems = append(problems, err)
		default:
			d.lists = append(d.lists, named{l.Name, admission.NewSet(prefixes)})
		}
	}
	return d, errors.Join(problems...)
}

// databases are the files that a path stands for.
func databases(path string) []string {
	if info, err := os.Stat(path); err != nil || !info.IsDir() {
		return []string{path}
	}
	files, _ := filepath.Glob(filepath.Join(escape.ReplaceAllString(path, `\$0`), "*.mmdb"))
	return files
}

// escape finds what a pattern of filepath.Match would take for more than itself.
var escape = regexp.MustCompile(`[*?\[\\]`)

// open reads one database of at most so many bytes.
func open(path string, most int64) (*maxminddb.Reader, int64, error) {
	// Non-blocking, so that opening a FIFO does not wait for a writer.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, 0, err
	}
	defer f.Close()
	info, err := f.Stat()
	switch {
	case err != nil:
		return nil, 0, err
	case !info.Mode().IsRegular():
		return nil, 0, errors.New("it is not a regular file")
	case info.Size() > most:
		return nil, 0, fmt.Errorf("its %d bytes do not fit into what is left of %d MiB", info.Size(), maxBytes>>20)
	}
	data, err := io.ReadAll(io.LimitReader(f, most))
	if err != nil {
		return nil, 0, err
	}
	reader, err := parse(data)
	return reader, int64(len(data)), err
}

// parse is for bytes that may be anything.
func parse(data []byte) (reader *maxminddb.Reader, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("it is broken: %v", r)
		}
	}()
	return maxminddb.OpenBytes(data, maxminddb.DisableStringCache())
}

// Lookup returns what is known of an address.
func (d *Database) Lookup(addr netip.Addr) Source {
	var s Source
	if d == nil || !addr.IsValid() {
		return s
	}
	addr = addr.Unmap().WithZone("")
	for _, r := range d.readers {
		s.look(r, addr)
	}
	for _, l := range d.lists {
		if l.set.Has(addr) {
			s.Lists = append(s.Lists, l.name)
		}
	}
	return s
}

var (
	countryCode  = regexp.MustCompile(`^[A-Z]{2}$`)
	systemNumber = regexp.MustCompile(`^AS([0-9]{1,10})$`)
)

// look adds what one database says and those before it did not. The fields are those of
// MaxMind and DB-IP, and of IPinfo. Whatever is broken is not there.
func (s *Source) look(r *maxminddb.Reader, addr netip.Addr) {
	defer func() { _ = recover() }() // of a file that is broken in a way of its own
	found := r.Lookup(addr)
	if !found.Found() {
		return
	}
	for _, path := range [][]any{{"country", "iso_code"}, {"registered_country", "iso_code"}, {"country_code"}, {"country"}} {
		if code := text(found, path); s.Country == "" && countryCode.MatchString(code) {
			s.Country = code
		}
	}
	if s.ASN == 0 {
		var number uint32
		if found.DecodePath(&number, "autonomous_system_number") != nil || number == 0 {
			if match := systemNumber.FindStringSubmatch(text(found, []any{"asn"})); match != nil {
				n, _ := strconv.ParseUint(match[1], 10, 32)
				number = uint32(n)
			}
		}
		s.ASN = number
	}
	for _, path := range [][]any{{"autonomous_system_organization"}, {"as_name"}, {"as_org"}} {
		if s.Organisation == "" {
			s.Organisation = clip(text(found, path))
		}
	}
}

func text(found maxminddb.Result, path []any) string {
	var s string
	if found.DecodePath(&s, path...) != nil {
		return ""
	}
	return s
}

// clip bounds a name and makes it UTF-8.
func clip(name string) string {
	name = name[:min(len(name), maxOrganisation)]
	for len(name) > 0 && !utf8.ValidString(name) && utf8.ValidString(name[:len(name)-1]) {
		name = name[:len(name)-1]
	}
	return strings.ToValidUTF8(name, "")
}
