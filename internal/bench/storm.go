package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/ssh"
)

// stormClients is how many clients try passwords at once.
const stormClients = 500

// measureStorm lets clients try wrong passwords at one server after the other, as fast as
// it answers, each from an address of its own and with three attempts a connection. What
// counts are answers. Meanwhile somebody who knows the password logs in now and then.
func (b *bench) measureStorm(ctx context.Context) error {
	if err := b.service.configure(ctx, settings{ready: 16, password: b.servers[0].password}); err != nil {
		return err
	}
	for round := range b.size.storms {
		for _, s := range b.order(round) {
			if err := b.storm(ctx, s); err != nil {
				return err
			}
		}
	}
	return ctx.Err()
}

func (b *bench) storm(ctx context.Context, s *server) error {
	ctx, cancel := context.WithTimeout(ctx, b.size.stormTime)
	defer cancel()
	var answers atomic.Int64
	var clients sync.WaitGroup
	began := time.Now()
	for range stormClients {
		source := nextSource()
		clients.Go(func() {
			for ctx.Err() == nil {
				n, err := s.guess(ctx, source)
				if answers.Add(n); n == 0 && err != nil {
					_ = pause(ctx, 100*time.Millisecond) // refused: the next one comes soon
				}
			}
		})
	}
	_ = pause(ctx, b.size.stormTime/3)
	for ctx.Err() == nil {
		c, err := s.connect()
		if err != nil {
			s.fail("storm", err)
			continue
		}
		if ctx.Err() == nil {
			b.samples.duration(stormLogin, s.name, c.authenticated.Sub(c.connecting))
		}
		c.Close()
		_ = pause(ctx, 300*time.Millisecond)
	}
	took := time.Since(began)
	n := answers.Load()
	clients.Wait()
	b.samples.add(stormAnswers, s.name, float64(n)/took.Seconds())
	return pause(context.WithoutCancel(ctx), 5*time.Second) // what is left of it shall not count for the next
}

// guess tries wrong passwords on one connection and returns how many were answered.
func (s *server) guess(ctx context.Context, source net.IP) (answered int64, err error) {
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: source}}
	tcp, err := dialer.DialContext(ctx, "tcp", s.address)
	if err != nil {
		return 0, err
	}
	defer tcp.Close()
	defer context.AfterFunc(ctx, func() { tcp.Close() })()
	made := int64(0)
	next := func() (string, error) {
		answered = made
		if ctx.Err() != nil {
			return "", ctx.Err()
		}
		made++
		return fmt.Sprint("wrong-", made), nil
	}
	_, _, _, err = ssh.NewClientConn(tcp, s.address, &ssh.ClientConfig{
		Config:            ssh.Config{KeyExchanges: []string{ssh.KeyExchangeCurve25519}, Ciphers: []string{ssh.CipherAES128GCM}},
		HostKeyAlgorithms: []string{ssh.KeyAlgoED25519},
		HostKeyCallback:   ssh.InsecureIgnoreHostKey(), //nolint:gosec // the servers are on this machine
		User:              "root",
		Auth:              []ssh.AuthMethod{ssh.RetryableAuthMethod(ssh.PasswordCallback(next), 3)},
	})
	if err == nil {
		return answered, errors.New("let in with a wrong password")
	}
	if strings.Contains(err.Error(), "unable to authenticate") { // all were answered
		answered = made
	}
	return answered, err
}
