package stats

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sandtrap/sandtrap/internal/event"
	"github.com/sandtrap/sandtrap/internal/evidence"
)

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestTopIsExact as long as every value has a counter.
func TestTopIsExact(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	top, want := newTop(500), map[string]int64{}
	for range 20_000 {
		s := fmt.Sprint(r.IntN(20) * r.IntN(25))
		top.Add(s)
		want[s]++
	}
	for _, c := range top.Most(0) {
		if c.N != want[c.Value] || c.Over != 0 {
			t.Errorf("%q: %d, want %d", c.Value, c.N, want[c.Value])
		}
		delete(want, c.Value)
	}
	if n, exact := top.Distinct(); len(want) != 0 || !exact || n != len(top.Most(0)) || top.Total() != 20_000 {
		t.Errorf("missing %v; %d, %v", want, n, exact)
	}
}

// TestTopIsBounded: with more values than counters memory stays as it is, and what is
// said of a frequent value is true: at most N, at least N less Over.
func TestTopIsBounded(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	const counters = 100
	top, truth := newTop(counters), map[string]int64{}
	for i := range 50_000 {
		s := fmt.Sprint("made up ", i)
		if r.IntN(2) == 0 {
			s = fmt.Sprint("frequent ", r.IntN(10))
		}
		top.Add(s)
		truth[s]++
	}
	if n, exact := top.Distinct(); n != counters || exact || len(top.counters) != counters {
		t.Errorf("%d counters, exact %v", n, exact)
	}
	for i, c := range top.Most(10) {
		if n := truth[c.Value]; !strings.HasPrefix(c.Value, "frequent") || n > c.N || n < c.N-c.Over {
			t.Errorf("%d: %q %d to %d, is %d", i, c.Value, c.N-c.Over, c.N, n)
		}
	}
}

// TestTopKeepsLittle of what is long, and tells it apart.
func TestTopKeepsLittle(t *testing.T) {
	long := strings.Repeat("x", 1<<20)
	top := newTop(10)
	for range 3 {
		top.Add(long + "a")
	}
	top.Add(long + "b")
	top.Add(long[:maxText])
	got := top.Most(2)
	if len(got) != 2 || got[0].N != 3 || !got[0].Cut || len(got[0].Value) != maxText || got[1].N != 1 {
		t.Errorf("%+v", got)
	}
	if n, _ := top.Distinct(); n != 3 {
		t.Errorf("%d distinct", n)
	}
}

