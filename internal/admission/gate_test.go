package admission

import (
	"math"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var began = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// open are limits that refuse nobody.
func open() Limits {
	return Limits{MaxConnections: 1000, MaxStartups: Startups{1000, 100, 1000}, NetBlock4: 32, NetBlock6: 64}
}

func addr(text string) netip.Addr { return netip.MustParseAddr(text) }

func list(t *testing.T, prefixes ...string) Set {
	t.Helper()
	var all []netip.Prefix
	for _, p := range prefixes {
		parsed, err := ParsePrefix(p)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, parsed)
	}
	return NewSet(all)
}

// admits asks for one connection and fails unless the answer is the wanted one.
func admits(t *testing.T, g *Gate, from string, now time.Time, want Reason) *Pass {
	t.Helper()
	p, got := g.Admit(addr(from), now)
	if got != want || (p == nil) != (want != Admitted) {
		t.Errorf("%s: %q, want %q", from, got, want)
	}
	return p
}

func TestMaxStartupsCountsWhoHasNotLoggedIn(t *testing.T) {
	l := open()
	l.MaxStartups = Startups{2, 100, 2}
	g := New(l, 8, began)
	first := admits(t, g, "192.0.2.1", began, Admitted)
	second := admits(t, g, "192.0.2.2", began, Admitted)
	admits(t, g, "192.0.2.3", began, OverStartups)
	first.Authenticated()
	first.Authenticated() // again, which counts once
	third := admits(t, g, "192.0.2.3", began, Admitted)
	admits(t, g, "192.0.2.4", began, OverStartups)
	for _, p := range []*Pass{first, second, third, third} {
		p.Close(NoAuth, began)
		p.Authenticated() // too late
	}
	if got := g.Status(); got.Connections != 0 || got.Startups != 0 || got.Sources != 0 || got.Admitted != 3 || got.Refused[OverStartups] != 2 {
		t.Errorf("%+v", got)
	}
}

// The chance of a drop is sshd's: RATE percent at START, 100 at FULL, in a line.
func TestRandomEarlyDrop(t *testing.T) {
	s := Startups{10, 30, 100}
	for startups, want := range map[int]int{0: 0, 9: 0, 10: 30, 55: 65, 99: 99, 100: 100, 1000: 100} {
		drops := 0
		for r := range 100 {
			if s.drops(startups, func(n int) int {
				if n != 100 {
					t.Fatalf("of %d", n)
				}
				return r
			}) {
				drops++
			}
		}
		if drops != want {
			t.Errorf("with %d connections %d%% are dropped, want %d%%", startups, drops, want)
		}
	}
}

func TestPerSource(t *testing.T) {
	l := open()
	l.PerSourceMaxConnections, l.PerSourceMaxStartups, l.NetBlock4 = 3, 2, 24
	l.Allow = list(t, "198.51.100.0/24")
	g := New(l, 8, began)
	var passes []*Pass
	passes = append(passes, admits(t, g, "192.0.2.1", began, Admitted), admits(t, g, "192.0.2.200", began, Admitted))
	admits(t, g, "192.0.2.3", began, OverSourceStartups)
	admits(t, g, "::ffff:192.0.2.3", began, OverSourceStartups) // the same source
	passes = append(passes, admits(t, g, "192.0.3.1", began, Admitted))
	passes[0].Authenticated()
	passes[1].Authenticated()
	passes = append(passes, admits(t, g, "192.0.2.1", began, Admitted))
	admits(t, g, "192.0.2.1", began, OverSourceConnections)
	passes[1].Close(NoAuth, began)
	admits(t, g, "192.0.2.1", began, Admitted)
	// A /64 is one source, the next is another.
	admits(t, g, "2001:db8::1", began, Admitted)
	admits(t, g, "2001:db8::1:0:0:1", began, Admitted)
	admits(t, g, "2001:db8::2", began, OverSourceStartups)
	admits(t, g, "2001:db8:0:1::2", began, Admitted)
	for range 5 {
		admits(t, g, "198.51.100.7", began, Admitted)
	}
	admits(t, g, "fe80::1%eth0", began, Admitted)
	admits(t, g, "fe80::1%eth1", began, Admitted)
	admits(t, g, "fe80::1", began, OverSourceStartups)
}

func TestMaxConnections(t *testing.T) {
	l := open()
	l.MaxConnections, l.Allow = 1, list(t, "192.0.2.2")
	g := New(l, 8, began)
	p := admits(t, g, "192.0.2.1", began, Admitted)
	p.Authenticated()
	admits(t, g, "192.0.2.2", began, OverConnections) // holds for all
	p.Close(NoAuth, began)
	admits(t, g, "192.0.2.2", began, Admitted)
}

