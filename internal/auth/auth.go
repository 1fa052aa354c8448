// Package auth decides who gets in. A Policy is a pure function of one attempt:
// it reads nothing but its arguments and never blocks.
package auth

import (
	"bytes"
	"crypto/subtle"
	"errors"
	"fmt"

	"golang.org/x/crypto/ssh"
)

// Attempt is one credential a client tried; see RFC 4252.
type Attempt struct {
	User   string
	Method string // none, password, keyboard-interactive, publickey
	// Password is what was typed for password and keyboard-interactive.
	Password string
	// Key is the public key of a publickey attempt.
	Key ssh.PublicKey
}

// Decision is the answer to an attempt, with its reason for the event.
type Decision struct {
	Accept bool
	Reason string
}

// Policy answers attempts. It is safe for concurrent use.
type Policy interface {
	Decide(Attempt) Decision
}

// AcceptAll lets every password in, and every key when Keys is set.
type AcceptAll struct{ Keys bool }

// Decide accepts, except for the method none and for unwanted keys: a client
// that is refused its key goes on to show a password.
func (p AcceptAll) Decide(a Attempt) Decision {
	switch a.Method {
	case "password", "keyboard-interactive":
		return Decision{Accept: true, Reason: "accept-all"}
	case "publickey":
		if p.Keys {
			return Decision{Accept: true, Reason: "accept-all"}
		}
		return Decision{Reason: "public keys are not accepted"}
	default:
		return Decision{Reason: "method is not accepted"}
	}
}

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
func (s *Static) Decide(a Attempt) Decision {
	switch a.Method {
	case "password", "keyboard-interactive":
		for _, c := range s.passwords {
			if c.User == a.User && subtle.ConstantTimeCompare([]byte(c.Password), []byte(a.Password)) == 1 {
				return Decision{Accept: true, Reason: "listed credential"}
			}
		}
	case "publickey":
		blob := a.Key.Marshal()
		for _, k := range s.keys {
			if k.user == a.User && bytes.Equal(k.blob, blob) {
				return Decision{Accept: true, Reason: "listed key"}
			}
		}
	}
	return Decision{Reason: "no listed credential matches"}
}
