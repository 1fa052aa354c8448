package auth

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
)

// monday is a Monday, at noon.
var monday = time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)

func try(user, password string) Attempt {
	return Attempt{User: user, Method: Password, Password: password, Source: netip.MustParseAddr("203.0.113.9"), At: monday}
}

func tryKey(user string, key ssh.PublicKey) Attempt {
	a := try(user, "")
	a.Method, a.Key = PublicKey, key
	return a
}

func with(a Attempt, change func(*Attempt)) Attempt {
	change(&a)
	return a
}

func mustRules(t testing.TB, rules ...Rule) *Rules {
	t.Helper()
	r, err := NewRules(rules, Secret{1})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestRules(t *testing.T) {
	listed, other := key(t, 'a'), key(t, 'b')
	line := strings.TrimSpace(string(ssh.MarshalAuthorizedKey(listed))) + " me@here"
	from := func(text string) func(*Attempt) {
		return func(a *Attempt) { a.Source = netip.MustParseAddr(text) }
	}
	at := func(day int, clock string) func(*Attempt) {
		return func(a *Attempt) {
			c, err := time.Parse("15:04", clock)
			if err != nil {
				t.Fatal(err)
			}
			a.At = time.Date(2026, 3, 1+day, c.Hour(), c.Minute(), 0, 0, time.UTC) // day 1 is Monday
		}
	}
	allow := func(r Rule) Rule { r.Action = Allow; return r }
	tests := []struct {
		name    string
		rule    Rule
		try     Attempt
		history History
		want    bool
	}{
		{"any", allow(Rule{}), try("x", "y"), History{}, true},
		{"keyboard-interactive", allow(Rule{}), with(try("x", "y"), func(a *Attempt) { a.Method = KeyboardInteractive }), History{}, true},
		{"none", allow(Rule{Methods: []string{"none"}}), with(try("x", ""), func(a *Attempt) { a.Method = "none" }), History{}, false},
		{"key by a rule for passwords", allow(Rule{}), tryKey("x", listed), History{}, false},
		{"exact user", allow(Rule{Users: []string{"root"}}), try("root", "y"), History{}, true},
		{"exact user, case", allow(Rule{Users: []string{"root"}}), try("Root", "y"), History{}, false},
		{"exact user, more", allow(Rule{Users: []string{"root"}}), try("root\x00", "y"), History{}, false},
		{"second user", allow(Rule{Users: []string{"root", "admin"}}), try("admin", "y"), History{}, true},
		{"exact password", allow(Rule{Passwords: []string{"123"}}), try("x", "123"), History{}, true},
		{"other password", allow(Rule{Passwords: []string{"123"}}), try("x", "1234"), History{}, false},
		{"empty password", allow(Rule{Passwords: []string{""}}), try("x", ""), History{}, true},
		{"not the empty password", allow(Rule{Passwords: []string{""}}), try("x", "y"), History{}, false},
		{"glob", allow(Rule{Users: []string{"glob:ad*n?"}}), try("administratonx", "y"), History{}, true},
		{"glob is for all of it", allow(Rule{Users: []string{"glob:ad?"}}), try("adm1", "y"), History{}, false},
		{"glob over lines", allow(Rule{Passwords: []string{"glob:a*b"}}), try("x", "a\n\xffb"), History{}, true},
		{"glob with a plain star", allow(Rule{Passwords: []string{`glob:a\*b`}}), try("x", "a*b"), History{}, true},
		{"glob with a plain star only", allow(Rule{Passwords: []string{`glob:a\*b`}}), try("x", "axb"), History{}, false},
		{"glob takes nothing of expressions", allow(Rule{Passwords: []string{"glob:a.b"}}), try("x", "axb"), History{}, false},
		{"expression in any part", allow(Rule{Passwords: []string{"regexp:(?i)HONEY"}}), try("x", "ahoneypot"), History{}, true},
		{"expression with anchors", allow(Rule{Passwords: []string{"regexp:^honey$"}}), try("x", "ahoney"), History{}, false},
		{"star is a password", allow(Rule{Passwords: []string{"*"}}), try("x", "y"), History{}, false},
		{"exact prefix", allow(Rule{Passwords: []string{"exact:glob:*"}}), try("x", "glob:*"), History{}, true},
		{"other word before a colon", allow(Rule{Passwords: []string{"a:b"}}), try("x", "a:b"), History{}, true},
		{"bytes", allow(Rule{Passwords: []string{"base64:/wA="}}), try("x", "\xff\x00"), History{}, true},
		{"too long for a pattern", allow(Rule{Users: []string{"glob:a*"}}), try(strings.Repeat("a", MaxText+1), "y"), History{}, false},
		{"too long a password", allow(Rule{}), try("x", strings.Repeat("y", MaxPassword+1)), History{}, false},
		{"longest password", allow(Rule{}), try("x", strings.Repeat("y", MaxPassword)), History{}, true},
		{"source", allow(Rule{Sources: []string{"203.0.113.0/24"}}), try("x", "y"), History{}, true},
		{"mapped source", allow(Rule{Sources: []string{"203.0.113.9"}}), with(try("x", "y"), from("::ffff:203.0.113.9")), History{}, true},
		{"other source", allow(Rule{Sources: []string{"203.0.113.0/24"}}), with(try("x", "y"), from("203.0.114.9")), History{}, false},
		{"IPv6 source", allow(Rule{Sources: []string{"2001:db8::/32"}}), with(try("x", "y"), from("2001:db8::7")), History{}, true},
		{"zone", allow(Rule{Sources: []string{"fe80::/10"}}), with(try("x", "y"), from("fe80::1%eth0")), History{}, true},
		{"in the hours", allow(Rule{Times: []string{"mon-fri 08:00-18:00"}}), try("x", "y"), History{}, true},
		{"at the end of the hours", allow(Rule{Times: []string{"08:00-18:00"}}), with(try("x", "y"), at(1, "18:00")), History{}, false},
		{"on another day", allow(Rule{Times: []string{"mon-fri"}}), with(try("x", "y"), at(6, "12:00")), History{}, false},
		{"days over the weekend", allow(Rule{Times: []string{"sat-mon"}}), try("x", "y"), History{}, true},
		{"night, before midnight", allow(Rule{Times: []string{"mon 22:00-06:00"}}), with(try("x", "y"), at(1, "23:00")), History{}, true},
		{"night, after midnight", allow(Rule{Times: []string{"mon 22:00-06:00"}}), with(try("x", "y"), at(2, "05:59")), History{}, true},
		{"night of another day", allow(Rule{Times: []string{"mon 22:00-06:00"}}), with(try("x", "y"), at(1, "05:59")), History{}, false},
		{"to midnight", allow(Rule{Times: []string{"12:00-24:00"}}), with(try("x", "y"), at(1, "23:59")), History{}, true},
		{"key by fingerprint", allow(Rule{Keys: []string{ssh.FingerprintSHA256(listed)}}), tryKey("x", listed), History{}, true},
		{"key by line", allow(Rule{Keys: []string{line}}), tryKey("x", listed), History{}, true},
		{"other key", allow(Rule{Keys: []string{line}}), tryKey("x", other), History{}, false},
		{"any key", allow(Rule{Keys: []string{AnyKey}}), tryKey("x", other), History{}, true},
		{"password by a rule for keys", allow(Rule{Keys: []string{AnyKey}}), try("x", "y"), History{}, false},
		{"planted key", allow(Rule{Keys: []string{PlantedKey}}), tryKey("x", other), History{Planted: true}, true},
		{"key not planted", allow(Rule{Keys: []string{PlantedKey}}), tryKey("x", other), History{}, false},
		{"method", allow(Rule{Methods: []string{KeyboardInteractive}}), try("x", "y"), History{}, false},
		{"enough tries", Rule{Action: AfterTries, MinTries: 3, MaxTries: 3}, try("x", "y"), History{Tries: 2}, true},
		{"too few tries", Rule{Action: AfterTries, MinTries: 3, MaxTries: 3}, try("x", "y"), History{Tries: 1}, false},
		{"tried before", Rule{Action: AfterTries, MinTries: 3, MaxTries: 3}, try("x", "y"), History{Tries: 9, Repeated: true}, false},
		{"found", Rule{Action: AfterTries, MinTries: 3, MaxTries: 3}, try("x", "y"), History{Accepted: true, Same: true}, true},
		{"found another", Rule{Action: AfterTries, MinTries: 1, MaxTries: 1}, try("x", "y"), History{Accepted: true}, false},
		{"sure luck", Rule{Action: Chance, Chance: 1}, try("x", "y"), History{}, true},
		{"luck found another", Rule{Action: Chance, Chance: 1}, try("x", "y"), History{Accepted: true}, false},
		{"key after tries", Rule{Action: AfterTries, MinTries: 2, MaxTries: 2, Keys: []string{AnyKey}}, tryKey("x", other), History{Tries: 1}, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := mustRules(t, tt.rule).Decide(tt.try, tt.history)
			if d.Accept != tt.want || d.Reason == "" {
				t.Errorf("%+v, want accept %v with a reason", d, tt.want)
			}
			if d.Accept && d.Rule != "1" {
				t.Errorf("rule %q", d.Rule)
			}
		})
	}
}