func TestLists(t *testing.T) {
	l := open()
	l.Deny, l.Allow = list(t, "0.0.0.0/0", "2001:db8::/32"), list(t, "192.0.2.0/25")
	g := New(l, 8, began)
	for from, want := range map[string]Reason{
		"192.0.2.1": Admitted, "192.0.2.128": DenyListed, "::ffff:192.0.2.1": Admitted, "::ffff:192.0.2.129": DenyListed,
		"2001:db8::1": DenyListed, "2001:db9::1": Admitted, "fe80::1%eth0": Admitted,
	} {
		admits(t, g, from, began, want)
	}
	if _, got := g.Admit(netip.Addr{}, began); got != Admitted {
		t.Errorf("an address that is none: %s", got)
	}
}

func TestRates(t *testing.T) {
	l := open()
	l.PerSourceRate, l.Rate = Rate{3, 30 * time.Second}, Rate{5, time.Second}
	g := New(l, 64, began)
	for range 3 {
		admits(t, g, "192.0.2.1", began, Admitted)
	}
	for range 100 { // which does not put off the next
		admits(t, g, "192.0.2.1", began.Add(9*time.Second), OverSourceRate)
	}
	admits(t, g, "192.0.2.1", began.Add(10*time.Second), Admitted)
	admits(t, g, "192.0.2.1", began.Add(10*time.Second), OverSourceRate)
	later := began.Add(time.Hour)
	for i := range 5 {
		admits(t, g, "198.51.100."+string(rune('1'+i)), later, Admitted)
	}
	admits(t, g, "192.0.2.1", later, OverRate)
	admits(t, g, "192.0.2.1", later.Add(200*time.Millisecond), Admitted)
	l.PerSourceRate, l.Rate = Rate{}, Rate{}
	g.Set(l)
	for range 100 {
		admits(t, g, "192.0.2.1", later, Admitted)
	}
}

// Penalties add up, are in force from Min on and pass by themselves, as with sshd.
func TestPenalties(t *testing.T) {
	l := open()
	l.Penalties, _ = ParsePenalties([]string{"yes"})
	l.Allow = list(t, "198.51.100.0/24")
	g := New(l, 64, began)
	fail := func(from string, o Outcome, now time.Time) {
		t.Helper()
		admits(t, g, from, now, Admitted).Close(o, now)
	}
	for range 3 { // 15 seconds are not more than 15 seconds
		fail("192.0.2.1", AuthFailed, began)
	}
	fail("192.0.2.1", NoAuth, began)
	admits(t, g, "192.0.2.1", began, Penalised)
	admits(t, g, "192.0.2.1", began.Add(16*time.Second-1), Penalised)
	fail("192.0.2.1", AuthFailed, began.Add(16*time.Second)) // begins anew
	admits(t, g, "192.0.2.1", began.Add(16*time.Second), Admitted).Authenticated()

	fail("192.0.2.2", Crash, began)
	admits(t, g, "192.0.2.2", began.Add(90*time.Second-1), Penalised)
	fail("192.0.2.2", GraceExceeded, began.Add(90*time.Second))
	admits(t, g, "192.0.2.2", began.Add(90*time.Second), Admitted)

	in := make([]*Pass, 200) // at once, so that none is refused
	for i := range in {
		in[i] = admits(t, g, "192.0.2.3", began, Admitted)
	}
	for _, p := range in {
		p.Close(AuthFailed, began)
	}
	admits(t, g, "192.0.2.3", began.Add(10*time.Minute-1), Penalised)
	admits(t, g, "192.0.2.3", began.Add(10*time.Minute), Admitted)

	for range 10 { // who has logged in, and who is allowed, earns none
		p := admits(t, g, "192.0.2.4", began, Admitted)
		p.Authenticated()
		p.Close(AuthFailed, began)
		fail("198.51.100.1", Crash, began)
	}
	admits(t, g, "192.0.2.4", began, Admitted)
	admits(t, g, "198.51.100.1", began, Admitted)
	if got := g.memory.Len(began.Add(95 * time.Second).Sub(g.made)); got != 2 {
		t.Errorf("%d are remembered", got)
	}
	l.Penalties = Penalties{}
	g.Set(l)
	admits(t, g, "192.0.2.3", began, Admitted)
}

// New limits count who is in already, under the sources of before.
func TestSet(t *testing.T) {
	l := open()
	l.PerSourceMaxStartups = 5
	g := New(l, 8, began)
	p := admits(t, g, "192.0.2.1", began, Admitted)
	l.NetBlock4, l.MaxConnections = 16, 1
	g.Set(l)
	admits(t, g, "192.0.2.2", began, OverConnections)
	p.Close(NoAuth, began)
	admits(t, g, "192.0.2.2", began, Admitted)
	if got := g.Status(); got.Sources != 1 || got.Connections != 1 {
		t.Errorf("%+v", got)
	}
}

