package sshd

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"
)

// Message numbers of the transport; RFC 4250, section 4.1.2, and RFC 4419.
const (
	msgDisconnect    = 1
	msgIgnore        = 2
	msgUnimplemented = 3
	msgDebug         = 4
	msgKexInit       = 20
	msgNewKeys       = 21
	msgKexDHInit     = 30
	msgGexInit       = 32
	msgGexRequest    = 34
	lastTransport    = 49  // above are authentication and channels
	firstLocal       = 192 // above OpenSSH takes no message from the network
)

const (
	// The lengths of packets that OpenSSH takes, without the length itself, in bytes;
	// see packet.c, PACKET_MAX_SIZE.
	minPacket = 5
	maxPacket = 256 << 10
	// clearBlock is what the length of a packet is a multiple of as long as there is
	// no cipher; RFC 4253, section 6.
	clearBlock = 8
	minPadding = 4
)

// kexStrict is how a client asks for strict key exchange; OpenSSH's PROTOCOL,
// section 1.10.
const kexStrict = "kex-strict-c-v00@openssh.com"

// errClear ends a connection at which sshd would have said no more either.
var errClear = errors.New("client broke the protocol before key exchange")

// clearConn is a connection as long as nothing is encrypted: the identification
// lines, then packets up to NEWKEYS (RFC 4253, sections 4.2, 6 and 7). That is where
// scanners look, and where the SSH library differs from OpenSSH. So packets are
// checked and answered here before the library has them, and its own are framed anew.
type clearConn struct {
	net.Conn
	kexAlgorithms []string // that we offer
	hostKey       string   // the first host key algorithm that we offer
	// heard is called with what the client offers, from the goroutine that reads.
	heard func(*KexInit)

	// greeted is closed when our KEXINIT is out. sshd reads nothing before.
	greeted chan struct{}

	// The reader's.
	replay    []byte // what the library has still to read
	encrypted bool   // the client has sent NEWKEYS
	seq       uint32 // of the next packet
	client    *KexInit
	strict    bool
	skip      bool   // the next packet was sent on a wrong guess
	expected  []byte // the messages to come, NEWKEYS aside

	mu     sync.Mutex // guards all below, and writing until secret
	skipID int        // what the library has still to write of our identification line
	frame  []byte     // the beginning of a packet
	secret bool       // we have sent NEWKEYS
	sent   bool       // greeted is closed
	corks  int        // calls of together
	until  time.Time  // when their time is over
	held   []byte     // what was written meanwhile
}

func newClearConn(c net.Conn) *clearConn {
	return &clearConn{Conn: c, heard: func(*KexInit) {}, greeted: make(chan struct{})}
}

// Read gives the library checked packets, and all that follows NEWKEYS.
func (c *clearConn) Read(p []byte) (int, error) {
	for len(c.replay) == 0 && !c.encrypted {
		if err := c.readPacket(); err != nil {
			return 0, err
		}
	}
	if len(c.replay) == 0 {
		c.replay = nil
		return c.Conn.Read(p)
	}
	n := copy(p, c.replay)
	c.replay = c.replay[n:]
	return n, nil
}

// readPacket reads a packet into replay, if the library is to have it.
func (c *clearConn) readPacket() error {
	<-c.greeted
	packet := make([]byte, 4, 1024)
	if _, err := io.ReadFull(c.Conn, packet); err != nil {
		return err
	}
	length := binary.BigEndian.Uint32(packet)
	if length < minPacket || length > maxPacket || (length+4)%clearBlock != 0 {
		return errClear
	}
	packet = slices.Grow(packet, int(length))[:4+length]
	if _, err := io.ReadFull(c.Conn, packet[4:]); err != nil {
		return err
	}
	padding := uint32(packet[4])
	if padding < minPadding {
		return c.disconnect(fmt.Sprintf("Corrupted padlen %d on input.", padding))
	}
	if padding+1 >= length {
		return errClear
	}
	seq := c.seq
	c.seq++
	if err := c.judge(seq, packet[5:4+length-padding]); err != nil {
		return err
	}
	c.replay = packet
	return nil
}

// judge looks at the payload of a packet as sshd does. What sshd answers and forgets
// becomes a message that the library ignores, so that it counts the same packets.
func (c *clearConn) judge(seq uint32, payload []byte) error {
	message := payload[0]
	switch {
	case message == 0 || message >= firstLocal:
		return c.disconnect(fmt.Sprintf("Invalid ssh2 packet type: %d", message))
	case message == msgDisconnect:
		return nil
	case message <= msgDebug && !c.strict:
		return c.chatter(payload)
	case message > lastTransport:
		return errClear
	case c.skip:
		c.skip = false
		return nil
	case message == msgKexInit && c.client == nil:
		return c.kexInit(seq, payload)
	case len(c.expected) > 0 && message == c.expected[0]:
		c.expected = c.expected[1:]
		return nil
	}
	c.mu.Lock()
	secret := c.secret
	c.mu.Unlock()
	switch {
	case secret && message == msgNewKeys && len(payload) == 1:
		c.encrypted = true
		return nil
	case secret: // an answer would have to be encrypted
		return errClear
	case c.strict:
		return c.disconnect(fmt.Sprintf("strict KEX violation: unexpected packet type %d (seqnr %d)", message, seq))
	}
	payload[0] = msgIgnore
	return c.send(binary.BigEndian.AppendUint32([]byte{msgUnimplemented}, seq))
}

