package sshd

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/crypto/ssh"

	"github.com/sandtrap/sandtrap/internal/hint"
)

// maxHostKey bounds a key file, in bytes.
const maxHostKey = 64 << 10

// HostKeys returns the host's private keys of the given types (ed25519, ecdsa,
// rsa), in that order. Where the service manager passes credentials, they are there:
// files ssh_host_TYPE_key of the operator's own, or else hostkeys_ssh_host_TYPE_key of
// those that MakeHostKeys has made. Without credentials, "", they are in dir.
//
// In dir keys are made once, when there is none at all. A host whose key changes
// is noticed by everybody who comes back, so a key that is missing later, or that
// others could have read, is an error for the operator to settle. made reports
// that the keys are new.
func HostKeys(credentials, dir string, types []string) (keys []ssh.Signer, made bool, err error) {
	if credentials != "" {
		keys, err = passedKeys(credentials, types)
		return keys, false, err
	}
	if !hasKeys(dir) {
		if err := makeKeys(dir, types); err != nil {
			return nil, false, fmt.Errorf("make host keys: %w", err)
		}
		made = true
	}
	keys, err = readKeys(dir, "", types, true)
	return keys, made, err
}

// ownKeys is what LoadCredential= of sandtrap.service puts before the names of the files
// in a directory.
const ownKeys = "hostkeys_"

func passedKeys(credentials string, types []string) ([]ssh.Signer, error) {
	for _, prefix := range []string{"", ownKeys} {
		if found, _ := filepath.Glob(filepath.Join(credentials, prefix+keyFile("*"))); len(found) > 0 {
			return readKeys(credentials, prefix, types, false)
		}
	}
	return nil, hint.Wrap(errors.New("no host key is among the credentials"), "see systemctl status sandtrap-hostkeys.service")
}

func keyFile(keyType string) string { return "ssh_host_" + keyType + "_key" }

func hasKeys(dir string) bool {
	found, _ := filepath.Glob(filepath.Join(dir, keyFile("*")))
	return len(found) > 0
}

func readKeys(dir, prefix string, types []string, private bool) ([]ssh.Signer, error) {
	var keys []ssh.Signer
	for _, t := range types {
		path := filepath.Join(dir, prefix+keyFile(t))
		key, err := readKey(path, private)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, hint.Wrap(fmt.Errorf("host key %s is missing while others are there", path),
				"put it back, or take its type out of ssh.host_keys; removing all keys makes new ones, which returning visitors notice")
		}
		if err != nil {
			return nil, fmt.Errorf("read host key: %w", err)
		}
		keys = append(keys, key)
	}
	return keys, nil
}

// readKey reads one key. private asks for the mode that sshd(8) insists on;
// credentials come with a mode of systemd's choosing.
func readKey(path string, private bool) (ssh.Signer, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if mode := info.Mode().Perm(); private && mode&0o077 != 0 {
		return nil, hint.Wrap(fmt.Errorf("%s: permissions %#o are too open", path, mode), "chmod 600 it, if nobody can have read it")
	}
	text, err := io.ReadAll(io.LimitReader(f, maxHostKey))
	if err != nil {
		return nil, err
	}
	key, err := ssh.ParsePrivateKey(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if key.PublicKey().Type() == ssh.KeyAlgoRSA { // never SHA-1 signatures: RFC 8332
		return ssh.NewSignerWithAlgorithms(key.(ssh.AlgorithmSigner), []string{ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256})
	}
	return key, nil
}

// forAlgorithms makes a signer of each algorithm that sshd offers for the keys, in
// its order. The library would offer those of an RSA key the other way round.
func forAlgorithms(keys []ssh.Signer) []ssh.Signer {
	var all []ssh.Signer
	for _, key := range keys {
		rsa, ok := key.(ssh.AlgorithmSigner)
		if !ok || key.PublicKey().Type() != ssh.KeyAlgoRSA {
			all = append(all, key)
			continue
		}
		for _, algorithm := range []string{ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256} {
			all = append(all, rsaSigner{rsa, algorithm})
		}
	}
	return all
}

// rsaSigner is an RSA key that signs with one algorithm. To the library, which knows
// key types only, that is its type.
type rsaSigner struct {
	key       ssh.AlgorithmSigner
	algorithm string
}

// PublicKey implements ssh.Signer.
func (s rsaSigner) PublicKey() ssh.PublicKey { return rsaPublicKey{s.key.PublicKey(), s.algorithm} }

// Sign implements ssh.Signer.
func (s rsaSigner) Sign(random io.Reader, data []byte) (*ssh.Signature, error) {
	return s.key.SignWithAlgorithm(random, data, s.algorithm)
}

// rsaPublicKey is the key under the name of an algorithm; RFC 8332, section 3.
type rsaPublicKey struct {
	ssh.PublicKey
	algorithm string
}

// Type implements ssh.PublicKey.
func (k rsaPublicKey) Type() string { return k.algorithm }
