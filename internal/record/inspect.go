package record

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
)

// maxCommand is how much of a command Inspect keeps, in bytes.
const maxCommand = 1 << 20

// Info is what a raw log tells about its channel.
type Info struct {
	Summary  Summary
	Terminal string // TERM, empty without a pty
	Command  string // exec command, empty for a shell
	Forward  string // see Options.Forward; empty for a channel with a program
	Size     Size   // the first window size; zero without a pty
	Complete bool   // the log ends as Close leaves it
}

// Inspect reads the recording with the given Options.Name and sums it up,
// without the help of the process that wrote it. A torn tail is normal after a
// crash; the error wraps ErrCorrupt or ErrFormat for other damage, and Info
// then holds what could be read.
func Inspect(dir *os.Root, name string) (info Info, err error) {
	info = Info{Summary: Summary{Raw: name + rawSuffix, Cast: name + ".cast"}}
	if st, err := dir.Lstat(info.Summary.Cast); err == nil && st.Mode().IsRegular() {
		info.Summary.CastBytes = st.Size()
	}
	f, err := openLog(dir, info.Summary.Raw)
	if err != nil {
		return info, err
	}
	defer f.Close()
	if st, err := f.file.Stat(); err == nil {
		info.Summary.RawBytes = st.Size()
		info.Summary.End = st.ModTime().UTC()
	}
	r, err := NewReader(f)
	if err != nil {
		return info, fmt.Errorf("inspect %s: %w", info.Summary.Raw, err)
	}
	if f.decoder != nil {
		info.Summary.Raw += CompressedSuffix
		defer func() { info.Summary.RawBytes = r.Offset() }()
	}
	info.Summary.Start = r.Start()
	var damage error
	for {
		f, err := r.Next()
		switch {
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			return info, damage
		case errors.Is(err, ErrCorrupt) && r.Skip():
			damage = cmp.Or(damage, fmt.Errorf("inspect %s: %w", info.Summary.Raw, err))
			continue
		case err != nil:
			return info, fmt.Errorf("inspect %s: %w", info.Summary.Raw, err)
		}
		info.add(f)
	}
}

// add takes one frame into account.
func (i *Info) add(f Frame) {
	i.Summary.End = i.Summary.Start.Add(f.Time)
	i.Complete = f.Kind == KindEnd
	switch f.Kind {
	case KindTerminal:
		i.Terminal = string(f.Data)
	case KindCommand:
		if len(i.Command)+len(f.Data) <= maxCommand {
			i.Command += string(f.Data)
		}
	case KindForward:
		i.Forward, i.Summary.Cast = string(f.Data), ""
	case KindResize:
		if s, ok := f.Size(); ok && i.Size == (Size{}) {
			i.Size = s
		}
	case KindOutput:
		i.Summary.OutputBytes += int64(len(f.Data))
	case KindStderr:
		i.Summary.StderrBytes += int64(len(f.Data))
	case KindInput:
		i.Summary.InputBytes += int64(len(f.Data))
	case KindExit:
		if status, ok := f.ExitStatus(); ok {
			i.Summary.ExitStatus = &status
		}
	case KindExitSignal:
		if name, core, ok := f.ExitSignal(); ok {
			i.Summary.ExitSignal, i.Summary.CoreDumped = name, core
		}
	case KindTruncated:
		i.Summary.Truncated = true
	}
}

// Recover is Inspect for a recording whose process died. It also takes a torn
// last line off the cast, so that every line of it is JSON again. The raw log,
// being evidence, is left as it was found.
func Recover(dir *os.Root, name string) (Info, error) {
	trimErr := trimCast(dir, name+".cast")
	info, err := Inspect(dir, name)
	return info, errors.Join(err, trimErr)
}

// trimCast cuts what follows the last newline.
func trimCast(dir *os.Root, name string) error {
	f, err := openRegular(dir, name, os.O_RDWR)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return fmt.Errorf("trim %s: %w", name, err)
	}
	end, buf := st.Size(), make([]byte, 32<<10)
	for end > 0 {
		n := min(end, int64(len(buf)))
		if _, err := f.ReadAt(buf[:n], end-n); err != nil {
			return fmt.Errorf("trim %s: %w", name, err)
		}
		if i := bytes.LastIndexByte(buf[:n], '\n'); i >= 0 {
			end += int64(i) + 1 - n
			break
		}
		end -= n
	}
	if end == st.Size() {
		return nil
	}
	if err := errors.Join(f.Truncate(end), f.Sync()); err != nil {
		return fmt.Errorf("trim %s: %w", name, err)
	}
	return nil
}

// Open opens the raw log of the given file name for reading, whether it is compressed
// or not; one that has been compressed since answers to its old name. The caller
// closes the returned file.
func Open(dir *os.Root, name string) (*Reader, io.Closer, error) {
	f, err := openLog(dir, name)
	if err != nil {
		return nil, nil, err
	}
	r, err := NewReader(f)
	if err != nil {
		f.Close()
		return nil, nil, fmt.Errorf("open %s: %w", name, err)
	}
	return r, f, nil
}

// openRegular opens a file but no symbolic link, pipe or device.
func openRegular(dir *os.Root, name string, flag int) (*os.File, error) {
	st, err := dir.Lstat(name)
	if err != nil {
		return nil, fmt.Errorf("open recording: %w", err)
	}
	if !st.Mode().IsRegular() {
		return nil, fmt.Errorf("open recording: %q is no regular file", name)
	}
	f, err := dir.OpenFile(name, flag, 0)
	if err != nil {
		return nil, fmt.Errorf("open recording: %w", err)
	}
	return f, nil
}

// Names returns the recordings in a session's directory, as Options.Name has
// them, in the order of their numbers.
func Names(dir *os.Root) ([]string, error) {
	d, err := dir.Open(".")
	if err != nil {
		return nil, fmt.Errorf("list recordings: %w", err)
	}
	defer d.Close()
	entries, err := d.ReadDir(-1)
	if err != nil {
		return nil, fmt.Errorf("list recordings: %w", err)
	}
	var names []string
	for _, e := range entries {
		if name, ok := NameOf(e.Name()); ok && e.Type().IsRegular() {
			names = append(names, name)
		}
	}
	slices.SortFunc(names, func(a, b string) int {
		// channel-10 comes after channel-9.
		return cmp.Or(cmp.Compare(len(a), len(b)), cmp.Compare(a, b))
	})
	return slices.Compact(names), nil // a crash may leave both forms of one
}

// NameOf is the Options.Name of a raw log, compressed or not; ok is false for other
// files.
func NameOf(raw string) (name string, ok bool) {
	return strings.CutSuffix(strings.TrimSuffix(raw, CompressedSuffix), rawSuffix)
}