// TestOrder: the first rule that matches decides, whatever comes after.
func TestOrder(t *testing.T) {
	r := mustRules(t,
		Rule{Name: "no", Action: Deny, Users: []string{"root"}, Passwords: []string{"root"}},
		Rule{Name: "yes", Action: Allow, Users: []string{"root"}},
		Rule{Action: Deny, Sources: []string{"203.0.113.0/24"}, Methods: []string{PublicKey}},
		Rule{Action: Allow, Keys: []string{AnyKey}},
	)
	for _, tt := range []struct {
		try  Attempt
		rule string
		want bool
	}{
		{try("root", "root"), "no", false}, {try("root", "x"), "yes", true}, {try("x", "x"), "", false}, {tryKey("root", key(t, 'a')), "3", false},
	} {
		if d := r.Decide(tt.try, History{}); d.Rule != tt.rule || d.Accept != tt.want {
			t.Errorf("%s/%s: %+v, want rule %q and %v", tt.try.User, tt.try.Password, d, tt.rule, tt.want)
		}
	}
}

// TestPerSource: each source has one password, always the same, and not all the same
// one.
func TestPerSource(t *testing.T) {
	words := []string{"a", "b", "exact:c", "d"}
	r := mustRules(t, Rule{Action: PerSource, Passwords: words})
	used := map[string]int{}
	for i := range 200 {
		own := ""
		for _, word := range []string{"a", "b", "c", "d", "exact:c", "e"} {
			a := try("root", word)
			a.Source = netip.AddrFrom4([4]byte{198, 51, 100, byte(i)})
			if d := r.Decide(a, History{}); d.Accept {
				if own != "" {
					t.Fatalf("source %d has %s and %s", i, own, word)
				}
				own = word
			}
		}
		used[own]++
	}
	if len(used) != 4 || used[""] > 0 || used["a"] < 20 || used["c"] < 20 {
		t.Errorf("passwords of sources: %v", used)
	}
}

