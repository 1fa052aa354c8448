package sshd

import (
	"bytes"
	"cmp"
	"crypto/rand"
	"regexp"
	"slices"

	"golang.org/x/crypto/ssh"
)

// oldClients are those whom sshd does not tell of its host keys: compat.c,
// SSH_BUG_HOSTKEYS.
var oldClients = regexp.MustCompile(`^SSH-2\.0-(Cisco-1\.|TeraTerm SSH|TTSSH/(1\.5\.|2\.[1-6]|2\.7[0-2]))`)

// announceHostKeys tells a client that has just logged in of all host keys, so that
// it can learn those it does not know: OpenSSH's PROTOCOL, section 2.5.
func announceHostKeys(c *connection, conn ssh.Conn) {
	if oldClients.MatchString(c.version) {
		return
	}
	var payload []byte
	for _, blob := range hostKeyBlobs(c.server.cfg.HostKeys) {
		payload = append(payload, ssh.Marshal(struct{ Key []byte }{blob})...)
	}
	// It fails when the client has left already.
	_, _, _ = conn.SendRequest(hostKeysAnnounced, false, payload)
}

// hostKeyBlobs are the public keys, each once, in the order of sshd's default.
func hostKeyBlobs(signers []ssh.Signer) [][]byte {
	var blobs [][]byte
	for _, s := range signers {
		blob := s.PublicKey().Marshal()
		if !slices.ContainsFunc(blobs, func(other []byte) bool { return bytes.Equal(other, blob) }) {
			blobs = append(blobs, blob)
		}
	}
	slices.SortStableFunc(blobs, func(a, b []byte) int { return cmp.Compare(rank(a), rank(b)) })
	return blobs
}

// rank is the place of a key in sshd's default HostKey: RSA, ECDSA, Ed25519.
func rank(blob []byte) int {
	switch blobType(blob) {
	case ssh.KeyAlgoRSA:
		return 0
	case ssh.KeyAlgoED25519:
		return 2
	default:
		return 1
	}
}

func blobType(blob []byte) string {
	var m struct {
		Type string
		Rest []byte `ssh:"rest"`
	}
	_ = ssh.Unmarshal(blob, &m) // ours, or none of ours
	return m.Type
}

// maxProofs bounds the requests of one connection for proofs: each takes the
// processor for some milliseconds. A client sends one.
const maxProofs = 16

// prove signs for the host keys that the client asks about: OpenSSH's PROTOCOL,
// section 2.5. It fails as a whole if one of them is not ours.
func (g *globals) prove(payload []byte) (answer []byte, ok bool) {
	signers := g.conn.server.cfg.HostKeys
	if g.proofs++; g.proofs > maxProofs {
		return nil, false
	}
	for asked := 0; len(payload) > 0; asked++ {
		var m struct {
			Key  []byte
			Rest []byte `ssh:"rest"`
		}
		if ssh.Unmarshal(payload, &m) != nil || asked >= len(signers) {
			return nil, false
		}
		payload = m.Rest
		signature := g.sign(signers, m.Key)
		if signature == nil {
			return nil, false
		}
		answer = append(answer, ssh.Marshal(struct{ Signature []byte }{ssh.Marshal(signature)})...)
	}
	return answer, true
}

// sign proves that one key is ours, nil where it is not.
func (g *globals) sign(signers []ssh.Signer, blob []byte) *ssh.Signature {
	data := ssh.Marshal(struct {
		Request   string
		SessionID []byte
		Key       []byte
	}{hostKeysProve, g.ssh.SessionID(), blob})
	algorithm := blobType(blob)
	if algorithm == ssh.KeyAlgoRSA { // never SHA-1
		algorithm = ssh.KeyAlgoRSASHA512
		if g.negotiated() == ssh.KeyAlgoRSASHA256 {
			algorithm = ssh.KeyAlgoRSASHA256
		}
	}
	for _, s := range signers {
		if !bytes.Equal(s.PublicKey().Marshal(), blob) {
			continue
		}
		if signature := signWith(s, data, algorithm); signature != nil {
			return signature
		}
	}
	return nil
}

// negotiated is the host key algorithm of the first key exchange.
func (g *globals) negotiated() string {
	if m, ok := g.ssh.Conn.(ssh.AlgorithmsConnMetadata); ok {
		return m.Algorithms().HostKey
	}
	return ""
}

// signWith signs with an algorithm, if the signer has it.
func signWith(s ssh.Signer, data []byte, algorithm string) *ssh.Signature {
	var signature *ssh.Signature
	var err error
	if able, ok := s.(ssh.AlgorithmSigner); ok {
		signature, err = able.SignWithAlgorithm(rand.Reader, data, algorithm)
	} else {
		signature, err = s.Sign(rand.Reader, data)
	}
	if err != nil || signature.Format != algorithm {
		return nil
	}
	return signature
}
