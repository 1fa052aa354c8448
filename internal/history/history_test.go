package history

import (
	"bytes"
	"crypto/ed25519"
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"
	"golang.org/x/crypto/ssh"

	"github.com/sandtrap/sandtrap/internal/auth"
)

func open(t testing.TB, dir string) *Store {
	t.Helper()
	s, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func rules(t testing.TB, s *Store, list ...auth.Rule) *Judge {
	t.Helper()
	r, err := auth.NewRules(list, s.Secret())
	if err != nil {
		t.Fatal(err)
	}
	return s.Judge(r, nil)
}

var afterThree = auth.Rule{Action: auth.AfterTries, MinTries: 3, MaxTries: 3}

func try(source, user, password string) auth.Attempt {
	return auth.Attempt{User: user, Method: auth.Password, Password: password, Source: netip.MustParseAddr(source), At: time.Now()}
}

func testKey(t *testing.T, seed string) ssh.PublicKey {
	t.Helper()
	k, err := ssh.NewPublicKey(ed25519.NewKeyFromSeed([]byte(strings.Repeat(seed, ed25519.SeedSize))).Public())
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// TestAfterTries is the life of two sources, over a restart and a crash.
func TestAfterTries(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "auth")
	s := open(t, dir)
	j := rules(t, s, afterThree)
	expect := func(what, source, user, password string, want bool) {
		t.Helper()
		if d := j.Decide(try(source, user, password)); d.Accept != want {
			t.Errorf("%s: %+v, want accept %v", what, d, want)
		}
	}
	expect("first", "192.0.2.1", "root", "a", false)
	expect("the same again does not count", "192.0.2.1", "root", "a", false)
	expect("another user does", "192.0.2.1", "admin", "a", false)
	expect("neither does another source", "192.0.2.2", "root", "a", false)
	expect("nor one before", "192.0.2.1", "root", "a", false)
	expect("third", "192.0.2.1", "root", "b", true)
	expect("found", "192.0.2.1", "root", "b", true)
	expect("no other", "192.0.2.1", "root", "c", false)
	expect("nor the same for another user", "192.0.2.1", "admin", "b", false)
	expect("nor for another source", "192.0.2.2", "root", "b", false)
	if err := s.Err(); err != nil {
		t.Fatal(err)
	}
	// Not closed: as after a crash.
	j = rules(t, open(t, dir), afterThree)
	expect("found, after a crash", "192.0.2.1", "root", "b", true)
	expect("no other, after a crash", "192.0.2.1", "root", "d", false)
	expect("tries are forgotten", "192.0.2.2", "root", "c", false)
	expect("a neighbour in a /64", "2001:db8::1", "root", "a", false)
	expect("a neighbour in a /64", "2001:db8::2", "root", "b", false)
	expect("a neighbour in a /64", "2001:db8::3", "root", "c", true)
	expect("a neighbour in a /64", "2001:db8::4", "root", "c", true)
}

// TestRemembersForGood: whatever a source tries after it was let in, it gets in with
// what it has found and with nothing else.
func TestRemembersForGood(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	list := []auth.Rule{{Action: auth.AfterTries, Users: []string{"root"}, MinTries: 2, MaxTries: 5}, {Action: auth.Chance, Chance: 0.2}}
	j := rules(t, s, list...)
	r := rand.New(rand.NewPCG(1, 2))
	found := map[string][2]string{}
	for i := range 5000 {
		if i%500 == 499 { // the order of rules may change, too
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			s = open(t, dir)
			list[0], list[1] = list[1], list[0]
			j = rules(t, s, list...)
		}
		source := netip.AddrFrom4([4]byte{192, 0, 2, byte(r.IntN(20))}).String()
		pair := [2]string{[]string{"root", "x", ""}[r.IntN(3)], string(rune('a' + r.IntN(10)))}
		d := j.Decide(try(source, pair[0], pair[1]))
		before, known := found[source]
		switch {
		case known && d.Accept != (pair == before):
			t.Fatalf("%s has found %v, and for %v is told %+v", source, before, pair, d)
		case d.Accept:
			found[source] = pair
		}
	}
	if len(found) != 20 {
		t.Errorf("only %d sources were let in", len(found))
	}
}

// TestKeysCountOnceVerified: who only asks about a key has not shown it.
func TestKeysCountOnceVerified(t *testing.T) {
	j := rules(t, open(t, t.TempDir()), auth.Rule{Action: auth.AfterTries, MinTries: 2, MaxTries: 2, Methods: []string{auth.PublicKey, auth.Password}})
	offer := func(seed string, verified bool) bool {
		a := try("192.0.2.1", "root", "")
		a.Method, a.Key, a.Verified = auth.PublicKey, testKey(t, seed), verified
		return j.Decide(a).Accept
	}
	if offer("a", false) || !offer("b", false) || !offer("c", false) {
		t.Error("the second key would not do, or what only was asked about counts")
	}
	if !offer("c", true) || offer("b", false) || !offer("c", false) || j.Decide(try("192.0.2.1", "root", "x")).Accept {
		t.Error("after one key was verified another credential would do, or that not")
	}
}

func TestNoneCountsForNothing(t *testing.T) {
	j := rules(t, open(t, t.TempDir()), auth.Rule{Action: auth.AfterTries, MinTries: 2, MaxTries: 2})
	none := try("192.0.2.1", "root", "")
	none.Method = "none"
	void := try("192.0.2.1", "root", "v")
	void.Void = true
	for range 5 {
		if j.Decide(none).Accept || j.Decide(void).Accept {
			t.Error("let in")
		}
	}
	if j.Decide(try("192.0.2.1", "root", "a")).Accept || !j.Decide(try("192.0.2.1", "root", "b")).Accept {
		t.Error("what is no try has counted")
	}
}

func TestHoneytokensAndBaits(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	const session = "01JQ0000000000000000000001"
	made, err := s.NewBait(session)
	if err != nil {
		t.Fatal(err)
	}
	bait := made.Password
	if other, err := s.NewBait("01JQ0000000000000000000002"); err != nil || other.Password == bait || len(other.Password) != passwordLength || other.Site != made.Site {
		t.Errorf("baits %+v and %+v, %v", made, other, err)
	}
	if _, err := s.NewBait("x"); err == nil {
		t.Error("a bait for nobody")
	}
	marks, err := auth.NewHoneytokens([]auth.Mark{{Name: "wiki", Password: "Winter"}})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []*Store{s, open(t, dir)} {
		j := s.Judge(auth.DenyAll{}, marks)
		for _, tt := range []struct {
			password string
			want     *auth.Honeytoken
		}{{"Winter", &auth.Honeytoken{Name: "wiki"}}, {bait, &auth.Honeytoken{Name: "bait", Session: session}}, {bait + "x", nil}, {strings.Repeat("x", passwordLength), nil}} {
			for _, void := range []bool{false, true} {
				a := try("192.0.2.1", "any", tt.password)
				a.Void = void
				d := j.Decide(a)
				if got := d.Honeytoken; d.Accept || (got == nil) != (tt.want == nil) || got != nil && *got != *tt.want {
					t.Errorf("%q: %+v with %+v, want %+v", tt.password, d, got, tt.want)
				}
			}
		}
	}
}

func TestPlantedKeys(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	key := testKey(t, "p")
	s.Plant(netip.MustParseAddr("192.0.2.1"), key)
	s.Plant(netip.MustParseAddr("192.0.2.1"), key)
	if s.file.records != 1 {
		t.Errorf("%d records of one key", s.file.records)
	}
	for _, s := range []*Store{s, open(t, dir)} {
		j := rules(t, s, auth.Rule{Action: auth.Allow, Keys: []string{auth.PlantedKey}})
		for source, want := range map[string]bool{"192.0.2.1": true, "192.0.2.2": false} {
			a := try(source, "root", "")
			a.Method, a.Key = auth.PublicKey, key
			if d := j.Decide(a); d.Accept != want {
				t.Errorf("%s: %+v", source, d)
			}
		}
	}
}

// TestFixedMemory: once the tables are full, more sources cost nothing, in memory and
// on disk, and the latest are known.
func TestFixedMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("long")
	}
	dir := t.TempDir()
	s := open(t, dir)
	j := rules(t, s, auth.Rule{Action: auth.Chance, Chance: 1, Users: []string{"lucky"}})
	source := func(i int) string {
		var b [16]byte
		b[0] = 0x20
		binary.BigEndian.PutUint32(b[4:], uint32(i))
		return netip.AddrFrom16(b).String()
	}
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	at := map[int]uint64{}
	const most = 400_001
	for i := 1; i <= most; i++ {
		j.Decide(try(source(i), "root", "x"))
		if i%4 > 0 {
			j.Decide(try(source(i), "lucky", "y"))
		}
		if i == 280_000 || i == most {
			at[min(i, most)] = heap()
		}
	}
	t.Logf("heap after 280,000 sources %d KiB, after %d %d KiB", at[280_000]>>10, most, at[most]>>10)
	if at[most] > at[280_000]+at[280_000]/10 {
		t.Errorf("heap grows from %d to %d", at[280_000], at[most])
	}
	if s.trying.Len() > maxTrying || s.accepted.Len() != maxAccepted {
		t.Errorf("%d are trying, %d let in", s.trying.Len(), s.accepted.Len())
	}
	st, err := os.Stat(filepath.Join(dir, historyName))
	if err != nil || st.Size() > maxRecords*recordSize {
		t.Errorf("the file has %d bytes, %v", st.Size(), err)
	}
	for _, s := range []*Store{s, open(t, dir)} {
		j := rules(t, s, auth.Rule{Action: auth.Chance, Chance: 1})
		if d := j.Decide(try(source(most), "lucky", "y")); d.Remember || !d.Accept {
			t.Errorf("the latest is not known: %+v", d)
		}
		if d := j.Decide(try(source(most-12), "other", "y")); d.Accept { // most-12 is one of those
			t.Errorf("a late one is not known: %+v", d)
		}
	}
}

