package sshd

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/crypto/ssh"

	"github.com/sandtrap/sandtrap/internal/hint"
)

func prints(keys []ssh.Signer) []string {
	var all []string
	for _, k := range keys {
		all = append(all, k.PublicKey().Type()+" "+ssh.FingerprintSHA256(k.PublicKey()))
	}
	return all
}

// keyDir makes keys of types in a new directory.
func keyDir(t *testing.T, types ...string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "hostkeys")
	if _, made, err := HostKeys("", dir, types); err != nil || !made {
		t.Fatalf("HostKeys: made %v, %v", made, err)
	}
	return dir
}

func TestHostKeysAreMadeOnce(t *testing.T) {
	parent := t.TempDir()
	dir := filepath.Join(parent, "hostkeys")
	first, made, err := HostKeys("", dir, []string{"rsa", "ed25519", "ecdsa"})
	if err != nil || !made {
		t.Fatalf("made %v, %v", made, err)
	}
	var types []string
	for _, k := range first {
		types = append(types, k.PublicKey().Type())
	}
	if want := []string{"ssh-rsa", "ssh-ed25519", "ecdsa-sha2-nistp256"}; !cmp.Equal(types, want) {
		t.Errorf("types %q, want %q", types, want)
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("directory: %v, %v", info.Mode(), err)
	}
	for _, t2 := range []string{"rsa", "ed25519", "ecdsa"} {
		if info, err := os.Stat(filepath.Join(dir, keyFile(t2))); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("key %s: %v, %v", t2, info, err)
		}
	}
	if left, _ := os.ReadDir(parent); len(left) != 1 {
		t.Errorf("left beside the directory: %v", left)
	}
	second, made, err := HostKeys("", dir, []string{"ed25519", "ecdsa", "rsa"})
	if err != nil || made {
		t.Fatalf("second start: made %v, %v", made, err)
	}
	got := prints(second)
	if want := prints([]ssh.Signer{first[1], first[2], first[0]}); !cmp.Equal(got, want) {
		t.Errorf("second start has %q, want %q", got, want)
	}
	checkRSA(t, first[0])
}

// checkRSA logs in with host key algorithms that the key must and must not have.
func checkRSA(t *testing.T, key ssh.Signer) {
	t.Helper()
	f := listen(t, func(c *Config) { c.HostKeys = []ssh.Signer{key} })
	for algorithm, want := range map[string]bool{"rsa-sha2-512": true, "rsa-sha2-256": true, "ssh-rsa": false} {
		c := clientConfig("root", ssh.Password("x"))
		c.HostKeyAlgorithms = []string{algorithm}
		if _, _, err := f.login(c); (err == nil) != want {
			t.Errorf("host key algorithm %s: %v", algorithm, err)
		}
	}
	algorithms := key.(ssh.MultiAlgorithmSigner).Algorithms()
	if want := []string{"rsa-sha2-512", "rsa-sha2-256"}; !cmp.Equal(algorithms, want) {
		t.Errorf("RSA offers %q, want %q", algorithms, want)
	}
}

func TestHostKeysRefuse(t *testing.T) {
	both := []string{"ed25519", "ecdsa"}
	tests := []struct {
		name  string
		spoil func(dir string) error
		want  string // in the error
		hint  string // in the hint
	}{
		{"missing one", func(dir string) error { return os.Remove(filepath.Join(dir, "ssh_host_ecdsa_key")) }, "ssh_host_ecdsa_key is missing while others are there", "put it back"},
		{"readable by others", func(dir string) error { return os.Chmod(filepath.Join(dir, "ssh_host_ed25519_key"), 0o640) }, "permissions 0640 are too open", "chmod 600"},
		{"corrupt", func(dir string) error {
			return os.WriteFile(filepath.Join(dir, "ssh_host_ed25519_key"), []byte("not a key"), 0o600)
		}, "ssh_host_ed25519_key: ssh: no key found", ""},
		{"empty", func(dir string) error { return os.Truncate(filepath.Join(dir, "ssh_host_ed25519_key"), 0) }, "no key found", ""},
		{"a directory for a key", func(dir string) error {
			path := filepath.Join(dir, "ssh_host_ed25519_key")
			if err := os.Remove(path); err != nil {
				return err
			}
			return os.Mkdir(path, 0o700)
		}, "is a directory", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := keyDir(t, both...)
			before, err := os.ReadFile(filepath.Join(dir, "ssh_host_ecdsa_key"))
			if err != nil {
				t.Fatal(err)
			}
			if err := tt.spoil(dir); err != nil {
				t.Fatal(err)
			}
			keys, made, err := HostKeys("", dir, both)
			if err == nil || made || len(keys) > 0 || !strings.Contains(err.Error(), tt.want) || !strings.Contains(hint.Of(err), tt.hint) || (tt.hint == "") != (hint.Of(err) == "") {
				t.Errorf("HostKeys: %d keys, made %v, error %v, hint %q", len(keys), made, err, hint.Of(err))
			}
			if after, err := os.ReadFile(filepath.Join(dir, "ssh_host_ecdsa_key")); err == nil && string(after) != string(before) {
				t.Error("a key was made anew")
			}
		})
	}
}

