//go:build appliance

package appliance

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sandtrap/sandtrap/internal/evidence"
	"github.com/sandtrap/sandtrap/internal/record"
)

// freePort is a port of the loopback device that nobody listens on.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
}

// startSSH is ssh(1) in the background; the test's end kills it.
func startSSH(t *testing.T, args ...string) (*exec.Cmd, *collector) {
	t.Helper()
	c, out := sshCommand(args...), &collector{}
	c.Stdout, c.Stderr = out, out
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { endSSH(c) })
	return c, out
}

// endSSH ends a client as its user would, and waits for it.
func endSSH(c *exec.Cmd) {
	if c.ProcessState == nil {
		_ = c.Process.Signal(syscall.SIGTERM)
		_ = c.Wait() // that it was ended is no news
	}
}

// dialSoon connects with a port that ssh(1) is about to listen on.
func dialSoon(t *testing.T, port string) *net.TCPConn {
	t.Helper()
	var conn net.Conn
	err := eventually(func() (err error) {
		conn, err = net.Dial("tcp", "127.0.0.1:"+port)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return conn.(*net.TCPConn)
}

// recordedInput is what the client sent into a forward, by the raw log.
func recordedInput(t *testing.T, s evidence.Session, f evidence.Forward) string {
	t.Helper()
	return recordedFrames(t, s, f.Recording.Raw, record.KindInput)
}

// recordedFrames is what the frames of one kind hold in a raw log.
func recordedFrames(t *testing.T, s evidence.Session, raw string, kind record.Kind) string {
	t.Helper()
	root, err := os.OpenRoot(directory(s))
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	r, c, err := record.Open(root, raw)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	var all []byte
	for {
		f, err := r.Next()
		if err != nil {
			return string(all)
		}
		if f.Kind == kind {
			all = append(all, f.Data...)
		}
	}
}

// eventsOf are the events of a kind that a session has had.
func eventsOf(t *testing.T, session, kind string) []map[string]any {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(stateDir, "events", "*.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	var found []map[string]any
	for _, name := range files {
		f, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(f)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			var e map[string]any
			if bytes.Contains(lines.Bytes(), []byte(session)) && json.Unmarshal(lines.Bytes(), &e) == nil && e["session"] == session && e["event"] == kind {
				found = append(found, e)
			}
		}
		f.Close()
	}
	return found
}

// What goes into ssh -L and ssh -D is recorded, and no container is used for it.
func TestLocalForwardsAreRecorded(t *testing.T) {
	fixed, dynamic := freePort(t), freePort(t)
	client, out := startSSH(t, "-N", "-L", "127.0.0.1:"+fixed+":mail.example.com:25", "-D", "127.0.0.1:"+dynamic, "root@127.0.0.1")
	mail := dialSoon(t, fixed)
	if _, err := io.WriteString(mail, "EHLO spam.example\r\n"); err != nil {
		t.Fatal(err)
	}
	web := dialSoon(t, dynamic)
	// SOCKS 5, RFC 1928: no authentication, then a connection to a name.
	if _, err := io.WriteString(web, "\x05\x01\x00\x05\x01\x00\x03\x0bexample.com\x00\x50"); err != nil {
		t.Fatal(err)
	}
	answer := make([]byte, 2+10)
	if _, err := io.ReadFull(web, answer); err != nil || answer[3] != 0 {
		t.Fatalf("SOCKS answer %x, %v: %s", answer, err, out)
	}
	const request = "GET / HTTP/1.1\r\nHost: example.com\r\n\r\n"
	if _, err := io.WriteString(web, request); err != nil {
		t.Fatal(err)
	}
	for _, c := range []*net.TCPConn{web, mail} {
		if err := c.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(c); len(got) > 0 || err != nil {
			t.Errorf("the peer said %q, %v", got, err)
		}
	}
	endSSH(client)
	s := lastSession(t)
	if len(s.Forwards) != 2 || len(s.Channels) != 0 || s.Target.Container != "" {
		t.Fatalf("session %+v", s)
	}
	got := map[string]string{}
	for _, f := range s.Forwards {
		got[fmt.Sprintf("%s %s %d", f.Kind, f.Destination, f.DestinationPort)] = recordedInput(t, s, f)
		if f.EndReason != "client closed" || f.End == nil || f.Recording.Cast != "" {
			t.Errorf("forward %+v", f)
		}
	}
	want := map[string]string{"direct-tcpip mail.example.com 25": "EHLO spam.example\r\n", "direct-tcpip example.com 80": request}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("recorded %q", got)
	}
	text := must(t, "sandtrap", "show", s.ID)
	for _, line := range []string{`direct-tcpip "mail.example.com" port 25`, `direct-tcpip "example.com" port 80`, "forward-1.raw"} {
		if !strings.Contains(text, line) {
			t.Errorf("show lacks %s:\n%s", line, text)
		}
	}
	if n := len(eventsOf(t, s.ID, "forward.request")); n != 2 {
		t.Errorf("%d events of forwards", n)
	}
}

// What a crash leaves of a forward is found by the next start.
func TestForwardSurvivesACrash(t *testing.T) {
	port := freePort(t)
	client, _ := startSSH(t, "-N", "-L", "127.0.0.1:"+port+":db.example.com:3306", "root@127.0.0.1")
	c := dialSoon(t, port)
	if _, err := io.WriteString(c, "login"); err != nil {
		t.Fatal(err)
	}
	err := eventually(func() error { // as a live session, of which session.json says nothing yet
		out, err := output("sandtrap", "show", "--", "-1")
		if err != nil || !strings.Contains(out, "input 5 B, forward-0.raw") {
			return errors.New(out)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	must(t, "systemctl", "kill", "--signal=KILL", "--kill-whom=main", "sandtrap.service")
	endSSH(client)
	s := lastSession(t) // closed by the service that systemd starts in its place
	if s.State != evidence.StateRecovered || len(s.Forwards) != 1 || len(s.Channels) != 0 {
		t.Fatalf("session %+v", s)
	}
	f := s.Forwards[0]
	if f.Destination != "db.example.com" || f.DestinationPort != 3306 || f.EndReason != "crash" || recordedInput(t, s, f) != "login" {
		t.Errorf("forward %+v", f)
	}
}

// ssh -W ends as with a peer that closes when it has read everything.
func TestStandardInputForward(t *testing.T) {
	r := finish(t, sshCommand("-W", "[2001:db8::1]:443", "root@127.0.0.1"), strings.NewReader("\x16\x03\x01hello"))
	if r.status != 0 || r.stdout != "" {
		t.Errorf("ssh -W: %+v", r)
	}
	s := lastSession(t)
	if len(s.Forwards) != 1 || s.Forwards[0].Destination != "2001:db8::1" || recordedInput(t, s, s.Forwards[0]) != "\x16\x03\x01hello" {
		t.Errorf("forwards %+v", s.Forwards)
	}
}

// startAgent is ssh-agent(1) on a socket of its own.
func startAgent(t *testing.T) (socket string) {
	t.Helper()
	socket = filepath.Join(t.TempDir(), "agent")
	agent := exec.Command("ssh-agent", "-D", "-a", socket)
	if err := agent.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = agent.Process.Kill(); _ = agent.Wait() })
	if err := eventually(func() error { _, err := os.Stat(socket); return err }); err != nil {
		t.Fatal(err)
	}
	return socket
}

// By default all but ssh -L is refused, in the words that ssh(1) has for that.
func TestOtherForwardsAreRefused(t *testing.T) {
	agent := startAgent(t)
	refused := func(want string, args ...string) {
		t.Helper()
		c := sshCommand(append([]string{"-v", "-o", "ExitOnForwardFailure=yes"}, args...)...)
		c.Env = append(c.Env, "DISPLAY=:9", "SSH_AUTH_SOCK="+agent)
		if r := finish(t, c, nil); !strings.Contains(r.stdout+r.stderr, want) {
			t.Errorf("ssh %q: %d %s%s, want %q", args, r.status, r.stdout, r.stderr, want)
		}
	}
	refused("remote port forwarding failed for listen port 8080", "-R", "8080:127.0.0.1:1", "root@127.0.0.1", "true")
	refused("remote port forwarding failed for listen path /tmp/x", "-R", "/tmp/x:127.0.0.1:1", "root@127.0.0.1", "true")
	refused("X11 forwarding request failed", "-X", "root@127.0.0.1", "echo display=$DISPLAY")
	refused("agent=.\n", "-A", "root@127.0.0.1", "echo agent=$SSH_AUTH_SOCK.")
	s := lastSession(t)
	e := eventsOf(t, s.ID, "channel.request")
	asked := false
	for _, one := range e {
		asked = asked || one["request"] == "auth-agent-req@openssh.com" && one["accepted"] == false
	}
	if !asked {
		t.Errorf("events %v", e)
	}
}

// The sinks of what is refused by default.
func TestForwardSinks(t *testing.T) {
	configure(t, "forwarding: {tcp_remote: sink, streamlocal_local: sink, streamlocal_remote: sink, x11: sink, agent: sink}\n")
	_, out := startSSH(t, "-v", "-N", "-R", "0:127.0.0.1:1", "root@127.0.0.1")
	if err := eventually(out.has("Allocated port ")); err != nil {
		t.Fatal(err)
	}
	port := regexp.MustCompile(`Allocated port ([0-9]+)`).FindStringSubmatch(out.String())[1]
	if c, err := net.Dial("tcp", "127.0.0.1:"+port); err == nil {
		c.Close()
		t.Errorf("port %s is open", port)
	}
	agent := startAgent(t)
	c := sshCommand("-A", "-X", "root@127.0.0.1", "echo $DISPLAY $SSH_AUTH_SOCK")
	c.Env = append(c.Env, "DISPLAY=:9", "SSH_AUTH_SOCK="+agent)
	r := finish(t, c, nil)
	if !regexp.MustCompile(`^localhost:10\.[0-9] /tmp/ssh-[A-Za-z0-9]{10}/agent\.[0-9]+\n$`).MatchString(r.stdout) {
		t.Errorf("environment %q, %s", r.stdout, r.stderr)
	}
	local := freePort(t)
	client, _ := startSSH(t, "-N", "-L", "127.0.0.1:"+local+":/run/docker.sock", "-R", "/tmp/x:127.0.0.1:1", "root@127.0.0.1")
	socket := dialSoon(t, local)
	if _, err := io.WriteString(socket, "GET /containers/json HTTP/1.0\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if err := socket.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	_, _ = io.ReadAll(socket)
	endSSH(client)
	s := lastSession(t)
	if len(s.Forwards) != 1 || s.Forwards[0].Destination != "/run/docker.sock" || s.Forwards[0].Recording.InputBytes == 0 {
		t.Errorf("forwards %+v", s.Forwards)
	}
}

// Several sessions share a connection, as those of ControlMaster do.
func TestControlMaster(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "control")
	master, out := startSSH(t, "-M", "-S", socket, "-N", "root@127.0.0.1")
	if err := eventually(func() error {
		_, err := os.Stat(socket)
		return err
	}); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	results := make(chan string, 4)
	for i := range 4 {
		go func() {
			got, err := output("ssh", "-S", socket, "root@127.0.0.1", fmt.Sprintf("echo %d; uname -n", i))
			results <- fmt.Sprint(strings.TrimPrefix(got, strconv.Itoa(i)+"\n"), err)
		}()
	}
	first := <-results
	for range 3 {
		if got := <-results; got != first {
			t.Errorf("sessions answered %q and %q", first, got)
		}
	}
	endSSH(master)
	if s := lastSession(t); len(s.Channels) != 4 {
		t.Errorf("%d channels, want 4", len(s.Channels))
	}
}

// ssh(1) learns the other host keys from a server of which it knows one.
func TestUpdateHostKeys(t *testing.T) {
	known := filepath.Join(t.TempDir(), "known_hosts")
	args := []string{"-F", "none", "-p", "2222", "-o", "UserKnownHostsFile=" + known, "-o", "UpdateHostKeys=yes", "-o", "LogLevel=VERBOSE",
		"-o", "HashKnownHosts=no", "root@127.0.0.1", "sleep 1"}
	for _, more := range [][]string{
		{"-o", "StrictHostKeyChecking=no", "-o", "HostKeyAlgorithms=ssh-ed25519"},
		{"-o", "StrictHostKeyChecking=yes", "-o", "HostKeyAlgorithms=ssh-ed25519,rsa-sha2-512,ecdsa-sha2-nistp256"},
		// Those that it has learned.
		{"-o", "StrictHostKeyChecking=yes", "-o", "HostKeyAlgorithms=rsa-sha2-512", "-o", "UpdateHostKeys=no"},
		{"-o", "StrictHostKeyChecking=yes", "-o", "HostKeyAlgorithms=ecdsa-sha2-nistp256", "-o", "UpdateHostKeys=no"},
	} {
		if r := finish(t, withPassword(exec.Command("ssh", append(more, args...)...)), nil); r.status != 0 {
			t.Fatalf("%q: %d %s", more, r.status, r.stderr)
		}
	}
	got, err := os.ReadFile(known)
	if err != nil {
		t.Fatal(err)
	}
	for _, keyType := range []string{"ssh-ed25519", "ssh-rsa", "ecdsa-sha2-nistp256"} {
		if n := strings.Count(string(got), " "+keyType+" "); n != 1 {
			t.Errorf("%d keys %s in known_hosts:\n%s", n, keyType, got)
		}
	}
}

// A client's questions are answered.
func TestServerAliveInterval(t *testing.T) {
	r := finish(t, sshCommand("-o", "ServerAliveInterval=1", "-o", "ServerAliveCountMax=1", "root@127.0.0.1", "sleep 5; echo done"), nil)
	if r.status != 0 || r.stdout != "done\n" {
		t.Errorf("ssh: %+v", r)
	}
	asked := 0
	for _, e := range eventsOf(t, lastSession(t).ID, "global.request") {
		if e["request"] == "keepalive@openssh.com" {
			asked++
		}
	}
	if asked < 2 {
		t.Errorf("%d questions", asked)
	}
}

// A client that is there answers ours, one that is stopped is dropped.
func TestClientAliveInterval(t *testing.T) {
	configure(t, "ssh: {client_alive_interval: 1s, client_alive_count_max: 2}\n")
	if r := ssh(t, "root", "sleep 5; echo done"); r.status != 0 || r.stdout != "done\n" {
		t.Errorf("ssh: %+v", r)
	}
	client, out := startSSH(t, "root@127.0.0.1", "echo ready; sleep 1000")
	if err := eventually(out.has("ready")); err != nil {
		t.Fatal(err)
	}
	suspend(t, client.Process)
	if s := lastSession(t); s.EndReason != "client does not answer" {
		t.Errorf("session ended by %q", s.EndReason)
	}
}

// A client that reads no more ends who writes to it.
func TestNobodyReads(t *testing.T) {
	c := sshCommand("root@127.0.0.1", "yes")
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(out, make([]byte, 2)); err != nil {
		t.Fatal(err)
	}
	out.Close()
	ended := make(chan error, 1)
	go func() { ended <- c.Wait() }()
	select {
	case <-ended:
	case <-time.After(patience):
		_ = c.Process.Kill()
		t.Fatal("ssh does not end")
	}
	s := lastSession(t)
	if len(s.Channels) != 1 || s.Channels[0].Recording.ExitSignal != "PIPE" {
		t.Errorf("channels %+v", s.Channels)
	}
}

// ssh(1) asks that no session follows its own, and the session that it asked for
// before is served.
func TestNoMoreSessionsByTheClient(t *testing.T) {
	for range 5 {
		if r := ssh(t, "root", "echo here"); r.stdout != "here\n" {
			t.Fatalf("ssh: %+v", r)
		}
	}
	s := lastSession(t)
	told := false
	for _, e := range eventsOf(t, s.ID, "global.request") {
		told = told || e["request"] == "no-more-sessions@openssh.com" && e["accepted"] == true
	}
	if !told {
		t.Error("ssh(1) did not ask for it")
	}
	c := dial(t, freshSource(), "root")
	if ok, _, err := c.SendRequest("no-more-sessions@openssh.com", true, nil); !ok || err != nil {
		t.Fatalf("%v, %v", ok, err)
	}
	if _, err := c.NewSession(); err == nil {
		t.Error("one more session")
	}
	if err := c.Wait(); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("connection ended by %v", err)
	}
}
