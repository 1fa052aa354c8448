//go:build appliance

package appliance

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdh"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"strings"
	"sync"
	"time"

	xssh "golang.org/x/crypto/ssh"
)

// wire is the transport of an SSH client that hides nothing: the test sees and
// writes every message (RFC 4253). It knows one algorithm of each kind, does not
// look who the server is, and never exchanges keys again.
type wire struct {
	conn    net.Conn
	sending sync.Mutex
	in, out *sealed // nil before the keys are there
}

// sealed is one direction of aes128-gcm@openssh.com; RFC 5647.
type sealed struct {
	aead  cipher.AEAD
	nonce []byte
}

func newSealed(key, iv []byte) (*sealed, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	aead, err := cipher.NewGCM(block)
	return &sealed{aead, iv}, err
}

// next is the nonce of the next packet: its last 8 bytes count.
func (s *sealed) next() []byte {
	now := bytes.Clone(s.nonce)
	binary.BigEndian.PutUint64(s.nonce[4:], binary.BigEndian.Uint64(s.nonce[4:])+1)
	return now
}

const (
	msgDisconnect      = 1
	msgIgnore          = 2
	msgDebug           = 4
	msgServiceRequest  = 5
	msgServiceAccept   = 6
	msgKexInit         = 20
	msgNewKeys         = 21
	msgKexECDHInit     = 30
	msgKexECDHReply    = 31
	msgUserauth        = 50
	msgUserauthFailure = 51
	msgUserauthOK      = 52
	msgUserauthBanner  = 53
)

// send writes a packet.
func (w *wire) send(payload []byte) error {
	w.sending.Lock()
	defer w.sending.Unlock()
	block, length := 16, 1+len(payload) // what the padding makes a multiple of block
	if w.out == nil {
		block, length = 8, length+4
	}
	padding := block - length%block
	if padding < 4 {
		padding += block
	}
	p := binary.BigEndian.AppendUint32(nil, uint32(1+len(payload)+padding))
	p = append(append(append(p, byte(padding)), payload...), make([]byte, padding)...)
	if w.out != nil {
		p = w.out.aead.Seal(p[:4:4], w.out.next(), p[4:], p[:4])
	}
	_, err := w.conn.Write(p)
	return err
}

// receive reads a packet.
func (w *wire) receive() ([]byte, error) {
	head := make([]byte, 4)
	if _, err := io.ReadFull(w.conn, head); err != nil {
		return nil, err
	}
	length, tag := binary.BigEndian.Uint32(head), 0
	if w.in != nil {
		tag = w.in.aead.Overhead()
	}
	if length < 6 || length > 1<<19 {
		return nil, fmt.Errorf("a packet of %d bytes", length)
	}
	p := make([]byte, int(length)+tag)
	if _, err := io.ReadFull(w.conn, p); err != nil {
		return nil, err
	}
	if w.in != nil {
		var err error
		if p, err = w.in.aead.Open(p[:0], w.in.next(), p, head); err != nil {
			return nil, err
		}
	}
	if int(p[0]) > len(p)-2 {
		return nil, errors.New("a packet of padding")
	}
	return p[1 : len(p)-int(p[0])], nil
}

// expect reads packets until one of a kind comes.
func (w *wire) expect(kind byte) ([]byte, error) {
	for {
		p, err := w.receive()
		if err != nil {
			return nil, fmt.Errorf("wait for message %d: %w", kind, err)
		}
		switch p[0] {
		case kind:
			return p, nil
		case msgIgnore, msgDebug, msgUserauthBanner:
		default:
			return nil, fmt.Errorf("message %d in place of %d: %.100q", p[0], kind, p)
		}
	}
}

// dialWire connects and logs in with a password, and calls itself version.
func dialWire(address, source, version, user string) (*wire, error) {
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(source)}, Timeout: patience}
	conn, err := d.Dial("tcp", address)
	if err != nil {
		return nil, err
	}
	w := &wire{conn: conn}
	err = errors.Join(conn.SetDeadline(time.Now().Add(patience)), w.exchangeKeys("SSH-2.0-"+version))
	if err == nil {
		err = errors.Join(w.logIn(user), conn.SetDeadline(time.Time{}))
	}
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	return w, nil
}

