package seal

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"
	"time"

	"github.com/sandtrap/sandtrap/internal/evidence"
)

// known is what the chain says about a session.
type known struct {
	sequence int64
	sha256   string // of its SHA256SUMS
	removed  bool
	seen     bool // its directory was found
}

// ledger is the chain as Verify reads it. It can be read on when it has grown.
type ledger struct {
	root     *os.Root
	signers  *Signers
	report   func(Finding)
	deep     bool // check every signature
	head     Head
	end      int64
	lines    int64
	last     string
	sealed   *Previous
	sessions map[string]*known
	// before has what the seal of a session must say, by its sequence, until it was read.
	before    map[int64]placed
	artifacts map[string]bool // removed
	headSeen  bool
}

// placed is where an entry of a seal is.
type placed struct {
	chain  string
	sealed *Previous
}

// fail reports damage of the chain.
func (l *ledger) fail(check, format string, a ...any) {
	l.report(Finding{Level: Failure, Check: check, File: chainFile, Text: fmt.Sprintf(format, a...)})
}

// read takes in what the chain has grown by. A torn end is not read.
func (l *ledger) read() error {
	f, err := evidence.OpenRegular(l.root, chainFile)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read chain: %w", err)
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return fmt.Errorf("read chain: %w", err)
	}
	if st.Size() < l.end {
		l.fail("chain", "it has become shorter")
		return nil
	}
	n, err := eachLine(io.NewSectionReader(f, l.end, st.Size()-l.end), func(line []byte) bool {
		l.lines++
		hash := hashOf(line)
		l.line(line, hash)
		l.last = hash
		if l.lines == l.head.Sequence {
			l.headSeen = hash == l.head.SHA256
		}
		return true
	})
	l.end += n
	if err != nil {
		return fmt.Errorf("read chain: %w", err)
	}
	return nil
}

// line checks one line and takes it in.
func (l *ledger) line(line []byte, hash string) {
	e, err := parseEntry(line)
	if err != nil {
		l.fail("chain", "line %d: %v", l.lines, err)
		return
	}
	if e.Sequence != l.lines {
		l.fail("chain", "line %d has number %d: lines were removed or inserted", l.lines, e.Sequence)
	}
	if e.Previous != l.last {
		l.fail("chain", "line %d does not follow the one before: one of them was altered or replaced", l.lines)
	}
	if l.deep {
		l.signature(line, e)
	}
	switch old := l.sessions[e.Session]; {
	case e.Action == ActionRemoveArtifact:
		l.artifacts[e.SHA256] = true
	case e.Action == ActionRemove && (old == nil || old.sha256 != e.SHA256):
		l.fail("chain", "line %d removes session %s, which was not sealed like that", l.lines, e.Session)
	case e.Action == ActionRemove:
		old.removed = true
	case old != nil:
		l.fail("chain", "line %d seals session %s again", l.lines, e.Session)
	default:
		l.sessions[e.Session] = &known{sequence: l.lines, sha256: e.SHA256}
		l.before[l.lines] = placed{l.last, l.sealed}
		l.sealed = &Previous{l.lines, e.Session, e.SHA256}
	}
}

func (l *ledger) signature(line []byte, e Entry) {
	body, s, err := signed(line)
	if err == nil {
		_, err = l.signers.verify(body, s, e.Time)
	}
	if err != nil {
		l.fail("chain-signature", "line %d: %v", l.lines, err)
	}
}

// Head is an entry of the chain that somebody has kept elsewhere.
type Head struct {
	Sequence int64
	SHA256   string
}

// ParseHead reads SEQUENCE:SHA256.
func ParseHead(text string) (Head, error) {
	var h Head
	number, hash, ok := strings.Cut(text, ":")
	if n, err := fmt.Sscanf(number, "%d", &h.Sequence); !ok || n != 1 || err != nil || h.Sequence < 1 || !evidence.IsHash(hash) {
		return Head{}, fmt.Errorf("%q is not SEQUENCE:SHA256", text)
	}
	h.SHA256 = hash
	return h, nil
}

// checkHead looks for the entry that was kept elsewhere.
func (l *ledger) checkHead() {
	switch {
	case l.head.Sequence == 0 || l.headSeen:
	case l.lines < l.head.Sequence:
		l.fail("chain", "it ends with line %d, and had line %d: its end was cut off", l.lines, l.head.Sequence)
	default:
		l.fail("chain", "line %d is not the one that was there", l.head.Sequence)
	}
}

// artifactOf returns the hash that the name of an artifact in artifactsFile stands for.
func artifactOf(s sum) (string, bool) {
	rest, ok := strings.CutPrefix(s.name, toState)
	return path.Base(rest), ok && path.Base(rest) == s.hash
}

// lateWords says how long after its end a session was sealed, where that is noteworthy.
func lateWords(sealed time.Time, end *time.Time) string {
	const late = time.Hour
	if end == nil || sealed.Sub(*end) < late {
		return ""
	}
	return fmt.Sprintf("sealed %s after its end", sealed.Sub(*end).Round(time.Minute))
}
