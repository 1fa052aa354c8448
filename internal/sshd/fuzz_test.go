package sshd

import (
	"net"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"
)

// FuzzForwards decodes and judges what clients want forwarded: nothing comes
// through that could not be what sshd would have connected to.
func FuzzForwards(f *testing.F) {
	f.Add(uint8(0), tcp("example.com", 80))
	f.Add(uint8(0), tcp("2001:db8::1", 65536))
	f.Add(uint8(0), tcp("a\x00b", 0))
	f.Add(uint8(1), ssh.Marshal(directStreamlocal{Path: "/run/docker.sock\x00"}))
	f.Add(uint8(2), ssh.Marshal(struct{ Mode, Unit uint32 }{tunEthernet, 0x7fffffff}))
	f.Add(uint8(2), []byte{0, 0, 0, 1})
	f.Add(uint8(3), x11("MIT-MAGIC-COOKIE-1", "0123abcd", 0))
	f.Add(uint8(3), []byte{1, 0xff, 0xff, 0xff, 0xff})
	var policy Config
	everything(&policy)
	f.Fuzz(func(t *testing.T, which uint8, payload []byte) {
		if which%4 == 3 {
			m, valid, ok := decodeX11(payload)
			if valid && !ok || valid && strings.ContainsAny(m.Protocol+m.Cookie, " ;\x00\n'\"$`") {
				t.Errorf("valid: %+v", m)
			}
			return
		}
		kind := []string{DirectTCPIP, DirectStreamlocal, Tun}[which%4]
		w, ok := decodeForward(kind, payload)
		if !ok {
			return
		}
		if w.Kind != kind || strings.ContainsRune(w.Host, 0) || strings.ContainsRune(w.Originator, 0) {
			t.Errorf("decoded %#v", w)
		}
		if new(Forwarding).judge(w) == nil {
			t.Errorf("let in what is denied: %#v", w)
		}
		if policy.Forwarding.judge(w) != nil {
			return
		}
		tooLong := len(w.Host) > max(maxHost, maxSocketPath)
		if tooLong || kind == DirectTCPIP && (w.Port == 0 || w.Port > 0xffff || strings.ContainsFunc(w.Host, func(r rune) bool { return r <= ' ' || r > '~' })) || kind != Tun && w.Host == "" {
			t.Errorf("let in %#v", w)
		}
	})
}

// FuzzGlobalRequests answers requests about the whole connection.
func FuzzGlobalRequests(f *testing.F) {
	f.Add(uint8(0), ssh.Marshal(addressAndPort{"", 8080}))
	f.Add(uint8(0), ssh.Marshal(addressAndPort{"localhost", 0}))
	f.Add(uint8(1), ssh.Marshal(addressAndPort{"", 8080}))
	f.Add(uint8(2), ssh.Marshal(socketPath{"/tmp/x"}))
	f.Add(uint8(3), ssh.Marshal(socketPath{"/tmp/x\x00"}))
	f.Add(uint8(4), []byte{0, 0, 0, 0})
	f.Add(uint8(5), []byte("x"))
	names := []string{tcpipForward, cancelTCPIP, streamlocalForward, cancelStreamlocal, noMoreSessions, "x"}
	f.Fuzz(func(t *testing.T, which uint8, payload []byte) {
		fix := prepare(t, everything)
		g := newGlobals(&connection{server: fix.server, events: fix.server.cfg.Events, raw: closedConn{}}, nil)
		r := &ssh.Request{Type: names[int(which)%len(names)], Payload: payload}
		for range 3 {
			g.answer(r)
		}
		if len(g.listening) > 1 {
			t.Errorf("listening %v", g.listening)
		}
		for l := range g.listening {
			if !l.isPath && (l.port == 0 || l.port == 22) || l.isPath && len(l.address) >= maxSocketPath || strings.ContainsRune(l.address, 0) {
				t.Errorf("listening %#v", l)
			}
		}
	})
}

// closedConn is a connection that can be closed, and nothing else.
type closedConn struct{ net.Conn }

func (closedConn) Close() error { return nil }