// chatter takes the messages that may come at any time; RFC 4253, section 11.
func (c *clearConn) chatter(payload []byte) error {
	var err error
	switch payload[0] {
	case msgDebug:
		err = ssh.Unmarshal(payload, &debugMessage{})
	case msgUnimplemented:
		err = ssh.Unmarshal(payload, &unimplemented{})
		payload[0] = msgIgnore // the library takes none
	}
	if err != nil {
		return errClear
	}
	return nil
}

// kexInit notes what the client offers and what is to come for it.
func (c *clearConn) kexInit(seq uint32, payload []byte) error {
	k, err := parseKexInit(payload)
	if err != nil {
		return errClear
	}
	c.client = k
	c.heard(k)
	c.strict = slices.Contains(k.KexAlgorithms, kexStrict)
	if c.strict && seq != 0 {
		return c.disconnect("strict KEX violation: KEXINIT was not the first packet")
	}
	// RFC 4253, section 7: the packet after a wrong guess is for nobody.
	c.skip = k.FirstKexPacketFollows && (first(k.KexAlgorithms) != first(c.kexAlgorithms) || first(k.HostKeyAlgorithms) != c.hostKey)
	agreed := ""
	for _, a := range k.KexAlgorithms {
		if slices.Contains(c.kexAlgorithms, a) {
			agreed = a
			break
		}
	}
	c.expected = []byte{msgKexDHInit}
	if agreed == ssh.KeyExchangeDHGEXSHA256 {
		c.expected = []byte{msgGexRequest, msgGexInit}
	}
	return nil
}

func first(names []string) string {
	if len(names) == 0 {
		return ""
	}
	return names[0]
}

// disconnect says why the connection ends and returns the error that ends it.
func (c *clearConn) disconnect(text string) error {
	const protocolError = 2 // RFC 4253, section 11.1
	_ = c.send(ssh.Marshal(disconnectMessage{Reason: protocolError, Description: text}))
	return fmt.Errorf("%w: %s", errClear, text)
}

// send sends a message of ours, unless it would have to be encrypted.
func (c *clearConn) send(payload []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.secret {
		return errClear
	}
	_, err := c.Conn.Write(clearPacket(payload))
	return err
}

// Write sends what the library writes, packets with the padding of OpenSSH: as
// little as can be, and zero.
func (c *clearConn) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.secret {
		return c.pass(p)
	}
	n := min(len(p), c.skipID)
	c.skipID -= n
	c.frame = append(c.frame, p[n:]...)
	for !c.secret && len(c.frame) > 4 {
		length := int(binary.BigEndian.Uint32(c.frame)) + 4
		if len(c.frame) < length {
			break
		}
		payload := c.frame[5 : length-int(c.frame[4])]
		c.secret = payload[0] == msgNewKeys
		_, err := c.Conn.Write(clearPacket(payload))
		if !c.sent {
			c.sent = true
			close(c.greeted)
		}
		if err != nil {
			return 0, err
		}
		c.frame = c.frame[length:]
	}
	if c.secret {
		rest := c.frame
		c.frame = nil
		if len(rest) > 0 {
			if _, err := c.Conn.Write(rest); err != nil {
				return 0, err
			}
		}
	}
	return len(p), nil
}

// longestCork bounds how long together holds back what is written, and maxHeld how
// much: the library may wait for an answer to it.
const (
	longestCork = 5 * time.Millisecond
	maxHeld     = 64 << 10
)

// together sends what is written during f at once, so that the client cannot answer to
// one part of it before it has the others.
func (c *clearConn) together(f func()) {
	c.mu.Lock()
	c.corks++
	c.until = time.Now().Add(longestCork)
	c.mu.Unlock()
	timer := time.AfterFunc(longestCork, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		_ = c.flush()
	})
	f()
	timer.Stop()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.corks--; c.corks == 0 {
		_ = c.flush() // an error comes back with the next write
	}
}

// pass writes what is encrypted, or holds it back. clearConn.mu is held.
func (c *clearConn) pass(p []byte) (int, error) {
	if c.corks > 0 && len(c.held)+len(p) <= maxHeld && time.Now().Before(c.until) {
		c.held = append(c.held, p...)
		return len(p), nil
	}
	if err := c.flush(); err != nil {
		return 0, err
	}
	return c.Conn.Write(p)
}

// flush writes what was held back. clearConn.mu is held.
func (c *clearConn) flush() error {
	if len(c.held) == 0 {
		return nil
	}
	held := c.held
	c.held = nil
	_, err := c.Conn.Write(held)
	return err
}

// clearPacket is a packet with a payload as OpenSSH frames it without a cipher.
func clearPacket(payload []byte) []byte {
	padding := clearBlock - (5+len(payload))%clearBlock
	if padding < minPadding {
		padding += clearBlock
	}
	b := binary.BigEndian.AppendUint32(nil, uint32(1+len(payload)+padding))
	b = append(append(b, byte(padding)), payload...)
	return append(b, make([]byte, padding)...)
}
