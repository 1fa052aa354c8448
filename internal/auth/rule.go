package auth

import (
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strconv"

	"golang.org/x/crypto/ssh"
)

// Action is what a rule does with an attempt that meets its conditions.
type Action string

// The actions.
const (
	Allow      Action = "allow"       // let in
	Deny       Action = "deny"        // refuse
	AfterTries Action = "after-tries" // let in with one of a source's later credentials
	Chance     Action = "chance"      // let some credentials of a source in
	PerSource  Action = "per-source"  // let in with the password of the list that is the source's own
)

// Actions lists them.
var Actions = []Action{Allow, Deny, AfterTries, Chance, PerSource}

// Words in the place of a key.
const (
	AnyKey     = "any"
	PlantedKey = "planted" // one that the source has put into an authorized_keys of its target
)

// Rule is one line of a list that is gone through in order: the first whose
// conditions an attempt meets decides about it. A condition that is not set is met.
type Rule struct {
	Name      string
	Action    Action
	Users     []string // patterns, see ParsePattern
	Passwords []string // the same; PerSource takes plain texts
	Keys      []string // AnyKey, PlantedKey, fingerprints, or lines of authorized_keys
	Methods   []string // those of Attempt; by default those that the other conditions suit
	Sources   []string // addresses or prefixes
	Times     []string // see ParseWindow
	// MinTries and MaxTries are AfterTries': with which of its different credentials a
	// source is let in.
	MinTries, MaxTries int
	Chance             float64 // Chance's, for each credential
}

// Rules are a policy. The zero value lets nobody in.
type Rules struct {
	secret Secret
	rules  []rule
}

// rule is a Rule that is ready for use.
type rule struct {
	Rule
	users, passwords patterns
	anyKey, planted  bool
	keys             map[string]bool // fingerprints
	methods          map[string]bool
	sources          []netip.Prefix
	times            []Window
}

// Programs is what the patterns of rules add up to; it must not exceed MaxPrograms.
func (r *Rules) Programs() int {
	sum := 0
	for i := range r.rules {
		for _, list := range [][]Pattern{r.rules[i].users.more, r.rules[i].passwords.more} {
			for _, p := range list {
				sum += p.size
			}
		}
	}
	return sum
}

// WantsPlanted reports whether a rule asks for keys that sources have planted.
func (r *Rules) WantsPlanted() bool {
	return slices.ContainsFunc(r.rules, func(one rule) bool { return one.planted })
}

// NewRules makes a policy of rules. Whatever chance decides about comes from the
// secret and the attempt: the same attempt gets the same answer.
func NewRules(rules []Rule, secret Secret) (*Rules, error) {
	r := &Rules{secret: secret}
	for i, one := range rules {
		ready, err := prepare(one)
		if err != nil {
			return nil, fmt.Errorf("rule %d: %w", i+1, err)
		}
		if ready.Name == "" {
			ready.Name = strconv.Itoa(i + 1)
		}
		r.rules = append(r.rules, ready)
	}
	if r.Programs() > MaxPrograms {
		return nil, errors.New("the regular expressions of all rules are too large together")
	}
	return r, nil
}

func prepare(one Rule) (rule, error) {
	r := rule{Rule: one, keys: map[string]bool{}, methods: map[string]bool{}}
	var err error
	if r.users, err = parsePatterns(one.Users); err != nil {
		return r, fmt.Errorf("user %w", err)
	}
	if r.passwords, err = parsePatterns(one.Passwords); err != nil {
		return r, fmt.Errorf("password %w", err)
	}
	for _, key := range one.Keys {
		if err := r.addKey(key); err != nil {
			return r, err
		}
	}
	for _, text := range one.Sources {
		prefix, err := ParsePrefix(text)
		if err != nil {
			return r, err
		}
		r.sources = append(r.sources, prefix)
	}
	for _, text := range one.Times {
		w, err := ParseWindow(text)
		if err != nil {
			return r, fmt.Errorf("%q %w", text, err)
		}
		r.times = append(r.times, w)
	}
	for _, m := range one.methods() {
		r.methods[m] = true
	}
	return r, one.Check()
}