// identify exchanges identification lines; RFC 4253, section 4.2.
func (w *wire) identify(ours string) (theirs string, err error) {
	if _, err := io.WriteString(w.conn, ours+"\r\n"); err != nil {
		return "", err
	}
	var line []byte
	var one [1]byte
	for one[0] != '\n' && len(line) < 256 {
		if _, err := io.ReadFull(w.conn, one[:]); err != nil {
			return "", err
		}
		line = append(line, one[0])
	}
	return strings.TrimRight(string(line), "\r\n"), nil
}

// kexInit is the only offer that this client makes.
func kexInit() []byte {
	var m struct {
		Cookie                  [16]byte `sshtype:"20"`
		Kex, HostKey            []string
		CipherIn, CipherOut     []string
		MACIn, MACOut           []string
		CompressIn, CompressOut []string
		LanguageIn, LanguageOut []string
		FirstKexFollows         bool
		Reserved                uint32
	}
	cipher, mac, none := []string{"aes128-gcm@openssh.com"}, []string{"hmac-sha2-256-etm@openssh.com"}, []string{"none"}
	m.Kex, m.HostKey = []string{"curve25519-sha256"}, []string{"ssh-ed25519"}
	m.CipherIn, m.CipherOut, m.MACIn, m.MACOut, m.CompressIn, m.CompressOut = cipher, cipher, mac, mac, none, none
	_, _ = rand.Read(m.Cookie[:])
	return xssh.Marshal(&m)
}

// exchangeKeys agrees on keys; RFC 4253, section 7 and RFC 8731.
func (w *wire) exchangeKeys(ourVersion string) error {
	theirVersion, err := w.identify(ourVersion)
	if err != nil {
		return err
	}
	ourInit := kexInit()
	if err := w.send(ourInit); err != nil {
		return err
	}
	theirInit, err := w.expect(msgKexInit)
	if err != nil {
		return err
	}
	private, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	ours := private.PublicKey().Bytes()
	if err := w.send(append([]byte{msgKexECDHInit}, str(string(ours))...)); err != nil {
		return err
	}
	answer, err := w.expect(msgKexECDHReply)
	if err != nil {
		return err
	}
	var reply struct {
		HostKey, Public, Signature string `sshtype:"31"`
	}
	if err := xssh.Unmarshal(answer, &reply); err != nil {
		return err
	}
	theirs, err := ecdh.X25519().NewPublicKey([]byte(reply.Public))
	if err != nil {
		return err
	}
	secret, err := private.ECDH(theirs)
	if err != nil {
		return err
	}
	k := xssh.Marshal(struct{ K *big.Int }{new(big.Int).SetBytes(secret)})
	h := sha256.New()
	for _, s := range []string{ourVersion, theirVersion, string(ourInit), string(theirInit), reply.HostKey, string(ours), reply.Public} {
		h.Write(str(s))
	}
	h.Write(k)
	return w.useKeys(k, h.Sum(nil))
}

// useKeys derives the keys and takes them into use; RFC 4253, sections 7.2 and 7.3.
func (w *wire) useKeys(k, h []byte) error {
	derive := func(letter byte, size int) []byte {
		sum := sha256.Sum256(bytes.Join([][]byte{k, h, {letter}, h}, nil))
		return sum[:size]
	}
	out, err1 := newSealed(derive('C', 16), derive('A', 12))
	in, err2 := newSealed(derive('D', 16), derive('B', 12))
	err := errors.Join(err1, err2, w.send([]byte{msgNewKeys}))
	if err != nil {
		return err
	}
	if _, err := w.expect(msgNewKeys); err != nil {
		return err
	}
	w.in, w.out = in, out
	return nil
}

// logIn authenticates with a password; RFC 4252.
func (w *wire) logIn(user string) error {
	if err := w.askForAuth(); err != nil {
		return err
	}
	try := bytes.Join([][]byte{{msgUserauth}, str(user), str("ssh-connection"), str("password"), {0}, str(password)}, nil)
	if err := w.send(try); err != nil {
		return err
	}
	_, err := w.expect(msgUserauthOK)
	return err
}

// askForAuth begins the authentication; RFC 4253, section 10.
func (w *wire) askForAuth() error {
	if err := w.send(append([]byte{msgServiceRequest}, str("ssh-userauth")...)); err != nil {
		return err
	}
	_, err := w.expect(msgServiceAccept)
	return err
}

// str and num encode a string and a uint32; RFC 4251, section 5.
func str(s string) []byte { return append(num(len(s)), s...) }

func num(n int) []byte { return binary.BigEndian.AppendUint32(nil, uint32(n)) }
