package testssh

import (
	"encoding/binary"
	"fmt"
	"strings"
)

// Message numbers; RFC 4250, section 4.1.2.
const (
	disconnect    = 1
	ignore        = 2
	unimplemented = 3
	debug         = 4
	service       = 5
	extInfo       = 7
	kexInit       = 20
	newKeys       = 21
	kexECDHInit   = 30
	kexReply      = 31
	gexInit       = 32
	gexRequest    = 34
	userauth      = 50
)

// Probe is something to send before the encryption begins, and what an OpenSSH 9.2
// answers. Ask tells how the answer reads.
type Probe struct {
	Name string
	Send []string // the identification line, or what stands for it, then the rest
	Want string
	// Ours is what SandTrap answers in its place, and Why it does.
	Ours, Why string
}

const hello = "SSH-2.0-probe\r\n"

// packet is a payload as a packet in the clear.
func packet(payload string) string {
	padding := 8 - (5+len(payload))%8
	if padding < 4 {
		padding += 8
	}
	return framed(1+len(payload)+padding, padding, payload)
}

// framed is a packet that claims any length and padding.
func framed(length, padding int, payload string) string {
	return string(binary.BigEndian.AppendUint32(nil, uint32(length))) + string(rune(padding)) + payload + strings.Repeat("\x00", padding)
}

func message(number int, fields ...string) string {
	return packet(string([]byte{byte(number)}) + strings.Join(fields, ""))
}

func text(s string) string { return number(len(s)) + s }

func number(n int) string { return string(binary.BigEndian.AppendUint32(nil, uint32(n))) }

// offer is what a KEXINIT of ours offers.
type offer struct {
	kex, hostKey, cipher, mac, compression string
	guess                                  bool   // first_kex_packet_follows
	reserved                               int    // RFC 4253 wants 0
	more                                   string // behind the end
}

func (o offer) payload() string {
	or := func(s, otherwise string) string {
		if s == "" {
			return otherwise
		}
		return strings.TrimPrefix(s, "-")
	}
	cipher, mac, compression := text(or(o.cipher, "aes128-ctr")), text(or(o.mac, "hmac-sha2-256-etm@openssh.com")), text(or(o.compression, "none"))
	guess := "\x00"
	if o.guess {
		guess = "\x01"
	}
	return "\x14" + strings.Repeat("C", 16) + text(or(o.kex, "curve25519-sha256")) + text(or(o.hostKey, "ssh-ed25519")) +
		cipher + cipher + mac + mac + compression + compression + text("") + text("") + guess + number(o.reserved) + o.more
}

func (o offer) packet() string { return packet(o.payload()) }

const (
	strictKex = "curve25519-sha256,kex-strict-c-v00@openssh.com"
	gexKex    = "diffie-hellman-group-exchange-sha256"
	dhKex     = "diffie-hellman-group16-sha512"
)

const afterNewKeys = "the answer would be encrypted, and only the SSH library has the keys"

// Probes returns all probes. They offer algorithms that every persona of ours has.
func Probes() []Probe {
	return append(append(append(identProbes(), messageProbes()...), frameProbes()...), kexProbes()...)
}

func identProbes() []Probe {
	kex := offer{}.packet()
	const invalid = `ident, "Invalid SSH identification string.\r\n", closed`
	return []Probe{
		{Name: "web request", Send: []string{"GET / HTTP/1.0\r\n\r\n"}, Want: invalid},
		{Name: "version 1.5", Send: []string{"SSH-1.5-x\r\n"}, Want: `ident, "Protocol major versions differ.\r\n", closed`},
		{Name: "version 1.99", Send: []string{"SSH-1.99-x\r\n", kex}, Want: "ident, KEXINIT, open"},
		{Name: "no software", Send: []string{"SSH-2.0\r\n"}, Want: invalid},
		{Name: "no version", Send: []string{"SSH-1337\r\n"}, Want: invalid},
		{Name: "line feed alone", Send: []string{"SSH-2.0-x\n", kex}, Want: "ident, KEXINIT, open"},
		{Name: "line twice", Send: []string{hello, hello}, Want: "ident, KEXINIT, closed"},
		{Name: "line feeds behind", Send: []string{hello, strings.Repeat("\n", 8)}, Want: "ident, KEXINIT, closed"},
		{Name: "line of 300", Send: []string{"SSH-2.0-" + strings.Repeat("x", 300) + "\r\n", kex}, Want: "ident, KEXINIT, open"},
		{Name: "odd characters", Send: []string{"SSH-2.0-\x01\xff\x1b[31m\r\n", kex}, Want: "ident, KEXINIT, open"},
		{Name: "blank software", Send: []string{"SSH-2.0- \r\n", kex}, Want: "ident, KEXINIT, open"},
		{Name: "nothing more", Send: []string{hello}, Want: "ident, KEXINIT, open"},
	}
}

