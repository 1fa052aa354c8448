package sshd

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
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

// rsaBits is what ssh-keygen(1) makes by default.
const rsaBits = 3072

// maxHostKey bounds a key file, in bytes.
const maxHostKey = 64 << 10

// HostKeys returns the host's private keys of the given types (ed25519, ecdsa,
// rsa), in that order. Keys that the service manager passed as credentials (files
// ssh_host_TYPE_key in credentials, which may be empty) go before those in dir.
//
// In dir keys are made once, when there is none at all. A host whose key changes
// is noticed by everybody who comes back, so a key that is missing later, or that
// others could have read, is an error for the operator to settle. made reports
// that the keys are new.
func HostKeys(credentials, dir string, types []string) (keys []ssh.Signer, made bool, err error) {
	if credentials != "" && hasKeys(credentials) {
		keys, err = readKeys(credentials, types, false)
		return keys, false, err
	}
	if !hasKeys(dir) {
		if err := makeKeys(dir, types); err != nil {
			return nil, false, fmt.Errorf("make host keys: %w", err)
		}
		made = true
	}
	keys, err = readKeys(dir, types, true)
	return keys, made, err
}

func keyFile(keyType string) string { return "ssh_host_" + keyType + "_key" }

func hasKeys(dir string) bool {
	found, _ := filepath.Glob(filepath.Join(dir, keyFile("*")))
	return len(found) > 0
}

func readKeys(dir string, types []string, private bool) ([]ssh.Signer, error) {
	var keys []ssh.Signer
	for _, t := range types {
		path := filepath.Join(dir, keyFile(t))
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

// eachAlgorithm is a key as the library must have it to offer the key's algorithms in
// their order and not in its own: as one key for each.
func eachAlgorithm(key ssh.Signer) []ssh.Signer {
	several, ok := key.(ssh.MultiAlgorithmSigner)
	if !ok {
		return []ssh.Signer{key}
	}
	var keys []ssh.Signer
	for _, algorithm := range several.Algorithms() {
		keys = append(keys, oneAlgorithm{several, algorithm})
	}
	return keys
}

// oneAlgorithm signs with one of a key's algorithms, of which the library knows by the
// type of the public key.
type oneAlgorithm struct {
	key       ssh.AlgorithmSigner
	algorithm string
}

func (o oneAlgorithm) PublicKey() ssh.PublicKey { return typedKey{o.key.PublicKey(), o.algorithm} }

func (o oneAlgorithm) Sign(rand io.Reader, data []byte) (*ssh.Signature, error) {
	return o.key.SignWithAlgorithm(rand, data, o.algorithm)
}

type typedKey struct {
	ssh.PublicKey
	algorithm string
}

func (k typedKey) Type() string { return k.algorithm }

// makeKeys makes every key beside dir and moves them in together, so that a
// crash on the way leaves none.
func makeKeys(dir string, types []string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	draft, err := os.MkdirTemp(filepath.Dir(dir), ".hostkeys-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(draft)
	for _, t := range types {
		if err := makeKey(filepath.Join(draft, keyFile(t)), t); err != nil {
			return err
		}
	}
	if err := os.Remove(dir); err != nil { // empty, or it would have keys
		return err
	}
	return os.Rename(draft, dir)
}

func makeKey(path, keyType string) error {
	var key crypto.PrivateKey
	var err error
	switch keyType {
	case "ed25519":
		_, key, err = ed25519.GenerateKey(rand.Reader)
	case "ecdsa":
		key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case "rsa":
		key, err = rsa.GenerateKey(rand.Reader, rsaBits)
	default:
		err = fmt.Errorf("unknown type %q", keyType)
	}
	if err != nil {
		return err
	}
	block, err := ssh.MarshalPrivateKey(key, "")
	if err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(pem.EncodeToMemory(block))
	return errors.Join(err, f.Sync(), f.Close())
}
