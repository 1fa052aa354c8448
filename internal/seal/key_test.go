package seal

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"
)

func TestKeys(t *testing.T) {
	state := t.TempDir()
	dir := filepath.Join(state, "sealkey")
	key, made, err := LoadKey("", dir)
	if err != nil || !made {
		t.Fatalf("%v, %v", made, err)
	}
	again, made, err := LoadKey("", dir)
	if err != nil || made || ssh.FingerprintSHA256(again.PublicKey()) != ssh.FingerprintSHA256(key.PublicKey()) {
		t.Errorf("%v, %v", made, err)
	}
	signers := filepath.Join(state, AllowedSigners)
	if made, err := MakeKey(dir, signers, true); err != nil || !made {
		t.Errorf("%v, %v", made, err)
	}
	s, err := ReadSigners(signers)
	if err != nil || len(s.all) != 2 || !bytes.Equal(s.all[0].key.Marshal(), key.PublicKey().Marshal()) {
		t.Errorf("%+v, %v", s, err)
	}
	for path, mode := range map[string]fs.FileMode{signers: 0o644, filepath.Join(dir, keyFile): 0o600, dir: 0o700 | fs.ModeDir} {
		if st, err := os.Stat(path); err != nil || st.Mode() != mode {
			t.Errorf("%s: %v, %v", path, st.Mode(), err)
		}
	}
	// As credentials: an operator's own goes first, none is an error.
	passed := t.TempDir()
	if _, _, err := LoadKey(passed, dir); err == nil || !strings.Contains(err.Error(), "no key to seal") {
		t.Errorf("no credential: %v", err)
	}
	must(t, os.WriteFile(filepath.Join(passed, passedKey), read(t, filepath.Join(dir, keyFile)), 0o400))
	rotated, _, err := LoadKey(passed, "")
	must(t, err)
	if _, err := MakeKey(dir, signers, true); err != nil {
		t.Error(err)
	}
	must(t, os.WriteFile(filepath.Join(passed, keyFile), read(t, filepath.Join(dir, keyFile)), 0o400))
	own, _, err := LoadKey(passed, "")
	if err != nil || bytes.Equal(own.PublicKey().Marshal(), rotated.PublicKey().Marshal()) {
		t.Errorf("own key: %v", err)
	}
	must(t, os.WriteFile(filepath.Join(dir, keyFile), []byte("no key"), 0o600))
	if _, _, err := LoadKey("", dir); err == nil {
		t.Error("garbage was taken for a key")
	}
	if _, err := MakeKey(dir, signers, true); err == nil {
		t.Error("a key that cannot be read was replaced")
	}
}

func TestAllowedSigners(t *testing.T) {
	public := strings.TrimSpace(string(ssh.MarshalAuthorizedKey(newKey(t, 1).PublicKey())))
	for text, want := range map[string]int{
		"":                                    0,
		"# comment\n\nother " + public:        0,
		"sandtrap " + public:                  1,
		"a,sandtrap " + public + " comment":   1,
		`sandtrap namespaces="git" ` + public: 0,
		`sandtrap namespaces="git,sandtrap-evidence",valid-after="20260101",valid-before="202701011200Z" ` + public: 1,
		`sandtrap cert-authority ` + public:     -1,
		`sandtrap valid-after="soon" ` + public: -1,
		"sandtrap nonsense":                     -1,
		"sandtrap":                              -1,
	} {
		s, err := parseSigners([]byte(text))
		if want < 0 && err == nil || want >= 0 && (err != nil || len(s.all) != want) {
			t.Errorf("%q: %+v, %v", text, s, err)
		}
	}
	if _, err := ReadSigners(filepath.Join(t.TempDir(), "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}