// messageProbes send messages where others are due.
func messageProbes() []Probe {
	kex, strict := offer{}.packet(), offer{kex: strictKex}.packet()
	init := message(kexECDHInit, text("\x09"+strings.Repeat("\x00", 31)))
	note := message(ignore, text("x"))
	debugNote := message(debug, "\x00", text("x"), text(""))
	ask := message(service, text("ssh-userauth"))
	const unknown = `DISCONNECT 2 "Invalid ssh2 packet type: %d", closed`
	const violation = `ident, KEXINIT, DISCONNECT 2 "strict KEX violation: unexpected packet type %d (seqnr 1)", closed`
	const first, second = "ident, KEXINIT, UNIMPLEMENTED 0, open", "ident, KEXINIT, UNIMPLEMENTED 1, open"
	const done = "ident, KEXINIT, KEX_REPLY, NEWKEYS"
	return []Probe{
		{Name: "type 0", Send: []string{hello, message(0, "abc")}, Want: "ident, KEXINIT, " + fmt.Sprintf(unknown, 0)},
		{Name: "type 192", Send: []string{hello, message(192, "abc")}, Want: "ident, KEXINIT, " + fmt.Sprintf(unknown, 192)},
		{Name: "type 200", Send: []string{hello, message(200, "abc")}, Want: "ident, KEXINIT, " + fmt.Sprintf(unknown, 200)},
		{Name: "type 191", Send: []string{hello, message(191, "abc")}, Want: "ident, KEXINIT, closed"},
		{Name: "authentication", Send: []string{hello, message(userauth, "abc")}, Want: "ident, KEXINIT, closed"},
		{Name: "service request", Send: []string{hello, ask}, Want: first},
		{Name: "type 19", Send: []string{hello, message(19, "a")}, Want: first},
		{Name: "new keys", Send: []string{hello, message(newKeys)}, Want: first},
		{Name: "key exchange before its time", Send: []string{hello, init}, Want: first},
		{Name: "reply of a server", Send: []string{hello, message(kexReply)}, Want: first},
		{Name: "extension info", Send: []string{hello, message(extInfo, number(0))}, Want: first},
		{Name: "ignore", Send: []string{hello, note, kex}, Want: "ident, KEXINIT, open"},
		{Name: "ignore of 200 KB", Send: []string{hello, message(ignore, text(strings.Repeat("x", 200_000))), kex}, Want: "ident, KEXINIT, open"},
		{Name: "ignore, cut off", Send: []string{hello, message(ignore, "\x00")}, Want: "ident, KEXINIT, open"},
		{Name: "debug", Send: []string{hello, debugNote}, Want: "ident, KEXINIT, open"},
		{Name: "debug, cut off", Send: []string{hello, message(debug)}, Want: "ident, KEXINIT, closed"},
		{Name: "unimplemented", Send: []string{hello, message(unimplemented, number(0))}, Want: "ident, KEXINIT, open"},
		{Name: "unimplemented, cut off", Send: []string{hello, message(unimplemented, "\x00")}, Want: "ident, KEXINIT, closed"},
		{Name: "disconnect", Send: []string{hello, message(disconnect, number(11), text("bye"), text(""))}, Want: "ident, KEXINIT, closed"},
		{Name: "disconnect, cut off", Send: []string{hello, message(disconnect, "\x00")}, Want: "ident, KEXINIT, closed"},
		{Name: "after KEXINIT: unimplemented", Send: []string{hello, kex, message(unimplemented, number(0))}, Want: "ident, KEXINIT, open"},
		{Name: "after KEXINIT: service request", Send: []string{hello, kex, ask}, Want: second},
		{Name: "after KEXINIT: authentication", Send: []string{hello, kex, message(userauth)}, Want: "ident, KEXINIT, closed"},
		{Name: "after KEXINIT: type 200", Send: []string{hello, kex, message(200)}, Want: "ident, KEXINIT, " + fmt.Sprintf(unknown, 200)},
		{Name: "after KEXINIT: ignore", Send: []string{hello, kex, note}, Want: "ident, KEXINIT, open"},
		{Name: "after KEXINIT: new keys", Send: []string{hello, kex, message(newKeys)}, Want: second},
		{Name: "after KEXINIT: reply of a server", Send: []string{hello, kex, message(kexReply)}, Want: second},
		{Name: "after KEXINIT: extension info", Send: []string{hello, kex, message(extInfo, number(0))}, Want: second},
		{Name: "KEXINIT twice", Send: []string{hello, kex, kex}, Want: second},
		{Name: "strict: not the first", Send: []string{hello, note, strict}, Want: `ident, KEXINIT, DISCONNECT 2 "strict KEX violation: KEXINIT was not the first packet", closed`},
		{Name: "strict: disconnect", Send: []string{hello, strict, message(disconnect, number(11), text("bye"), text(""))}, Want: "ident, KEXINIT, closed"},
		{Name: "strict: ignore", Send: []string{hello, strict, note}, Want: fmt.Sprintf(violation, ignore)},
		{Name: "strict: debug", Send: []string{hello, strict, debugNote}, Want: fmt.Sprintf(violation, debug)},
		{Name: "strict: unimplemented", Send: []string{hello, strict, message(unimplemented, number(0))}, Want: fmt.Sprintf(violation, unimplemented)},
		{Name: "strict: service request", Send: []string{hello, strict, ask}, Want: fmt.Sprintf(violation, service)},
		{Name: "strict: new keys", Send: []string{hello, strict, message(newKeys)}, Want: fmt.Sprintf(violation, newKeys)},
		{Name: "strict: KEXINIT twice", Send: []string{hello, strict, strict}, Want: fmt.Sprintf(violation, kexInit)},
		{Name: "strict: authentication", Send: []string{hello, strict, message(userauth)}, Want: "ident, KEXINIT, closed"},
		{Name: "strict: type 200", Send: []string{hello, strict, message(200)}, Want: "ident, KEXINIT, " + fmt.Sprintf(unknown, 200)},
		{Name: "answered, then key exchange", Send: []string{hello, ask, kex, init}, Want: "ident, KEXINIT, UNIMPLEMENTED 0, KEX_REPLY, NEWKEYS, open"},
		{Name: "ignored, then key exchange", Send: []string{hello, message(unimplemented, number(0)), kex, note, init}, Want: done + ", open"},
		{Name: "key exchange, then ignore", Send: []string{hello, kex, init, note}, Want: done + ", open"},
		{Name: "key exchange, then unimplemented", Send: []string{hello, kex, init, message(unimplemented, number(0))}, Want: done + ", open"},
		{Name: "key exchange, then long new keys", Send: []string{hello, kex, init, message(newKeys, "x")}, Want: done + ", closed"},
		{Name: "key exchange twice", Send: []string{hello, kex, init, init}, Want: done + ", encrypted, open", Ours: done + ", closed", Why: afterNewKeys},
		{Name: "key exchange, then service request", Send: []string{hello, kex, init, ask}, Want: done + ", encrypted, open", Ours: done + ", closed", Why: afterNewKeys},
		{Name: "key exchange, then type 200", Send: []string{hello, kex, init, message(200)}, Want: done + ", encrypted, closed", Ours: done + ", closed", Why: afterNewKeys},
	}
}