// TestDamage: whatever part of the file is lost, the rest is remembered, and the service
// starts.
func TestDamage(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	j := rules(t, s, auth.Rule{Action: auth.Chance, Chance: 1})
	sources := []string{"192.0.2.1", "192.0.2.2", "192.0.2.3"}
	for _, source := range sources {
		j.Decide(try(source, "root", "x"))
	}
	path := filepath.Join(dir, historyName)
	whole, err := os.ReadFile(path)
	if err != nil || len(whole) != 3*recordSize {
		t.Fatalf("%d bytes, %v", len(whole), err)
	}
	for name, tt := range map[string]struct {
		content []byte
		known   [3]bool
	}{
		"torn":    {whole[:2*recordSize+7], [3]bool{true, true, false}},
		"flipped": {append(append(bytes.Clone(whole[:recordSize+9]), whole[recordSize+9]^1), whole[recordSize+10:]...), [3]bool{true, false, true}},
		"more":    {append(bytes.Clone(whole), "garbage"...), [3]bool{true, true, true}},
		"empty":   {nil, [3]bool{}},
	} {
		if err := os.WriteFile(path, tt.content, 0o600); err != nil {
			t.Fatal(err)
		}
		s := open(t, dir)
		if want := map[string]int{"torn": 2, "flipped": 2, "more": 3, "empty": 0}[name]; s.accepted.Len() != want {
			t.Errorf("%s: %d sources are known, want %d", name, s.accepted.Len(), want)
		}
		j := rules(t, s, auth.Rule{Action: auth.AfterTries, MinTries: 9, MaxTries: 9})
		for i, source := range sources {
			if d := j.Decide(try(source, "root", "x")); d.Accept != tt.known[i] {
				t.Errorf("%s: source %d: %+v", name, i, d)
			}
		}
		if st, err := os.Stat(path); err != nil || st.Size()%recordSize != 0 {
			t.Errorf("%s: the file was not mended: %d bytes", name, st.Size())
		}
	}
}

