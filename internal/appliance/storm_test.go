//go:build appliance

package appliance

import (
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	xssh "golang.org/x/crypto/ssh"
)

// Thirty clients and one target: each is served, or fails like a session of an
// sshd that cannot fork, and nobody waits much longer than pool.lease_timeout.
func TestStormOnAnEmptyPool(t *testing.T) {
	configure(t, "pool:\n  min: 1\n  lease_timeout: 10s\n")
	var served atomic.Int32
	var wg sync.WaitGroup
	for i := range 30 {
		wg.Go(func() {
			began := time.Now()
			r := finish(t, sshCommand("root@127.0.0.1", fmt.Sprint("echo session ", i)), nil)
			took := time.Since(began)
			switch {
			case r.status == 0 && r.stdout == fmt.Sprint("session ", i, "\n"):
				served.Add(1)
			case r.status != 255 || r.stdout != "" || !strings.Contains(r.stderr, "exec request failed on channel 0"):
				t.Errorf("client %d: %+v", i, r)
			}
			if took > 30*time.Second {
				t.Errorf("client %d took %s", i, took)
			}
		})
	}
	wg.Wait()
	t.Logf("%d of 30 were served", served.Load())
	if served.Load() == 0 {
		t.Error("nobody was served")
	}
	must(t, "systemctl", "restart", "sandtrap.service") // pool.min of the test is not what settles expects
	if r := ssh(t, "root", "echo in"); r.stdout != "in\n" {
		t.Errorf("after the storm: %+v", r)
	}
}

// Many connections that never log in, in one second, take nothing away for long.
func TestFiveHundredConnects(t *testing.T) {
	flood(t) // the first one may leave memory behind that is used again
	settles(t)
	before := usage(t)
	began := time.Now()
	flood(t)
	t.Logf("500 connections in %s", time.Since(began))
	if r := ssh(t, "root", "echo in"); r.stdout != "in\n" {
		t.Errorf("after the flood: %+v", r)
	}
	settles(t)
	before.compare(t)
}

// flood makes 250 connections that say nothing, or half of something, and 250
// that exchange keys and leave.
func flood(t *testing.T) {
	var silent []net.Conn
	var mu sync.Mutex // guards silent
	var wg sync.WaitGroup
	source := freshSource()
	slots := make(chan struct{}, 64)
	for i := range 500 {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			c, err := dialTCP(source, patience)
			if err != nil {
				t.Errorf("connection %d: %v", i, err)
				return
			}
			if i%2 == 0 {
				_, _ = c.Write([]byte("SSH-2.0-flo")[:i%11]) // it may be refused
				mu.Lock()
				silent = append(silent, c)
				mu.Unlock()
				return
			}
			_ = c.SetDeadline(time.Now().Add(patience))
			_, _, _, err = xssh.NewClientConn(c, address, &xssh.ClientConfig{User: "root", HostKeyCallback: xssh.InsecureIgnoreHostKey()})
			if err == nil {
				t.Error("in without a credential")
			}
			_ = c.Close()
		})
	}
	wg.Wait()
	for _, c := range silent {
		_ = c.Close()
	}
}

// A client that leaves while its target is being leased costs nothing.
func TestClientLeavesDuringLease(t *testing.T) {
	send := func(signal syscall.Signal) {
		for _, pid := range podmanService() {
			_ = syscall.Kill(pid, signal) // it may have ended
		}
	}
	t.Cleanup(func() { send(syscall.SIGCONT) })
	send(syscall.SIGSTOP)
	clients := make([]*xssh.Client, 12)
	for i := range clients {
		clients[i] = dial(t, freshSource(), "root")
		s, err := clients[i].NewSession()
		if err != nil {
			t.Fatal(err)
		}
		go func() { _ = s.Start("sleep 6000") }() // no answer is to be expected
	}
	time.Sleep(500 * time.Millisecond) // the requests are on their way
	for _, c := range clients {
		_ = c.Close()
	}
	send(syscall.SIGCONT)
	settles(t)
	if r := ssh(t, "root", "echo in"); r.stdout != "in\n" {
		t.Errorf("afterwards: %+v", r)
	}
}
