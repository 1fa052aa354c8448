package evidence

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestFindByTime: ids lead to the days on which their sessions began, and nowhere else.
func TestFindByTime(t *testing.T) {
	s := newStore(t)
	midnight := noon.Truncate(24 * time.Hour)
	for _, at := range []time.Time{midnight, midnight.Add(-time.Millisecond), midnight.Add(24*time.Hour - time.Millisecond), noon.AddDate(-3, 0, 0), time.Unix(0, 0)} {
		id := add(t, s, at, 1, StateClosed)
		for _, name := range []string{id, strings.ToLower(id), id[:25], id[:11]} {
			if got, dir, err := s.Find(name); err != nil || got.ID != id || filepath.Base(dir) != id {
				t.Errorf("Find(%s) of %s = %s in %s, %v", name, at, got.ID, dir, err)
			}
		}
	}
	// What is not on its day is not one of ours.
	stray := newID(noon, 2)
	must(t, os.MkdirAll(filepath.Join(s.path, sessionsDir, dayOf(noon.AddDate(0, 0, 1)), stray), 0o750))
	for _, name := range []string{stray, stray[:25], strings.Repeat("0", 27), "7ZZZZZZZZZ", strings.Repeat("7", 26), strings.Repeat("Z", 26), "ULID", stray[:10] + "/../../"} {
		if _, _, err := s.Find(name); !errors.Is(err, ErrNotFound) {
			t.Errorf("Find(%q): %v", name, err)
		}
	}
	// A directory without a record is found, and is an error.
	bare := newID(noon, 3)
	must(t, os.MkdirAll(filepath.Join(s.path, sessionsDir, dayOf(noon), bare), 0o750))
	if _, _, err := s.Find(bare); err == nil || errors.Is(err, ErrNotFound) || !strings.Contains(err.Error(), "read session "+bare) {
		t.Errorf("Find of a directory without a record: %v", err)
	}
}

// BenchmarkFind finds one of 20,000 sessions of 200 days.
func BenchmarkFind(b *testing.B) {
	dir := b.TempDir()
	s, err := Open(dir)
	must(b, err)
	defer s.Close()
	const days, each = 200, 100
	for day := range days {
		for n := range each {
			at := noon.AddDate(0, 0, -day).Add(time.Duration(n) * time.Second)
			must(b, os.MkdirAll(filepath.Join(dir, sessionsDir, dayOf(at), newID(at, 1)), 0o750))
		}
	}
	id := newID(noon.AddDate(0, 0, -days/2).Add(61500*time.Millisecond), 7)
	d, err := s.Create(id, noon.AddDate(0, 0, -days/2).Add(61500*time.Millisecond))
	must(b, err)
	must(b, d.Save(Session{State: StateClosed, Start: noon.AddDate(0, 0, -days/2).Add(61500 * time.Millisecond)}))
	must(b, d.Close())
	for _, length := range []int{len(id), len(id) - 1, 8} {
		b.Run(fmt.Sprintf("%d characters", length), func(b *testing.B) {
			for b.Loop() {
				if got, _, err := s.Find(id[:length]); length > 8 && (err != nil || got.ID != id) {
					b.Fatal(err)
				}
			}
		})
	}
}