// TestWriteFails: what cannot be written is known until the end, and told.
func TestWriteFails(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	j := rules(t, s, auth.Rule{Action: auth.Chance, Chance: 1})
	s.file.f.Close()
	if d := j.Decide(try("192.0.2.1", "root", "x")); !d.Accept || s.Err() == nil {
		t.Errorf("%+v, %v", d, s.Err())
	}
	if d := j.Decide(try("192.0.2.1", "root", "y")); d.Accept {
		t.Errorf("forgotten: %+v", d)
	}
	s.file.broken = true // it is written anew then
	j.Decide(try("192.0.2.2", "root", "x"))
	if err := s.Err(); err != nil {
		t.Fatal(err)
	}
	j = rules(t, open(t, dir), auth.Rule{Action: auth.Chance, Chance: 1})
	for _, source := range []string{"192.0.2.1", "192.0.2.2"} {
		if d := j.Decide(try(source, "root", "z")); d.Accept {
			t.Errorf("%s is forgotten: %+v", source, d)
		}
	}
}

func TestOpenRefuses(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(file); err == nil {
		t.Error("a file for a directory")
	}
	short := t.TempDir()
	if err := os.WriteFile(filepath.Join(short, secretName), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(short); err == nil {
		t.Error("a short secret")
	}
	blocked := t.TempDir()
	if err := os.Mkdir(filepath.Join(blocked, historyName), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(blocked); err == nil {
		t.Error("a directory for the file")
	}
}

func TestSecretStays(t *testing.T) {
	dir := t.TempDir()
	first := open(t, dir).Secret()
	if again := open(t, dir).Secret(); again != first || first == (auth.Secret{}) {
		t.Error("the secret changes")
	}
	for _, name := range []string{secretName, historyName} {
		if st, err := os.Stat(filepath.Join(dir, name)); err != nil || st.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v %v", name, st.Mode(), err)
		}
	}
}

func TestManyAtOnce(t *testing.T) {
	s := open(t, t.TempDir())
	j := rules(t, s, afterThree)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for k := range 200 {
				source := netip.AddrFrom4([4]byte{192, 0, byte(k), 1}).String()
				j.Decide(try(source, "root", string(rune('a'+i))))
				s.Plant(netip.MustParseAddr(source), anyKey)
			}
		})
	}
	wg.Wait()
	if s.accepted.Len() != 200 {
		t.Errorf("%d of 200 sources were let in", s.accepted.Len())
	}
}

