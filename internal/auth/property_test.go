package auth

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
)

var (
	someUsers     = []string{"root", "admin", "x", ""}
	somePasswords = []string{"123456", "root", "", "p\x00\xff"}
	somePatterns  = []string{"root", "glob:*o*", "regexp:^[a-z0-9]+$", "base64:AA==", "exact:glob:*", "admin"}
	someSources   = []string{"192.0.2.0/24", "198.51.100.7", "2001:db8::/32"}
	someTimes     = []string{"mon-fri", "22:00-06:00", "sat,sun 08:00-12:00"}
)

func some(r *rand.Rand, from []string) []string {
	if r.IntN(2) == 0 {
		return nil
	}
	return []string{from[r.IntN(len(from))], from[r.IntN(len(from))]}
}

func someRule(r *rand.Rand) Rule {
	rule := Rule{Action: Actions[r.IntN(len(Actions))], Users: some(r, somePatterns), Passwords: some(r, somePatterns), Sources: some(r, someSources), Times: some(r, someTimes)}
	switch rule.Action {
	case AfterTries:
		rule.MinTries, rule.MaxTries = 1+r.IntN(3), 3+r.IntN(3)
	case Chance:
		rule.Chance = 0.5
	case PerSource:
		rule.Passwords = []string{"123456", "root"}
	case Allow, Deny:
	}
	return rule
}

func someAttempt(r *rand.Rand) (Attempt, History) {
	a := Attempt{
		User: someUsers[r.IntN(len(someUsers))], Method: []string{Password, KeyboardInteractive, "none"}[r.IntN(3)], Password: somePasswords[r.IntN(len(somePasswords))],
		Source: netip.AddrFrom4([4]byte{192, 0, byte(r.IntN(4)), 7}), At: monday.Add(time.Duration(r.IntN(7*24)) * time.Hour),
	}
	h := History{Tries: r.IntN(6), Repeated: r.IntN(2) == 0, Accepted: r.IntN(3) == 0}
	h.Same = h.Accepted && r.IntN(2) == 0
	return a, h
}

// TestProperties holds for any rules, attempts and histories.
func TestProperties(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 7))
	for range 3000 {
		rules := make([]Rule, 1+r.IntN(5))
		for i := range rules {
			rules[i] = someRule(r)
		}
		p := mustRules(t, rules...)
		a, h := someAttempt(r)
		d := p.Decide(a, h)
		// Nothing else has a say: not what was asked before, nor another copy.
		b, g := someAttempt(r)
		p.Decide(b, g)
		if again, copied := p.Decide(a, h), mustRules(t, rules...).Decide(a, h); again != d || copied != d {
			t.Fatalf("%+v is answered %+v, then %+v, by a copy %+v", a, d, again, copied)
		}
		// What comes after the rule that decides makes no difference.
		if d.Rule != "" {
			decided := int(d.Rule[0] - '1')
			if short := mustRules(t, rules[:decided+1]...).Decide(a, h); short != d {
				t.Fatalf("without the rules after %s: %+v instead of %+v", d.Rule, short, d)
			}
			if without := mustRules(t, slices.Delete(slices.Clone(rules), decided, decided+1)...).Decide(a, h); without.Rule != "" && without.Rule < d.Rule {
				t.Fatalf("an earlier rule would have decided: %+v", without)
			}
		}
		// A rule that is said to have no say has none.
		for _, c := range p.Conflicts() {
			if c.Unreachable && d.Rule == string(rune('1'+c.Rule)) {
				t.Fatalf("rule %s decides %+v, and %+v", d.Rule, a, c)
			}
		}
		if d.Remember && !d.Accept {
			t.Fatalf("remembers what it refuses: %+v", d)
		}
		// Who has found a credential gets in by a rule that remembers with that alone.
		if d.Accept && h.Accepted && !h.Same && d.Remember {
			t.Fatalf("%+v has found another, and is let in: %+v", h, d)
		}
	}
}

func FuzzParsePattern(f *testing.F) {
	for _, s := range append(somePatterns, `glob:\`, "regexp:(?i)(a|b)*c{3}", "regexp:((a{0,100}){0,100}){0,100}", "base64:", ":") {
		f.Add(s, s)
	}
	f.Fuzz(func(t *testing.T, text, other string) {
		p, err := ParsePattern(text)
		if err != nil {
			return
		}
		p.Match(other)
		if form, rest, _ := strings.Cut(text, ":"); form == "glob" && !strings.ContainsAny(rest, `*?\`) && strings.ToValidUTF8(rest, "") == rest && !p.Match(rest) && len(rest) <= MaxText {
			t.Errorf("%q does not match itself", text)
		}
		if p.Plain() && !strings.Contains(text, ":") && !p.Match(text) {
			t.Errorf("%q does not match itself", text)
		}
		if len(other) > MaxText && !p.Plain() && p.Match(other) {
			t.Errorf("%q matches a text of %d bytes", text, len(other))
		}
	})
}

func FuzzParseWindow(f *testing.F) {
	for _, s := range append(someTimes, "sun-sat", "fri-mon 00:00-24:00", "mon,tue,wed", "-", ":", "24:00-01:00") {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		w, err := ParseWindow(text)
		if err != nil {
			return
		}
		in := 0
		for m := range 7 * 24 * 60 {
			if w.Contains(monday.Add(time.Duration(m) * time.Minute)) {
				in++
			}
		}
		if in == 0 {
			t.Errorf("%q is never", text)
		}
	})
}

func FuzzParsePrefix(f *testing.F) {
	for _, s := range append(someSources, "::ffff:1.2.3.4", "::ffff:1.2.3.0/120", "fe80::1%x", "1.2.3.4/0") {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if p, err := ParsePrefix(text); err == nil && (!p.IsValid() || !p.Contains(p.Addr()) || p.Addr().Is4In6()) {
			t.Errorf("%q is %v", text, p)
		}
	})
}
