package main

import (
	"fmt"
	"net"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/ssh"
)

// patience bounds one connection; what takes longer has failed.
const patience = 5 * time.Minute

// server is an SSH server under test.
type server struct {
	name, address, password string
	failed                  atomic.Int64 // sessions refused or failed
}

// fail counts a session that did not go as it should, and tells why.
func (s *server) fail(doing string, err error) {
	s.failed.Add(1)
	progress("%s: %s: %v", s.name, doing, err)
}

// sources numbers the addresses that connections come from: each has its own,
// 127.1.0.1 and up, so that no server can treat two visits as one visitor's.
var sources atomic.Uint32

func nextSource() net.IP {
	n := sources.Add(1)
	return net.IPv4(127, byte(1+n/(250*250)%200), byte(n/250%250), byte(1+n%250))
}

// connection is a connection that has logged in.
type connection struct {
	ssh.Conn
	connecting    time.Time // before the TCP connection
	authenticated time.Time
}

// connect logs in. Every client offers the same algorithms, which all servers
// have, so that no cipher is compared with another.
func (s *server) connect() (*connection, error) {
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: nextSource()}, Timeout: patience}
	c := &connection{connecting: time.Now()}
	tcp, err := dialer.Dial("tcp", s.address)
	if err != nil {
		return nil, err
	}
	if err := tcp.SetDeadline(time.Now().Add(patience)); err != nil {
		return nil, err
	}
	conn, channels, requests, err := ssh.NewClientConn(tcp, s.address, &ssh.ClientConfig{
		Config:            ssh.Config{KeyExchanges: []string{ssh.KeyExchangeCurve25519}, Ciphers: []string{ssh.CipherAES128GCM}},
		HostKeyAlgorithms: []string{ssh.KeyAlgoED25519},
		HostKeyCallback:   ssh.InsecureIgnoreHostKey(), //nolint:gosec // the servers are on this machine
		User:              "root",
		Auth:              []ssh.AuthMethod{ssh.Password(s.password)},
	})
	if err != nil {
		tcp.Close()
		return nil, err
	}
	c.authenticated, c.Conn = time.Now(), conn
	go ssh.DiscardRequests(requests)
	go func() {
		for channel := range channels {
			_ = channel.Reject(ssh.Prohibited, "")
		}
	}()
	return c, nil
}

// program is what runs on a session channel.
type program struct {
	ssh.Channel
	ended chan exit // one, when the server tells the exit status
}

// exit is a program's end as the client learnt it.
type exit struct {
	status uint32
	at     time.Time
}

// open opens a session channel (RFC 4254, section 6.1).
func (c *connection) open() (*program, error) {
	channel, requests, err := c.OpenChannel("session", nil)
	if err != nil {
		return nil, fmt.Errorf("open a channel: %w", err)
	}
	p := &program{Channel: channel, ended: make(chan exit, 1)}
	go func() {
		defer close(p.ended)
		for r := range requests {
			var status struct{ Status uint32 }
			if r.Type == "exit-status" && ssh.Unmarshal(r.Payload, &status) == nil {
				p.ended <- exit{status.Status, time.Now()}
			}
			if r.WantReply {
				_ = r.Reply(false, nil)
			}
		}
	}()
	return p, nil
}

// ask sends a channel request and waits for the server's consent.
func (p *program) ask(request string, payload any) error {
	var raw []byte
	if payload != nil {
		raw = ssh.Marshal(payload)
	}
	ok, err := p.SendRequest(request, true, raw)
	if err == nil && !ok {
		err = fmt.Errorf("the server refused")
	}
	if err != nil {
		return fmt.Errorf("request %s: %w", request, err)
	}
	return nil
}

// terminal asks for a pseudo-terminal of the usual size (RFC 4254, section 6.2).
func (p *program) terminal() error {
	return p.ask("pty-req", struct {
		Term                         string
		Columns, Rows, Width, Height uint32
		Modes                        string
	}{"xterm-256color", 80, 24, 0, 0, "\x00"})
}

// command starts a command (RFC 4254, section 6.5).
func (p *program) command(line string) error {
	return p.ask("exec", struct{ Command string }{line})
}

// succeeded waits for exit status 0 and tells when it came.
func (p *program) succeeded() (time.Time, error) {
	e, ok := <-p.ended
	if !ok {
		return time.Time{}, fmt.Errorf("the channel ended without an exit status")
	}
	if e.status != 0 {
		return time.Time{}, fmt.Errorf("exit status %d", e.status)
	}
	return e.at, nil
}
