package record

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/klauspost/compress/zstd"
	"golang.org/x/sys/unix"
)

// CompressedSuffix is what follows the name of a raw log that is compressed: one
// Zstandard frame (RFC 8878) with a checksum.
const CompressedSuffix = ".zst"

const (
	rawSuffix = ".raw"
	// draftSuffix follows the name of what is being written.
	draftSuffix = ".new"

	// maxUnpacked bounds what comes out of a compressed log, in bytes: a small file may
	// claim to hold any amount. Longer logs are never compressed.
	maxUnpacked = 16 << 30

	// window is what both sides hold in memory at least, in bytes. Reading is refused
	// to a log that wants more, whoever wrote it.
	window = 1 << 20
)

// rawLog is an open raw log of either form, read as it was before it was compressed.
type rawLog struct {
	io.Reader
	file    *os.File
	decoder *zstd.Decoder // nil for one that is not compressed
}

// Close releases the log.
func (l *rawLog) Close() error {
	if l.decoder != nil {
		l.decoder.Close()
	}
	return l.file.Close()
}

// openLog opens a raw log by its file name. Where that is gone the other form is
// opened: a log may be compressed after somebody has read its name.
func openLog(dir *os.Root, name string) (*rawLog, error) {
	f, err := openRegular(dir, name, os.O_RDONLY)
	if errors.Is(err, fs.ErrNotExist) {
		name = otherForm(name)
		other, otherErr := openRegular(dir, name, os.O_RDONLY)
		if otherErr != nil {
			return nil, err
		}
		f = other
	} else if err != nil {
		return nil, err
	}
	if !strings.HasSuffix(name, CompressedSuffix) && !strings.HasSuffix(name, CompressedSuffix+draftSuffix) {
		return &rawLog{Reader: f, file: f}, nil
	}
	d, err := zstd.NewReader(f, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(window))
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("open %s: %w", name, err)
	}
	return &rawLog{Reader: &unpacker{d, maxUnpacked}, file: f, decoder: d}, nil
}

func otherForm(name string) string {
	if plain, ok := strings.CutSuffix(name, CompressedSuffix); ok {
		return plain
	}
	return name + CompressedSuffix
}

// unpacker tells a damaged log from a device that cannot be read.
type unpacker struct {
	r    io.Reader
	left int64
}

func (u *unpacker) Read(p []byte) (int, error) {
	if u.left <= 0 {
		return 0, fmt.Errorf("%w: there is more in it than %d bytes", ErrCorrupt, int64(maxUnpacked))
	}
	n, err := u.r.Read(p[:min(int64(len(p)), u.left)])
	u.left -= int64(n)
	var device *fs.PathError
	if err != nil && err != io.EOF && !errors.As(err, &device) {
		err = fmt.Errorf("%w: decompress: %s", ErrCorrupt, err) // not as a log that ends early: it was whole once
	}
	return n, err
}

// Compress writes a compressed copy of the raw log of the recording with the given
// Options.Name, brings it to the disk, and reads it back and compares before it gets
// its name: Name.raw.zst. The log itself stays, for the caller to remove. Nothing is
// done where it is gone already, or is longer than what can be read back.
func Compress(ctx context.Context, dir *os.Root, name string) error {
	log, err := openRegular(dir, name+rawSuffix, os.O_RDONLY)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer log.Close()
	if st, err := log.Stat(); err != nil || st.Size() > maxUnpacked {
		return err
	}
	packed := name + rawSuffix + CompressedSuffix
	draft := packed + draftSuffix
	// A crash may have left either. Neither is more than a copy while there is the log.
	for _, old := range []string{draft, packed} {
		if err := dir.Remove(old); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("compress %s%s: %w", name, rawSuffix, err)
		}
	}
	if err = pack(ctx, dir, log, draft); err == nil {
		err = dir.Rename(draft, packed)
	}
	if err != nil {
		_ = dir.Remove(draft) // the next try does, if this fails
		return fmt.Errorf("compress %s%s: %w", name, rawSuffix, err)
	}
	return nil
}

// pack writes what is in log to the file draft, compressed, and reads it back.
func pack(ctx context.Context, dir *os.Root, log io.Reader, draft string) error {
	written, err := writePacked(ctx, dir, log, draft)
	if err != nil {
		return err
	}
	back, err := openLog(dir, draft)
	if err != nil {
		return err
	}
	defer back.Close()
	// What is read back comes from the disk where the system follows the advice.
	_ = unix.Fadvise(int(back.file.Fd()), 0, 0, unix.FADV_DONTNEED)
	read := sha256.New()
	if err := copyWhile(ctx, read, back); err != nil {
		return fmt.Errorf("read back: %w", err)
	}
	if string(read.Sum(nil)) != string(written.Sum(nil)) {
		return errors.New("read back: it is not what was written")
	}
	return nil
}

// writePacked writes a synced file and returns the hash of what is in it.
func writePacked(ctx context.Context, dir *os.Root, log io.Reader, draft string) (hash.Hash, error) {
	f, err := dir.OpenFile(draft, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o640)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	e, err := zstd.NewWriter(f, zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(window), zstd.WithLowerEncoderMem(true), zstd.WithEncoderCRC(true))
	if err != nil {
		return nil, err
	}
	sum := sha256.New()
	err = copyWhile(ctx, io.MultiWriter(e, sum), log)
	return sum, errors.Join(err, e.Close(), f.Sync())
}

// copyWhile is io.Copy that ends with ctx.
func copyWhile(ctx context.Context, w io.Writer, r io.Reader) error {
	buf := make([]byte, 128<<10)
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := r.Read(buf)
		if n > 0 {
			if _, err := w.Write(buf[:n]); err != nil {
				return err
			}
		}
		switch {
		case err == io.EOF:
			return nil
		case err != nil:
			return err
		}
	}
}
