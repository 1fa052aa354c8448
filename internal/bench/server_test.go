package main

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"strings"
	"testing"

	"go.uber.org/goleak"
	"golang.org/x/crypto/ssh"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// listen runs a server that has a shell with a prompt and echo, and commands
// that print and end as their words say.
func listen(t *testing.T) *server {
	t.Helper()
	return listenWith(t, serveConnection)
}

// listenWith runs a server of another kind, one connection at a time.
func listenWith(t *testing.T, serve func(net.Conn, *ssh.ServerConfig)) *server {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromKey(key)
	if err != nil {
		t.Fatal(err)
	}
	config := &ssh.ServerConfig{PasswordCallback: func(ssh.ConnMetadata, []byte) (*ssh.Permissions, error) { return nil, nil }}
	config.AddHostKey(signer)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	t.Cleanup(func() { l.Close(); <-done })
	go func() {
		defer close(done)
		for {
			tcp, err := l.Accept()
			if err != nil {
				return
			}
			serve(tcp, config)
		}
	}()
	return &server{name: sandtrap, address: l.Addr().String(), password: "x"}
}

func serveConnection(tcp net.Conn, config *ssh.ServerConfig) {
	defer tcp.Close()
	_, channels, requests, err := ssh.NewServerConn(tcp, config)
	if err != nil {
		return
	}
	go ssh.DiscardRequests(requests)
	for c := range channels {
		channel, requests, err := c.Accept()
		if err != nil {
			return
		}
		go serveChannel(channel, requests)
	}
}

func serveChannel(channel ssh.Channel, requests <-chan *ssh.Request) {
	for r := range requests {
		_ = r.Reply(true, nil)
		switch r.Type {
		case "shell":
			_, _ = io.WriteString(channel, "Welcome # here\r\n")
			_, _ = io.WriteString(channel, "\x1b[?2004hroot@srv01:~# ")
			go func() { _, _ = io.Copy(channel, channel) }()
		case "exec":
			status := uint32(0)
			if bytes.Contains(r.Payload, []byte("false")) {
				status = 1
			}
			_, _ = channel.SendRequest("exit-status", false, ssh.Marshal(struct{ Status uint32 }{status}))
			channel.Close()
		}
	}
}

func TestVisit(t *testing.T) {
	s := listen(t)
	b := &bench{samples: newSamples(io.Discard)}
	if err := b.visitShell(context.Background(), s, true); err != nil {
		t.Fatal(err)
	}
	if err := b.visitExec(s, true); err != nil {
		t.Fatal(err)
	}
	for figure, want := range map[*figure]int{loginTime: 1, authToPrompt: 1, connectPrompt: 1, echo: keys, execStatus: 1, authToStatus: 1, furtherExec: further} {
		if got := b.samples.of(figure, sandtrap); got.n != want || !(got.median > 0) {
			t.Errorf("%s: %d samples with median %v, want %d", figure.name, got.n, got.median, want)
		}
	}
}

// A command that fails is no sample.
func TestRunFails(t *testing.T) {
	c, err := listen(t).connect()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, _, err := c.run("false"); err == nil || !strings.Contains(err.Error(), "exit status 1") {
		t.Errorf("got %v", err)
	}
}

func TestAtPrompt(t *testing.T) {
	for out, want := range map[string]bool{
		"":                             false,
		"Welcome # here\r\n":           false,
		"root@srv01:~#":                false,
		"root@srv01:~# ":               true,
		"Last login\r\nuser@srv01:~$ ": true,
		"\x1b[?2004hroot@srv01:~# ":    true,
		"root@srv01:~# \x1b[?2004h":    false,
	} {
		if got := atPrompt([]byte(out)); got != want {
			t.Errorf("atPrompt(%q) = %v", out, got)
		}
	}
}

// No two connections come from one address, and none from 127.0.0.1.
func TestNextSource(t *testing.T) {
	seen := map[string]bool{}
	for range 70_000 {
		ip := nextSource().String()
		if seen[ip] || !strings.HasPrefix(ip, "127.") || strings.HasPrefix(ip, "127.0.") {
			t.Fatalf("%s is used twice or is none of ours", ip)
		}
		seen[ip] = true
	}
}

// Answers are counted, and who is not served is told from who is and gets no answer.
func TestGuess(t *testing.T) {
	wrong := listenWith(t, func(tcp net.Conn, config *ssh.ServerConfig) {
		config.PasswordCallback = func(ssh.ConnMetadata, []byte) (*ssh.Permissions, error) { return nil, errors.New("wrong") }
		serveConnection(tcp, config)
	})
	full := listenWith(t, func(tcp net.Conn, _ *ssh.ServerConfig) {
		_, _ = io.WriteString(tcp, "Exceeded MaxStartups\r\n")
		tcp.Close()
	})
	mute := listenWith(t, func(tcp net.Conn, _ *ssh.ServerConfig) { _, _ = io.WriteString(tcp, "SSH-2.0-x\r\n"); tcp.Close() })
	for want, s := range map[[3]int64]*server{{stormTries, 0, 0}: wrong, {0, 1, 0}: full, {0, 0, 1}: mute} {
		var st storm
		st.visit(context.Background(), s, net.IPv4(127, 0, 0, 1))
		if got := [3]int64{st.answers.Load(), st.refused.Load(), st.lost.Load()}; got != want {
			t.Errorf("answers, refused and lost are %v, want %v", got, want)
		}
	}
}