// frameProbes send packets of odd lengths.
func frameProbes() []Probe {
	zeros := strings.Repeat("\x00", 20)
	const closed = "ident, KEXINIT, closed"
	return []Probe{
		{Name: "length 0", Send: []string{hello, "\x00\x00\x00\x00" + zeros}, Want: closed},
		{Name: "length 4", Send: []string{hello, "\x00\x00\x00\x04" + zeros}, Want: closed},
		{Name: "length 5", Send: []string{hello, "\x00\x00\x00\x05\x04\x14" + zeros}, Want: closed},
		{Name: "no multiple of 8", Send: []string{hello, framed(13, 4, "\x02"+text("abc")) + "xxxxxxx"}, Want: closed},
		{Name: "padding of 3", Send: []string{hello, framed(12, 3, "\x02"+strings.Repeat("\x00", 7))}, Want: `ident, KEXINIT, DISCONNECT 2 "Corrupted padlen 3 on input.", closed`},
		{Name: "padding of 4", Send: []string{hello, framed(12, 4, "\x02"+text("ab"))}, Want: "ident, KEXINIT, open"},
		{Name: "padding of all", Send: []string{hello, "\x00\x00\x00\x0c\x0c" + strings.Repeat("\x02", 11)}, Want: closed},
		{Name: "padding of all but nothing", Send: []string{hello, "\x00\x00\x00\x0c\x0b" + strings.Repeat("\x02", 11)}, Want: closed},
		{Name: "length of 256 KiB", Send: []string{hello, "\x00\x04\x00\x00\x04\x02" + zeros}, Want: closed},
		{Name: "length beyond", Send: []string{hello, "\x00\x04\x00\x04\x04\x02" + zeros}, Want: closed},
		{Name: "length of 4 GiB", Send: []string{hello, "\xff\xff\xff\xff\x04\x02" + zeros}, Want: closed},
	}
}

