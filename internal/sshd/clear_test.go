package sshd

import (
	"bytes"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/crypto/ssh"

	"github.com/sandtrap/sandtrap/internal/event"
	"github.com/sandtrap/sandtrap/internal/testssh"
)

// likeDebian is a server with the keys and lists of the default persona.
func likeDebian(t *testing.T) *fixture {
	t.Helper()
	keys, _, err := HostKeys("", t.TempDir()+"/keys", []string{"rsa", "ecdsa", "ed25519"})
	if err != nil {
		t.Fatal(err)
	}
	return listen(t, func(c *Config) {
		c.HostKeys = keys
		c.KexAlgorithms = []string{"curve25519-sha256", "curve25519-sha256@libssh.org", "diffie-hellman-group16-sha512", "diffie-hellman-group-exchange-sha256"}
		c.Ciphers = []string{"chacha20-poly1305@openssh.com", "aes128-ctr", "aes192-ctr", "aes256-ctr", "aes128-gcm@openssh.com", "aes256-gcm@openssh.com"}
		c.MACs = []string{"hmac-sha2-512-etm@openssh.com", "hmac-sha2-256-etm@openssh.com"}
	})
}

// Before the encryption begins the server answers as OpenSSH does, but where that is
// known to be impossible.
func TestProbes(t *testing.T) {
	f := likeDebian(t)
	answers, err := testssh.AskAll(f.addr)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range testssh.Probes() {
		want := p.Want
		if p.Ours != "" {
			want = p.Ours
		}
		if got := answers[p.Name]; got != want {
			t.Errorf("%s: %s\nwant %s", p.Name, got, want)
		}
	}
}

func TestGreeting(t *testing.T) {
	g, err := testssh.Greet(likeDebian(t).addr)
	if err != nil {
		t.Fatal(err)
	}
	lists, err := g.Lists()
	if err != nil {
		t.Fatal(err)
	}
	if want := "rsa-sha2-512,rsa-sha2-256,ecdsa-sha2-nistp256,ssh-ed25519"; lists[1] != want {
		t.Errorf("host key algorithms %q, want %q", lists[1], want)
	}
	if g.Line != ourLine || g.Padding != 8 {
		t.Errorf("greeting %q with padding %d", g.Line, g.Padding)
	}
}

// Each host key algorithm that is offered also signs.
func TestHostKeyAlgorithms(t *testing.T) {
	f := likeDebian(t)
	for _, algorithm := range []string{"rsa-sha2-512", "rsa-sha2-256", "ecdsa-sha2-nistp256", "ssh-ed25519"} {
		cfg := clientConfig("root", ssh.Password("x"))
		cfg.HostKeyAlgorithms = []string{algorithm}
		var got string
		cfg.HostKeyCallback = func(_ string, _ net.Addr, key ssh.PublicKey) error { got = key.Type(); return nil }
		client, _, err := f.login(cfg)
		if err != nil {
			t.Errorf("%s: %v", algorithm, err)
			continue
		}
		client.Close()
		if strings.HasPrefix(algorithm, "rsa") {
			algorithm = ssh.KeyAlgoRSA
		}
		if got != algorithm {
			t.Errorf("key of type %s, want %s", got, algorithm)
		}
	}
}

