package sshd

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/crypto/ssh"

	"github.com/sandtrap/sandtrap/internal/event"
)

func (f *fixture) global(c *ssh.Client, name string, payload any) (bool, []byte) {
	f.t.Helper()
	ok, answer, err := c.SendRequest(name, true, ssh.Marshal(payload))
	if err != nil {
		f.t.Fatalf("%s: %v", name, err)
	}
	return ok, answer
}

type addressAndPort struct {
	Address string
	Port    uint32
}

type socketPath struct{ Path string }

func TestRemoteForwardsAreDenied(t *testing.T) {
	f := listen(t, nil)
	client := f.client()
	for i, r := range []struct {
		name    string
		payload any
	}{
		{tcpipForward, addressAndPort{"", 8080}},
		{tcpipForward, addressAndPort{"0.0.0.0", 0}},
		{cancelTCPIP, addressAndPort{"", 8080}},
		{streamlocalForward, socketPath{"/tmp/x"}},
		{cancelStreamlocal, socketPath{"/tmp/x"}},
	} {
		if ok, answer := f.global(client, r.name, r.payload); ok || len(answer) > 0 {
			t.Errorf("%s: %v %q", r.name, ok, answer)
		}
		e := f.events.wait(t, event.ForwardListen, i+1)[i]
		if got := fields(e, "request", "policy", "accepted"); !cmp.Equal(got, []any{r.name, "deny", false}) {
			t.Errorf("event has %q", got)
		}
	}
}

func TestRemoteForwardSink(t *testing.T) {
	f := listen(t, everything)
	client := f.client()
	steps := []struct {
		name    string
		payload any
		want    bool
	}{
		{cancelTCPIP, addressAndPort{"", 8080}, false},
		{tcpipForward, addressAndPort{"", 8080}, true},
		{tcpipForward, addressAndPort{"", 8080}, false},
		{tcpipForward, addressAndPort{"127.0.0.1", 8080}, false}, // taken
		{tcpipForward, addressAndPort{"", 22}, false},            // ours
		{tcpipForward, addressAndPort{"", 65536 + 8080}, false},  // the same
		{tcpipForward, addressAndPort{"", 65536 + 9090}, true},
		{tcpipForward, addressAndPort{strings.Repeat("a", maxListenHost+1), 8081}, false},
		{tcpipForward, struct {
			Address string
			Port    uint32
			More    string
		}{"localhost", 8082, "more"}, true}, // sshd does not look
		{cancelTCPIP, addressAndPort{"localhost", 8080}, false}, // another address
		{cancelTCPIP, addressAndPort{"", 8080}, true},
		{cancelTCPIP, addressAndPort{"", 8080}, false},
		{tcpipForward, addressAndPort{"127.0.0.1", 8080}, true},
		{streamlocalForward, socketPath{"/tmp/x"}, true},
		{streamlocalForward, socketPath{"/tmp/x"}, false},
		{streamlocalForward, socketPath{""}, true}, // unix(7), autobind
		{streamlocalForward, socketPath{strings.Repeat("x", maxSocketPath)}, false},
		{cancelStreamlocal, socketPath{"/tmp/x"}, true},
		{cancelStreamlocal, socketPath{"/tmp/x"}, false},
	}
	for i, s := range steps {
		if ok, answer := f.global(client, s.name, s.payload); ok != s.want || len(answer) > 0 {
			t.Errorf("%d: %s %+v: %v %q", i, s.name, s.payload, ok, answer)
		}
	}
	events := f.events.wait(t, event.ForwardListen, len(steps))
	if got := fields(events[1], "request", "address", "port", "policy", "accepted"); !cmp.Equal(got, []any{tcpipForward, "", uint32(8080), "sink", true}) {
		t.Errorf("event has %q", got)
	}
	if got := fields(events[13], "address", "port", "accepted"); !cmp.Equal(got, []any{"/tmp/x", uint32(0), true}) {
		t.Errorf("event has %q", got)
	}
}

func TestRemoteForwardChoosesPorts(t *testing.T) {
	f := listen(t, everything)
	client := f.client()
	seen := map[uint32]bool{}
	for range maxListening {
		ok, answer := f.global(client, tcpipForward, addressAndPort{"", 0})
		if !ok || len(answer) != 4 {
			t.Fatalf("%v %q", ok, answer)
		}
		port := binary.BigEndian.Uint32(answer)
		if port < 32768 || port > 46883 || port%2 == 0 || seen[port] {
			t.Errorf("port %d", port)
		}
		seen[port] = true
	}
	if ok, _ := f.global(client, tcpipForward, addressAndPort{"", 0}); ok {
		t.Error("one more than the bound was let in")
	}
	for port := range seen {
		if ok, _ := f.global(client, cancelTCPIP, addressAndPort{"", port}); !ok {
			t.Errorf("port %d cannot be given up", port)
		}
		break
	}
	if ok, _ := f.global(client, tcpipForward, addressAndPort{"", 0}); !ok {
		t.Error("a place given up is not free")
	}
	if _, _, err := client.SendRequest(tcpipForward, false, ssh.Marshal(addressAndPort{"", 0})); err != nil {
		t.Fatal(err)
	}
	e := f.events.wait(t, event.ForwardListen, maxListening+4)[maxListening+3]
	if got := fields(e, "accepted", "port"); !cmp.Equal(got, []any{false, uint32(0)}) { // nobody would know the port
		t.Errorf("event has %v", got)
	}
}

