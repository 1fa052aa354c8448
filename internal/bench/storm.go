package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/crypto/ssh"
)

// stormTries is how many passwords a client tries on a connection.
const stormTries = 3

// load is a number of clients that try passwords at once, and the figures of it.
type load struct {
	clients                                      int
	answers, server, guess, refused, lost, login *figure
}

func stormOf(clients int, targets ...target) load {
	return load{
		clients: clients,
		answers: &figure{name: fmt.Sprintf("%d clients guess: answers", clients), unit: "/s", targets: targets},
		server:  &figure{name: "  server's processor time for one", unit: "ms"},
		guess:   &figure{name: "  clients' processor time for one", unit: "ms"},
		refused: &figure{name: "  connections refused"},
		lost:    &figure{name: "  connections served, and ended without an answer"},
		login:   &figure{name: "  TCP connect to auth ok meanwhile", unit: "ms"},
	}
}

// storm counts what the clients meet.
type storm struct {
	clients int
	answers atomic.Int64
	refused atomic.Int64 // connections that got no identification line
	lost    atomic.Int64 // connections that got one, and no answer before they ended
	tell    sync.Once    // how the first of those two ended
}

// moment is what had happened when.
type moment struct {
	at                     time.Time
	answers, refused, lost int64
	server, clients        time.Duration // processor time used
}

// measureStorm lets clients try wrong passwords at one server after the other, as fast as
// it answers, each from an address of its own. They come one by one in the first third of
// the time: what a server does about hundreds of key exchanges at once is another question.
// What happens in the rest counts. Meanwhile somebody who knows the password logs in now and
// then.
func (b *bench) measureStorm(ctx context.Context) error {
	if err := b.service.configure(ctx, settings{ready: 16, password: b.servers[0].password}); err != nil {
		return err
	}
	for round := range b.size.storms {
		for _, s := range b.order(round) {
			if err := b.storm(ctx, s, crowd, b.size.stormTime); err != nil {
				return err
			}
			if err := b.storm(ctx, s, throng, 2*b.size.stormTime); err != nil {
				return err
			}
		}
	}
	return ctx.Err()
}

func (b *bench) storm(whole context.Context, s *server, l load, lasts time.Duration) error {
	group, err := s.cgroup(whole)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(whole, lasts)
	var clients sync.WaitGroup
	defer clients.Wait()
	defer cancel()
	gathering := lasts / 3
	st := storm{clients: l.clients}
	for i := range l.clients {
		source := nextSource()
		clients.Go(func() {
			_ = pause(ctx, gathering*time.Duration(i)/time.Duration(l.clients))
			for ctx.Err() == nil {
				st.visit(ctx, s, source)
			}
		})
	}
	_ = pause(ctx, gathering)
	before, err := st.look(group)
	if err != nil {
		return err
	}
	clients.Go(func() { b.logIn(ctx, s, l) })
	<-ctx.Done()
	after, err := st.look(group)
	if err != nil {
		return err
	}
	clients.Wait()
	b.addStorm(s, l, before, after)
	return pause(whole, 5*time.Second) // what is left of it shall not count for the next
}

// logIn logs in now and then, as if there were no storm. The last one may end after it,
// and counts all the same: without those that take long the others would look too good.
func (b *bench) logIn(ctx context.Context, s *server, l load) {
	for ctx.Err() == nil {
		c, err := s.connect()
		if err != nil {
			s.fail("storm", err)
			continue
		}
		b.samples.duration(l.login, s.name, c.authenticated.Sub(c.connecting))
		c.Close()
		_ = pause(ctx, 300*time.Millisecond)
	}
}

// look takes stock; group is the directory of the server's control group.
func (st *storm) look(group string) (moment, error) {
	text, err := os.ReadFile(group + "/cpu.stat")
	if err != nil {
		return moment{}, err
	}
	var own syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &own); err != nil {
		return moment{}, err
	}
	return moment{
		at: time.Now(), answers: st.answers.Load(), refused: st.refused.Load(), lost: st.lost.Load(),
		server: parseUsage(text), clients: time.Duration(own.Utime.Nano() + own.Stime.Nano()),
	}, nil
}

func (b *bench) addStorm(s *server, l load, before, after moment) {
	answers := after.answers - before.answers
	b.samples.add(l.answers, s.name, float64(answers)/after.at.Sub(before.at).Seconds())
	if answers > 0 {
		b.samples.duration(l.server, s.name, (after.server-before.server)/time.Duration(answers))
		b.samples.duration(l.guess, s.name, (after.clients-before.clients)/time.Duration(answers))
	}
	b.samples.add(l.refused, s.name, float64(after.refused-before.refused))
	b.samples.add(l.lost, s.name, float64(after.lost-before.lost))
}

// visit is one connection of a client.
func (st *storm) visit(ctx context.Context, s *server, source net.IP) {
	n, greeted, err := s.guess(ctx, source)
	st.answers.Add(n)
	var late net.Error // the dialer may tell of ctx's end before ctx does
	if n > 0 || err == nil || ctx.Err() != nil || errors.As(err, &late) && late.Timeout() {
		return
	}
	st.tell.Do(func() { progress("%s: of %d clients one met: %v", s.name, st.clients, err) })
	if greeted {
		st.lost.Add(1)
	} else {
		st.refused.Add(1)
	}
	_ = pause(ctx, 100*time.Millisecond) // the next one comes soon
}

// guess tries wrong passwords on one connection. It returns how many were answered, and
// whether the server has identified itself.
func (s *server) guess(ctx context.Context, source net.IP) (answered int64, greeted bool, err error) {
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: source}}
	tcp, err := dialer.DialContext(ctx, "tcp", s.address)
	if err != nil {
		return 0, false, err
	}
	defer tcp.Close()
	defer context.AfterFunc(ctx, func() { tcp.Close() })()
	hello := &greeting{Conn: tcp}
	made := int64(0)
	next := func() (string, error) {
		answered = made
		if ctx.Err() != nil {
			return "", ctx.Err()
		}
		made++
		return fmt.Sprint("wrong-", made), nil
	}
	_, _, _, err = ssh.NewClientConn(hello, s.address, &ssh.ClientConfig{
		Config:            ssh.Config{KeyExchanges: []string{ssh.KeyExchangeCurve25519}, Ciphers: []string{ssh.CipherAES128GCM}},
		HostKeyAlgorithms: []string{ssh.KeyAlgoED25519},
		HostKeyCallback:   ssh.InsecureIgnoreHostKey(), //nolint:gosec // the servers are on this machine
		User:              "root",
		Auth:              []ssh.AuthMethod{ssh.RetryableAuthMethod(ssh.PasswordCallback(next), stormTries)},
	})
	if err == nil {
		return answered, true, errors.New("let in with a wrong password")
	}
	if strings.Contains(err.Error(), "unable to authenticate") { // all were answered
		answered = made
	}
	return answered, hello.came(), err
}

// greeting keeps the first bytes that a server sends.
type greeting struct {
	net.Conn
	mu   sync.Mutex // guards head: who reads goes on for a moment after the handshake has failed
	head []byte     // at most four
}

func (g *greeting) came() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return string(g.head) == "SSH-"
}

func (g *greeting) Read(p []byte) (int, error) {
	n, err := g.Conn.Read(p)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.head = append(g.head, p[:min(max(n, 0), 4-len(g.head))]...)
	return n, err
}