// TestChance: about as many as asked for, and only the secret says which.
func TestChance(t *testing.T) {
	rule := Rule{Action: Chance, Chance: 0.25}
	r := mustRules(t, rule)
	other, err := NewRules([]Rule{rule}, Secret{2})
	if err != nil {
		t.Fatal(err)
	}
	lucky, same := 0, 0
	const n = 4000
	for i := range n {
		a := try("root", fmt.Sprint(i))
		d := r.Decide(a, History{})
		if d.Accept != d.Remember {
			t.Fatal("luck is not remembered")
		}
		if d.Accept {
			lucky++
		}
		if other.Decide(a, History{}).Accept == d.Accept {
			same++
		}
	}
	if lucky < n/5 || lucky > n*3/10 || same > n*3/4 {
		t.Errorf("%d of %d were lucky, %d the same with another secret", lucky, n, same)
	}
}

// TestAfterTriesDiffers: sources need different numbers of tries, all within bounds.
func TestAfterTriesDiffers(t *testing.T) {
	r := mustRules(t, Rule{Action: AfterTries, MinTries: 2, MaxTries: 5})
	needs := map[int]int{}
	for i := range 200 {
		a := try("root", "x")
		a.Source = netip.AddrFrom4([4]byte{198, 51, 100, byte(i)})
		n := 0
		for !r.Decide(a, History{Tries: n}).Accept {
			n++
		}
		needs[n+1]++
	}
	for n := 2; n <= 5; n++ {
		if needs[n] < 20 {
			t.Errorf("tries needed: %v", needs)
		}
	}
	if len(needs) != 4 {
		t.Errorf("tries needed: %v", needs)
	}
}

