package capture

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"hash"
	"io"
	"os"

	"github.com/gabriel-vasile/mimetype"
	"golang.org/x/sys/unix"

	"github.com/sandtrap/sandtrap/internal/evidence"
	"github.com/sandtrap/sandtrap/internal/frame"
)

// Sizes in bytes.
const (
	chunkSize = 128 << 10
	headSize  = 3072    // by which the type is told
	bigFile   = 1 << 20 // from which on holes matter
)

// spool is content on its way to an artifact.
type spool struct {
	artifact Artifact
	hash     hash.Hash
	size     int64
	head     []byte
}

// Item implements attach.Captured.
func (c *Capture) Item(m frame.ItemMessage) error {
	c.finish()
	return c.begin(&m)
}

// Content implements attach.Captured.
func (c *Capture) Content(p []byte) error {
	c.add(p)
	return c.failed
}

// layerItem takes an item of the layer with its content.
func (c *Capture) layerItem(ctx context.Context, m frame.ItemMessage, content *os.File) error {
	c.finish()
	if m.Altered < c.since {
		c.sum.Earlier++
		return nil
	}
	if err := c.begin(&m); err != nil || c.open == nil || content == nil {
		return err
	}
	end := c.endOf(content, int64(m.Size))
	if err := c.copy(ctx, content, min(end, c.o.FileBytes)); err != nil {
		if ctx.Err() != nil {
			c.remark(c.outcome(frame.CapturedMessage{}, context.Cause(ctx)))
			c.finish()
			return context.Cause(ctx)
		}
		c.remark(reasonRead)
	}
	c.finish()
	return c.failed
}

// endOf is where the content of a file ends: at its first hole, when it is mostly
// holes. Those are made to fill up whoever copies them.
func (c *Capture) endOf(f *os.File, size int64) int64 {
	var st unix.Stat_t
	fd := int(f.Fd())
	if size < bigFile || unix.Fstat(fd, &st) != nil || st.Blocks*512 >= size/2 {
		return size
	}
	hole, err := unix.Seek(fd, 0, unix.SEEK_HOLE)
	if err != nil || hole >= size {
		return size
	}
	c.remark(reasonSparse)
	return hole
}

// copy takes content from a file, which stays within end bytes.
func (c *Capture) copy(ctx context.Context, f *os.File, end int64) error {
	chunk := make([]byte, min(end, chunkSize))
	for offset := int64(0); offset < end; {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if c.left == 0 || c.store != nil {
			return nil // finish says so
		}
		n, err := f.ReadAt(chunk[:min(int64(len(chunk)), end-offset)], offset)
		c.add(chunk[:n])
		offset += int64(n)
		if n == 0 && err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
	}
	return nil
}

// begin makes the entry of an item, which may get content. There is none without room.
func (c *Capture) begin(m *frame.ItemMessage) error {
	if c.failed != nil {
		return c.failed
	}
	if !c.mayTell() {
		return nil
	}
	e := describe(m)
	which := inode{m.Device, m.Inode}
	if m.Note == frame.NoteHardLink {
		if l, ok := c.links[which]; ok && l.sha256 != "" {
			e.SHA256, e.Type, e.Captured, e.Complete = l.sha256, l.kind, l.size, &l.complete
		}
	}
	if !m.Content {
		return c.write(e)
	}
	c.open, c.which = e, which
	if c.o.Low != nil && c.o.Low() {
		c.remark(reasonSpace)
		return nil
	}
	if c.o.FileBytes == 0 || c.left == 0 || c.store != nil {
		return nil
	}
	artifact, err := c.o.NewArtifact()
	if err != nil {
		c.store = err
		return nil
	}
	c.spool = &spool{artifact: artifact, hash: sha256.New()}
	return nil
}

// remark adds a reason to the entry that is open.
func (c *Capture) remark(reason string) {
	if c.open != nil {
		c.open.Reason = joined(c.open.Reason, reason)
	}
}

// add adds content to the entry that is open.
func (c *Capture) add(p []byte) {
	s := c.spool
	if s == nil {
		return
	}
	p = p[:min(int64(len(p)), c.left, c.o.FileBytes-s.size)]
	if len(p) == 0 {
		return
	}
	if _, err := s.artifact.Write(p); err != nil {
		c.store = err
		s.artifact.Discard()
		c.spool = nil
		return
	}
	s.hash.Write(p)
	s.head = append(s.head, p[:min(len(p), headSize-len(s.head))]...)
	s.size += int64(len(p))
	c.left -= int64(len(p))
}

// finish ends the entry that is open and writes it.
func (c *Capture) finish() {
	e, s := c.open, c.spool
	if c.open, c.spool = nil, nil; e == nil {
		return
	}
	whole := false
	switch {
	case s != nil && s.size == 0:
		s.artifact.Discard()
	case s != nil:
		sum := hex.EncodeToString(s.hash.Sum(nil))
		if err := s.artifact.Commit(sum, s.size); err != nil {
			c.store = err
			break
		}
		e.SHA256, e.Captured, e.Type = sum, s.size, typeOf(s.head)
		c.sum.Captured += s.size
		c.hashes[sum] = true
	}
	whole = e.Captured == *e.Size
	e.Complete = &whole
	if !whole && (e.Reason == "" || e.Where == originNames[frame.OriginProcess]) {
		e.Reason = joined(e.Reason, c.whyNotAll(e))
	}
	if e.Links > 1 {
		c.links[c.which] = linked{e.SHA256, e.Type, e.Captured, whole}
	}
	_ = c.write(e) // the next to write hears of it
}

// whyNotAll is why content is not whole.
func (c *Capture) whyNotAll(e *evidence.CaptureEntry) string {
	switch {
	case c.store != nil:
		return reasonStore
	case e.Captured >= c.o.FileBytes:
		return reasonFileLimit
	case c.left == 0:
		return reasonSessionLimit
	}
	return reasonShort
}

// typeOf is the MIME type of content that begins like that.
func typeOf(head []byte) (kind string) {
	defer func() {
		if recover() != nil { // whatever a decoder makes of it, the file is kept
			kind = ""
		}
	}()
	return mimetype.Detect(head).String()
}
