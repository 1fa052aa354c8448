package sshd

import (
	"bytes"
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
	"syscall"

	"golang.org/x/crypto/ssh"

	"github.com/sandtrap/sandtrap/internal/hint"
)

// KeyTypes are all kinds of host keys.
var KeyTypes = []string{"rsa", "ecdsa", "ed25519"}

// rsaBits is what ssh-keygen(1) makes by default.
const rsaBits = 3072

// MakeHostKeys makes a key of each type in dir, unless there is one already: it is what
// root does before the server starts, so that the server's account owns none. Keys that
// an earlier version had in old are taken over first, so that nobody sees a new host;
// made and moved are the types of each.
//
// Whoever owns old may not mean well: nothing there is followed or believed.
func MakeHostKeys(dir, old string) (made, moved []string, err error) {
	earlier, err := openOld(old)
	if err != nil {
		return nil, nil, fmt.Errorf("take over host keys: %w", err)
	}
	defer earlier.close()
	if !hasKeys(dir) {
		err = fillKeys(dir, func(draft string) error {
			for _, t := range KeyTypes {
				path := filepath.Join(draft, keyFile(t))
				if text := earlier.keys[t]; text != nil {
					moved, err = append(moved, t), writeKey(path, text)
				} else {
					made, err = append(made, t), makeKey(path, t)
				}
				if err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return nil, nil, fmt.Errorf("make host keys: %w", err)
		}
	}
	return made, moved, earlier.forget(dir)
}

// oldKeys are those of an earlier version.
type oldKeys struct {
	root *os.Root // nil where there are none
	keys map[string][]byte
}

func openOld(dir string) (*oldKeys, error) {
	o := &oldKeys{keys: map[string][]byte{}}
	parent, err := os.OpenRoot(filepath.Dir(dir)) // links lead nowhere else
	if err == nil {
		defer parent.Close()
		o.root, err = parent.OpenRoot(filepath.Base(dir))
	}
	if errors.Is(err, fs.ErrNotExist) {
		return o, nil
	}
	if err != nil {
		return nil, err
	}
	for _, t := range KeyTypes {
		text, err := o.read(keyFile(t))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			o.close()
			return nil, hint.Wrap(fmt.Errorf("%s: %w", filepath.Join(dir, keyFile(t)), err), "remove it if it is no key of this host")
		}
		o.keys[t] = text
	}
	return o, nil
}

// read returns a key's file, if it is nothing but that.
func (o *oldKeys) read(name string) ([]byte, error) {
	f, err := o.root.OpenFile(name, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() || info.Size() > maxHostKey {
		return nil, errors.New("not a regular file as small as a key")
	}
	text, err := io.ReadAll(io.LimitReader(f, maxHostKey))
	if err != nil {
		return nil, err
	}
	_, err = ssh.ParsePrivateKey(text)
	return text, err
}

// forget removes the old keys that are in dir by now. Others stay: they are not ours to
// throw away.
func (o *oldKeys) forget(dir string) error {
	for t, text := range o.keys {
		kept, err := os.ReadFile(filepath.Join(dir, keyFile(t)))
		if err != nil || !bytes.Equal(kept, text) {
			continue
		}
		if err := o.root.Remove(keyFile(t)); err != nil {
			return fmt.Errorf("remove the old host key: %w", err)
		}
	}
	return nil
}

func (o *oldKeys) close() {
	if o.root != nil {
		o.root.Close()
	}
}

// makeKeys makes every key in dir.
func makeKeys(dir string, types []string) error {
	return fillKeys(dir, func(draft string) error {
		for _, t := range types {
			if err := makeKey(filepath.Join(draft, keyFile(t)), t); err != nil {
				return err
			}
		}
		return nil
	})
}

// fillKeys has keys put beside dir and moves them in together, so that a crash on the
// way leaves none.
func fillKeys(dir string, fill func(draft string) error) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	draft, err := os.MkdirTemp(filepath.Dir(dir), ".hostkeys-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(draft)
	if err := fill(draft); err != nil {
		return err
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
	return writeKey(path, pem.EncodeToMemory(block))
}

func writeKey(path string, text []byte) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	return errors.Join(err, f.Sync(), f.Close())
}
