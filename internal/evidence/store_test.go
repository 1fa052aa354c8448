package evidence

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/oklog/ulid/v2"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func newStore(t testing.TB) *Store {
	t.Helper()
	s, err := Open(t.TempDir())
	must(t, err)
	t.Cleanup(func() { s.Close() })
	return s
}

// noon is the start of the test's sessions.
var noon = time.Date(2026, 3, 31, 12, 0, 0, 0, time.UTC)

// newID is a ULID of the given time; n tells those of one time apart.
func newID(at time.Time, n byte) string {
	var id ulid.ULID
	if err := id.SetTime(ulid.Timestamp(at)); err != nil {
		panic(err)
	}
	id[15] = n
	return id.String()
}

// add makes a session that started at the given time.
func add(t testing.TB, s *Store, at time.Time, n byte, state State) string {
	t.Helper()
	id := newID(at, n)
	d, err := s.Create(id, at)
	must(t, err)
	must(t, d.Save(Session{State: state, Start: at, Login: Login{User: "root"}}))
	must(t, d.Close())
	return id
}

func ids(sessions []Session) []string {
	var all []string
	for _, s := range sessions {
		all = append(all, s.ID)
	}
	return all
}

func TestTextKeepsEveryByte(t *testing.T) {
	for _, tt := range []struct{ in, want string }{
		{"root", `"root"`},
		{"", `""`},
		{"\x1b]0;x\a\u009b\u202e\"", `"\u001b]0;x\u0007\u009b\u202e\""`},
		{"p\xffw", `{"base64":"cP93"}`},
		{"<&>\ufffd", "\"<&>\ufffd\""},
	} {
		b, err := Text(tt.in).MarshalJSON()
		must(t, err)
		if string(b) != tt.want {
			t.Errorf("Text(%q) = %s, want %s", tt.in, b, tt.want)
		}
		var back Text
		must(t, json.Unmarshal(b, &back))
		if string(back) != tt.in {
			t.Errorf("Text(%q) reads back as %q", tt.in, back)
		}
	}
	for _, bad := range []string{`1`, `{"base64":1}`, `{"base64":"%"}`} {
		if err := json.Unmarshal([]byte(bad), new(Text)); err == nil {
			t.Errorf("%s was read", bad)
		}
	}
}

func FuzzText(f *testing.F) {
	f.Add("a\xff")
	f.Fuzz(func(t *testing.T, s string) {
		b, err := json.Marshal(map[string]Text{"x": Text(s)})
		must(t, err)
		var back map[string]Text
		must(t, json.Unmarshal(b, &back))
		if string(back["x"]) != s {
			t.Fatalf("%q reads back as %q", s, back["x"])
		}
	})
}

func TestSaveAndFind(t *testing.T) {
	s := newStore(t)
	id := newID(noon, 1)
	d, err := s.Create(id, noon.In(time.FixedZone("east", 14*3600)))
	must(t, err)
	if want := "sessions/2026/03/31/" + id; d.Path() != want {
		t.Errorf("Path = %s, want %s", d.Path(), want)
	}
	end := noon.Add(time.Minute)
	want := Session{
		Version: Version, ID: id, State: StateClosed, Start: noon, End: &end, EndReason: "client closed",
		Source: Endpoint{"2001:db8::1", 4022}, ClientVersion: "SSH-2.0-x\xff",
		Login:    Login{User: "ro\x00ot", Method: "password", Password: "\xde\xad"},
		Attempts: []Attempt{{Time: noon, User: "root", Method: "password", Password: "1234", Accepted: true}},
		Target:   Target{Name: "debian", Container: "c0ffee", ImageDigest: "sha256:0"},
		Channels: []Channel{{Kind: "exec", Command: "id\x1b", Env: []Text{"LANG=\xff"}, Start: noon, End: &end}},
	}
	must(t, d.Root().WriteFile(newFile, []byte("left by a crash"), 0o600))
	must(t, d.Save(Session{State: StateOpen}))
	must(t, d.Save(want))
	must(t, d.Close())

	got, dir, err := s.Find(strings.ToLower(id[:20]))
	must(t, err)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("session (-want +got):\n%s", diff)
	}
	entries, err := os.ReadDir(dir)
	must(t, err)
	if len(entries) != 1 || entries[0].Name() != sessionFile {
		t.Errorf("directory holds %v", entries)
	}
	for path, mode := range map[string]os.FileMode{dir: 0o750, filepath.Join(dir, sessionFile): 0o640} {
		if st, err := os.Stat(path); err != nil || st.Mode().Perm() != mode {
			t.Errorf("%s has mode %v, %v", filepath.Base(path), st.Mode(), err)
		}
	}
}

