// Package auth decides who gets in. A Policy is a pure function of one attempt and
// of what is known of its source: it reads nothing but its arguments and never
// blocks. Who remembers is package history.
package auth

import (
	"bytes"
	"crypto/subtle"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/crypto/ssh"
)

// Methods of RFC 4252 and RFC 4256.
const (
	Password            = "password"
	KeyboardInteractive = "keyboard-interactive"
	PublicKey           = "publickey"
)

// Attempt is one credential a client tried; see RFC 4252.
type Attempt struct {
	User   string
	Method string // none, password, keyboard-interactive, publickey
	// Password is what was typed for password and keyboard-interactive.
	Password string
	// Key is the public key of a publickey attempt.
	Key ssh.PublicKey
	// Verified says that the client has proved to hold the private key.
	Verified bool
	Source   netip.Addr
	At       time.Time // in the zone that the rules' times are meant in
	// Void says that the attempt is refused for another reason and counts for nothing:
	// all that is asked is whether the credential is marked.
	Void bool
}

// typed reports whether the attempt is a password, by whichever method.
func (a *Attempt) typed() bool { return a.Method == Password || a.Method == KeyboardInteractive }

// History is what is known of an attempt's source.
type History struct {
	Tries    int  // different credentials that it was refused before
	Repeated bool // this one is among them
	Accepted bool // a rule has let it in that has the source remembered
	Same     bool // with this credential
	Planted  bool // it has put the key into an authorized_keys of its target
}

// Decision is the answer to an attempt, with its reason for the event.
type Decision struct {
	Accept bool
	Reason string // one of our words
	Rule   string // that has decided; empty where none has
	// Remember says that the credential is the one which the source has found: from
	// now on it gets in with that and with no other.
	Remember bool
	// Honeytoken is set when the credential is marked, whatever the answer.
	Honeytoken *Honeytoken
}

// Policy answers attempts. It is safe for concurrent use.
type Policy interface {
	Decide(Attempt, History) Decision
}

// Reasons of the policies without rules.
const (
	acceptAll   = "accept-all"
	denyAll     = "deny-all"
	noKeys      = "public keys are not accepted"
	wrongMethod = "method is not accepted"
	tooLong     = "longer than a password may be"
)

// MaxPassword is the longest password, in bytes, that sshd looks at: OpenSSH's
// auth-passwd.c refuses what is longer.
const MaxPassword = 1024

// AcceptAll lets every password in, and every key when Keys is set.
type AcceptAll struct{ Keys bool }

// Decide accepts, except for the method none and for unwanted keys: a client
// that is refused its key goes on to show a password.
func (p AcceptAll) Decide(a Attempt, _ History) Decision {
	switch {
	case a.typed() && len(a.Password) > MaxPassword:
		return Decision{Reason: tooLong}
	case a.typed() || a.Method == PublicKey && p.Keys:
		return Decision{Accept: true, Reason: acceptAll}
	case a.Method == PublicKey:
		return Decision{Reason: noKeys}
	default:
		return Decision{Reason: wrongMethod}
	}
}

// DenyAll lets nobody in: it collects credentials.
type DenyAll struct{}

// Decide refuses.
func (DenyAll) Decide(Attempt, History) Decision { return Decision{Reason: denyAll} }

// Credential is one pair that Static lets in: a user with either a password or
// a public key in authorized_keys form, see sshd(8).
type Credential struct {
	User      string
	Password  string
	PublicKey string
}

// Static lets in exactly the credentials it was made with.
type Static struct {
	passwords []Credential
	keys      []userKey
}

type userKey struct {
	user string
	blob []byte // RFC 4253, section 6.6
}

// NewStatic parses the keys among credentials.
func NewStatic(credentials []Credential) (*Static, error) {
	s := &Static{}
	for i, c := range credentials {
		if c.PublicKey == "" {
			s.passwords = append(s.passwords, c)
			continue
		}
		key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(c.PublicKey))
		if err != nil {
			return nil, fmt.Errorf("parse public key of credential %d: %w", i+1, err)
		}
		s.keys = append(s.keys, userKey{c.User, key.Marshal()})
	}
	if len(credentials) == 0 {
		return nil, errors.New("static authentication needs at least one credential")
	}
	return s, nil
}

// Decide accepts an attempt that equals one of the credentials.
func (s *Static) Decide(a Attempt, _ History) Decision {
	switch {
	case a.typed():
		for _, c := range s.passwords {
			if c.User == a.User && subtle.ConstantTimeCompare([]byte(c.Password), []byte(a.Password)) == 1 {
				return Decision{Accept: true, Reason: "listed credential"}
			}
		}
	case a.Method == PublicKey:
		blob := a.Key.Marshal()
		for _, k := range s.keys {
			if k.user == a.User && bytes.Equal(k.blob, blob) {
				return Decision{Accept: true, Reason: "listed key"}
			}
		}
	}
	return Decision{Reason: "no listed credential matches"}
}
