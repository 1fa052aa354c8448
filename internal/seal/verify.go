package seal

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"time"

	"github.com/hiddeco/sshsig"

	"github.com/sandtrap/sandtrap/internal/evidence"
)

// Level says what a finding means.
type Level string

// The levels.
const (
	Failure Level = "failure" // the evidence is not what it was, or nobody can tell
	Notice  Level = "notice"  // worth knowing, and no damage
)

// Finding is one thing that Verify has found.
type Finding struct {
	Level   Level  `json:"level"`
	Check   string `json:"check"` // one of our words
	Session string `json:"session,omitempty"`
	File    string `json:"file,omitempty"` // below the session's directory, or the state directory; may be anybody's
	Text    string `json:"text"`           // may quote what was found
}

// Summary counts what Verify has looked at.
type Summary struct {
	Sessions int   `json:"sessions"` // whose directories were looked at
	Sealed   int   `json:"sealed"`   // those that have a seal, good or not
	Open     int   `json:"open"`
	Entries  int64 `json:"entries"` // of the chain
	Removed  int   `json:"removed"` // sessions that were removed on purpose
	Failures int   `json:"failures"`
	Notices  int   `json:"notices"`
}

// VerifyOptions say what is verified, and how.
type VerifyOptions struct {
	Store   *evidence.Store
	Signers *Signers
	IDs     []string // full ids; none for all sessions, and for the chain as a whole
	Strict  bool     // a closed session without a seal is a failure
	Head    Head     // an entry that the chain must have; zero for none
	// Progress is told how many sessions were looked at; nil for nobody.
	Progress func(done int)
	Report   func(Finding)
}

// verifier is one run of Verify.
type verifier struct {
	VerifyOptions
	ctx context.Context
	led *ledger
	sum Summary
	// artifacts that were read: many sessions bring the same. The value is whether it is
	// what its name says.
	artifacts map[string]bool
}

// maxArtifacts bounds what a verifier remembers of them.
const maxArtifacts = 1 << 20

// Verify checks sealed sessions and the chain over all of them, and reports what is
// wrong. The error is one of looking, or the context's.
func Verify(ctx context.Context, o VerifyOptions) (Summary, error) {
	v := &verifier{VerifyOptions: o, ctx: ctx, artifacts: make(map[string]bool)}
	if o.Store.Root() == nil {
		return v.sum, nil
	}
	v.led = &ledger{root: o.Store.Root(), signers: o.Signers, report: v.report, deep: len(o.IDs) == 0, head: o.Head,
		sessions: make(map[string]*known), before: make(map[int64]placed), artifacts: make(map[string]bool)}
	err := v.led.read()
	if err == nil && len(o.IDs) > 0 {
		err = v.some()
	} else if err == nil {
		err = v.all()
	}
	v.led.checkHead()
	v.sum.Entries = v.led.lines
	return v.sum, err
}

func (v *verifier) report(f Finding) {
	if f.Level == Failure {
		v.sum.Failures++
	} else {
		v.sum.Notices++
	}
	v.Report(f)
}

