package evidence

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"
)

func TestKeeps(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	start := time.Date(2026, 3, 1, 23, 59, 59, 999e6, time.UTC)
	make := func(state State) string {
		id := ulid.MustNew(ulid.Timestamp(start), ulid.DefaultEntropy()).String()
		d, err := s.Create(id, start)
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		if err := errors.Join(d.Save(Session{State: state, Start: start}), d.Sync()); err != nil {
			t.Fatal(err)
		}
		return id
	}
	open, closed := make(StateOpen), make(StateClosed)
	absent := ulid.MustNew(ulid.Timestamp(start), ulid.DefaultEntropy()).String()
	for id, want := range map[string]bool{open: true, closed: false, absent: false, "../../etc": false} {
		if got := s.Keeps(id); got != want {
			t.Errorf("Keeps(%s) = %v, want %v", id, got, want)
		}
	}
	for range 2 { // twice is no error
		if id, err := s.Pin(closed); err != nil || id != closed {
			t.Fatalf("Pin = %q, %v", id, err)
		}
	}
	if !s.Keeps(closed) {
		t.Error("a pinned session is not kept")
	}
	for range 2 {
		if id, err := s.Unpin(closed); err != nil || id != closed {
			t.Fatalf("Unpin = %q, %v", id, err)
		}
	}
	if s.Keeps(closed) {
		t.Error("a session is kept that is no longer pinned")
	}
	if _, err := s.Pin(absent); !errors.Is(err, ErrNotFound) {
		t.Errorf("Pin of nothing = %v", err)
	}
	broken := filepath.Join(dir, dirOf(Session{ID: closed, Start: start}), sessionFile)
	if err := os.WriteFile(broken, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if !s.Keeps(closed) {
		t.Error("a session that cannot be read is not kept")
	}
	var seen []string
	err = s.Each(context.Background(), time.Time{}, func(one Session) bool {
		seen = append(seen, one.ID)
		return true
	})
	if err != nil || len(seen) != 1 || seen[0] != open {
		t.Errorf("Each visited %v, %v", seen, err)
	}
}
