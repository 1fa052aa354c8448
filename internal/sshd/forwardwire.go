package sshd

import "strings"

// Payloads that are about forwarding, as ssh.Unmarshal wants them.

// directTCPIP is RFC 4254, section 7.2.
type directTCPIP struct {
	Host           string
	Port           uint32
	Originator     string
	OriginatorPort uint32
}

// directStreamlocal is OpenSSH's PROTOCOL, section 2.4. What is reserved there is
// an originator to sshd.
type directStreamlocal struct {
	Path           string
	Originator     string
	OriginatorPort uint32
}

// tunnel is OpenSSH's PROTOCOL, section 2.3. sshd looks at the rest only where it
// lets tunnels in, and not for its end.
type tunnel struct {
	Mode uint32
	Rest []byte `ssh:"rest"`
}

// The modes of a tunnel.
const (
	tunPointToPoint = 1
	tunEthernet     = 2
)

// listenTCPIP is RFC 4254, section 7.1, and listenStreamlocal OpenSSH's PROTOCOL,
// section 2.4. sshd does not look whether more follows.
type listenTCPIP struct {
	Address string
	Port    uint32
	Rest    []byte `ssh:"rest"`
}

type listenStreamlocal struct {
	Path string
	Rest []byte `ssh:"rest"`
}

// x11Request is RFC 4254, section 6.3.1.
type x11Request struct {
	SingleConnection bool
	Protocol, Cookie string
	Screen           uint32
}

// breakRequest is RFC 4335, section 3.
type breakRequest struct{ Milliseconds uint32 }

// decodeForward reads what the opening of a forward holds. Where it is malformed
// sshd ends the connection.
func decodeForward(kind string, payload []byte) (w Forward, ok bool) {
	switch kind {
	case DirectTCPIP:
		var m directTCPIP
		ok = decode(payload, &m, &m.Host, &m.Originator)
		w = Forward{Kind: kind, Host: m.Host, Port: m.Port, Originator: m.Originator, OriginatorPort: m.OriginatorPort}
	case DirectStreamlocal:
		var m directStreamlocal
		ok = decode(payload, &m, &m.Path, &m.Originator)
		w = Forward{Kind: kind, Host: m.Path, Originator: m.Originator, OriginatorPort: m.OriginatorPort}
	case Tun:
		var m tunnel
		ok = decode(payload, &m)
		w = Forward{Kind: kind, mode: m.Mode}
		var unit struct {
			Number uint32
			Rest   []byte `ssh:"rest"`
		}
		if ok && decode(m.Rest, &unit) {
			w.Port = unit.Number
		}
	}
	return w, ok
}

// decodeX11 reads an x11-req. ok is false where sshd ends the connection, valid
// where it would hand the cookie to xauth(1): session.c, xauth_valid_string.
func decodeX11(payload []byte) (m x11Request, valid, ok bool) {
	ok = decode(payload, &m, &m.Protocol, &m.Cookie)
	const special = ".:/-_"
	for _, s := range []string{m.Protocol, m.Cookie} {
		for i := range len(s) {
			c := s[i]
			letter := 'a' <= c|0x20 && c|0x20 <= 'z'
			if !letter && (c < '0' || c > '9') && strings.IndexByte(special, c) < 0 {
				return m, false, ok
			}
		}
	}
	return m, ok, ok
}
