package event

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// fill writes n events of some 400 bytes at a day of January 2026, and returns what
// files were removed.
func fill(t *testing.T, j *JSONLines, day, n int) (removed []string) {
	t.Helper()
	for range n {
		ev := testEvent(F("password", strings.Repeat("x", 150)))
		ev.Time = time.Date(2026, 1, day, 1, 2, 3, 4, time.UTC)
		if err := j.Write(ev); err != nil {
			t.Fatal(err)
		}
		for _, gone := range j.takeRemoved() {
			removed = append(removed, gone.name)
			if gone.size == 0 {
				t.Errorf("%s had no size", gone.name)
			}
		}
	}
	return removed
}

// eventFiles are the names in a directory, but for today's, and their sizes.
func eventFiles(t *testing.T, dir string) (names []string, sum int64) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		st, err := e.Info()
		if err != nil {
			t.Fatal(err)
		}
		if sum += st.Size(); st.Size() > 0 {
			names = append(names, e.Name())
		}
	}
	return names, sum
}

// Files that are full get numbers, and their names sort by age.
func TestEventFilesAreBounded(t *testing.T) {
	dir := t.TempDir()
	j, err := NewJSONLines(dir, FileLimits{File: 1000})
	if err != nil {
		t.Fatal(err)
	}
	fill(t, j, 2, 5)
	fill(t, j, 3, 2)
	want := []string{"events-2026-01-02.0001.jsonl", "events-2026-01-02.0002.jsonl", "events-2026-01-02.jsonl", "events-2026-01-03.jsonl"}
	if names, _ := eventFiles(t, dir); !cmp.Equal(names, want) {
		t.Errorf("files %q", names)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	// The next start goes on where it was.
	if j, err = NewJSONLines(dir, FileLimits{File: 1000}); err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	fill(t, j, 3, 1)
	want = slices.Insert(want, 3, "events-2026-01-03.0001.jsonl")
	names, _ := eventFiles(t, dir)
	if !cmp.Equal(names, want) {
		t.Errorf("files %q", names)
	}
	lines := 0
	for _, name := range names {
		raw, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil || len(raw) > 1000 {
			t.Errorf("%s: %d bytes, %v", name, len(raw), err)
		}
		lines += bytes.Count(raw, []byte("\n"))
	}
	if lines != 8 {
		t.Errorf("%d lines", lines)
	}
}

// The oldest files are removed, those of a time before limits too, and nothing else.
func TestOldEventFilesAreRemoved(t *testing.T) {
	dir := t.TempDir()
	old := map[string]int{"events-2025-12-30.jsonl": 900, "events-2025-12-31.0002.jsonl": 900, "events-2025-12-31.0010.jsonl": 900, "events-2025-12-31.jsonl": 900, "notes.txt": 9000}
	for name, size := range old {
		if err := os.WriteFile(filepath.Join(dir, name), bytes.Repeat([]byte("\n"), size), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	const all = 4000
	j, err := NewJSONLines(dir, FileLimits{File: 1000, All: all})
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	var gone []string
	for _, r := range j.takeRemoved() {
		gone = append(gone, r.name)
	}
	for range 30 {
		gone = append(gone, fill(t, j, 1, 1)...)
		if _, sum := eventFiles(t, dir); sum-9000 > all {
			t.Fatalf("%d bytes", sum-9000)
		}
	}
	want := []string{"events-2025-12-30.jsonl", "events-2025-12-31.0002.jsonl", "events-2025-12-31.0010.jsonl", "events-2025-12-31.jsonl"}
	if len(gone) < 10 || !cmp.Equal(gone[:4], want) || gone[4] != "events-2026-01-01.0001.jsonl" {
		t.Errorf("removed %q", gone)
	}
	if _, err := os.Stat(filepath.Join(dir, "notes.txt")); err != nil {
		t.Error(err)
	}
}

// What is removed is an event itself.
func TestRemovalIsReported(t *testing.T) {
	dir := t.TempDir()
	j, err := NewJSONLines(dir, FileLimits{File: 1000, All: 2000})
	if err != nil {
		t.Fatal(err)
	}
	var text bytes.Buffer
	e := New(j, Writer{W: &text})
	client := e.Bind(Identity{Session: "S"})
	for i := range 20 {
		client.Emit(AuthAttempt, F("password", fmt.Sprint(strings.Repeat("x", 300), i)))
	}
	if err := e.Err(); err != nil {
		t.Fatal(err)
	}
	today := time.Now().UTC().Format(time.DateOnly)
	if got := text.String(); !strings.Contains(got, "events.remove: Old event file removed file=events-"+today+".0001.jsonl size_bytes=") {
		t.Errorf("events are\n%s", got)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(filepath.Join(dir, fileName(today)))
	if err != nil || !bytes.Contains(raw, []byte(`"event":"events.remove"`)) && !bytes.Contains(raw, []byte("auth.attempt")) {
		t.Errorf("%s, %v", raw, err)
	}
}

// When nothing can be set aside or removed, events are not written beyond the bound,
// which Err reports.
func TestEventFilesFailClosed(t *testing.T) {
	dir := t.TempDir()
	j, err := NewJSONLines(dir, FileLimits{File: 1000, All: 2000})
	if err != nil {
		t.Fatal(err)
	}
	fill(t, j, 2, 2)
	blocker := filepath.Join(dir, "events-2026-01-02.0001.jsonl", "x")
	if err := os.MkdirAll(blocker, 0o700); err != nil {
		t.Fatal(err)
	}
	ev := testEvent(F("password", strings.Repeat("x", 900)))
	if err := j.Write(ev); err == nil {
		t.Error("a full file was written on")
	}
	if err := os.RemoveAll(filepath.Dir(blocker)); err != nil {
		t.Fatal(err)
	}
	if err := j.Write(ev); err != nil {
		t.Error(err)
	}
	if err := j.Close(); err != nil {
		t.Error(err)
	}
}