// kexProbes vary the key exchange.
func kexProbes() []Probe {
	const closed, waits = "ident, KEXINIT, closed", "ident, KEXINIT, open"
	const done = "ident, KEXINIT, KEX_REPLY, NEWKEYS, open"
	point := text("\x09" + strings.Repeat("\x00", 31))
	init := message(kexECDHInit, point)
	kex := func(o offer) string { return o.packet() }
	whole := offer{}.payload()
	many := make([]string, 10_000)
	for i := range many {
		many[i] = fmt.Sprintf("x%d", i)
	}
	return []Probe{
		{Name: "KEXINIT", Send: []string{hello, kex(offer{})}, Want: waits},
		{Name: "no common key exchange", Send: []string{hello, kex(offer{kex: "foo"})}, Want: closed},
		{Name: "no common host key", Send: []string{hello, kex(offer{hostKey: "foo"})}, Want: closed},
		{Name: "no common cipher", Send: []string{hello, kex(offer{cipher: "foo"})}, Want: closed},
		{Name: "no common MAC", Send: []string{hello, kex(offer{mac: "foo"})}, Want: closed},
		{Name: "no common compression", Send: []string{hello, kex(offer{compression: "foo"})}, Want: closed},
		{Name: "empty list", Send: []string{hello, kex(offer{kex: "-"})}, Want: closed},
		{Name: "list of 10,000", Send: []string{hello, kex(offer{kex: "curve25519-sha256," + strings.Join(many, ",")})}, Want: waits},
		{Name: "KEXINIT, cut off", Send: []string{hello, packet(whole[:40])}, Want: closed},
		{Name: "cookie alone", Send: []string{hello, packet(whole[:17])}, Want: closed},
		{Name: "KEXINIT with more behind", Send: []string{hello, kex(offer{more: "trailing"})}, Want: closed},
		{Name: "reserved not 0", Send: []string{hello, kex(offer{reserved: 7})}, Want: waits},
		{Name: "wrong guess", Send: []string{hello, kex(offer{kex: "diffie-hellman-group14-sha1,curve25519-sha256", guess: true}), message(kexECDHInit, "abc"), init}, Want: done},
		{Name: "wrong guess, any message", Send: []string{hello, kex(offer{guess: true}), message(service, "abc"), init}, Want: done},
		{Name: "wrong guess, ignore before it", Send: []string{hello, kex(offer{guess: true}), message(ignore, "abcd"), message(service, "abc"), init}, Want: done},
		{Name: "wrong guess, strict", Send: []string{hello, kex(offer{kex: strictKex, guess: true}), message(ignore, "abcd"), init}, Want: done},
		{Name: "curve25519", Send: []string{hello, kex(offer{}), init}, Want: done},
		{Name: "point of 31 bytes", Send: []string{hello, kex(offer{}), message(kexECDHInit, text(strings.Repeat("\x09", 31)))}, Want: closed},
		{Name: "point of zeros", Send: []string{hello, kex(offer{}), message(kexECDHInit, text(strings.Repeat("\x00", 32)))}, Want: closed},
		{Name: "point with more behind", Send: []string{hello, kex(offer{}), message(kexECDHInit, point, "zz")}, Want: closed},
		{Name: "group exchange", Send: []string{hello, kex(offer{kex: gexKex}), message(gexRequest, number(2048), number(3072), number(8192))}, Want: "ident, KEXINIT, KEX_REPLY, open"},
		{Name: "group exchange, old", Send: []string{hello, kex(offer{kex: gexKex}), message(kexECDHInit, number(2048))}, Want: "ident, KEXINIT, UNIMPLEMENTED 1, open"},
		{Name: "group exchange, init first", Send: []string{hello, kex(offer{kex: gexKex}), message(gexInit, text("\x02"))}, Want: "ident, KEXINIT, UNIMPLEMENTED 1, open"},
		{Name: "group exchange, at least 9000", Send: []string{hello, kex(offer{kex: gexKex}), message(gexRequest, number(9000), number(3072), number(1024))}, Want: closed},
		{Name: "group exchange, at most 1024", Send: []string{hello, kex(offer{kex: gexKex}), message(gexRequest, number(512), number(512), number(1024))}, Want: closed},
		{Name: "group 16, nothing", Send: []string{hello, kex(offer{kex: dhKex}), message(kexECDHInit, text(""))}, Want: closed},
		{Name: "group 16, one", Send: []string{hello, kex(offer{kex: dhKex}), message(kexECDHInit, text("\x01"))}, Want: closed},
	}
}
