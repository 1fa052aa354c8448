package event

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"time"
)

// FileLimits bound what event files take on disk, in bytes; 0 is no bound.
type FileLimits struct {
	File int64 // one of them, but for a line that is longer
	All  int64 // all together
}

// JSONLines appends events to events-YYYY-MM-DD.jsonl (UTC) in one directory. It
// is the record that journald's rate limits cannot thin out. A file that is full gets a
// number, events-YYYY-MM-DD.NNNN.jsonl: so names sort by age, and the one without a
// number is the newest of its day. The oldest are removed.
type JSONLines struct {
	dir  *os.Root
	most FileLimits
	day  string
	file *os.File
	size int64 // of file
	buf  []byte
	torn bool      // the last write ended inside a line
	gone []removal // not told yet
}

// removal is a file that was removed.
type removal struct {
	name string
	size int64
}

// NewJSONLines opens dir, which must exist, and makes today's file, so that an
// unwritable disk shows before anybody logs in.
func NewJSONLines(dir string, most FileLimits) (*JSONLines, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("open event directory: %w", err)
	}
	j := &JSONLines{dir: root, most: most}
	if err := j.rotate(time.Now(), 0); err != nil {
		return nil, errors.Join(err, root.Close())
	}
	return j, nil
}

// Write appends one line with a single write(2). A line that a full disk cut
// short is ended before the next one, so that it spoils only itself.
func (j *JSONLines) Write(e *Event) error {
	j.buf = append(e.AppendJSON(j.buf[:0]), '\n')
	if err := j.rotate(e.Time, int64(len(j.buf))); err != nil {
		return err
	}
	if j.torn {
		j.buf = slices.Insert(j.buf, 0, '\n')
	}
	n, err := j.file.Write(j.buf)
	j.size += int64(n)
	if err != nil {
		j.torn = j.torn || n > 0
		return fmt.Errorf("write event: %w", err)
	}
	j.torn = false
	return nil
}

// rotate makes sure that the file is that of the day, and has room for more bytes.
func (j *JSONLines) rotate(now time.Time, more int64) error {
	day := now.UTC().Format(time.DateOnly)
	for j.file == nil || day != j.day || j.full(more) { // the one of the day may be full already
		if j.file != nil && day == j.day {
			if err := j.setAside(); err != nil {
				return err
			}
		}
		if err := j.open(day); err != nil {
			return err
		}
	}
	return nil
}

func (j *JSONLines) open(day string) error {
	f, err := j.dir.OpenFile(fileName(day), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o640)
	if err != nil {
		return fmt.Errorf("open event file: %w", err)
	}
	st, err := f.Stat()
	if err != nil {
		return errors.Join(fmt.Errorf("open event file: %w", err), f.Close())
	}
	if j.file != nil {
		err = j.file.Close()
	}
	j.day, j.file, j.size = day, f, st.Size()
	return errors.Join(err, j.makeRoom())
}

func (j *JSONLines) full(more int64) bool {
	return j.most.File > 0 && j.size > 0 && j.size+more > j.most.File
}

// setAside gives the file of the day the next number.
func (j *JSONLines) setAside() error {
	files, err := listFiles(j.dir)
	if err != nil {
		return err
	}
	last := 0
	for _, f := range files {
		if f.day == j.day && f.number != newest {
			last = max(last, f.number)
		}
	}
	err = j.dir.Rename(fileName(j.day), fmt.Sprintf("events-%s.%04d.jsonl", j.day, last+1))
	if err != nil && !errors.Is(err, os.ErrNotExist) { // it was renamed, and none could be made
		return fmt.Errorf("set a full event file aside: %w", err)
	}
	return nil
}

// makeRoom removes the oldest files until one more has room beside the others.
func (j *JSONLines) makeRoom() error {
	if j.most.All <= 0 {
		return nil
	}
	files, err := listFiles(j.dir)
	if err != nil {
		return err
	}
	files = slices.DeleteFunc(files, func(f eventFile) bool { return f.name == fileName(j.day) })
	sum := j.most.File
	for _, f := range files {
		sum += f.size
	}
	for ; sum > j.most.All && len(files) > 0; files = files[1:] {
		oldest := files[0]
		if err := j.dir.Remove(oldest.name); err != nil {
			return fmt.Errorf("remove the oldest event file: %w", err)
		}
		j.gone = append(j.gone, removal{oldest.name, oldest.size})
		sum -= oldest.size
	}
	return nil
}

// takeRemoved returns what was removed since the last time.
func (j *JSONLines) takeRemoved() []removal {
	gone := j.gone
	j.gone = nil
	return gone
}

// eventFile is one file by what its name says.
type eventFile struct {
	name   string
	size   int64
	day    string
	number int
}

// newest is the number of the file that has none.
const newest = 1<<31 - 1

func fileName(day string) string { return "events-" + day + ".jsonl" }

// Dir is the directory of event files below the state directory.
const Dir = "events"

// FileDay returns the day (UTC, 2006-01-02) whose events are in a file of this name; ok
// is false for one that is no event file.
func FileDay(name string) (day string, ok bool) {
	m := fileNames.FindStringSubmatch(name)
	if m == nil {
		return "", false
	}
	return m[1], true
}

var fileNames = regexp.MustCompile(`^events-(\d{4}-\d\d-\d\d)(?:\.(\d{4,9}))?\.jsonl$`)

// listFiles lists all event files of a directory, the oldest first.
func listFiles(root *os.Root) ([]eventFile, error) {
	dir, err := root.Open(".")
	if err != nil {
		return nil, fmt.Errorf("list event files: %w", err)
	}
	entries, err := dir.ReadDir(-1)
	if err = errors.Join(err, dir.Close()); err != nil {
		return nil, fmt.Errorf("list event files: %w", err)
	}
	var files []eventFile
	for _, e := range entries {
		m := fileNames.FindStringSubmatch(e.Name())
		if m == nil || !e.Type().IsRegular() {
			continue
		}
		st, err := e.Info()
		if errors.Is(err, os.ErrNotExist) { // removed meanwhile
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("list event files: %w", err)
		}
		f := eventFile{name: e.Name(), size: st.Size(), day: m[1], number: newest}
		if m[2] != "" {
			f.number, _ = strconv.Atoi(m[2]) // the pattern has seen to it
		}
		files = append(files, f)
	}
	slices.SortFunc(files, func(a, b eventFile) int { return cmp.Or(cmp.Compare(a.day, b.day), cmp.Compare(a.number, b.number)) })
	return files, nil
}

// Close flushes the file to disk and closes it.
func (j *JSONLines) Close() error {
	return errors.Join(j.file.Sync(), j.file.Close(), j.dir.Close())
}
