package seal

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/hiddeco/sshsig"
	"golang.org/x/crypto/ssh"

	"github.com/sandtrap/sandtrap/internal/hint"
)

// Namespace is that of all signatures, see ssh-keygen(1), -Y sign.
const Namespace = "sandtrap-evidence"

// Bounds of what is read, in bytes.
const (
	maxSignature = 4 << 10
	maxSigners   = 1 << 20
)

// errUnknownKey means that a signature was made with a key that nobody allows.
var errUnknownKey = errors.New("signed with a key that is not among the allowed signers")

// sign signs text in SSHSIG form (OpenSSH's PROTOCOL.sshsig).
func sign(key ssh.Signer, text []byte) (*sshsig.Signature, error) {
	s, err := sshsig.Sign(bytes.NewReader(text), key, sshsig.HashSHA512, Namespace)
	if err != nil {
		return nil, fmt.Errorf("sign: %w", err)
	}
	return s, nil
}

// signer is one line of a file of allowed signers.
type signer struct {
	key           ssh.PublicKey
	after, before time.Time // zero for any time
}

// Signers are the keys that may have sealed evidence.
type Signers struct{ all []signer }

// ReadSigners reads a file of allowed signers.
func ReadSigners(path string) (*Signers, error) {
	text, err := readBounded(path)
	if err != nil {
		return nil, hint.Wrap(fmt.Errorf("read allowed signers: %w", err), "it is written when the key of seals is made, see sandtrap-hostkeys.service in sandtrap.service(8)")
	}
	s, err := parseSigners(text)
	if err != nil {
		return nil, fmt.Errorf("read allowed signers: %s: %w", path, err)
	}
	return s, nil
}

func readBounded(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxSigners+1))
	if err == nil && len(text) > maxSigners {
		err = &fs.PathError{Op: "read", Path: path, Err: fmt.Errorf("larger than %d bytes", maxSigners)}
	}
	return text, err
}

// parseSigners takes the lines that name Principal and are good for Namespace. What is
// not understood is an error: it could be a restriction.
func parseSigners(text []byte) (*Signers, error) {
	s := &Signers{}
	lines := bufio.NewScanner(bytes.NewReader(text))
	lines.Buffer(nil, maxSigners+1)
	for number := 1; lines.Scan(); number++ {
		line := strings.TrimSpace(lines.Text())
		principals, rest, _ := strings.Cut(line, " ")
		if line == "" || strings.HasPrefix(line, "#") || !slices.Contains(strings.Split(principals, ","), Principal) {
			continue
		}
		key, _, options, _, err := ssh.ParseAuthorizedKey([]byte(rest))
		if err != nil {
			return nil, fmt.Errorf("line %d: no public key", number)
		}
		one, ours := signer{key: key}, true
		for _, option := range options {
			name, value, _ := strings.Cut(option, "=")
			value = strings.Trim(value, `"`)
			switch strings.ToLower(name) {
			case "namespaces":
				ours = slices.Contains(strings.Split(value, ","), Namespace)
			case "valid-after":
				one.after, err = signerTime(value)
			case "valid-before":
				one.before, err = signerTime(value)
			default:
				err = fmt.Errorf("option %q is not known", name)
			}
			if err != nil {
				return nil, fmt.Errorf("line %d: %w", number, err)
			}
		}
		if ours {
			s.all = append(s.all, one)
		}
	}
	return s, lines.Err()
}

// signerTime reads YYYYMMDD[HHMM[SS]] with an optional Z, as ssh-keygen(1) has it.
func signerTime(text string) (time.Time, error) {
	zone := time.Local
	digits, utc := strings.CutSuffix(text, "Z")
	if utc {
		zone = time.UTC
	}
	for _, layout := range []string{"20060102", "200601021504", "20060102150405"} {
		if len(digits) == len(layout) {
			return time.ParseInLocation(layout, digits, zone)
		}
	}
	return time.Time{}, fmt.Errorf("%q is no time", text)
}

// verify checks that s signs text and was made with an allowed key, which had to be
// valid at the given time. It returns the key's fingerprint.
func (s *Signers) verify(text []byte, signature *sshsig.Signature, at time.Time) (fingerprint string, err error) {
	fingerprint = ssh.FingerprintSHA256(signature.PublicKey)
	key := signature.PublicKey.Marshal()
	for _, one := range s.all {
		if !bytes.Equal(one.key.Marshal(), key) {
			continue
		}
		if !one.after.IsZero() && at.Before(one.after) || !one.before.IsZero() && !at.Before(one.before) {
			return fingerprint, fmt.Errorf("%w at %s", errUnknownKey, at.UTC().Format(time.RFC3339))
		}
		// Only SHA-2 of the length that OpenSSH takes: the library has no other.
		if err := sshsig.Verify(bytes.NewReader(text), signature, one.key, signature.HashAlgorithm, Namespace); err != nil {
			return fingerprint, fmt.Errorf("signature is wrong: %w", err)
		}
		return fingerprint, nil
	}
	return fingerprint, fmt.Errorf("%w: %s", errUnknownKey, fingerprint)
}

// parseSignature reads a signature without armour.
func parseSignature(blob []byte) (*sshsig.Signature, error) {
	if len(blob) > maxSignature {
		return nil, fmt.Errorf("larger than %d bytes", maxSignature)
	}
	return sshsig.ParseSignature(blob)
}