func TestParsers(t *testing.T) {
	for text, want := range map[string]Startups{"10:30:100": {10, 30, 100}, "7": {7, 100, 7}, "5:1:5": {5, 1, 5}} {
		if got, err := ParseStartups(text); err != nil || got != want {
			t.Errorf("%s: %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", ":", "1:2", "1:2:3:4", "0", "10:0:100", "10:101:100", "11:30:10", "1:30:65537", "-1", "+1", " 1", "1:x:3", "99999999999"} {
		if got, err := ParseStartups(text); err == nil {
			t.Errorf("%q is %v", text, got)
		}
	}
	for text, want := range map[string]Rate{"none": {}, "60/1m": {60, time.Minute}, "1/24h": {1, 24 * time.Hour}, "1000000/1s": {1000000, time.Second}} {
		if got, err := ParseRate(text); err != nil || got != want {
			t.Errorf("%s: %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "60", "60/", "/1m", "0/1m", "60/0s", "60/1ms", "60/25h", "1000001/1s", "x/1m", "-1/1m"} {
		if got, err := ParseRate(text); err == nil {
			t.Errorf("%q is %v", text, got)
		}
	}
	for text, want := range map[string][2]int{"32:64": {32, 64}, "24": {24, 128}, "0:0": {}} {
		if v4, v6, err := ParseNetBlockSize(text); err != nil || v4 != want[0] || v6 != want[1] {
			t.Errorf("%q: %d, %d, %v", text, v4, v6, err)
		}
	}
	for _, text := range []string{"", "33:64", "32:129", "32:64:1", "a:b", ":"} {
		if _, _, err := ParseNetBlockSize(text); err == nil {
			t.Errorf("%q is taken", text)
		}
	}
}

func TestParsePenalties(t *testing.T) {
	for _, none := range [][]string{nil, {}, {"no"}} {
		if got, err := ParsePenalties(none); err != nil || got.Enabled {
			t.Errorf("%q: %v, %v", none, got, err)
		}
	}
	got, err := ParsePenalties([]string{"authfail:1m", "noauth:0", "max:3600", "min:0s"})
	want := sshdPenalties
	want.For[AuthFailed], want.For[NoAuth], want.Max, want.Min = time.Minute, 0, time.Hour, 0
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v\n%s", err, diff)
	}
	for _, word := range []string{"", "authfail", "authfail:", "authfail:x", "authfail:-1s", "authfail:25h", "overflow:permissive", "no", "min:11m"} {
		if got, err := ParsePenalties([]string{"yes", word}); err == nil {
			t.Errorf("%q: %v", word, got)
		}
	}
}

// The parsers take anything, and what they take a gate can work with.
func FuzzParsers(f *testing.F) {
	for _, text := range []string{"10:30:100", "60/1m", "authfail:5s", "32:64", "none", "9223372036854775807/9223372036854775807h", "192.0.2.0/24", "::ffff:1.2.3.4/96"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		l := open()
		if s, err := ParseStartups(text); err == nil {
			l.MaxStartups = s
		}
		if r, err := ParseRate(text); err == nil {
			l.Rate, l.PerSourceRate = r, r
			if r.Count > 0 && r.each() <= 0 {
				t.Errorf("%q: a token in no time", text)
			}
		}
		if p, err := ParsePenalties([]string{text}); err == nil {
			l.Penalties = p
		}
		if v4, v6, err := ParseNetBlockSize(text); err == nil {
			l.NetBlock4, l.NetBlock6 = v4, v6
		}
		if p, err := ParsePrefix(text); err == nil {
			if !NewSet([]netip.Prefix{p}).Has(p.Addr()) {
				t.Errorf("%s does not have %s", p, p.Addr())
			}
		}
		g := New(l, 1, began)
		for i := range 20 {
			for _, a := range []string{"192.0.2.1", "2001:db8::1"} {
				if p, reason := g.Admit(addr(a), began.Add(time.Duration(i)*time.Minute)); reason == Admitted {
					p.Close(Outcome(i%int(outcomes)), began)
				}
			}
		}
		if got := g.Status(); got.Connections != 0 || got.Startups != 0 || got.Sources != 0 {
			t.Errorf("%+v", got)
		}
	})
}

func TestFarFuture(t *testing.T) {
	var b bucket
	if !b.take(Rate{1, 24 * time.Hour}, math.MaxInt64/2) {
		t.Error("no token")
	}
}

func TestAnswers(t *testing.T) {
	l := open()
	l.Tarpit, l.Balancers = map[Reason]bool{Penalised: true}, list(t, "192.0.2.0/24")
	g := New(l, 8, began)
	for reason, want := range map[Reason]Answer{DenyListed: AnswerClose, Penalised: AnswerTarpit, OverStartups: AnswerTold, OverRate: AnswerTold} {
		if got := g.Answer(reason); got != want {
			t.Errorf("%s: %s, want %s", reason, got, want)
		}
	}
	if !g.Balancer(addr("::ffff:192.0.2.7")) || g.Balancer(addr("192.0.3.7")) || g.Balancer(netip.Addr{}) {
		t.Error("the wrong ones are balancers")
	}
}
