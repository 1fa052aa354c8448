// Package history remembers what a policy must know of sources: what they have tried,
// which credential let them in, which baits were planted for them and which keys they
// have planted themselves. Attempts go in and decisions come out.
//
// Memory and file have fixed bounds, whatever attackers do: of each kind the latest
// are kept. What let a source in, baits and planted keys outlive the process; tries do
// not.
package history

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"sync"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	"github.com/oklog/ulid/v2"
	"golang.org/x/crypto/ssh"

	"github.com/sandtrap/sandtrap/internal/auth"
)

// How much is remembered of each kind.
const (
	maxTrying   = 1 << 16 // sources that have not been let in
	maxAccepted = 1 << 16 // sources that have
	maxBaits    = 1 << 16
	maxPlanted  = 1 << 14 // keys
)

type (
	digest = [32]byte
	// planted is a key of a source. The same key may be many sources'.
	planted struct {
		source netip.Addr
		key    digest
	}
)

// Store remembers. It is safe for concurrent use.
type Store struct {
	secret auth.Secret
	file   *file

	mu       sync.Mutex // guards all below
	trying   *simplelru.LRU[netip.Addr, *tries]
	accepted *simplelru.LRU[netip.Addr, digest]
	baits    *simplelru.LRU[digest, ulid.ULID]
	planted  *simplelru.LRU[planted, struct{}]
	err      error // of the latest write
}

// Open reads what an earlier process has remembered in dir, which it makes.
func Open(dir string) (*Store, error) {
	s := &Store{trying: table[netip.Addr, *tries](maxTrying), accepted: table[netip.Addr, digest](maxAccepted),
		baits: table[digest, ulid.ULID](maxBaits), planted: table[planted, struct{}](maxPlanted)}
	var err error
	if s.file, err = openFile(dir); err != nil {
		return nil, fmt.Errorf("open the history of sources: %w", err)
	}
	if s.secret, err = s.file.secret(); err != nil {
		return nil, errors.Join(fmt.Errorf("read the secret of the history: %w", err), s.file.close())
	}
	if err := s.file.read(s.take); err != nil {
		return nil, errors.Join(fmt.Errorf("read the history of sources: %w", err), s.file.close())
	}
	if err := s.compact(); err != nil {
		return nil, errors.Join(fmt.Errorf("write the history of sources: %w", err), s.file.close())
	}
	return s, nil
}

// table is an LRU; its size is one of our constants, of which none is wrong.
func table[K comparable, V any](size int) *simplelru.LRU[K, V] {
	t, err := simplelru.NewLRU[K, V](size, nil)
	if err != nil {
		panic("history: " + err.Error())
	}
	return t
}

// Close closes the file.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.file.close()
}

// Err is why the latest of what is to be remembered is not on disk, or nil. It is
// remembered until the process ends.
func (s *Store) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// Secret is that of policies.
func (s *Store) Secret() auth.Secret { return s.secret }

// Judge is a policy with the history that it needs.
type Judge struct {
	store  *Store
	policy auth.Policy
	marks  *auth.Honeytokens
}

// Judge joins a policy, marked credentials and what is remembered. marks may be nil.
func (s *Store) Judge(p auth.Policy, marks *auth.Honeytokens) *Judge {
	return &Judge{store: s, policy: p, marks: marks}
}

// Decide answers an attempt and remembers it.
func (j *Judge) Decide(a auth.Attempt) auth.Decision {
	token := j.marks.Find(a)
	s, source := j.store, auth.Source(a.Source)
	s.mu.Lock()
	defer s.mu.Unlock()
	if token == nil {
		token = s.bait(a)
	}
	if a.Void {
		return auth.Decision{Reason: "void", Honeytoken: token}
	}
	sum := s.secret.Digest(a)
	d := j.policy.Decide(a, s.known(a, source, sum))
	d.Honeytoken = token
	if s.remember(a, source, sum, d) {
		s.append(record{kind: kindAccepted, source: source, digest: sum})
	}
	return d
}

// known is what a policy is told. Store.mu is held.
func (s *Store) known(a auth.Attempt, source netip.Addr, sum digest) auth.History {
	var h auth.History
	if t, ok := s.trying.Get(source); ok {
		h.Tries, h.Repeated = int(t.count), t.has(sum)
	}
	if found, ok := s.accepted.Get(source); ok {
		h.Accepted, h.Same = true, found == sum
	}
	if a.Key != nil {
		_, h.Planted = s.planted.Get(planted{source, s.secret.KeyDigest(a.Key)})
	}
	return h
}

// remember takes what became of an attempt, and reports whether it is what a source
// will be known by. A key counts once it is verified. Store.mu is held.
func (s *Store) remember(a auth.Attempt, source netip.Addr, sum digest, d auth.Decision) bool {
	switch {
	case a.Key == nil && a.Method != auth.Password && a.Method != auth.KeyboardInteractive:
		return false
	case !d.Accept:
		t, ok := s.trying.Get(source)
		if !ok {
			t = &tries{}
			s.trying.Add(source, t)
		}
		t.add(sum)
		return false
	case !d.Remember || a.Key != nil && !a.Verified:
		return false
	}
	s.trying.Remove(source)
	s.accepted.Add(source, sum)
	return true
}

// Bait is a password for a session's target. Site is the same for all of this store, for
// what should look the same to whoever comes back.
type Bait struct {
	Password string
	Site     uint64
}

// NewBait makes a password for a session's target, by which whoever uses it will be
// known. The password is none that an earlier process made.
func (s *Store) NewBait(session string) (Bait, error) {
	id, err := ulid.ParseStrict(session)
	if err != nil {
		return Bait{}, fmt.Errorf("make a bait: %w", err)
	}
	b := Bait{Password: newPassword()}
	site := s.secret.PasswordDigest("")
	b.Site = binary.BigEndian.Uint64(site[:])
	sum := s.secret.PasswordDigest(b.Password)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.baits.Add(sum, id)
	s.append(record{kind: kindBait, digest: sum, session: id})
	return b, s.err
}

// bait is the honeytoken of a password that was made for a session. Store.mu is held.
func (s *Store) bait(a auth.Attempt) *auth.Honeytoken {
	if a.Method != auth.Password && a.Method != auth.KeyboardInteractive || len(a.Password) != passwordLength {
		return nil
	}
	id, ok := s.baits.Get(s.secret.PasswordDigest(a.Password))
	if !ok {
		return nil
	}
	return &auth.Honeytoken{Name: "bait", Session: id.String()}
}

// Plant remembers a key that a source has put into an authorized_keys of its target.
func (s *Store) Plant(from netip.Addr, key ssh.PublicKey) {
	p := planted{auth.Source(from), s.secret.KeyDigest(key)}
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.planted.Get(p); ok {
		return
	}
	s.planted.Add(p, struct{}{})
	s.append(record{kind: kindPlanted, source: p.source, digest: p.key})
}
