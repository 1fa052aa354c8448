package auth

import (
	"fmt"
	"net/netip"
	"slices"
)

// Conflict is a rule that contradicts an earlier one.
type Conflict struct {
	Rule, Earlier int  // their places, from 0
	Unreachable   bool // it never decides
	Message       string
}

// Conflicts reports rules that an earlier one leaves nothing to decide about, and
// credentials that one rule allows and another denies.
func (r *Rules) Conflicts() []Conflict {
	var all []Conflict
	for j := range r.rules {
		for i := range j {
			earlier, later := &r.rules[i], &r.rules[j]
			c := Conflict{Rule: j, Earlier: i, Unreachable: earlier.covers(later, later.methods)}
			switch {
			case c.Unreachable:
				c.Message = "never decides: it comes after one that takes all it would"
			case later.allMethods() && earlier.covers(later, passwordMethods):
				c.Message = "never decides about passwords: it comes after one that takes all it would; if it is about keys, give it methods: [publickey]"
			default:
				c.Message = earlier.opposes(later)
			}
			if c.Message != "" {
				all = append(all, c)
				break
			}
		}
	}
	return all
}

// opposes says which credential a later rule answers otherwise, if both spell it out.
func (r *rule) opposes(later *rule) string {
	opposite := r.Action == Allow && later.Action == Deny || r.Action == Deny && later.Action == Allow
	if !opposite || len(r.Sources)+len(later.Sources)+len(r.Times)+len(later.Times) > 0 {
		return ""
	}
	user, ok := r.users.common(&later.users)
	password, okToo := r.passwords.common(&later.passwords)
	if !ok || !okToo {
		return ""
	}
	return fmt.Sprintf("says %s of user %q with password %q, of which an earlier one says %s", later.Action, user, password, r.Action)
}

var passwordMethods = map[string]bool{Password: true, KeyboardInteractive: true}

// allMethods reports whether the rule is about all methods because it does not say
// about which.
func (r *rule) allMethods() bool { return len(r.Methods) == 0 && len(r.methods) == 3 }

// covers reports whether every attempt with one of the methods that meets later's
// conditions surely meets r's.
func (r *rule) covers(later *rule, methods map[string]bool) bool {
	for m := range methods {
		if !r.methods[m] {
			return false
		}
	}
	if !r.users.covers(&later.users) || !r.coversSources(later) || !r.coversTimes(later) {
		return false
	}
	passwords, keys := methods[Password] || methods[KeyboardInteractive], methods[PublicKey]
	if passwords && len(later.Keys) == 0 && (len(r.Keys) > 0 || !r.coversPasswords(later)) {
		return false
	}
	return !keys || len(later.Passwords) > 0 || len(r.Passwords) == 0 && r.coversKeys(later)
}

func (r *rule) coversPasswords(later *rule) bool {
	if r.Action == PerSource { // which takes every password
		return true
	}
	return r.passwords.any || later.Action != PerSource && r.passwords.covers(&later.passwords)
}

func (r *rule) coversKeys(later *rule) bool {
	if len(r.Keys) == 0 || r.anyKey {
		return true
	}
	if len(later.Keys) == 0 || later.anyKey || later.planted && !r.planted {
		return false
	}
	for fingerprint := range later.keys {
		if !r.keys[fingerprint] {
			return false
		}
	}
	return true
}

func (r *rule) coversSources(later *rule) bool {
	if len(r.sources) == 0 || len(later.sources) == 0 {
		return len(r.sources) == 0
	}
	for _, inner := range later.sources {
		within := func(outer netip.Prefix) bool {
			return outer.Bits() <= inner.Bits() && outer.Contains(inner.Addr())
		}
		if !slices.ContainsFunc(r.sources, within) {
			return false
		}
	}
	return true
}

func (r *rule) coversTimes(later *rule) bool {
	if len(r.times) == 0 || len(later.times) == 0 {
		return len(r.times) == 0
	}
	for _, w := range later.times {
		if !slices.Contains(r.times, w) {
			return false
		}
	}
	return true
}
