package index

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sandtrap/sandtrap/internal/evidence"
)

// indexed is a store with random sessions and an index, in which some have two records.
func indexed(t testing.TB, r *rand.Rand, n int) (*evidence.Store, string) {
	t.Helper()
	store := openStore(t, t.TempDir())
	fill(t, store, r, n)
	k := keeperOf(store)
	ok(t, k.update(context.Background(), true))
	var dirs []string
	ok(t, store.Directories(context.Background(), noTime, noTime, nil, func(dir string) bool {
		if r.IntN(3) == 0 { // something is found in the target, later
			d, err := store.OpenDir(dir)
			ok(t, err)
			ok(t, d.Root().WriteFile(evidence.CaptureFile, fmt.Appendf(nil, "{\"sha256\":%q,\"path\":\"later\"}\n", hash(r)), 0o640))
			d.Close()
			dirs = append(dirs, dir)
		}
		return true
	}))
	ok(t, k.append(context.Background(), dirs))
	k.close()
	return store, filepath.Join(store.Path(), directory, fileName)
}

// TestDamage: whatever happens to the file, the answers are the same, somebody is told
// unless a record was just being written, and the service mends it.
func TestDamage(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	store, file := indexed(t, r, 8)
	whole, err := os.ReadFile(file)
	ok(t, err)
	cases := map[string]func([]byte) []byte{
		"empty":         func([]byte) []byte { return nil },
		"garbage":       func(b []byte) []byte { return bytes.Repeat([]byte("garbage\n"), len(b)/8) },
		"older version": func(b []byte) []byte { return append([]byte("sandtrap index 0\n"), b[len(header):]...) },
		"newer version": func(b []byte) []byte { return append([]byte("sandtrap index 12\n"), b[len(header):]...) },
		"torn":          func(b []byte) []byte { return b[:len(b)-5] },
		"zeros":         func(b []byte) []byte { return append(b[:len(b)/2], make([]byte, len(b)/2)...) },
		"half":          func(b []byte) []byte { return b[:len(b)/2] },
		"header only":   func(b []byte) []byte { return b[:len(header)] },
		"long record":   func(b []byte) []byte { b[len(header)+3] = 0xff; return b },
		"bad but sound": func(b []byte) []byte { return appendRecord(b, bytes.Repeat([]byte{0xff}, 100)) },
	}
	for i := range 20 {
		cases[fmt.Sprintf("bit %d", i)] = func(b []byte) []byte { b[r.IntN(len(b))] ^= 1 << r.IntN(8); return b }
	}
	for name, spoil := range cases {
		ok(t, os.WriteFile(file, spoil(bytes.Clone(whole)), 0o640))
		for range 1 {
			requireSame(t, store, randomFilter(r), Options{})
		}
		q := requireSame(t, store, Filter{}, Options{})
		silent := name == "torn" || name == "half" || name == "header only"
		if len(q.Entries) != 8 || (q.Index == nil) != silent && !strings.HasPrefix(name, "bit") {
			t.Errorf("%s: %d sessions, %v", name, len(q.Entries), q.Index)
		}
		if strings.HasSuffix(name, "version") && !errors.Is(q.Index, ErrVersion) {
			t.Errorf("%s: %v", name, q.Index)
		}
		k := keeperOf(store)
		ok(t, k.update(context.Background(), true))
		k.close()
		if q := requireSame(t, store, Filter{}, Options{}); q.Index != nil || q.Read != 0 {
			t.Errorf("%s: not mended: %v, %d sessions read", name, q.Index, q.Read)
		}
	}
	ok(t, os.Remove(file))
	if q := requireSame(t, store, Filter{}, Options{}); !errors.Is(q.Index, fs.ErrNotExist) {
		t.Errorf("without a file: %v", q.Index)
	}
	ok(t, os.Symlink("/etc/passwd", file))
	if q := requireSame(t, store, Filter{}, Options{}); q.Index == nil {
		t.Error("a link was followed")
	}
	k := keeperOf(store)
	ok(t, k.update(context.Background(), true))
	k.close()
	if st, err := os.Lstat(file); err != nil || !st.Mode().IsRegular() {
		t.Errorf("in the place of a link: %v, %v", st.Mode(), err)
	}
}

