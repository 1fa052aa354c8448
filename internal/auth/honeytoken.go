package auth

import (
	"fmt"

	"golang.org/x/crypto/ssh"
)

// Honeytoken is a credential that nobody has use for but who has stolen it.
type Honeytoken struct {
	Name string
	// Session is the session in whose target a bait was planted; empty for others.
	Session string
}

// Mark says by what a honeytoken is known: a password, of one user or of any, or a
// key.
type Mark struct {
	Name      string
	User      string // pattern, see ParsePattern; empty for any
	Password  string // the same
	PublicKey string // fingerprint or line of authorized_keys, in the place of Password
}

// Honeytokens finds marked credentials.
type Honeytokens struct{ marks []mark }

type mark struct {
	token    Honeytoken
	users    patterns
	password Pattern
	key      string // fingerprint
}

// NewHoneytokens reads marks.
func NewHoneytokens(marks []Mark) (*Honeytokens, error) {
	h := &Honeytokens{}
	for _, m := range marks {
		one := mark{token: Honeytoken{Name: m.Name}}
		var users []string
		if m.User != "" {
			users = []string{m.User}
		}
		var err error
		if one.users, err = parsePatterns(users); err != nil {
			return nil, fmt.Errorf("honeytoken %s: user %w", m.Name, err)
		}
		if m.PublicKey != "" {
			one.key, err = Fingerprint(m.PublicKey)
		} else {
			one.password, err = ParsePattern(m.Password)
		}
		if err != nil {
			return nil, fmt.Errorf("honeytoken %s: %w", m.Name, err)
		}
		h.marks = append(h.marks, one)
	}
	return h, nil
}

// Find returns the first honeytoken that an attempt shows, or nil.
func (h *Honeytokens) Find(a Attempt) *Honeytoken {
	if h == nil {
		return nil
	}
	fingerprint := ""
	if a.Key != nil {
		fingerprint = ssh.FingerprintSHA256(a.Key)
	}
	for i := range h.marks {
		m := &h.marks[i]
		if !m.users.match(a.User) {
			continue
		}
		if a.typed() && m.key == "" && m.password.Match(a.Password) || m.key != "" && m.key == fingerprint {
			token := m.token
			return &token
		}
	}
	return nil
}