func TestKexInitEvent(t *testing.T) {
	f := listen(t, nil)
	logins := make(chan Login, 1)
	f.open = func(l Login) error { logins <- l; return nil }
	cfg := clientConfig("root", ssh.Password("x"))
	cfg.KeyExchanges, cfg.Ciphers, cfg.MACs = []string{"curve25519-sha256"}, []string{"aes128-ctr"}, []string{"hmac-sha2-256"}
	cfg.HostKeyAlgorithms = []string{"ssh-ed25519"}
	if _, _, err := f.login(cfg); err != nil {
		t.Fatal(err)
	}
	e := f.events.wait(t, event.ClientKexInit, 1)[0]
	// printf %s 'curve25519-sha256,curve25519-sha256@libssh.org,ext-info-c,kex-strict-c-v00@openssh.com;aes128-ctr;hmac-sha2-256;none' | md5sum
	want := []any{"curve25519-sha256,curve25519-sha256@libssh.org,ext-info-c,kex-strict-c-v00@openssh.com", "ssh-ed25519", "aes128-ctr", "hmac-sha2-256", "none", "f9ef18e88242fefcfa9441ad79aaa1bb", nil}
	got := fields(e, "kex_algorithms", "host_key_algorithms", "ciphers", "macs", "compression", "hassh", "ciphers_to_client")
	if !cmp.Equal(got, want) {
		t.Errorf("event has %q", got)
	}
	if k := (<-logins).KexInit; k == nil || k.HASSH() != want[5] {
		t.Errorf("the session heard of %+v", k)
	}
}

func TestKexInitFieldsAreBounded(t *testing.T) {
	k := &KexInit{KexAlgorithms: []string{strings.Repeat("x", 2*maxList)}, CiphersClientToServer: []string{"a", "b"}, CiphersServerToClient: []string{"b"}}
	fields := map[string]any{}
	for _, f := range k.fields() {
		fields[f.Name] = f.Value
	}
	if len(fields["kex_algorithms"].(string)) != maxList || fields["ciphers"] != "a,b" || fields["ciphers_to_client"] != "b" || fields["macs_to_client"] != nil {
		t.Errorf("fields %v", fields)
	}
}

// What is told together arrives together, and nothing is held back for long.
func TestTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		wire := &fakeWire{in: strings.NewReader("")}
		c := newClearConn(wire)
		c.secret = true
		write := func(s string) {
			if n, err := io.WriteString(c, s); n != len(s) || err != nil {
				t.Errorf("Write = %d, %v", n, err)
			}
		}
		expect := func(want string) {
			t.Helper()
			if got := wire.out.String(); got != want {
				t.Errorf("wire has %q, want %q", got, want)
			}
		}
		write("a")
		c.together(func() {
			write("b")
			c.together(func() { write("c") })
			write("d")
			expect("a")
		})
		expect("abcd")
		c.together(func() {
			write("e")
			time.Sleep(longestCork)
			synctest.Wait()
			expect("abcde")
			write("f")
			expect("abcdef")
		})
		wire.out.Reset()
		c.together(func() {
			write("g")
			write(strings.Repeat("x", maxHeld))
			expect("g" + strings.Repeat("x", maxHeld))
		})
	})
}

// FuzzClear feeds what a client may send before the encryption begins. The library
// gets whole packets only, and the client well-formed answers.
func FuzzClear(f *testing.F) {
	for _, p := range testssh.Probes() {
		f.Add([]byte(strings.Join(p.Send[1:], "")))
	}
	f.Fuzz(func(t *testing.T, sent []byte) {
		wire := &fakeWire{in: strings.NewReader(string(sent))}
		heard := 0
		c := newClearConn(wire)
		c.kexAlgorithms, c.hostKey = []string{"curve25519-sha256"}, "ssh-ed25519"
		c.heard = func(k *KexInit) { heard++; _ = k.fields() }
		close(c.greeted)
		var passed []byte
		var err error
		for err == nil {
			var n int
			buffer := make([]byte, 4096)
			n, err = c.Read(buffer)
			passed = append(passed, buffer[:n]...)
		}
		if len(passed) > len(sent) || heard > 1 {
			t.Errorf("%d bytes became %d, %d offers", len(sent), len(passed), heard)
		}
		if !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, errClear) {
			t.Errorf("ended with %v", err)
		}
		for answer := wire.out.Bytes(); len(answer) > 0; {
			length := int(answer[2])<<8 | int(answer[3])
			if len(answer) < 4+length || (length+4)%clearBlock != 0 || !bytes.Contains([]byte{msgUnimplemented, msgDisconnect}, answer[5:6]) {
				t.Fatalf("answer %x", answer)
			}
			answer = answer[4+length:]
		}
	})
}