// TestCollect: what events and sessions tell is counted once.
func TestCollect(t *testing.T) {
	state := t.TempDir()
	dir := filepath.Join(state, "events")
	ok(t, os.Mkdir(dir, 0o750))
	lines, err := event.NewJSONLines(dir, event.FileLimits{File: 2000})
	ok(t, err)
	emitter := event.New(lines)
	for i := range 20 {
		e := emitter.Bind(event.Identity{Session: "S", Source: netip.MustParseAddrPort(fmt.Sprintf("192.0.2.%d:1000", i%3))})
		e.Emit(event.ConnectionOpen)
		e.Emit(event.ClientVersion, event.F("client_version", `SSH-2.0-x","event":"auth.attempt`))
		e.Emit(event.ClientKexInit, event.F("hassh", "aa"))
		e.Emit(event.AuthAttempt, event.F("user", "root"), event.F("method", "password"), event.F("password", "\xff\x00"), event.F("accepted", false))
		e.Emit(event.AuthAttempt, event.F("user", "root"), event.F("method", "password"), event.F("password", ""), event.F("accepted", i == 0))
		e.Emit(event.AuthAttempt, event.F("user", "key"), event.F("method", "publickey"), event.F("fingerprint", "SHA256:k"), event.F("key_state", "offered"), event.F("accepted", true))
		e.Emit(event.AuthAttempt, event.F("user", "key"), event.F("method", "publickey"), event.F("fingerprint", "SHA256:k"), event.F("key_state", "verified"), event.F("accepted", true))
		e.Emit(event.EventsOmit, event.F("omitted", 7), event.F("kinds", "auth.attempt=5 channel.open=2"))
	}
	ok(t, emitter.Err())
	ok(t, emitter.Close())
	f, err := os.OpenFile(filepath.Join(dir, "events-2001-01-01.jsonl"), os.O_CREATE|os.O_WRONLY, 0o640)
	ok(t, err)
	fmt.Fprintf(f, "{\"time\":\"2001-01-01T00:00:00Z\",\"seq\":1,\"event\":\"auth.attempt\",\"user\":\"old\",\"password\":\"old\"}\n{\"time\":\"torn\",\"seq\":1,\"event\":\"auth.attempt\"\n%s\nno end", strings.Repeat("x", 2*maxLine))
	f.Close()
	ok(t, os.WriteFile(filepath.Join(dir, "other"), []byte("x"), 0o640))
	store, err := evidence.Open(state)
	ok(t, err)
	defer store.Close()
	now := time.Now().UTC()
	d, err := store.Create("01KN1W7MG00000000000000001", now)
	ok(t, err)
	ok(t, d.Save(evidence.Session{State: evidence.StateClosed, Start: now, End: &now, Target: evidence.Target{Name: "debian"},
		Channels: []evidence.Channel{{Command: "id"}, {Command: "id"}, {Commands: []evidence.Command{{Text: "ls"}}}}}))
	d.Close()

	s, _, err := Collect(context.Background(), store, Options{Since: now.Add(-time.Hour), Now: now})
	ok(t, err)
	one := func(top *Top) string {
		var all []string
		for _, c := range top.Most(0) {
			all = append(all, fmt.Sprintf("%q=%d", c.Value, c.N))
		}
		return strings.Join(all, " ")
	}
	got := []any{s.Connections, s.Attempts, s.Logins, s.Omitted, s.Sessions, one(s.Sources), one(s.Clients), one(s.HASSHs), one(s.Users), one(s.Passwords), one(s.Keys), one(s.Targets), one(s.Commands)}
	want := []any{int64(20), int64(60), int64(21), int64(100), int64(1), `"192.0.2.0"=7 "192.0.2.1"=7 "192.0.2.2"=6`, `"SSH-2.0-x\",\"event\":\"auth.attempt"=20`, `"aa"=20`,
		`"root"=40 "key"=20`, `""=20 "\xff\x00"=20`, `"SHA256:k"=20`, `"debian"=1`, `"id"=1 "ls"=1`}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	all, _, err := Collect(context.Background(), store, Options{Now: now})
	if err != nil || all.Attempts != 61 || all.Skipped != 2 || all.First.Year() != 2001 {
		t.Errorf("of all times: %d attempts, %d skipped, first %v, %v", all.Attempts, all.Skipped, all.First, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, _, err := Collect(ctx, store, Options{Now: now}); err == nil {
		t.Error("went on after the end")
	}
}

// FuzzLines: no event file makes the reader fail.
func FuzzLines(f *testing.F) {
	f.Add([]byte("{\"time\":\"2001-01-01T00:00:00Z\",\"seq\":1,\"event\":\"auth.attempt\",\"user\":\"u\",\"password_base64\":\"/w==\"}\n"))
	f.Add([]byte("{\"time\":\"2001-01-01T00:00:00Z\",\"event\":\"events.omit\",\"kinds\":\"auth.attempt=-9 auth.attempt=x\"}\n\n\x00"))
	f.Fuzz(func(t *testing.T, p []byte) {
		s := &Stats{Sources: newTop(2), Clients: newTop(2), HASSHs: newTop(2), Users: newTop(2), Passwords: newTop(2), Keys: newTop(2)}
		ok(t, s.readLines(context.Background(), bytes.NewReader(p)))
		if s.Omitted < 0 || s.Attempts < s.Passwords.Total() {
			t.Errorf("%+v", s)
		}
	})
}

// BenchmarkLines counts attempts as the service writes them.
func BenchmarkLines(b *testing.B) {
	var p []byte
	id := event.Identity{Session: "01KN1W7MG00000000000000001", Source: netip.MustParseAddrPort("192.0.2.1:1000"), Local: netip.MustParseAddrPort("192.0.2.2:22")}
	for i := range 10_000 {
		e := event.Event{Time: time.Now(), Seq: uint64(i), Identity: id, Definition: event.Define(event.AuthAttempt),
			Values: []event.Field{event.F("user", "root"), event.F("method", "password"), event.F("password", fmt.Sprint(i)), event.F("accepted", false)}}
		p = append(e.AppendJSON(p), '\n')
	}
	b.SetBytes(int64(len(p)))
	for b.Loop() {
		s := &Stats{Users: newTop(maxCounters), Passwords: newTop(maxCounters), Keys: newTop(maxCounters)}
		ok(b, s.readLines(context.Background(), bytes.NewReader(p)))
	}
}
