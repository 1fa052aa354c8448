package event

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"syscall"
	"time"
)

// maxLine bounds a line of an event file that is read, in bytes. The longest that is
// written holds the lists of a client's key exchange.
const maxLine = 4 << 20

// maxHeld bounds the records that are held to find the newest, in bytes.
const maxHeld = 32 << 20

// followEvery is how often a Log that follows looks for more.
const followEvery = 100 * time.Millisecond

// errLine means that a line of an event file is no event: a full disk cut it short, or
// somebody else wrote it.
var errLine = errors.New("not an event")

// Log reads the event files of one directory. They may have been changed by whoever
// took over the service, so nothing in them is trusted.
type Log struct{ dir *os.Root }

// OpenLog opens the directory of event files.
func OpenLog(dir string) (*Log, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("open event directory: %w", err)
	}
	return &Log{root}, nil
}

// Close releases the directory.
func (l *Log) Close() error { return l.dir.Close() }

// ReadOptions say what of a Log is wanted.
type ReadOptions struct {
	Since  time.Time                    // the zero time for all
	Last   int                          // only so many of the newest; below 0 for all
	Match  func(*Record) bool           // nil for all
	Follow bool                         // go on with what is written later, until the context ends
	Skip   func(file string, err error) // told of what cannot be read; may be nil
}

func (o *ReadOptions) skip(file string, err error) {
	if o.Skip != nil {
		o.Skip(file, err)
	}
}

// wanted parses a line and reports whether it is asked for.
func (o *ReadOptions) wanted(file string, line []byte) (*Record, bool) {
	r, err := ParseRecord(line)
	if err != nil {
		o.skip(file, err)
		return nil, false
	}
	return r, !r.Time.Before(o.Since) && (o.Match == nil || o.Match(r))
}

// Read calls visit for each record that is wanted, in the order in which they were
// written. When it follows it returns the context's error, or visit's.
func (l *Log) Read(ctx context.Context, o ReadOptions, visit func(*Record) error) error {
	files, err := listFiles(l.dir)
	if err != nil {
		return err
	}
	if day := o.Since.UTC().Format(time.DateOnly); !o.Since.IsZero() {
		files = slices.DeleteFunc(files, func(f eventFile) bool { return f.day < day })
	}
	at := &position{log: l}
	defer at.close()
	if o.Last >= 0 {
		err = l.last(ctx, o, files, at, visit)
	} else {
		err = l.all(ctx, o, files, at, visit)
	}
	if err != nil || !o.Follow {
		return err
	}
	return at.follow(ctx, &o, visit)
}

// all visits what is in files, and leaves at where the newest ends.
func (l *Log) all(ctx context.Context, o ReadOptions, files []eventFile, at *position, visit func(*Record) error) error {
	for _, f := range files {
		if err := at.open(f); err != nil {
			o.skip(f.name, err)
			continue
		}
		if err := at.drain(ctx, &o, visit); err != nil {
			return err
		}
	}
	return nil
}

// last visits the newest o.Last records. It reads no more files than it needs.
func (l *Log) last(ctx context.Context, o ReadOptions, files []eventFile, at *position, visit func(*Record) error) error {
	var found []*Record
	for i := len(files) - 1; i >= 0 && (len(found) < o.Last || i == len(files)-1); i-- {
		from := at
		if i < len(files)-1 { // an older one is only looked through
			from = &position{log: l}
		}
		some, err := from.newest(ctx, o, files[i], o.Last-len(found))
		if from != at {
			from.close()
		}
		if err != nil {
			return err
		}
		found = append(some, found...)
	}
	for _, r := range found {
		if err := visit(r); err != nil {
			return err
		}
	}
	return nil
}

// newest returns the last n records of a file that are wanted.
func (p *position) newest(ctx context.Context, o ReadOptions, f eventFile, n int) ([]*Record, error) {
	if err := p.open(f); err != nil {
		o.skip(f.name, err)
		return nil, nil
	}
	var some []*Record
	held, dropped := 0, false
	err := p.drain(ctx, &o, func(r *Record) error {
		r.Line = slices.Clone(r.Line)
		some, held = append(some, r), held+len(r.Line)
		for len(some) > n || held > maxHeld {
			dropped = dropped || len(some) <= n
			held -= len(some[0].Line)
			some[0] = nil
			some = some[1:]
		}
		return nil
	})
	if dropped {
		o.skip(f.name, fmt.Errorf("older events left out: those asked for take more than %d bytes", maxHeld))
	}
	return some, err
}