func (v *verifier) some() error {
	for _, id := range v.IDs {
		dir, err := evidence.PathOf(id)
		if err != nil {
			return fmt.Errorf("verify session: %w", err)
		}
		err = v.session(dir)
		if errors.Is(err, fs.ErrNotExist) {
			err = v.gone(id)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// gone tells what the chain knows of a session that is not there.
func (v *verifier) gone(id string) error {
	switch k := v.known(id); {
	case k == nil:
		return fmt.Errorf("verify session %q: %w", id, evidence.ErrNotFound)
	case k.removed:
		v.report(Finding{Level: Notice, Check: "session-removed", Session: id, Text: fmt.Sprintf("the session was sealed as number %d, and removed on purpose", k.sequence)})
	default:
		v.missing(id, k)
	}
	return nil
}

func (v *verifier) missing(id string, k *known) {
	v.report(Finding{Level: Failure, Check: "session-missing", Session: id,
		Text: fmt.Sprintf("the session was sealed as number %d and is gone; nobody has removed it on purpose", k.sequence)})
}

// all verifies every session that is there, and looks for those that are not.
func (v *verifier) all() error {
	var stop error
	foreign := func(p evidence.Problem) {
		v.report(Finding{Level: Failure, Check: "foreign", File: p.Path, Text: p.Err.Error()})
	}
	err := v.Store.Dirs(v.ctx, foreign, func(dir string) bool {
		stop = v.session(dir)
		return stop == nil
	})
	if err = errors.Join(err, stop); err != nil {
		return err
	}
	if err := v.led.read(); err != nil { // sessions may have been removed meanwhile
		return err
	}
	var missing []string
	for id, k := range v.led.sessions {
		if k.removed {
			v.sum.Removed++
		}
		if !k.seen && !k.removed {
			missing = append(missing, id)
		}
	}
	slices.Sort(missing)
	for _, id := range missing {
		if v.sealedMeanwhile(id) {
			continue
		}
		v.missing(id, v.led.sessions[id])
	}
	return nil
}

// sealedMeanwhile reports whether a session came after the directories were listed.
func (v *verifier) sealedMeanwhile(id string) bool {
	dir, err := evidence.PathOf(id)
	if err != nil {
		return false
	}
	_, err = v.Store.Root().Lstat(dir)
	return err == nil
}

// session verifies one. The error is one of looking on; what is wrong is reported.
func (v *verifier) session(dir string) error {
	if err := v.ctx.Err(); err != nil {
		return err
	}
	id := path.Base(dir)
	d, err := v.Store.OpenDir(dir)
	if errors.Is(err, fs.ErrNotExist) && len(v.IDs) == 0 {
		return nil // removed since it was listed; the chain says how
	}
	if err != nil {
		return fmt.Errorf("verify session %s: %w", id, err)
	}
	defer d.Close()
	v.sum.Sessions++
	if v.Progress != nil {
		v.Progress(v.sum.Sessions)
	}
	s := &subject{verifier: v, id: id, root: d.Root()}
	stored, loadErr := d.Load()
	s.stored = stored
	k := v.known(id)
	sealed := v.Store.Sealed(dir)
	if k != nil {
		k.seen = true
	}
	switch {
	case k != nil && !sealed && v.settles(dir):
		sealed = true
	case k == nil && !sealed && loadErr != nil && !errors.Is(loadErr, fs.ErrNotExist):
		s.fail("session", sessionJSON, "%v", loadErr)
		return nil
	case k == nil && !sealed && (loadErr != nil || stored.State == evidence.StateOpen):
		v.sum.Open++
		return nil
	case k == nil && !sealed:
		v.unsealed(s)
		return nil
	}
	v.sum.Sealed++
	switch {
	case k == nil:
		s.fail("chain", "", "the session has a seal and is not in the chain: it was put there, or the end of the chain was cut off")
	case k.removed:
		s.fail("chain", "", "the chain says that the session was removed")
	}
	return s.check(k, sealed)
}

const sessionJSON = "session.json"

// known returns what the chain says, which may have grown.
func (v *verifier) known(id string) *known {
	if k := v.led.sessions[id]; k != nil {
		return k
	}
	if err := v.led.read(); err != nil {
		return nil
	}
	return v.led.sessions[id]
}

// settles waits a moment for the last file of a session that is being sealed right now.
func (v *verifier) settles(dir string) bool {
	for range 10 {
		if v.Store.Sealed(dir) {
			return true
		}
		select {
		case <-v.ctx.Done():
			return false
		case <-time.After(20 * time.Millisecond):
		}
	}
	return false
}

func (v *verifier) unsealed(s *subject) {
	f := Finding{Level: Notice, Check: "unsealed", Session: s.id, Text: "not sealed: it has just ended, or the service has not run since it did"}
	if v.Strict {
		f.Level = Failure
	}
	v.report(f)
}

// subject is the session that is verified.
type subject struct {
	*verifier
	id     string
	root   *os.Root
	stored evidence.Session
}

func (s *subject) fail(check, file, format string, a ...any) {
	s.report(Finding{Level: Failure, Check: check, Session: s.id, File: file, Text: fmt.Sprintf(format, a...)})
}

// check compares a sealed session with its seal and with the chain.
func (s *subject) check(k *known, sealed bool) error {
	text, err := readFile(s.root, sumsFile, maxSums)
	if err != nil {
		s.fail("seal", sumsFile, "it cannot be read: %s", reason(err))
		return s.ctx.Err()
	}
	if k != nil && hashOf(text) != k.sha256 {
		s.fail("seal", sumsFile, "it is not what was sealed")
	}
	seal, ok := s.seal(k)
	if sealed {
		s.signature(text, seal)
	} else {
		s.fail("signature", signatureFile, "it is missing")
	}
	if err := s.files(text); err != nil {
		return err
	}
	if ok {
		if late := lateWords(seal.Time, s.stored.End); late != "" {
			s.report(Finding{Level: Notice, Check: "late", Session: s.id, Text: late})
		}
		for _, hash := range seal.MissingArtifacts {
			s.report(Finding{Level: Notice, Check: "artifact-missing", Session: s.id, File: evidence.ArtifactPath(hash), Text: "it was lost before the session was sealed"})
		}
	}
	return s.brought()
}

// seal reads seal.json and compares it with the chain.
func (s *subject) seal(k *known) (seal Seal, ok bool) {
	text, err := readFile(s.root, sealFile, maxSeal)
	if err == nil {
		seal, err = parseSeal(text)
	}
	if err != nil {
		s.fail("seal", sealFile, "it cannot be read: %s", reason(err))
		return Seal{}, false
	}
	if seal.Session != s.id {
		s.fail("seal", sealFile, "it belongs to session %q", seal.Session)
	}
	if k == nil {
		return seal, true
	}
	at := s.led.before[k.sequence]
	if seal.Sequence != k.sequence || seal.Chain != at.chain || !samePrevious(seal.Previous, at.sealed) {
		s.fail("seal", sealFile, "it names another place in the chain than number %d", k.sequence)
	}
	return seal, true
}

// parseSeal reads seal.json.
func parseSeal(text []byte) (Seal, error) {
	var seal Seal
	if err := json.Unmarshal(text, &seal); err != nil {
		return Seal{}, err
	}
	if seal.Version != version {
		return Seal{}, fmt.Errorf("version %d is not known", seal.Version)
	}
	for _, hash := range seal.MissingArtifacts {
		if !evidence.IsHash(hash) {
			return Seal{}, fmt.Errorf("%q is no hash", hash)
		}
	}
	return seal, nil
}

func samePrevious(a, b *Previous) bool {
	return a == nil && b == nil || a != nil && b != nil && *a == *b
}

// signature checks that of SHA256SUMS.
func (s *subject) signature(text []byte, seal Seal) {
	armored, err := readFile(s.root, signatureFile, maxSignature)
	var signature *sshsig.Signature
	if err == nil {
		signature, err = sshsig.Unarmor(armored)
	}
	if err == nil {
		var key string
		if key, err = s.Signers.verify(text, signature, seal.Time); err == nil && seal.Key != "" && key != seal.Key {
			err = fmt.Errorf("made with %s, and seal.json names %s", key, seal.Key)
		}
	}
	if err != nil {
		s.fail("signature", signatureFile, "%s", reason(err))
	}
}

// reason is an error without the operation and path, which the finding has.
func reason(err error) string {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err.Error()
	}
	return err.Error()
}