func TestMalformedGlobalRequests(t *testing.T) {
	for _, name := range []string{tcpipForward, cancelTCPIP, streamlocalForward, cancelStreamlocal} {
		for _, payload := range []string{"", "\x00\x00\x00\x09x", "\x00\x00\x00\x02\x00x\x00\x00\x00\x00"} {
			f := listen(t, everything)
			if _, _, err := f.client().SendRequest(name, true, []byte(payload)); err == nil {
				t.Errorf("%s %q was answered", name, payload)
			}
			if got := field(f.events.wait(t, event.ConnectionEnd, 1)[0], "reason"); got != "malformed request" {
				t.Errorf("connection ended with %q", got)
			}
		}
	}
}

// What was opened before goes on, and one more ends the connection.
func TestNoMoreSessions(t *testing.T) {
	f := listen(t, nil)
	client := f.client()
	c := openChannel(t, client)
	if ok, answer, err := client.SendRequest(noMoreSessions, true, nil); !ok || len(answer) > 0 || err != nil {
		t.Fatalf("answer %v %q, %v", ok, answer, err)
	}
	c.must(Shell, nil)
	if _, _, err := client.OpenChannel("session", nil); err == nil {
		t.Error("a further session was opened")
	}
	const reason = "session after no-more-sessions@openssh.com"
	if got := field(f.events.wait(t, event.ChannelDeny, 1)[0], "reason"); got != reason {
		t.Errorf("event has %q", got)
	}
	if got := field(f.events.wait(t, event.ConnectionEnd, 1)[0], "reason"); got != "channel refused: "+reason {
		t.Errorf("connection ended with %q", got)
	}
}

// A session that waits to be answered when no-more-sessions comes is from before:
// ssh(1) opens its session and sends the other at once.
func TestNoMoreSessionsSparesWhatWaits(t *testing.T) {
	f := prepare(t, nil)
	for range 50 {
		c := &connection{server: f.server, events: f.server.cfg.Events, raw: closedConn{}}
		opened, requests := make(chan ssh.NewChannel, 1), make(chan *ssh.Request, 1)
		waits := &waitingChannel{}
		opened <- waits
		requests <- &ssh.Request{Type: noMoreSessions}
		close(opened)
		close(requests)
		newChannels(c, nil).serve(t.Context(), opened, newGlobals(c, nil), requests)
		if !waits.accepted || !c.noMoreSessions.Load() {
			t.Fatalf("accepted %v, no more sessions %v", waits.accepted, c.noMoreSessions.Load())
		}
	}
}

// waitingChannel is a session whose client has gone.
type waitingChannel struct{ accepted bool }

func (w *waitingChannel) Accept() (ssh.Channel, <-chan *ssh.Request, error) {
	w.accepted = true
	return nil, nil, errors.New("not here")
}
func (w *waitingChannel) Reject(ssh.RejectionReason, string) error { return nil }
func (w *waitingChannel) ChannelType() string                      { return "session" }
func (w *waitingChannel) ExtraData() []byte                        { return nil }

// hostKeySigners are keys of all types, with RSA as HostKeys makes it.
func hostKeySigners(t *testing.T) []ssh.Signer {
	t.Helper()
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	rs, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	var all []ssh.Signer
	for _, key := range []any{ed, ec, rs} {
		s, err := ssh.NewSignerFromKey(key)
		if err != nil {
			t.Fatal(err)
		}
		if s.PublicKey().Type() == ssh.KeyAlgoRSA {
			if s, err = ssh.NewSignerWithAlgorithms(s.(ssh.AlgorithmSigner), []string{ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256}); err != nil {
				t.Fatal(err)
			}
		}
		all = append(all, s)
	}
	return all
}

// announced logs in and returns the host keys that the server tells.
func (f *fixture) announced(c *ssh.ClientConfig) (ssh.Conn, [][]byte) {
	f.t.Helper()
	conn, channels, requests, err := ssh.NewClientConn(f.tcp(), f.addr, c)
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { conn.Close() })
	go func() {
		for range channels {
		}
	}()
	r := <-requests
	if r == nil || r.Type != hostKeysAnnounced || r.WantReply {
		f.t.Fatalf("request %+v", r)
	}
	go ssh.DiscardRequests(requests)
	var blobs [][]byte
	for rest := r.Payload; len(rest) > 0; {
		var m struct {
			Blob []byte
			Rest []byte `ssh:"rest"`
		}
		if err := ssh.Unmarshal(rest, &m); err != nil {
			f.t.Fatal(err)
		}
		blobs, rest = append(blobs, m.Blob), m.Rest
	}
	return conn, blobs
}

