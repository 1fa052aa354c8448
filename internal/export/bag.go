// Package export hands evidence on. Files of sessions go in; a bag (BagIt, RFC 8493)
// in one tar file, compressed with zstd, comes out as a stream: tar(1) and
// sha256sum(1) are enough to open and to check it.
package export

import (
	"archive/tar"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/klauspost/compress/zstd"
)

// Info is a line of bag-info.txt; RFC 8493, section 2.2.2.
type Info struct{ Label, Value string }

// Bag writes one bag. It is not safe for concurrent use; the first error stays.
type Bag struct {
	name     string // the directory that everything is in
	tar      *tar.Writer
	zstd     *zstd.Encoder
	now      time.Time
	manifest strings.Builder
	tags     strings.Builder // tagmanifest
	seen     map[string]bool
	bytes    int64
	err      error
}

// NewBag begins a bag whose directory is called name, written to w. now is the
// date of the files that are made for it.
func NewBag(w io.Writer, name string, now time.Time) (*Bag, error) {
	z, err := zstd.NewWriter(w, zstd.WithEncoderConcurrency(1))
	if err != nil {
		return nil, fmt.Errorf("begin bag: %w", err)
	}
	b := &Bag{name: name, tar: tar.NewWriter(z), zstd: z, now: now, seen: make(map[string]bool)}
	b.tag("bagit.txt", "BagIt-Version: 1.0\nTag-File-Character-Encoding: UTF-8\n")
	return b, b.err
}

// ErrShrunk means that a file had fewer bytes than it was announced with.
var ErrShrunk = errors.New("file became shorter while it was read")

// Add puts size bytes of r into the bag as data/name. What is beyond them, because
// the file grows, is left out. A name that is there already is passed over: two
// sessions may have brought the same artifact.
func (b *Bag) Add(name string, size int64, modified time.Time, r io.Reader) error {
	name = path.Join("data", path.Clean("/"+name))
	if b.err != nil || b.seen[name] {
		return b.err
	}
	b.seen[name] = true
	sum, err := b.file(name, size, modified, io.LimitReader(r, size))
	if err != nil {
		b.err = fmt.Errorf("add %q to bag: %w", name, err)
		return b.err
	}
	b.bytes += size
	fmt.Fprintf(&b.manifest, "%s  %s\n", sum, encodeName(name))
	return nil
}

// Has reports whether data/name is in the bag.
func (b *Bag) Has(name string) bool { return b.seen[path.Join("data", path.Clean("/"+name))] }

// encodeName is how names stand in manifests; RFC 8493, section 2.1.3.
var encodeName = strings.NewReplacer("%", "%25", "\n", "%0A", "\r", "%0D").Replace

func (b *Bag) file(name string, size int64, modified time.Time, r io.Reader) (sum string, err error) {
	header := &tar.Header{Name: b.name + "/" + name, Size: size, Mode: 0o640, ModTime: modified.Truncate(time.Second), Typeflag: tar.TypeReg, Format: tar.FormatPAX}
	if err := b.tar.WriteHeader(header); err != nil {
		return "", err
	}
	hash := sha256.New()
	n, err := io.Copy(io.MultiWriter(b.tar, hash), r)
	switch {
	case err != nil:
		return "", err
	case n < size:
		return "", ErrShrunk
	}
	return hex.EncodeToString(hash.Sum(nil)), nil
}

// tag adds a file that tells of the bag itself.
func (b *Bag) tag(name, content string) {
	if b.err != nil {
		return
	}
	sum, err := b.file(name, int64(len(content)), b.now, strings.NewReader(content))
	if err != nil {
		b.err = fmt.Errorf("add %q to bag: %w", name, err)
		return
	}
	fmt.Fprintf(&b.tags, "%s  %s\n", sum, name)
}

// Close writes what a reader checks the bag with, and ends it. info is put into
// bag-info.txt; date and size are added to it. Without a Close the bag is torn, and
// tar says so.
func (b *Bag) Close(info ...Info) error {
	info = append(info, Info{"Bagging-Date", b.now.UTC().Format(time.DateOnly)},
		Info{"Payload-Oxum", strconv.FormatInt(b.bytes, 10) + "." + strconv.Itoa(len(b.seen))})
	var text strings.Builder
	for _, i := range info {
		fmt.Fprintf(&text, "%s: %s\n", i.Label, strings.Join(strings.Fields(i.Value), " "))
	}
	b.tag("bag-info.txt", text.String())
	b.tag("manifest-sha256.txt", b.manifest.String())
	b.tag("tagmanifest-sha256.txt", b.tags.String())
	if b.err != nil {
		_ = b.zstd.Close() // only to end its goroutines
		return b.err
	}
	if err := errors.Join(b.tar.Close(), b.zstd.Close()); err != nil {
		b.err = fmt.Errorf("end bag: %w", err)
	}
	return b.err
}
