package session

import (
	"bytes"
	"context"
	"errors"
	"path"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/sandtrap/sandtrap/internal/evidence"
	"github.com/sandtrap/sandtrap/internal/pool"
)

// Bounds of what is read of an authorized_keys file: all of it is an attacker's.
const (
	maxKeysFile = 64 << 10 // bytes
	maxKeys     = 64
	keysTimeout = time.Second
)

var errEnoughKeys = errors.New("enough of the file was read")

// takeKeys looks, before the target stops, which keys would let somebody in from now on,
// where anybody wants to know.
func (s *Session) takeKeys(lease *pool.Lease) {
	if s.service.Planted == nil || !lease.Used() {
		return
	}
	s.service.Planted(s.login.Source.Addr(), func() []ssh.PublicKey {
		keys, lines := parseKeys(readKeys(lease))
		s.mu.Lock()
		s.record.PlantedKeys = lines
		s.mu.Unlock()
		return keys
	})
}

// readKeys reads the account's authorized_keys with a program of the target: the
// account's home may be anything by now, and a program can be ended.
func readKeys(lease *pool.Lease) []byte {
	ctx, cancel := context.WithTimeout(context.Background(), keysTimeout)
	defer cancel()
	a := lease.Account
	stream, err := lease.Start(ctx, pool.Program{
		User: a.Name, Path: "/bin/cat", Argv: []string{"cat", "--", path.Join(a.Home, ".ssh/authorized_keys")},
		Env: []string{"PATH=" + userPath}, Dir: "/", Subsystem: true, // without the account's ~/.ssh/rc
	})
	if err != nil {
		return nil
	}
	defer stream.Close()
	defer context.AfterFunc(ctx, func() { stream.Close() })()
	var b []byte
	_ = stream.Copy(func(p []byte) error { // what came until an error counts
		b = append(b, p[:min(len(p), maxKeysFile-len(b))]...)
		if len(b) == maxKeysFile {
			return errEnoughKeys
		}
		return nil
	}, func([]byte) error { return nil })
	return b
}

// parseKeys finds the keys of an authorized_keys file, with their lines.
func parseKeys(file []byte) (keys []ssh.PublicKey, lines []evidence.Text) {
	for line := range bytes.Lines(file) {
		line = bytes.TrimSpace(line)
		key, _, _, _, err := ssh.ParseAuthorizedKey(line)
		if err != nil {
			continue
		}
		if keys, lines = append(keys, key), append(lines, evidence.Text(line)); len(keys) == maxKeys {
			break
		}
	}
	return keys, lines
}
