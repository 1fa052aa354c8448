//go:build appliance

package appliance

import (
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	xssh "golang.org/x/crypto/ssh"
)

// phases are the places before a login in which a client can stop. Each gets a
// connection as far as that and returns; until is closed when it may go on.
var phases = []struct {
	name string
	stop func(c net.Conn, there func(), until <-chan struct{})
}{
	{"before identification", func(_ net.Conn, there func(), until <-chan struct{}) { there(); <-until }},
	{"within the line", saying("SSH-2.0-Op")},
	{"before KEXINIT", saying("SSH-2.0-OpenSSH_9.2\r\n")},
	{"within KEXINIT", saying("SSH-2.0-OpenSSH_9.2\r\n\x00\x00\x04\x0c\x06\x14half")},
	{"within the key exchange", func(c net.Conn, there func(), until <-chan struct{}) {
		halt := func(string, net.Addr, xssh.PublicKey) error { there(); <-until; return io.EOF }
		_, _, _, _ = xssh.NewClientConn(c, address, &xssh.ClientConfig{User: "root", HostKeyCallback: halt})
	}},
	{"before the first attempt", trying(0)},
	{"between attempts", trying(1)},
}

func saying(text string) func(net.Conn, func(), <-chan struct{}) {
	return func(c net.Conn, there func(), until <-chan struct{}) {
		_, _ = io.WriteString(c, text)
		there()
		<-until
	}
}

// trying stops after so many wrong passwords.
func trying(attempts int) func(net.Conn, func(), <-chan struct{}) {
	return func(c net.Conn, there func(), until <-chan struct{}) {
		made := 0
		password := func() (string, error) {
			if made == attempts {
				there()
				<-until
				return "", io.EOF
			}
			made++
			return "wrong", nil
		}
		_, _, _, _ = xssh.NewClientConn(c, address, &xssh.ClientConfig{User: "root", HostKeyCallback: xssh.InsecureIgnoreHostKey(),
			Auth: []xssh.AuthMethod{xssh.RetryableAuthMethod(xssh.PasswordCallback(password), attempts+1)}})
	}
}

// A thousand connections that stop somewhere before their login, from many sources, hold
// nothing of anybody else: a client logs in, and what they take is bounded and given
// back when login_grace_time is over.
func TestSlowlorisInEveryPhase(t *testing.T) {
	const each = 143 // 1001 in all, just below where max_startups begins to drop
	configure(t, "ssh: {login_grace_time: 60s}\nauth: {mode: static, credentials: [{user: root, password: \""+password+"\"}]}\n")
	began := time.Now()
	if r := ssh(t, "root", "echo in"); r.stdout != "in\n" {
		t.Fatalf("at rest: %+v", r)
	}
	idle := time.Since(began)
	before := usage(t)
	until := make(chan struct{})
	var there, failed atomic.Int32
	var clients sync.WaitGroup
	slots := make(chan struct{}, 32) // the machine is small
	for _, phase := range phases {
		source := freshSource()
		for i := range each {
			if i%50 == 0 {
				source = freshSource()
			}
			slots <- struct{}{}
			clients.Go(func() {
				arrived := sync.OnceFunc(func() { <-slots; there.Add(1) })
				defer sync.OnceFunc(arrived)()
				c, err := dialTCP(source, patience)
				if err != nil {
					failed.Add(1)
					return
				}
				defer c.Close()
				phase.stop(c, arrived, until)
			})
		}
	}
	all := int32(each * len(phases))
	for deadline := time.Now().Add(patience); there.Load() < all && time.Now().Before(deadline); {
		time.Sleep(50 * time.Millisecond)
	}
	held := usage(t)
	t.Logf("%d are there: %d descriptors, %d threads, %d KiB more", there.Load(), held.descriptors-before.descriptors, held.threads-before.threads, held.resident-before.resident)
	if there.Load() < all || failed.Load() > 0 || held.descriptors-before.descriptors < int(all)/2 {
		t.Errorf("%d of %d are there, %d could not connect, %d descriptors more", there.Load(), all, failed.Load(), held.descriptors-before.descriptors)
	}
	if held.pid != before.pid || held.descriptors > before.descriptors+int(all)+50 || held.threads > before.threads+64 || held.resident > before.resident+int(all)*128 {
		t.Errorf("the service holds %+v, and held %+v", held, before)
	}
	for range 5 {
		began := time.Now()
		if r := ssh(t, "root", "echo in"); r.stdout != "in\n" {
			t.Errorf("meanwhile: %+v", r)
		}
		t.Logf("a login took %s, at rest %s", time.Since(began), idle)
	}
	room := before
	room.resident += 64 << 10 // what a thousand connections have needed is used again
	room.compareWithin(t, 3*patience)
	close(until)
	clients.Wait()
}