var anyKey = func() ssh.PublicKey {
	k, err := ssh.NewPublicKey(ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize)).Public())
	if err != nil {
		panic(err)
	}
	return k
}()

func FuzzReadRecords(f *testing.F) {
	one := record{kind: kindAccepted, source: netip.MustParseAddr("192.0.2.1"), digest: digest{1}}.encode()
	f.Add(one)
	f.Add(append(bytes.Clone(one), record{kind: kindBait, digest: digest{2}, session: ulid.ULID{3}}.encode()...))
	f.Add(append(one[1:], one...))
	f.Add(record{kind: kindPlanted, source: netip.MustParseAddr("2001:db8::"), digest: digest{4}}.encode()[:recordSize-1])
	f.Fuzz(func(t *testing.T, content []byte) {
		n := 0
		err := readRecords(bytes.NewReader(content), func(r record) {
			n++
			if back, ok := decode(r.encode()); !ok || back != r {
				t.Errorf("%+v is read back as %+v", r, back)
			}
		})
		if err != nil || n > len(content)/recordSize {
			t.Errorf("%d records of %d bytes, %v", n, len(content), err)
		}
	})
}

func BenchmarkDecide(b *testing.B) {
	s := open(b, b.TempDir())
	j := rules(b, s, auth.Rule{Action: auth.Deny, Users: []string{"regexp:^adm"}}, afterThree)
	sources := make([]auth.Attempt, 10_000)
	for i := range sources {
		sources[i] = try(netip.AddrFrom4([4]byte{198, 51, byte(i >> 8), byte(i)}).String(), "root", "123456")
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		j.Decide(sources[i%len(sources)])
	}
}
