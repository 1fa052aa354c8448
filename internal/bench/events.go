package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"
)

const eventsDir = "/var/lib/sandtrap/events"

// happened is what the measurements need of an event.
type happened struct {
	Time     time.Time `json:"time"`
	Kind     string    `json:"event"`
	Wait     float64   `json:"wait_ms"`     // of session.lease
	Duration float64   `json:"duration_ms"` // of pool.warm
}

// mark is a position in the files of events.
type mark map[string]int64

// markEvents returns the end of what has been written so far.
func markEvents(dir string) (mark, error) {
	m := mark{}
	files, err := filepath.Glob(filepath.Join(dir, "events-*.jsonl"))
	for _, name := range files {
		info, err := os.Stat(name)
		if err != nil {
			return nil, err
		}
		m[name] = info.Size()
	}
	return m, err
}

// eventsSince returns the events of one kind that were written after m.
func eventsSince(dir string, m mark, kind string) ([]happened, error) {
	files, err := filepath.Glob(filepath.Join(dir, "events-*.jsonl")) // sorted, so by day
	if err != nil {
		return nil, err
	}
	var found []happened
	for _, name := range files {
		f, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		_, err = f.Seek(m[name], io.SeekStart)
		if err == nil {
			found, err = appendEvents(found, f, kind)
		}
		f.Close()
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", name, err)
		}
	}
	return found, nil
}

// appendEvents adds the events of one kind. A last line that is still being
// written is left out.
func appendEvents(found []happened, r io.Reader, kind string) ([]happened, error) {
	lines := bufio.NewReader(r)
	for {
		line, err := lines.ReadBytes('\n')
		if err == io.EOF {
			return found, nil
		}
		if err != nil {
			return nil, err
		}
		if !bytes.Contains(line, []byte(`"event":"`+kind+`"`)) {
			continue
		}
		var e happened
		if err := json.Unmarshal(line, &e); err != nil {
			return nil, err
		}
		found = append(found, e)
	}
}