// methods are those that a rule decides about.
func (r *Rule) methods() []string {
	switch {
	case len(r.Methods) > 0:
		return r.Methods
	case len(r.Keys) > 0 && len(r.Passwords) > 0:
		return nil // nothing is both; Check says so
	case len(r.Keys) > 0:
		return []string{PublicKey}
	case r.Action == Deny && len(r.Passwords) == 0:
		return []string{Password, KeyboardInteractive, PublicKey}
	}
	return []string{Password, KeyboardInteractive}
}

func (r *rule) addKey(text string) error {
	switch text {
	case AnyKey:
		r.anyKey = true
		return nil
	case PlantedKey:
		r.planted = true
		return nil
	}
	fingerprint, err := Fingerprint(text)
	r.keys[fingerprint] = true
	return err
}

// maxTries bounds how many credentials of a source are told apart.
const maxTries = 64

// Check reports what a rule says that cannot be, each part for itself being sound.
func (r *Rule) Check() error {
	keys := slices.Contains(r.methods(), PublicKey)
	switch {
	case !slices.Contains(Actions, r.Action):
		return fmt.Errorf("%q is not an action", r.Action)
	case len(r.Keys) > 0 && len(r.Passwords) > 0:
		return errors.New("has both keys and passwords, which nothing is at once: write two rules")
	case len(r.Keys) > 0 && !keys:
		return errors.New("has keys, but not the method publickey")
	case len(r.Passwords) > 0 && keys && len(r.methods()) == 1:
		return errors.New("has passwords, but only the method publickey")
	case r.Action != AfterTries && (r.MinTries != 0 || r.MaxTries != 0):
		return errors.New("has min_tries or max_tries, which only the action after-tries takes")
	case r.Action == AfterTries && (r.MinTries < 1 || r.MaxTries < r.MinTries || r.MaxTries > maxTries):
		return fmt.Errorf("the action after-tries needs min_tries and max_tries: 1 to %d, the first not above the other", maxTries)
	case r.Action != Chance && r.Chance != 0:
		return errors.New("has chance, which only the action chance takes")
	case r.Action == Chance && !(r.Chance > 0 && r.Chance <= 1):
		return errors.New("the action chance needs a chance above 0 and at most 1")
	case r.Action == PerSource && keys:
		return errors.New("the action per-source chooses passwords: it takes no keys")
	case r.Action == PerSource && len(r.Passwords) < 2:
		return errors.New("the action per-source needs at least 2 passwords to choose from")
	}
	return nil
}

// ParsePrefix reads an address or a prefix such as 192.0.2.0/24.
func ParsePrefix(text string) (netip.Prefix, error) {
	if addr, err := netip.ParseAddr(text); err == nil && addr.Zone() == "" {
		addr = addr.Unmap()
		return netip.PrefixFrom(addr, addr.BitLen()), nil
	}
	prefix, err := netip.ParsePrefix(text)
	switch {
	case err != nil || prefix.Addr().Is4In6():
		return netip.Prefix{}, fmt.Errorf("%q is neither an address nor a prefix (such as 192.0.2.0/24 or 2001:db8::/32)", text)
	case prefix != prefix.Masked():
		return netip.Prefix{}, fmt.Errorf("%q has bits set beyond its length: want %s", text, prefix.Masked())
	}
	return prefix, nil
}

var fingerprint = regexp.MustCompile(`^SHA256:[A-Za-z0-9+/]{43}$`)

// Fingerprint is that of a key: text is the fingerprint itself, "SHA256:" and 43
// characters, or a line of authorized_keys.
func Fingerprint(text string) (string, error) {
	if fingerprint.MatchString(text) {
		return text, nil
	}
	key, _, _, rest, err := ssh.ParseAuthorizedKey([]byte(text))
	if err != nil || len(rest) > 0 {
		return "", errors.New("is neither a fingerprint (SHA256:…) nor one line of an authorized_keys file")
	}
	return ssh.FingerprintSHA256(key), nil
}
