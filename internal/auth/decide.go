package auth

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math"
	"net/netip"

	"golang.org/x/crypto/ssh"
)

// Secret keeps attackers from knowing what chance will say.
type Secret [32]byte

// sourceBits is the length of the prefix of IPv6 that is one source: a host has that
// many addresses of its own.
const sourceBits = 64

// Source is by what attempts of one host are known: its address, or the /64 of that.
func Source(a netip.Addr) netip.Addr {
	a = a.Unmap().WithZone("")
	if !a.Is6() {
		return a
	}
	prefix, err := a.Prefix(sourceBits)
	if err != nil {
		return a
	}
	return prefix.Addr()
}

// Decide goes through the rules.
func (r *Rules) Decide(a Attempt, h History) Decision {
	switch {
	case !a.typed() && a.Method != PublicKey, a.Method == PublicKey && a.Key == nil:
		return Decision{Reason: wrongMethod}
	case a.typed() && len(a.Password) > MaxPassword:
		return Decision{Reason: tooLong}
	}
	for i := range r.rules {
		if one := &r.rules[i]; one.meets(a, h) {
			d := one.decide(a, h, &r.secret)
			d.Rule = one.Name
			return d
		}
	}
	return Decision{Reason: "no rule matches"}
}

// meets reports whether all conditions are met. PerSource has its passwords to choose
// from, not to be met.
func (r *rule) meets(a Attempt, h History) bool {
	if !r.methods[a.Method] || !r.users.match(a.User) || !r.from(a.Source) || !r.during(a) {
		return false
	}
	if a.Method == PublicKey {
		return len(r.Passwords) == 0 && r.hasKey(a.Key, h)
	}
	return len(r.Keys) == 0 && (r.Action == PerSource || r.passwords.match(a.Password))
}

func (r *rule) hasKey(key ssh.PublicKey, h History) bool {
	if len(r.Keys) == 0 || r.anyKey || r.planted && h.Planted {
		return true
	}
	return len(r.keys) > 0 && r.keys[ssh.FingerprintSHA256(key)]
}

func (r *rule) from(source netip.Addr) bool {
	source = source.Unmap().WithZone("")
	for _, prefix := range r.sources {
		if prefix.Contains(source) {
			return true
		}
	}
	return len(r.sources) == 0
}

func (r *rule) during(a Attempt) bool {
	for _, w := range r.times {
		if w.Contains(a.At) {
			return true
		}
	}
	return len(r.times) == 0
}

// decide is what the rule does about an attempt that meets its conditions.
func (r *rule) decide(a Attempt, h History, secret *Secret) Decision {
	switch r.Action {
	case Allow:
		return Decision{Accept: true, Reason: "allowed"}
	case PerSource:
		return r.perSource(a, secret)
	case AfterTries, Chance:
		switch {
		case h.Accepted && h.Same:
			return Decision{Accept: true, Reason: "the credential that the source has found"}
		case h.Accepted:
			return Decision{Reason: "the source has found another credential"}
		case r.Action == AfterTries:
			return r.afterTries(a, h, secret)
		}
		return r.chance(a, secret)
	}
	return Decision{Reason: "denied"}
}

// afterTries lets a source in with one of its different credentials, counted from its
// first. One that was refused stays so.
func (r *rule) afterTries(a Attempt, h History, secret *Secret) Decision {
	need := r.MinTries + int(secret.draw("tries", a, false)%uint64(r.MaxTries-r.MinTries+1))
	switch now := h.Tries + 1; {
	case h.Repeated:
		return Decision{Reason: "tried before"}
	case now < need:
		return Decision{Reason: fmt.Sprintf("try %d of %d", now, need)}
	default:
		return Decision{Accept: true, Remember: true, Reason: fmt.Sprintf("enough tries: %d", need)}
	}
}

func (r *rule) chance(a Attempt, secret *Secret) Decision {
	if float64(secret.draw("chance", a, true))/math.MaxUint64 < r.Chance || r.Chance == 1 {
		return Decision{Accept: true, Remember: true, Reason: "let in by chance"}
	}
	return Decision{Reason: "refused by chance"}
}

// perSource gives each source one password of the list. Where there are more sources
// than passwords some share one.
func (r *rule) perSource(a Attempt, secret *Secret) Decision {
	own := r.Passwords[secret.draw("password", a, false)%uint64(len(r.Passwords))]
	if p, err := ParsePattern(own); err == nil && p.re == nil && p.exact == a.Password {
		return Decision{Accept: true, Reason: "the source's own password"}
	}
	return Decision{Reason: "not the source's own password"}
}

// draw is a number that only the secret, the source and, if wanted, the credential
// decide about.
func (s *Secret) draw(purpose string, a Attempt, credential bool) uint64 {
	source := Source(a.Source).As16()
	mac := hmac.New(sha256.New, s[:])
	mac.Write([]byte(purpose))
	mac.Write([]byte{0})
	mac.Write(source[:])
	if credential {
		mac.Write(a.credential())
	}
	return binary.BigEndian.Uint64(mac.Sum(nil))
}

// credential is what is tried as bytes that nothing else has.
func (a *Attempt) credential() []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(len(a.User)))
	b = append(b, a.User...)
	if a.Key != nil {
		return append(append(b, 'k'), a.Key.Marshal()...)
	}
	return append(append(b, 'p'), a.Password...)
}

// Digest stands for the credential of an attempt. Without the secret it says nothing.
func (s *Secret) Digest(a Attempt) [32]byte { return s.sum("credential", a.credential()) }

// KeyDigest stands for a key, whoever's it is.
func (s *Secret) KeyDigest(key ssh.PublicKey) [32]byte { return s.sum("key", key.Marshal()) }

// PasswordDigest stands for a password, whoever's it is.
func (s *Secret) PasswordDigest(password string) [32]byte { return s.sum("password", []byte(password)) }

func (s *Secret) sum(purpose string, b []byte) (sum [32]byte) {
	mac := hmac.New(sha256.New, s[:])
	mac.Write([]byte(purpose))
	mac.Write([]byte{0})
	mac.Write(b)
	mac.Sum(sum[:0])
	return sum
}