func TestNewRulesRefuses(t *testing.T) {
	big := "regexp:" + strings.Repeat("(a?){100}", 3)
	for name, rule := range map[string]Rule{
		"no action": {}, "unknown action": {Action: "frobnicate"},
		"bad expression":  {Action: Allow, Users: []string{"regexp:("}},
		"huge expression": {Action: Allow, Users: []string{"regexp:((a{0,100}){0,100}){0,100}"}},
		"big expression":  {Action: Allow, Passwords: []string{strings.Replace(big, "100", "1000", 3)}},
		"bad base64":      {Action: Allow, Users: []string{"base64:%"}},
		"long":            {Action: Allow, Users: []string{strings.Repeat("x", MaxText+1)}},
		"prefix":          {Action: Allow, Sources: []string{"10.0.0.0/33"}}, "prefix with more bits": {Action: Allow, Sources: []string{"10.0.0.1/8"}},
		"name for an address": {Action: Allow, Sources: []string{"localhost"}},
		"empty window":        {Action: Allow, Times: []string{"08:00-08:00"}}, "no day": {Action: Allow, Times: []string{"mon-foo"}},
		"no time": {Action: Allow, Times: []string{"8:00-9:00"}}, "25 hours": {Action: Allow, Times: []string{"08:00-25:00"}},
		"three parts": {Action: Allow, Times: []string{"mon tue 08:00-09:00"}}, "nothing": {Action: Allow, Times: []string{""}},
		"bad key": {Action: Allow, Keys: []string{"SHA256:short"}}, "keys and passwords": {Action: Allow, Keys: []string{"any"}, Passwords: []string{"x"}},
		"keys by password": {Action: Allow, Keys: []string{"any"}, Methods: []string{Password}},
		"passwords by key": {Action: Allow, Passwords: []string{"x"}, Methods: []string{PublicKey}},
		"tries of allow":   {Action: Allow, MinTries: 1},
		"no tries":         {Action: AfterTries}, "tries the wrong way round": {Action: AfterTries, MinTries: 3, MaxTries: 2}, "many tries": {Action: AfterTries, MinTries: 1, MaxTries: 65},
		"chance of allow": {Action: Allow, Chance: 0.5}, "no chance": {Action: Chance}, "too much chance": {Action: Chance, Chance: 1.1},
		"one password of its own": {Action: PerSource, Passwords: []string{"x"}}, "key of its own": {Action: PerSource, Passwords: []string{"x", "y"}, Methods: []string{PublicKey}},
	} {
		if _, err := NewRules([]Rule{rule}, Secret{}); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
	many := make([]Rule, 200)
	for i := range many {
		many[i] = Rule{Action: Allow, Users: []string{"regexp:[ab]{900}"}}
	}
	if _, err := NewRules(many, Secret{}); err == nil {
		t.Error("many expressions: taken")
	}
}

func TestConflicts(t *testing.T) {
	for _, tt := range []struct {
		name  string
		rules []Rule
		want  string // of the last rule
	}{
		{"after all", []Rule{{Action: Allow}, {Action: Allow, Users: []string{"root"}}}, "never decides"},
		{"deny after all", []Rule{{Action: Allow}, {Action: Deny, Passwords: []string{"x"}}}, "never decides"},
		{"after a star", []Rule{{Action: Allow, Users: []string{"glob:*"}}, {Action: Deny, Users: []string{"regexp:x"}, Passwords: []string{"y"}}}, "never decides"},
		{"deny of a user after all", []Rule{{Action: Allow}, {Action: Deny, Users: []string{"root"}}}, "never decides about passwords"},
		{"deny of keys after all", []Rule{{Action: Allow}, {Action: Deny, Users: []string{"root"}, Methods: []string{PublicKey}}, {Action: Allow, Keys: []string{"any"}}}, ""},
		{"keys after all passwords", []Rule{{Action: Allow}, {Action: Allow, Keys: []string{"any"}}}, ""},
		{"key after any key", []Rule{{Action: Allow, Keys: []string{"any"}}, {Action: Allow, Keys: []string{"planted"}}}, "never decides"},
		{"any key after one", []Rule{{Action: Allow, Keys: []string{"planted"}}, {Action: Allow, Keys: []string{"any"}}}, ""},
		{"exact within a glob", []Rule{{Action: Deny, Users: []string{"glob:adm*"}}, {Action: Allow, Users: []string{"admin"}}}, "never decides"},
		{"exact partly within a glob", []Rule{{Action: Deny, Users: []string{"glob:adm*"}}, {Action: Allow, Users: []string{"admin", "root"}}}, ""},
		{"the usual way", []Rule{{Action: Deny, Users: []string{"root"}, Passwords: []string{"root"}}, {Action: Allow, Users: []string{"root"}}}, ""},
		{"same sources", []Rule{{Action: Deny, Sources: []string{"10.0.0.0/8"}}, {Action: Allow, Sources: []string{"10.1.0.0/16"}}}, "never decides"},
		{"wider sources", []Rule{{Action: Deny, Sources: []string{"10.0.0.0/16"}}, {Action: Allow, Sources: []string{"10.0.0.0/8"}}}, ""},
		{"other family", []Rule{{Action: Deny, Sources: []string{"0.0.0.0/0"}}, {Action: Allow, Sources: []string{"::/0"}}}, ""},
		{"same times", []Rule{{Action: Allow, Times: []string{"mon-fri"}}, {Action: Deny, Times: []string{"mon,tue,wed,thu,fri"}, Passwords: []string{"x"}}}, "never decides"},
		{"other times", []Rule{{Action: Allow, Times: []string{"mon-fri"}}, {Action: Deny, Passwords: []string{"x"}}}, ""},
		{"all passwords are taken by per-source", []Rule{{Action: PerSource, Passwords: []string{"a", "b"}}, {Action: Allow, Passwords: []string{"c"}}}, "never decides"},
		{"per-source after some", []Rule{{Action: Allow, Passwords: []string{"a", "b"}}, {Action: PerSource, Passwords: []string{"a", "b"}}}, ""},
		{"allowed and denied", []Rule{{Action: Allow, Users: []string{"a", "b"}, Passwords: []string{"x"}}, {Action: Deny, Users: []string{"b", "c"}, Passwords: []string{"x", "y"}}}, `says deny of user "b" with password "x"`},
	} {
		conflicts := mustRules(t, tt.rules...).Conflicts()
		if tt.want == "" && len(conflicts) > 0 || tt.want != "" && (len(conflicts) != 1 || conflicts[0].Rule != 1 || !strings.HasPrefix(conflicts[0].Message, tt.want)) {
			t.Errorf("%s: %+v, want %q", tt.name, conflicts, tt.want)
		}
	}
}

func TestSource(t *testing.T) {
	for from, want := range map[string]string{
		"192.0.2.1": "192.0.2.1", "::ffff:192.0.2.1": "192.0.2.1", "2001:db8:1:2:3:4:5:6": "2001:db8:1:2::", "fe80::1%eth0": "fe80::",
	} {
		if got := Source(netip.MustParseAddr(from)).String(); got != want {
			t.Errorf("%s is known as %s, want %s", from, got, want)
		}
	}
	if Source(netip.Addr{}).IsValid() {
		t.Error("nobody is somebody")
	}
}

func TestHoneytokens(t *testing.T) {
	stolen := key(t, 's')
	h, err := NewHoneytokens([]Mark{
		{Name: "pair", User: "svc", Password: "Winter"}, {Name: "password", Password: "regexp:^zz9"}, {Name: "key", PublicKey: ssh.FingerprintSHA256(stolen)},
		{Name: "line", User: "glob:x*", PublicKey: string(ssh.MarshalAuthorizedKey(key(t, 'l')))},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		try  Attempt
		want string
	}{
		{try("svc", "Winter"), "pair"}, {try("root", "Winter"), ""}, {try("root", "zz9x"), "password"}, {try("svc", "zz9x"), "password"},
		{tryKey("root", stolen), "key"}, {tryKey("root", key(t, 'l')), ""}, {tryKey("xy", key(t, 'l')), "line"}, {try("svc", ""), ""},
		{with(try("svc", "Winter"), func(a *Attempt) { a.Method = "none" }), ""},
	} {
		got := ""
		if token := h.Find(tt.try); token != nil {
			got = token.Name
		}
		if got != tt.want {
			t.Errorf("%s %s %q: found %q, want %q", tt.try.User, tt.try.Method, tt.try.Password, got, tt.want)
		}
	}
	for _, m := range []Mark{{Name: "u", User: "regexp:(", Password: "x"}, {Name: "p", Password: "regexp:("}, {Name: "k", PublicKey: "x"}} {
		if _, err := NewHoneytokens([]Mark{m}); err == nil {
			t.Errorf("%+v: taken", m)
		}
	}
	var none *Honeytokens
	if none.Find(try("a", "b")) != nil {
		t.Error("found in none")
	}
}