// position is where a reader is in the event files.
type position struct {
	log  *Log
	at   eventFile
	file *os.File
	in   *bufio.Reader
	line []byte // the beginning of one that is not complete
	long bool   // it is longer than maxLine and left out
}

func (p *position) close() {
	if p.file != nil {
		p.file.Close()
	}
}

// open begins with another file.
func (p *position) open(f eventFile) error {
	st, err := p.log.dir.Lstat(f.name)
	if err == nil && !st.Mode().IsRegular() {
		err = errors.New("no regular file")
	}
	if err != nil {
		return fmt.Errorf("open event file: %w", err)
	}
	file, err := p.log.dir.Open(f.name)
	if err != nil {
		return fmt.Errorf("open event file: %w", err)
	}
	p.close()
	p.at, p.file, p.in, p.line, p.long = f, file, bufio.NewReaderSize(file, 64<<10), p.line[:0], false
	return nil
}

// drain visits the complete lines up to the present end of the file.
func (p *position) drain(ctx context.Context, o *ReadOptions, visit func(*Record) error) error {
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		line, err := p.next(o)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if len(line) == 0 {
			continue
		}
		r, ok := o.wanted(p.at.name, line)
		if !ok {
			continue
		}
		if err := visit(r); err != nil {
			return err
		}
	}
}

// next returns the next complete line without its end, which is valid until the next
// call, or io.EOF. What has come of an incomplete one is kept.
func (p *position) next(o *ReadOptions) ([]byte, error) {
	for {
		part, err := p.in.ReadSlice('\n')
		if !p.long && len(p.line)+len(part) > maxLine {
			p.long, p.line = true, nil
		}
		switch {
		case errors.Is(err, bufio.ErrBufferFull), errors.Is(err, io.EOF):
			if !p.long {
				p.line = append(p.line, part...)
			}
			if errors.Is(err, io.EOF) {
				return nil, io.EOF
			}
			continue
		case err != nil:
			return nil, fmt.Errorf("read event file: %w", err)
		}
		if p.long {
			p.long = false
			o.skip(p.at.name, fmt.Errorf("%w: line longer than %d bytes", errLine, maxLine))
			continue
		}
		line := part[:len(part)-1]
		if len(p.line) > 0 {
			line = append(p.line, line...)
			p.line = line[:0]
		}
		return line, nil
	}
}

// follow visits what is written from now on, from one file into the next.
func (p *position) follow(ctx context.Context, o *ReadOptions, visit func(*Record) error) error {
	tick := time.NewTicker(followEvery)
	defer tick.Stop()
	for {
		if p.file != nil {
			if err := p.drain(ctx, o, visit); err != nil {
				return err
			}
		}
		next, err := p.later()
		if err != nil {
			return err
		}
		if len(next) > 0 {
			// Nothing is written to the old file any more: what is left of it first.
			if p.file != nil {
				if err := p.drain(ctx, o, visit); err != nil {
					return err
				}
			}
			if err := p.open(next[0]); err == nil {
				continue // else it was set aside or removed meanwhile: look again
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// later lists the files after the one that is open, which may have another name by
// now, or none.
func (p *position) later() ([]eventFile, error) {
	files, err := listFiles(p.log.dir)
	if err != nil || p.file == nil {
		return files, err
	}
	mine, err := p.file.Stat()
	if err != nil {
		return nil, fmt.Errorf("follow event files: %w", err)
	}
	for i, f := range files {
		if st, err := p.log.dir.Lstat(f.name); err == nil && os.SameFile(st, mine) {
			p.at = f
			return files[i+1:], nil
		}
	}
	if st, ok := mine.Sys().(*syscall.Stat_t); !ok || st.Nlink > 0 {
		return nil, nil // it got its number while we looked
	}
	// It was removed, and so were those before it.
	return slices.DeleteFunc(files, func(f eventFile) bool {
		return f.day < p.at.day || f.day == p.at.day && p.at.number != newest && f.number <= p.at.number
	}), nil
}
