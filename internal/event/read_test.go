package event

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func testLog(t *testing.T, dir string) *Log {
	t.Helper()
	l, err := OpenLog(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

// passwords are those of the records that are wanted.
func passwords(t *testing.T, l *Log, o ReadOptions) (all []string) {
	t.Helper()
	if err := l.Read(t.Context(), o, func(r *Record) error {
		all = append(all, r.Field("password"))
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return all
}

// writeNumbered writes events at noon of a day of January 2026 whose passwords are numbers.
func writeNumbered(t *testing.T, j *JSONLines, day int, numbers ...int) {
	t.Helper()
	for _, n := range numbers {
		ev := testEvent(F("password", fmt.Sprintf("%d%s", n, strings.Repeat("-", 300))))
		ev.Time = time.Date(2026, 1, day, 12, 0, n, 0, time.UTC)
		if err := j.Write(ev); err != nil {
			t.Fatal(err)
		}
	}
}

func numbers(all []string) (n []string) {
	for _, p := range all {
		n = append(n, strings.Trim(p, "-"))
	}
	return n
}

func TestReadAcrossFiles(t *testing.T) {
	dir := t.TempDir()
	j, err := NewJSONLines(dir, FileLimits{File: 1000})
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	writeNumbered(t, j, 2, 1, 2, 3)
	writeNumbered(t, j, 3, 4)
	writeNumbered(t, j, 4, 5, 6)
	l := testLog(t, dir)
	for name, tt := range map[string]struct {
		o    ReadOptions
		want []string
	}{
		"all":           {ReadOptions{Last: -1}, []string{"1", "2", "3", "4", "5", "6"}},
		"newest":        {ReadOptions{Last: 4}, []string{"3", "4", "5", "6"}},
		"none":          {ReadOptions{Last: 0}, nil},
		"more than are": {ReadOptions{Last: 100}, []string{"1", "2", "3", "4", "5", "6"}},
		"since":         {ReadOptions{Last: -1, Since: time.Date(2026, 1, 2, 12, 0, 3, 0, time.UTC)}, []string{"3", "4", "5", "6"}},
		"since, newest": {ReadOptions{Last: 2, Since: time.Date(2026, 1, 3, 0, 0, 0, 0, time.UTC)}, []string{"5", "6"}},
		"match":         {ReadOptions{Last: 1, Match: func(r *Record) bool { return r.Field("password")[0] < '3' }}, []string{"2"}},
	} {
		if got := numbers(passwords(t, l, tt.o)); !slices.Equal(got, tt.want) {
			t.Errorf("%s: %q, want %q", name, got, tt.want)
		}
	}
}

// What somebody else wrote, or a full disk cut short, spoils only itself.
func TestReadSkipsWhatIsNoEvent(t *testing.T) {
	dir := t.TempDir()
	good := string(testEvent(F("password", "good")).AppendJSON(nil)) + "\n"
	long := `{"x":"` + strings.Repeat("y", maxLine) + `"}` + "\n"
	text := good + "{\"time\":\"20\n\n" + good + long + good + "[]\n" + good + "no end"
	if err := os.WriteFile(filepath.Join(dir, "events-2026-01-02.jsonl"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/etc/passwd", filepath.Join(dir, "events-2026-01-01.jsonl")); err != nil {
		t.Fatal(err)
	}
	var skipped []string
	got := passwords(t, testLog(t, dir), ReadOptions{Last: -1, Skip: func(_ string, err error) { skipped = append(skipped, err.Error()) }})
	if len(got) != 4 {
		t.Errorf("read %q", got)
	}
	want := []string{"not an event", "not an event: line longer than 4194304 bytes", "not an event"}
	if diff := cmp.Diff(want, skipped); diff != "" {
		t.Error(diff)
	}
}

// The newest of very large ones do not fill the memory.
func TestReadHoldsNoMoreThanIsAllowed(t *testing.T) {
	dir := t.TempDir()
	f, err := os.Create(filepath.Join(dir, "events-2026-01-02.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	line := append(testEvent(F("password", strings.Repeat("x", 3<<20))).AppendJSON(nil), '\n')
	for range 14 {
		if _, err := f.Write(line); err != nil {
			t.Fatal(err)
		}
	}
	f.Close()
	told := ""
	got := passwords(t, testLog(t, dir), ReadOptions{Last: 100, Skip: func(_ string, err error) { told = err.Error() }})
	if len(got) != 10 || !strings.Contains(told, "older events left out") {
		t.Errorf("%d events, told %q", len(got), told)
	}
}

// follow reads in the background until the test ends.
func follow(t *testing.T, l *Log, o ReadOptions) <-chan string {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	came, done := make(chan string, 1000), make(chan error, 1)
	o.Follow = true
	go func() {
		done <- l.Read(ctx, o, func(r *Record) error {
			came <- strings.Trim(r.Field("password"), "-")
			return nil
		})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("follow ended with %v", err)
		}
	})
	return came
}

func expect(t *testing.T, came <-chan string, want ...string) {
	t.Helper()
	for _, w := range want {
		select {
		case got := <-came:
			if got != w {
				t.Fatalf("came %q, want %q", got, w)
			}
		case <-time.After(10 * time.Second):
			t.Fatalf("%q did not come", w)
		}
	}
}

// Following goes from a file into that which takes its name, and into the next day's.
func TestFollowAcrossRotation(t *testing.T) {
	dir := t.TempDir()
	j, err := NewJSONLines(dir, FileLimits{File: 1000, All: 4000})
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	// The file of today, which is after those of the test.
	if err := os.Remove(filepath.Join(dir, fileName(j.day))); err != nil {
		t.Fatal(err)
	}
	writeNumbered(t, j, 2, 1, 2)
	came := follow(t, testLog(t, dir), ReadOptions{Last: 1})
	expect(t, came, "2")
	next := 3
	for range 20 { // through several files and removals
		writeNumbered(t, j, 2, next)
		expect(t, came, fmt.Sprint(next))
		next++
	}
	writeNumbered(t, j, 2, next, next+1, next+2) // over a rotation between two looks
	writeNumbered(t, j, 3, next+3)
	expect(t, came, fmt.Sprint(next), fmt.Sprint(next+1), fmt.Sprint(next+2), fmt.Sprint(next+3))
}

// Half a line is not shown, and its rest makes it whole.
func TestFollowWaitsForTheEndOfALine(t *testing.T) {
	dir := t.TempDir()
	came := follow(t, testLog(t, dir), ReadOptions{Last: -1})
	f, err := os.Create(filepath.Join(dir, "events-2026-01-02.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	line := append(testEvent(F("password", "halved")).AppendJSON(nil), '\n')
	for _, part := range [][]byte{line[:20], line[20:50], line[50:]} {
		if _, err := f.Write(part); err != nil {
			t.Fatal(err)
		}
		if len(part) < len(line)-50 {
			time.Sleep(2 * followEvery)
		}
	}
	expect(t, came, "halved")
}

// A file that was removed while it was read is no end, nor are those before it news.
func TestFollowOutlivesRemoval(t *testing.T) {
	dir := t.TempDir()
	write := func(name, password string) {
		line := append(testEvent(F("password", password)).AppendJSON(nil), '\n')
		if err := os.WriteFile(filepath.Join(dir, name), line, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("events-2026-01-01.jsonl", "old")
	write("events-2026-01-02.0001.jsonl", "one")
	came := follow(t, testLog(t, dir), ReadOptions{Last: 1})
	expect(t, came, "one")
	if err := os.Remove(filepath.Join(dir, "events-2026-01-02.0001.jsonl")); err != nil {
		t.Fatal(err)
	}
	write("events-2026-01-02.0002.jsonl", "two")
	expect(t, came, "two")
}

func TestRecordKeepsBytes(t *testing.T) {
	hostile := "a\xff\x00\"\n\x1b[2J\u009b<>\u202e"
	r, err := ParseRecord(testEvent(F("user", "root"), F("password", hostile), F("accepted", true)).AppendJSON(nil))
	if err != nil {
		t.Fatal(err)
	}
	if r.Field("password") != hostile || r.Field("accepted") != "true" || r.Session != "01J" || r.Kind != AuthAttempt || r.Severity != "notice" || r.Field("src_port") != "5555" {
		t.Errorf("record %+v", r)
	}
	want := `2026-01-02T03:04:05Z auth.attempt: Authentication attempt session=01J src_ip="2001:db8::1" src_port=5555 dst_ip=192.0.2.1 dst_port=22 user=root password="a\xff\x00\"\n\x1b[2J\u009b<>\u202e" accepted=true`
	if got := r.Text(time.UTC); strings.ReplaceAll(got, `src_ip=2001:db8::1`, `src_ip="2001:db8::1"`) != want {
		t.Errorf("text\n%s\nwant\n%s", got, want)
	}
}

func FuzzParseRecord(f *testing.F) {
	f.Add(testEvent(F("user", "root"), F("password", "a\xff")).AppendJSON(nil))
	f.Add([]byte(`{"time":"2026-01-02T03:04:05Z","seq":1,"event":"x","password":"a","password_base64":"/w=="}`))
	f.Add([]byte(`{"time":"2026-01-02T03:04:05Z","event":"\u001b[2J","\u009b":null}`))
	f.Add([]byte("{\"time\":\"2026-01-02T03:04:05Z\",\"event\":\"a\"}\r{}"))
	f.Fuzz(func(t *testing.T, line []byte) {
		r, err := ParseRecord(line)
		if err != nil {
			return
		}
		if text := r.Text(time.UTC); strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r >= 0x7f }) {
			t.Errorf("text %q steers", text)
		}
		if b := r.AppendCowrie(nil, "sensor"); len(b) > 0 {
			if _, err := ParseRecord(append([]byte(`{"time":"2026-01-02T03:04:05Z","event":"x",`), b[1:]...)); err != nil && r.Kind != ClientKexInit {
				t.Errorf("Cowrie's form is not whole: %q", b)
			}
		}
	})
}