func TestCreateRefuses(t *testing.T) {
	s := newStore(t)
	id := add(t, s, noon, 1, StateOpen)
	if _, err := s.Create(id, noon); !errors.Is(err, os.ErrExist) {
		t.Errorf("second Create: %v", err)
	}
	for _, bad := range []string{"", "../../../etc", strings.ToLower(id), id + "0"} {
		if _, err := s.Create(bad, noon); err == nil {
			t.Errorf("Create(%q) succeeded", bad)
		}
	}
}

func TestConcurrentSaves(t *testing.T) {
	s := newStore(t)
	d, err := s.Create(newID(noon, 1), noon)
	must(t, err)
	defer d.Close()
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if err := d.Save(Session{Start: noon}); err != nil {
				t.Error(err)
			}
			if _, _, err := s.Find("-1"); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

func TestSaveKeepsTheOldOne(t *testing.T) {
	s := newStore(t)
	d, err := s.Create(newID(noon, 1), noon)
	must(t, err)
	must(t, d.Save(Session{Start: noon, EndReason: "old"}))
	if err := d.Save(Session{ClientVersion: Text(strings.Repeat("x", maxSession))}); !errors.Is(err, errTooLarge) {
		t.Errorf("Save of a huge session: %v", err)
	}
	must(t, d.Root().Mkdir(newFile, 0o700))
	must(t, d.Root().WriteFile(newFile+"/x", nil, 0o600))
	if err := d.Save(Session{EndReason: "new"}); err == nil {
		t.Error("Save succeeded where it could not")
	}
	if got, _, err := s.Find("-1"); err != nil || got.EndReason != "old" {
		t.Errorf("session is %q, %v", got.EndReason, err)
	}
}

func TestList(t *testing.T) {
	s := newStore(t)
	var all []string
	starts := []time.Time{noon.AddDate(-1, 0, 0), noon.AddDate(0, -1, 0), noon.AddDate(0, 0, -1), noon, noon.Add(time.Hour)}
	for i, at := range starts {
		all = append(all, add(t, s, at, byte(i), StateClosed))
	}
	for _, tt := range []struct {
		name string
		o    ListOptions
		want []string
	}{
		{"all", ListOptions{}, all},
		{"newest two", ListOptions{Limit: 2}, all[3:]},
		{"since", ListOptions{Since: noon.Add(time.Minute)}, all[4:]},
		{"since that moment", ListOptions{Since: noon.AddDate(0, 0, -1)}, all[2:]},
		{"since last month", ListOptions{Since: noon.AddDate(0, -1, -3)}, all[1:]},
		{"newest since", ListOptions{Since: starts[0], Limit: 1}, all[4:]},
		{"none", ListOptions{Since: noon.AddDate(1, 0, 0)}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, problems, err := s.List(t.Context(), tt.o)
			must(t, err)
			if diff := cmp.Diff(tt.want, ids(got)); diff != "" || len(problems) > 0 {
				t.Errorf("problems %v, ids (-want +got):\n%s", problems, diff)
			}
		})
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := s.List(ctx, ListOptions{}); !errors.Is(err, context.Canceled) {
		t.Errorf("List with a done context: %v", err)
	}
}

func TestListReportsWhatDoesNotBelong(t *testing.T) {
	s := newStore(t)
	good := add(t, s, noon, 1, StateClosed)
	day := filepath.Join(s.path, "sessions/2026/03/31")
	broken := func(n byte, content string) string {
		dir := filepath.Join(day, newID(noon, n))
		must(t, os.Mkdir(dir, 0o700))
		must(t, os.WriteFile(filepath.Join(dir, sessionFile), []byte(content), 0o600))
		return dir
	}
	broken(2, `{"version":`)
	broken(3, `{"version":2,"id":"`+newID(noon, 3)+`"}`)
	broken(4, `{"version":1,"id":"`+good+`"}`)
	huge := broken(5, "")
	must(t, os.Truncate(filepath.Join(huge, sessionFile), maxSession+1))
	linked := broken(6, "")
	must(t, os.Remove(filepath.Join(linked, sessionFile)))
	must(t, os.WriteFile(filepath.Join(linked, "real.json"), []byte(`{"version":1,"id":"`+newID(noon, 6)+`"}`), 0o600))
	must(t, os.Symlink("real.json", filepath.Join(linked, sessionFile)))
	must(t, os.Mkdir(filepath.Join(day, newID(noon, 7)), 0o700))
	must(t, os.Symlink(good, filepath.Join(day, newID(noon, 8))))
	must(t, os.Mkdir(filepath.Join(day, "lost\x1b+found"), 0o700))
	must(t, os.WriteFile(filepath.Join(s.path, "sessions/2026/03/30"), nil, 0o600))
	must(t, os.Mkdir(filepath.Join(s.path, "sessions/index"), 0o700))

	got, problems, err := s.List(t.Context(), ListOptions{})
	must(t, err)
	if diff := cmp.Diff([]string{good}, ids(got)); diff != "" {
		t.Errorf("ids (-want +got):\n%s", diff)
	}
	if len(problems) != 10 {
		t.Errorf("%d problems: %v", len(problems), problems)
	}
	for _, p := range problems {
		if strings.Contains(p.Error(), "\x1b") || errors.Unwrap(p) == nil {
			t.Errorf("problem %q", p.Error())
		}
	}
	if _, _, err := s.Find(newID(noon, 7)); !errors.Is(err, os.ErrNotExist) || errors.Is(err, ErrNotFound) {
		t.Errorf("Find of a broken session: %v", err)
	}
	if _, _, err := s.Find(newID(noon, 8)); !errors.Is(err, ErrNotFound) {
		t.Errorf("Find of a symbolic link: %v", err)
	}
	if got, _, err := s.Find("-1"); err != nil || got.ID != good {
		t.Errorf("the latest is %q, %v", got.ID, err)
	}
}

func TestFind(t *testing.T) {
	s := newStore(t)
	var all []string
	for n := range byte(8) {
		all = append(all, add(t, s, noon.Add(time.Duration(n)*time.Second), n, StateClosed))
	}
	for name, want := range map[string]string{all[3]: all[3], strings.ToLower(all[2]): all[2], "-1": all[7], "-8": all[0]} {
		if got, dir, err := s.Find(name); err != nil || got.ID != want || filepath.Base(dir) != want {
			t.Errorf("Find(%s) = %s in %s, %v", name, got.ID, dir, err)
		}
	}
	for name, want := range map[string]error{
		"-9": ErrNotFound, "-9223372036854775808": ErrNotFound, "ZZZZ": ErrNotFound, "\x1b[2J": ErrNotFound, "../..": ErrNotFound,
		"": ErrTooShort, "01K": ErrTooShort, "-0": ErrTooShort, all[0][:6]: ErrAmbiguous,
	} {
		_, _, err := s.Find(name)
		if !errors.Is(err, want) || strings.Contains(err.Error(), "\x1b") {
			t.Errorf("Find(%q): %v, want %v", name, err, want)
		}
		if want == ErrAmbiguous && (!strings.Contains(err.Error(), all[7]+", ") || !strings.HasSuffix(err.Error(), all[3]+", …")) {
			t.Errorf("candidates: %v", err)
		}
	}
}

func TestOpenReadOnlyMakesNothing(t *testing.T) {
	dir := t.TempDir()
	for _, path := range []string{dir, filepath.Join(dir, "none")} {
		s, err := OpenReadOnly(path)
		must(t, err)
		if got, _, err := s.List(t.Context(), ListOptions{}); err != nil || len(got) != 0 {
			t.Errorf("List = %v, %v", got, err)
		}
		if _, _, err := s.Find("-1"); !errors.Is(err, ErrNotFound) {
			t.Errorf("Find: %v", err)
		}
		must(t, s.Close())
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 0 {
		t.Errorf("made %v", entries)
	}
	file := filepath.Join(dir, "file")
	must(t, os.WriteFile(file, nil, 0o600))
	if _, err := OpenReadOnly(file); err == nil {
		t.Error("opened a file as a store")
	}
	if _, err := Open(filepath.Join(dir, "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("Open without a state directory: %v", err)
	}
}
