package config

import (
	"fmt"
	"slices"

	"golang.org/x/crypto/ssh"

	"github.com/sandtrap/sandtrap/internal/auth"
)

// Auth says who gets in.
type Auth struct {
	Mode             AuthMode     `koanf:"mode"`
	AcceptPublicKeys bool         `koanf:"accept_public_keys"` // AuthAcceptAll: any verified key gets in
	Credentials      []Credential `koanf:"credentials"`        // AuthStatic: the pairs that get in
	Rules            []Rule       `koanf:"rules"`              // AuthRules: the first that matches decides
	Honeytokens      []Honeytoken `koanf:"honeytokens"`        // credentials that raise an alarm
	Bait             Bait         `koanf:"bait"`               // what is planted in targets
}

// AuthMode is the value of auth.mode.
type AuthMode string

// The ways to decide about a login.
const (
	AuthAcceptAll AuthMode = "accept-all"
	AuthStatic    AuthMode = "static"
	AuthRules     AuthMode = "rules"
	AuthDenyAll   AuthMode = "deny-all"
)

// Credential is bait: a login name with either a password or a public key.
// Exactly one of the two is set.
type Credential struct {
	User      string `koanf:"user"`
	Password  string `koanf:"password"`
	PublicKey string `koanf:"public_key"` // one line as in authorized_keys, sshd(8)
}

// Rule is an auth.Rule.
type Rule struct {
	Name      string     `koanf:"name"`
	Action    RuleAction `koanf:"action"`
	Users     []string   `koanf:"users"`
	Passwords []string   `koanf:"passwords"`
	Keys      []string   `koanf:"keys"`
	Methods   []string   `koanf:"methods"`
	Sources   []string   `koanf:"sources"`
	Times     []string   `koanf:"times"`
	MinTries  int        `koanf:"min_tries"`
	MaxTries  int        `koanf:"max_tries"`
	Chance    float64    `koanf:"chance"`
}

// RuleAction is the action of a rule, one of package auth's.
type RuleAction string

// Honeytoken is an auth.Mark.
type Honeytoken struct {
	Name      string `koanf:"name"`
	User      string `koanf:"user"`
	Password  string `koanf:"password"`
	PublicKey string `koanf:"public_key"`
}

// Bait is the value of auth.bait.
type Bait string

// Whether a password of its own is planted in each session's target.
const (
	BaitOff   Bait = "off"
	BaitPlant Bait = "plant"
)

func actionNames() []string {
	var names []string
	for _, a := range auth.Actions {
		names = append(names, string(a))
	}
	return names
}

// Bounds of the lists of Auth, in elements.
const (
	maxCredentials = 4096
	maxRules       = 1000
	maxPatterns    = 20_000 // of all rules together
	maxHoneytokens = 1000
)

// Rule returns r as package auth has it.
func (r Rule) Rule() auth.Rule {
	return auth.Rule{
		Name: r.Name, Action: auth.Action(r.Action), Users: r.Users, Passwords: r.Passwords, Keys: r.Keys, Methods: r.Methods,
		Sources: r.Sources, Times: r.Times, MinTries: r.MinTries, MaxTries: r.MaxTries, Chance: r.Chance,
	}
}

// authTogether checks what keys of Auth say together.
func (c *checker) authTogether(a Auth) {
	switch {
	case a.Mode == AuthStatic && len(a.Credentials) == 0:
		c.blame("auth.mode", "static needs at least one entry in auth.credentials")
	case a.Mode == AuthRules && len(a.Rules) == 0:
		c.blame("auth.mode", "rules needs at least one entry in auth.rules (to let nobody in, set deny-all)")
	}
	if a.Mode != AuthRules && len(a.Rules) > 0 {
		c.blame("auth.rules", "is set, but auth.mode is %s: set it to rules", a.Mode)
	}
	if a.Mode == AuthRules && len(a.Credentials) > 0 {
		c.blame("auth.credentials", "is set, but auth.mode is rules: write a rule with the action allow")
	}
	if a.Mode == AuthRules && a.AcceptPublicKeys {
		c.blame("auth.accept_public_keys", "is set, but auth.mode is rules: write a rule with keys: [any]")
	}
}

func (c *checker) credentials(auth Auth) {
	if n := len(auth.Credentials); n > maxCredentials {
		c.blame("auth.credentials", "has %d elements, at most %d are taken", n, maxCredentials)
		return
	}
	for i, credential := range auth.Credentials {
		at := fmt.Sprintf("auth.credentials[%d]", i)
		c.text(at+".user", credential.User)
		c.text(at+".password", credential.Password)
		if credential.User == "" {
			c.blame(at, "has no user")
		}
		switch password, key := credential.Password != "", credential.PublicKey != ""; {
		case password && key:
			c.blame(at, "has both password and public_key, write two entries")
		case !password && !key:
			c.blame(at, "has neither password nor public_key")
		case key:
			_, _, _, rest, err := ssh.ParseAuthorizedKey([]byte(credential.PublicKey))
			if err != nil || len(rest) > 0 {
				c.blame(at+".public_key", "is not one line of an authorized_keys file (such as ssh-ed25519 AAAA… comment)")
			}
		}
	}
}

// text wants something a client could send as a login name or password.
func (c *checker) text(path, value string) {
	if len(value) > auth.MaxText {
		c.blame(path, "is longer than %d bytes", auth.MaxText)
	}
}

// tokenName is how rules and honeytokens may be called.
var tokenName = newSyntax(`^[A-Za-z0-9][A-Za-z0-9._-]*$`, 64)

