package auth

import (
	"crypto/ed25519"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"
)

func key(t *testing.T, seed byte) ssh.PublicKey {
	t.Helper()
	private := ed25519.NewKeyFromSeed([]byte(strings.Repeat(string(seed), ed25519.SeedSize)))
	k, err := ssh.NewPublicKey(private.Public())
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestPolicies(t *testing.T) {
	listed, other := key(t, 'a'), key(t, 'b')
	static, err := NewStatic([]Credential{
		{User: "root", Password: "123456"},
		{User: "admin", Password: ""},
		{User: "git", PublicKey: string(ssh.MarshalAuthorizedKey(listed))},
	})
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name   string
		policy Policy
		try    Attempt
		want   bool
	}{
		{"accept-all password", AcceptAll{}, Attempt{User: "x", Method: "password", Password: "y"}, true},
		{"accept-all empty password", AcceptAll{}, Attempt{User: "x", Method: "password"}, true},
		{"accept-all keyboard-interactive", AcceptAll{}, Attempt{User: "x", Method: "keyboard-interactive", Password: "y"}, true},
		{"accept-all none", AcceptAll{}, Attempt{User: "x", Method: "none"}, false},
		{"accept-all key", AcceptAll{}, Attempt{User: "x", Method: "publickey", Key: other}, false},
		{"accept-all with keys", AcceptAll{Keys: true}, Attempt{User: "x", Method: "publickey", Key: other}, true},
		{"static match", static, Attempt{User: "root", Method: "password", Password: "123456"}, true},
		{"static match by keyboard-interactive", static, Attempt{User: "root", Method: "keyboard-interactive", Password: "123456"}, true},
		{"static listed empty password", static, Attempt{User: "admin", Method: "password"}, true},
		{"static wrong password", static, Attempt{User: "root", Method: "password", Password: "1234567"}, false},
		{"static wrong user", static, Attempt{User: "toor", Method: "password", Password: "123456"}, false},
		{"static none", static, Attempt{User: "root", Method: "none"}, false},
		{"static key", static, Attempt{User: "git", Method: "publickey", Key: listed}, true},
		{"static key of another user", static, Attempt{User: "root", Method: "publickey", Key: listed}, false},
		{"static unknown key", static, Attempt{User: "git", Method: "publickey", Key: other}, false},
		{"static user of a key by empty password", static, Attempt{User: "git", Method: "password"}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := tt.policy.Decide(tt.try, History{})
			if got.Accept != tt.want || got.Reason == "" {
				t.Errorf("Decide = %+v, want accept %v with a reason", got, tt.want)
			}
		})
	}
}

func TestNewStaticRefuses(t *testing.T) {
	for name, credentials := range map[string][]Credential{
		"nothing":       nil,
		"malformed key": {{User: "git", PublicKey: "ssh-ed25519 nonsense"}},
	} {
		if _, err := NewStatic(credentials); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
