package seal

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/crypto/ssh"

	"github.com/sandtrap/sandtrap/internal/hint"
)

// Names of the key's files.
const (
	keyFile = "seal_ed25519_key"
	// AllowedSigners is the file with all public keys that were ever in use, in the
	// format of ssh-keygen(1), ALLOWED SIGNERS.
	AllowedSigners = "allowed_signers"

	// passedKey is how LoadCredential= of sandtrap.service passes the key that MakeKey
	// has made; an operator's own comes as keyFile and goes before it.
	passedKey = "sealkey_" + keyFile

	maxKeyFile = 64 << 10 // bytes
)

// Principal is whose the keys are in the file of allowed signers: what ssh-keygen -Y
// verify is asked about with -I.
const Principal = "sandtrap"

// LoadKey returns the key that seals evidence. Where the service manager passes
// credentials it is one of them; made then is false. Without, "", it lies in dir, where
// it is made once, with its file of allowed signers beside it.
func LoadKey(credentials, dir string) (key ssh.Signer, made bool, err error) {
	if credentials == "" {
		if made, err = MakeKey(dir, filepath.Join(filepath.Dir(dir), AllowedSigners), false); err != nil {
			return nil, false, err
		}
		key, err = readKey(filepath.Join(dir, keyFile))
		return key, made, err
	}
	for _, name := range []string{keyFile, passedKey} {
		key, err = readKey(filepath.Join(credentials, name))
		if !errors.Is(err, fs.ErrNotExist) {
			return key, false, err
		}
	}
	return nil, false, hint.Wrap(errors.New("no key to seal evidence with is among the credentials"), "see systemctl status sandtrap-hostkeys.service")
}

func readKey(path string) (ssh.Signer, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read key of seals: %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxKeyFile))
	if err != nil {
		return nil, fmt.Errorf("read key of seals: %w", err)
	}
	key, err := ssh.ParsePrivateKey(text)
	if err != nil {
		return nil, fmt.Errorf("read key of seals: %s: %w", path, err)
	}
	if key.PublicKey().Type() != ssh.KeyAlgoED25519 {
		return nil, hint.Wrap(fmt.Errorf("read key of seals: %s is of type %s", path, key.PublicKey().Type()), "make one with ssh-keygen -t ed25519 -N ''")
	}
	return key, nil
}

// MakeKey makes a key in dir unless there is one, or in its place if it is to rotate,
// and sees to it that its public half is among the allowed signers, to which it is only
// ever added: older seals stay valid. made reports whether the key is new.
func MakeKey(dir, signers string, rotate bool) (made bool, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return false, fmt.Errorf("make key of seals: %w", err)
	}
	path := filepath.Join(dir, keyFile)
	key, err := readKey(path)
	switch {
	case err == nil && !rotate:
		return false, allow(signers, key.PublicKey())
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return false, err
	}
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return false, fmt.Errorf("make key of seals: %w", err)
	}
	public, err := ssh.NewPublicKey(private.Public())
	if err != nil {
		return false, fmt.Errorf("make key of seals: %w", err)
	}
	block, err := ssh.MarshalPrivateKey(private, "")
	if err != nil {
		return false, fmt.Errorf("make key of seals: %w", err)
	}
	// First the public half: a crash between leaves a key that has sealed nothing.
	if err := allow(signers, public); err != nil {
		return false, err
	}
	if err := putFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
		return false, fmt.Errorf("make key of seals: %w", err)
	}
	return true, nil
}

// allow adds a key to a file of allowed signers, unless it is there.
func allow(path string, key ssh.PublicKey) error {
	text, err := readBounded(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("add allowed signer: %w", err)
	}
	public := bytes.TrimSpace(ssh.MarshalAuthorizedKey(key))
	if bytes.Contains(text, public) {
		return nil
	}
	if len(text) > 0 && text[len(text)-1] != '\n' {
		text = append(text, '\n')
	}
	line := fmt.Sprintf("%s namespaces=%q %s\n", Principal, Namespace, public)
	if len(text)+len(line) > maxSigners {
		return fmt.Errorf("add allowed signer: %s is larger than %d bytes", path, maxSigners)
	}
	if err := putFile(path, append(text, line...), 0o644); err != nil {
		return fmt.Errorf("add allowed signer: %w", err)
	}
	return nil
}

// putFile puts a file in the place of another, whole and on disk.
func putFile(path string, text []byte, mode fs.FileMode) error {
	draft, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-")
	if err != nil {
		return err
	}
	defer os.Remove(draft.Name())
	_, err = draft.Write(text)
	err = errors.Join(err, draft.Chmod(mode), draft.Sync(), draft.Close())
	if err == nil {
		err = os.Rename(draft.Name(), path)
	}
	if err != nil {
		return err
	}
	d, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