func (c *checker) name(path, name string) {
	if !tokenName.matches(name) {
		c.blame(path, "%q is not a name (1 to 64 letters, digits, and . _ - inside)", clip(name))
	}
}

// rules checks auth.rules, each for itself and then together.
func (c *checker) rules(rules []Rule) {
	patterns := 0
	for _, r := range rules {
		patterns += len(r.Users) + len(r.Passwords) + len(r.Keys) + len(r.Sources)
	}
	switch {
	case len(rules) > maxRules:
		c.blame("auth.rules", "has %d elements, at most %d are taken", len(rules), maxRules)
		return
	case patterns > maxPatterns:
		c.blame("auth.rules", "hold %d users, passwords, keys and sources, at most %d are taken", patterns, maxPatterns)
		return
	}
	before := len(c.known)
	names := map[string]int{}
	for i, r := range rules {
		at := fmt.Sprintf("auth.rules[%d]", i)
		c.rule(at, r)
		if first, twice := names[r.Name]; twice && r.Name != "" {
			c.blame(at+".name", "%q is the name of auth.rules[%d] too", r.Name, first)
		}
		names[r.Name] = i
	}
	if len(c.known) == before {
		c.rulesTogether(rules)
	}
}

func (c *checker) rule(at string, r Rule) {
	if r.Name != "" {
		c.name(at+".name", r.Name)
	}
	if r.Action == "" {
		c.blame(at, "has no action")
		return
	}
	before := len(c.known)
	c.each(at+".users", r.Users, pattern)
	c.each(at+".passwords", r.Passwords, pattern)
	if r.Action == RuleAction(auth.PerSource) {
		c.each(at+".passwords", r.Passwords, plainPattern)
	}
	c.each(at+".keys", r.Keys, func(key string) error {
		if key == auth.AnyKey || key == auth.PlantedKey {
			return nil
		}
		_, err := auth.Fingerprint(key)
		return err
	})
	c.each(at+".methods", r.Methods, func(method string) error {
		if !slices.Contains([]string{auth.Password, auth.KeyboardInteractive, auth.PublicKey}, method) {
			return fmt.Errorf("%q is not one of %s, %s, %s", clip(method), auth.Password, auth.KeyboardInteractive, auth.PublicKey)
		}
		return nil
	})
	c.each(at+".sources", r.Sources, func(source string) error {
		_, err := auth.ParsePrefix(clip(source))
		return err
	})
	c.each(at+".times", r.Times, func(text string) error {
		if _, err := auth.ParseWindow(clip(text)); err != nil {
			return fmt.Errorf("%q %w", clip(text), err)
		}
		return nil
	})
	if len(c.known) > before {
		return
	}
	rule := r.Rule()
	if err := rule.Check(); err != nil {
		c.blame(at, "%s", err)
	}
}

// each checks the elements of a list in a rule.
func (c *checker) each(path string, list []string, fault func(string) error) {
	for i, element := range list {
		if err := fault(element); err != nil {
			c.blame(fmt.Sprintf("%s[%d]", path, i), "%s", err)
		}
	}
}

func pattern(text string) error {
	if _, err := auth.ParsePattern(text); err != nil {
		return fmt.Errorf("%q %w", clip(text), err)
	}
	return nil
}

func plainPattern(text string) error {
	if p, err := auth.ParsePattern(text); err == nil && !p.Plain() {
		return fmt.Errorf("%q is a pattern, the action per-source takes plain passwords", clip(text))
	}
	return nil
}

// rulesTogether blames rules for what they say beside others.
func (c *checker) rulesTogether(rules []Rule) {
	all := make([]auth.Rule, len(rules))
	for i, r := range rules {
		all[i] = r.Rule()
	}
	made, err := auth.NewRules(all, auth.Secret{})
	if err != nil {
		c.blame("auth.rules", "%s", err)
		return
	}
	for _, conflict := range made.Conflicts() {
		earlier := fmt.Sprintf("auth.rules[%d]", conflict.Earlier)
		where := ""
		if o, ok := c.origins[earlier]; ok && o.Line > 0 {
			where = fmt.Sprintf(" on line %d", o.Line)
		}
		c.blame(fmt.Sprintf("auth.rules[%d]", conflict.Rule), "%s (%s%s)", conflict.Message, earlier, where)
	}
}

func (c *checker) honeytokens(tokens []Honeytoken) {
	if n := len(tokens); n > maxHoneytokens {
		c.blame("auth.honeytokens", "has %d elements, at most %d are taken", n, maxHoneytokens)
		return
	}
	names, marks := map[string]int{}, map[Honeytoken]int{}
	for i, t := range tokens {
		at := fmt.Sprintf("auth.honeytokens[%d]", i)
		c.name(at+".name", t.Name)
		if first, twice := names[t.Name]; twice {
			c.blame(at+".name", "%q is the name of auth.honeytokens[%d] too", t.Name, first)
		}
		mark := t
		mark.Name = ""
		if first, twice := marks[mark]; twice {
			c.blame(at, "marks the same as auth.honeytokens[%d]", first)
		}
		names[t.Name], marks[mark] = i, i
		switch password, key := t.Password != "", t.PublicKey != ""; {
		case password == key:
			c.blame(at, "needs either password or public_key")
		case key:
			if _, err := auth.Fingerprint(t.PublicKey); err != nil {
				c.blame(at+".public_key", "%s", err)
			}
		}
		for path, text := range map[string]string{at + ".user": t.User, at + ".password": t.Password} {
			if err := pattern(text); err != nil {
				c.blame(path, "%s", err)
			}
		}
	}
}