func TestHostKeysWhereNoneCanBeMade(t *testing.T) {
	parent := t.TempDir()
	file := filepath.Join(parent, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	full := filepath.Join(parent, "full")
	if err := os.MkdirAll(filepath.Join(full, "something"), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, dir := range map[string]string{"a file": file, "below a file": filepath.Join(file, "keys"), "not empty": full} {
		if keys, _, err := HostKeys("", dir, []string{"ed25519"}); err == nil || len(keys) > 0 || !strings.HasPrefix(err.Error(), "make host keys: ") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, _, err := HostKeys("", filepath.Join(parent, "new"), []string{"dsa"}); err == nil || !strings.Contains(err.Error(), `unknown type "dsa"`) {
		t.Errorf("unknown type: %v", err)
	}
	if left, _ := os.ReadDir(parent); len(left) > 3 { // "new" may be there, without keys
		t.Errorf("drafts were left: %v", left)
	}
}

func TestHostKeysAfterACrash(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "hostkeys")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if _, made, err := HostKeys("", dir, []string{"ed25519"}); err != nil || !made {
		t.Fatalf("made %v, %v", made, err)
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("directory: %v, %v", info.Mode(), err)
	}
}

func TestCredentialsWin(t *testing.T) {
	credentials, state := keyDir(t, "ed25519"), keyDir(t, "ed25519")
	if err := os.Chmod(filepath.Join(credentials, "ssh_host_ed25519_key"), 0o440); err != nil { // as systemd makes them
		t.Fatal(err)
	}
	passed, made, err := HostKeys(credentials, state, []string{"ed25519"})
	if err != nil || made {
		t.Fatalf("made %v, %v", made, err)
	}
	own, _, err := HostKeys("", state, []string{"ed25519"})
	if err != nil {
		t.Fatal(err)
	}
	if cmp.Equal(prints(passed), prints(own)) {
		t.Error("the key came from the state directory")
	}
	if _, _, err := HostKeys(credentials, state, []string{"ed25519", "rsa"}); err == nil {
		t.Error("a missing credential was taken from elsewhere")
	}
	if other, _, err := HostKeys(t.TempDir(), state, []string{"ed25519"}); err == nil || !strings.Contains(hint.Of(err), "sandtrap-hostkeys.service") {
		t.Errorf("without keys among the credentials: %q, %v", prints(other), err)
	}
}

// systemd hands a directory's files over under names of their own. An operator's go
// before them.
func TestOwnCredentials(t *testing.T) {
	own, other := keyDir(t, "ed25519", "rsa"), keyDir(t, "ed25519")
	credentials := t.TempDir()
	hand := func(from, prefix, keyType string) {
		t.Helper()
		text, err := os.ReadFile(filepath.Join(from, keyFile(keyType)))
		if err == nil {
			err = os.WriteFile(filepath.Join(credentials, prefix+keyFile(keyType)), text, 0o440)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, from := range []string{own, other} {
		want, _, err := HostKeys("", from, []string{"ed25519"})
		if err != nil {
			t.Fatal(err)
		}
		if from == own {
			hand(own, "hostkeys_", "ed25519")
			hand(own, "hostkeys_", "rsa")
		} else {
			hand(other, "", "ed25519")
		}
		if got, made, err := HostKeys(credentials, t.TempDir(), []string{"ed25519"}); err != nil || made || !cmp.Equal(prints(got), prints(want)) {
			t.Errorf("got %q, want %q, made %v, %v", prints(got), prints(want), made, err)
		}
	}
	if _, _, err := HostKeys(credentials, t.TempDir(), []string{"ed25519", "rsa"}); err == nil {
		t.Error("keys of two hosts were mixed")
	}
}
