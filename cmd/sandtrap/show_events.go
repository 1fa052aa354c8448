package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sandtrap/sandtrap/internal/evidence"
	"github.com/sandtrap/sandtrap/internal/term"
)

// maxEventLine bounds a line of an event file, in bytes; longer ones are left out.
const maxEventLine = 4 << 20

// showEvents writes the events of a session, from the files of the days it may be in.
func showEvents(ctx context.Context, s evidence.Session, o showOptions, out, diagnostics io.Writer) error {
	root, err := os.OpenRoot(o.eventsDir)
	if err != nil {
		return fmt.Errorf("open event directory: %w", err)
	}
	defer root.Close()
	buffered := bufio.NewWriterSize(out, 64<<10)
	list := jsonList{w: buffered}
	write := func(line []byte) error {
		if o.format == formatJSON {
			return list.add(json.RawMessage(line))
		}
		_, err := fmt.Fprintln(buffered, eventLine(line, o.now.Location()))
		return err
	}
	files, err := eventFiles(root, s)
	if err != nil {
		return err
	}
	for _, name := range files {
		if err := sessionEvents(ctx, root, name, s.ID, write); err != nil {
			if !errors.Is(err, bufio.ErrTooLong) && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
			fmt.Fprintf(diagnostics, "sandtrap: skip the rest of %s: %s\n", name, term.Printable(err.Error()))
		}
	}
	if o.format == formatJSON {
		err = list.end()
	}
	return errors.Join(err, buffered.Flush())
}

var eventFileName = regexp.MustCompile(`^events-(\d{4}-\d\d-\d\d)(\.\d{4,9})?\.jsonl$`)

// eventFiles are the names of the files that may have events of a session, the oldest
// first: a full one of a day has a number, the last has none.
func eventFiles(root *os.Root, s evidence.Session) ([]string, error) {
	entries, err := fs.ReadDir(root.FS(), ".")
	if err != nil {
		return nil, fmt.Errorf("list event files: %w", err)
	}
	first, last := s.Start.UTC().AddDate(0, 0, -1).Format(time.DateOnly), "9999"
	if s.State == evidence.StateClosed && s.End != nil { // one that was recovered was so later
		last = s.End.UTC().AddDate(0, 0, 1).Format(time.DateOnly)
	}
	var found [][]string
	for _, e := range entries {
		m := eventFileName.FindStringSubmatch(e.Name())
		if m != nil && e.Type().IsRegular() && m[1] >= first && m[1] <= last {
			found = append(found, m)
		}
	}
	slices.SortFunc(found, func(a, b []string) int {
		number := func(m []string) int {
			if m[2] == "" {
				return math.MaxInt
			}
			n, _ := strconv.Atoi(m[2][1:]) // the pattern has seen to it
			return n
		}
		return cmp.Or(cmp.Compare(a[1], b[1]), cmp.Compare(number(a), number(b)))
	})
	var names []string
	for _, m := range found {
		names = append(names, m[0])
	}
	return names, nil
}

// sessionEvents calls write for each line of a file that is an event of a session.
func sessionEvents(ctx context.Context, root *os.Root, name, id string, write func([]byte) error) error {
	f, err := root.Open(name)
	if err != nil {
		return fmt.Errorf("read events: %w", err)
	}
	defer f.Close()
	sc := bufio.NewScanner(f)
	sc.Buffer(make([]byte, 64<<10), maxEventLine)
	for sc.Scan() {
		if err := ctx.Err(); err != nil {
			return err
		}
		if !bytes.Contains(sc.Bytes(), []byte(id)) {
			continue // most are; what a client sent may hold it, too
		}
		var e struct {
			Session   string `json:"session"`
			Recovered string `json:"recovered_session"`
		}
		if json.Unmarshal(sc.Bytes(), &e) != nil || e.Session != id && e.Recovered != id {
			continue
		}
		if err := write(sc.Bytes()); err != nil {
			return err
		}
	}
	if err := sc.Err(); err != nil {
		return fmt.Errorf("read events: %w", err)
	}
	return nil
}

// knownFields are those that are told otherwise, or are the same for all of a session.
var knownFields = []string{"time", "seq", "event", "severity", "message", "session", "src_ip", "src_port", "dst_ip", "dst_port"}

// eventLine is an event for people: when, what, and its own fields in their order.
func eventLine(line []byte, zone *time.Location) string {
	var e struct {
		Time  time.Time `json:"time"`
		Event string    `json:"event"`
	}
	_ = json.Unmarshal(line, &e) // what is missing is empty
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s", e.Time.In(zone).Format(time.TimeOnly), term.Safe(e.Event))
	d := json.NewDecoder(bytes.NewReader(line))
	_, _ = d.Token() // {
	for d.More() {
		name, err := d.Token()
		if err != nil {
			break
		}
		var value any
		if d.Decode(&value) != nil {
			break
		}
		field, _ := name.(string)
		if slices.Contains(knownFields, field) {
			continue
		}
		text := fmt.Sprint(value)
		if s, is := value.(string); is && (s == "" || strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r == '"' || r >= 0x7f || r == '\\' })) {
			text = strconv.QuoteToASCII(s)
		}
		b.WriteString(" " + term.Safe(field) + "=" + text)
	}
	return b.String()
}