// FuzzScan: no file makes a reader crash or take more than its bounds.
func FuzzScan(f *testing.F) {
	r := rand.New(rand.NewPCG(5, 6))
	seed := []byte(header)
	for i := range 3 {
		s := randomSession(r, i)
		s.State = evidence.StateClosed
		e := Summarise("", s, []File{{SHA256: hash(r), Name: "n"}})
		record, err := appendEntry(nil, &e)
		ok(f, err)
		seed = appendRecord(seed, record)
	}
	f.Add(seed)
	f.Add([]byte(header))
	f.Add([]byte("sandtrap index 2\n"))
	f.Add(append([]byte(header), 0xff, 0xff, 0xff, 0xff))
	f.Fuzz(func(t *testing.T, p []byte) {
		var e Entry
		records := 0
		end, err := scan(bytes.NewReader(p), func(record []byte, at int64) error {
			records++
			return decodeEntry(string(record), &e)
		})
		if end > int64(len(p)) || err == nil && len(p) > 0 && end != int64(len(p)) {
			t.Errorf("end %d of %d, %v", end, len(p), err)
		}
	})
}

// FuzzDecode: a record is refused, or makes an entry that makes the record again.
func FuzzDecode(f *testing.F) {
	r := rand.New(rand.NewPCG(7, 8))
	for i := range 10 {
		s := randomSession(r, i)
		s.State = evidence.StateClosed
		e := Summarise("", s, nil)
		record, err := appendEntry(nil, &e)
		ok(f, err)
		f.Add(record)
	}
	f.Fuzz(func(t *testing.T, p []byte) {
		var e, again Entry
		if decodeEntry(string(p), &e) != nil {
			return
		}
		e.ID = idIn(string(p)).String()
		record, err := appendEntry(nil, &e)
		if err != nil {
			return // larger than we would have made it
		}
		ok(t, decodeEntry(string(record), &again))
		again.ID = idIn(string(record)).String()
		if fmt.Sprint(e) != fmt.Sprint(again) && !again.partial {
			t.Errorf("%v\n%v", e, again)
		}
	})
}

// capturedIn are the files of a capture with this content.
func capturedIn(t *testing.T, root *os.Root, content []byte) ([]File, error) {
	t.Helper()
	ok(t, root.WriteFile(evidence.CaptureFile, content, 0o600))
	return captured(root)
}

// FuzzCaptured: lines of a target's are bounded and never fail.
func FuzzCaptured(f *testing.F) {
	f.Add([]byte(`{"kind":"file","path":"/tmp/x","sha256":"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"}`))
	f.Add([]byte("{\"path\":{\"base64\":\"/w==\"}}\n\n[]\nnull\n"))
	f.Fuzz(func(t *testing.T, p []byte) {
		root, err := os.OpenRoot(t.TempDir())
		ok(t, err)
		defer root.Close()
		files, _ := capturedIn(t, root, p)
		for _, f := range files {
			if !evidence.IsHash(f.SHA256) || len(f.Name) > maxWords {
				t.Errorf("%+v", f)
			}
		}
	})
}

// TestCaptureBounds: what is too long is said.
func TestCaptureBounds(t *testing.T) {
	root, err := os.OpenRoot(t.TempDir())
	ok(t, err)
	defer root.Close()
	line := "{\"sha256\":\"" + strings.Repeat("ab", 32) + "\"}\n"
	if files, err := capturedIn(t, root, []byte(line+strings.Repeat("x", 2<<20))); len(files) != 1 || err == nil {
		t.Errorf("%d files, %v", len(files), err)
	}
	if files, err := capturedIn(t, root, []byte(strings.Repeat(line, maxCaptureFiles+1))); len(files) != maxCaptureFiles || err == nil {
		t.Errorf("%d files, %v", len(files), err)
	}
}