func TestHostKeysAreAnnouncedAndProven(t *testing.T) {
	signers := hostKeySigners(t)
	f := listen(t, func(c *Config) { c.HostKeys = append(signers, signers[2]) }) // one twice
	for hostKey, rsaAlgorithm := range map[string]string{
		ssh.KeyAlgoED25519: ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256: ssh.KeyAlgoRSASHA256, ssh.KeyAlgoRSASHA512: ssh.KeyAlgoRSASHA512,
	} {
		c := clientConfig("root", ssh.Password("x"))
		c.HostKeyAlgorithms = []string{hostKey}
		conn, blobs := f.announced(c)
		var types []string
		var request []byte
		for _, b := range blobs {
			types = append(types, blobType(b))
			request = append(request, ssh.Marshal(struct{ B []byte }{b})...)
		}
		if diff := cmp.Diff([]string{ssh.KeyAlgoRSA, ssh.KeyAlgoECDSA256, ssh.KeyAlgoED25519}, types); diff != "" {
			t.Fatalf("announced (-want +got):\n%s", diff)
		}
		ok, answer, err := conn.SendRequest(hostKeysProve, true, request)
		if !ok || err != nil {
			t.Fatalf("proof: %v, %v", ok, err)
		}
		for _, b := range blobs {
			var m struct {
				Signature []byte
				Rest      []byte `ssh:"rest"`
			}
			var signature ssh.Signature
			if err := errors.Join(ssh.Unmarshal(answer, &m)); err != nil {
				t.Fatal(err)
			}
			if err := ssh.Unmarshal(m.Signature, &signature); err != nil {
				t.Fatal(err)
			}
			answer = m.Rest
			key, err := ssh.ParsePublicKey(b)
			if err != nil {
				t.Fatal(err)
			}
			data := ssh.Marshal(struct {
				Request string
				ID, Key []byte
			}{hostKeysProve, conn.SessionID(), b})
			if err := key.Verify(data, &signature); err != nil {
				t.Errorf("%s: %v", key.Type(), err)
			}
			if key.Type() == ssh.KeyAlgoRSA && signature.Format != rsaAlgorithm {
				t.Errorf("RSA key signed with %s after a key exchange with %s", signature.Format, hostKey)
			}
		}
		if len(answer) > 0 {
			t.Errorf("%d bytes more", len(answer))
		}
	}
}

func TestHostKeyProofsRefused(t *testing.T) {
	f := listen(t, nil)
	conn, blobs := f.announced(clientConfig("root", ssh.Password("x")))
	prove := func(payload []byte) bool {
		ok, answer, err := conn.SendRequest(hostKeysProve, true, payload)
		if err != nil || !ok && len(answer) > 0 {
			t.Fatalf("%q, %v", answer, err)
		}
		return ok
	}
	one := ssh.Marshal(struct{ B []byte }{blobs[0]})
	other := ssh.Marshal(struct{ B []byte }{hostKeySigners(t)[0].PublicKey().Marshal()})
	for i, tt := range []struct {
		payload []byte
		want    bool
	}{
		{one, true}, {nil, true}, {other, false}, {append(append([]byte(nil), one...), other...), false},
		{append(append([]byte(nil), one...), one...), false}, // more than we have
		{one[:len(one)-1], false}, {[]byte{0}, false}, {[]byte{0, 0, 0, 0}, false},
	} {
		if got := prove(tt.payload); got != tt.want {
			t.Errorf("%d: %v", i, got)
		}
	}
	for range maxProofs - 8 {
		if !prove(one) {
			t.Fatal("refused too early")
		}
	}
	if prove(one) {
		t.Error("one proof more than the bound")
	}
}

// Clients that sshd spares hear of no host keys.
func TestOldClientsHearOfNoHostKeys(t *testing.T) {
	for version, old := range map[string]bool{
		"SSH-2.0-TTSSH/2.72 Win32": true, "SSH-2.0-TTSSH/2.80 Win32": false, "SSH-2.0-Cisco-1.25": true,
		"SSH-2.0-OpenSSH_9.2p1": false, "SSH-2.0-xTTSSH/2.72": false,
	} {
		if got := oldClients.MatchString(version); got != old {
			t.Errorf("%s: %v", version, got)
		}
	}
}

func TestAgentSocket(t *testing.T) {
	seen := map[string]bool{}
	for range 20 {
		s := agentSocket()
		var random string
		var pid int
		if n, err := fmt.Sscanf(strings.Replace(s, "/agent.", " ", 1), "/tmp/ssh-%s %d", &random, &pid); n != 2 || err != nil || len(random) != 10 || seen[s] {
			t.Errorf("%q", s)
		}
		seen[s] = true
	}
}
