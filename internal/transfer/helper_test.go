package transfer

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"
)

// memory is a store in memory.
type memory struct {
	mu    sync.Mutex // guards all below
	kept  map[string][]byte
	open  int // temporary files
	made  int
	fails error // of every call
}

func (m *memory) Temp() (Temp, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fails != nil {
		return nil, m.fails
	}
	m.open++
	m.made++
	return &memoryTemp{store: m}, nil
}

type memoryTemp struct {
	store *memory
	data  []byte
	ended bool
}

func (t *memoryTemp) Write(p []byte) (int, error) {
	t.store.mu.Lock()
	defer t.store.mu.Unlock()
	if t.ended {
		panic("write to a temporary file that has ended")
	}
	if t.store.fails != nil {
		t.data = append(t.data, p[:len(p)/2]...) // as a full disk does
		return len(p) / 2, t.store.fails
	}
	t.data = append(t.data, p...)
	return len(p), nil
}

func (t *memoryTemp) ReadAt(p []byte, off int64) (int, error) {
	t.store.mu.Lock()
	defer t.store.mu.Unlock()
	return bytes.NewReader(t.data).ReadAt(p, off)
}

func (t *memoryTemp) end() {
	if t.ended {
		panic("a temporary file ended twice")
	}
	t.ended = true
	t.store.open--
}

func (t *memoryTemp) Commit(sum string, size int64) error {
	t.store.mu.Lock()
	defer t.store.mu.Unlock()
	t.end()
	data := t.data[:size]
	if got := hexHash(data); got != sum {
		panic(fmt.Sprintf("%d bytes with the hash %s are kept as %s", len(data), got, sum))
	}
	if t.store.kept == nil {
		t.store.kept = map[string][]byte{}
	}
	t.store.kept[sum] = data
	return t.store.fails
}

func (t *memoryTemp) Discard() {
	t.store.mu.Lock()
	defer t.store.mu.Unlock()
	t.end()
}

func hexHash(p []byte) string {
	sum := sha256.Sum256(p)
	return hex.EncodeToString(sum[:])
}

// told keeps what is reported.
type told struct {
	mu         sync.Mutex // guards all below
	files      []File
	operations []Operation
	gaps       []string
	panics     []any
}

func (t *told) Panic(value any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.panics = append(t.panics, value)
}

func (t *told) File(f File) {
	t.mu.Lock()
	defer t.mu.Unlock()
	f.Time = time.Time{}
	t.files = append(t.files, f)
}

func (t *told) Operation(o Operation) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.operations = append(t.operations, o)
}

func (t *told) Gap(_, reason string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.gaps = append(t.gaps, reason)
}

// stage is a watcher with what it stands on.
type stage struct {
	tb testing.TB
	told
	store memory
	*Watcher
}

var generous = Limits{File: 1 << 20, Session: 1 << 22}

func watch(t testing.TB, kind Kind, limits Limits) *stage {
	s := &stage{tb: t}
	s.Watcher = Watch(kind, NewCapture(&s.store, limits), &s.told)
	return s
}

// finish closes the watcher. Nothing may be left open.
func (s *stage) finish() *stage {
	s.tb.Helper()
	s.Close()
	s.Close()
	if s.store.open != 0 {
		s.tb.Errorf("%d temporary files are left", s.store.open)
	}
	if s.Watcher.capture.temps != 0 || s.pieces != 0 {
		s.tb.Errorf("%d temporary files and %d pieces are counted at the end", s.Watcher.capture.temps, s.pieces)
	}
	return s
}

// file is the only file that was told, with its content.
func (s *stage) file() (File, string) {
	s.tb.Helper()
	if len(s.files) != 1 {
		s.tb.Fatalf("files: %+v", s.files)
	}
	return s.files[0], string(s.store.kept[s.files[0].Artifact])
}

// quiet wants no gaps.
func (s *stage) quiet() {
	s.tb.Helper()
	if len(s.gaps) > 0 {
		s.tb.Errorf("gaps: %q", s.gaps)
	}
}

var errFull = errors.New("no space left on device")

// TestMain plays ssh(1) for the programs that the tests start, see tap_test.go.
func TestMain(m *testing.M) {
	if path := os.Getenv(tapVariable); path != "" {
		os.Exit(tap(path))
	}
	os.Exit(m.Run())
}
