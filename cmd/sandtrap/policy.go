package main

import (
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"

	"golang.org/x/crypto/ssh"

	"github.com/sandtrap/sandtrap/internal/auth"
	"github.com/sandtrap/sandtrap/internal/config"
	"github.com/sandtrap/sandtrap/internal/history"
)

// openPolicy opens what is remembered of sources and sets the first policy.
func (s *service) openPolicy() (err error) {
	if s.history, err = history.Open(filepath.Join(s.cfg.StateDir, "auth")); err != nil {
		return stateHint(err)
	}
	if err := s.setPolicy(s.cfg.Auth); err != nil {
		return errors.Join(err, s.history.Close())
	}
	return nil
}

// setPolicy makes what connections to come are judged by. If that fails the policy
// before stays.
func (s *service) setPolicy(c config.Auth) error {
	policy, err := newPolicy(c, s.history.Secret())
	if err != nil {
		return fmt.Errorf("set the policy of logins: %w", err)
	}
	marks := make([]auth.Mark, len(c.Honeytokens))
	for i, one := range c.Honeytokens {
		marks[i] = auth.Mark(one)
	}
	tokens, err := auth.NewHoneytokens(marks)
	if err != nil {
		return fmt.Errorf("set the honeytokens: %w", err)
	}
	s.policy.Store(s.history.Judge(policy, tokens))
	s.baits.Store(c.Bait == config.BaitPlant)
	rules, ok := policy.(*auth.Rules)
	s.plants.Store(ok && rules.WantsPlanted())
	return nil
}

// planted remembers the keys that a source has put into its target, where a rule asks
// for them.
func (s *service) planted(from netip.Addr, keys func() []ssh.PublicKey) {
	if !s.plants.Load() {
		return
	}
	for _, key := range keys() {
		s.history.Plant(from, key)
	}
}

// newBait is a session's bait, where any are wanted.
func (s *service) newBait(session string) (history.Bait, error) {
	if !s.baits.Load() {
		return history.Bait{}, nil
	}
	return s.history.NewBait(session)
}

func newPolicy(c config.Auth, secret auth.Secret) (auth.Policy, error) {
	switch c.Mode {
	case config.AuthStatic:
		credentials := make([]auth.Credential, len(c.Credentials))
		for i, one := range c.Credentials {
			credentials[i] = auth.Credential(one)
		}
		return auth.NewStatic(credentials)
	case config.AuthRules:
		rules := make([]auth.Rule, len(c.Rules))
		for i, one := range c.Rules {
			rules[i] = one.Rule()
		}
		return auth.NewRules(rules, secret)
	case config.AuthDenyAll:
		return auth.DenyAll{}, nil
	}
	return auth.AcceptAll{Keys: c.AcceptPublicKeys}, nil
}
