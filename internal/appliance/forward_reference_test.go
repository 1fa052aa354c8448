//go:build appliance

package appliance

import (
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	xssh "golang.org/x/crypto/ssh"
)

// reference is a real sshd that forbids all forwarding, or the one whose address is
// in the environment: it takes our password for root.
func reference(t *testing.T) string {
	t.Helper()
	if address := os.Getenv("FORWARD_REFERENCE"); address != "" {
		return address
	}
	dir := t.TempDir()
	must(t, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", filepath.Join(dir, "host"))
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if referenceKey, err = xssh.NewSignerFromKey(key); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "keys"), xssh.MarshalAuthorizedKey(referenceKey.PublicKey()), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll("/run/sshd", 0o755); err != nil {
		t.Fatal(err)
	}
	port := freePort(t)
	args := []string{"-D", "-e", "-f", "/dev/null", "-h", filepath.Join(dir, "host"), "-p", port}
	for _, o := range []string{"ListenAddress=127.0.0.1", "PermitRootLogin=yes", "StrictModes=no", "AuthorizedKeysFile=" + filepath.Join(dir, "keys"),
		"AllowTcpForwarding=no", "AllowStreamLocalForwarding=no", "AllowAgentForwarding=no", "X11Forwarding=no", "PermitTunnel=no",
		"PerSourcePenalties=no", "MaxStartups=1000"} {
		args = append(args, "-o", o)
	}
	c := exec.Command("/usr/sbin/sshd", args...)
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Process.Kill(); _ = c.Wait() })
	address := net.JoinHostPort("127.0.0.1", port)
	awaitServer(t, address)
	return address
}

var referenceKey xssh.Signer // gets in there

// dialReference logs in at either server.
func dialReference(t *testing.T, address string) *xssh.Client {
	t.Helper()
	methods := []xssh.AuthMethod{xssh.Password(password)}
	if referenceKey != nil {
		methods = append(methods, xssh.PublicKeys(referenceKey))
	}
	c, err := xssh.Dial("tcp", address, &xssh.ClientConfig{
		User: "root", Auth: methods, HostKeyCallback: xssh.InsecureIgnoreHostKey(), Timeout: patience,
	})
	if err != nil {
		t.Fatalf("%s: %v", address, err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// told is what a client hears, in words that can be compared.
func told(ok bool, payload []byte, err error) string {
	var refused *xssh.OpenChannelError
	switch {
	case errors.As(err, &refused):
		return fmt.Sprintf("refused: %d %q", refused.Reason, refused.Message)
	case err != nil:
		return "connection ended"
	default:
		return fmt.Sprintf("%v %q", ok, payload)
	}
}

// question is asked at both servers, each on a connection of its own.
type question struct {
	name string
	ask  func(*xssh.Client) string
}

func opens(kind string, payload any) question {
	p := payloadOf(payload)
	return question{fmt.Sprintf("channel %s %.60q", kind, p), func(c *xssh.Client) string {
		ch, _, err := c.OpenChannel(kind, p)
		if err == nil {
			ch.Close()
		}
		return told(true, nil, err)
	}}
}

func asksGlobally(name string, payload any) question {
	p := payloadOf(payload)
	return question{fmt.Sprintf("global %s %.60q", name, p), func(c *xssh.Client) string {
		return told(c.SendRequest(name, true, p))
	}}
}

// asksOnChannel sends requests on a session channel and tells all answers.
func asksOnChannel(requests ...request) question {
	return question{fmt.Sprintf("requests %.90q", requests), func(c *xssh.Client) string {
		ch, in, err := c.OpenChannel("session", nil)
		if err != nil {
			return err.Error()
		}
		defer ch.Close()
		go xssh.DiscardRequests(in)
		all := ""
		for _, r := range requests {
			ok, err := ch.SendRequest(r.name, true, r.payload)
			all += told(ok, nil, err) + "; "
		}
		return all
	}}
}

type request struct {
	name    string
	payload []byte
}

func payloadOf(payload any) []byte {
	if b, ok := payload.([]byte); ok || payload == nil {
		return b
	}
	return xssh.Marshal(payload)
}

type direct struct {
	Host           string
	Port           uint32
	Originator     string
	OriginatorPort uint32
}

type hostPort struct {
	Host string
	Port uint32
}

type text struct{ Text string }

type modeUnit struct{ Mode, Unit uint32 }

func questions() []question {
	terminal := request{"pty-req", xssh.Marshal(struct {
		Term       string
		C, R, W, H uint32
		Modes      string
	}{Term: "xterm", C: 80, R: 24, Modes: "\x00"})}
	sleeps := request{"exec", xssh.Marshal(text{"sleep 100"})}
	half := request{"break", []byte{0, 0, 1, 0xf4}}
	x11 := request{"x11-req", xssh.Marshal(struct {
		Single           bool
		Protocol, Cookie string
		Screen           uint32
	}{Protocol: "MIT-MAGIC-COOKIE-1", Cookie: "0123"})}
	agent, eow := request{"auth-agent-req@openssh.com", nil}, request{"eow@openssh.com", nil}
	return []question{
		opens("session", nil), opens("session", []byte{0}), opens("", nil), opens("x11", nil), opens("forwarded-tcpip", nil), opens("nonesuch@example.com", []byte("x")),
		opens("direct-tcpip", direct{"example.com", 80, "127.0.0.1", 1}), opens("direct-tcpip", direct{"", 0, "", 0}),
		opens("direct-tcpip", direct{"example.com", 65536, "127.0.0.1", 1}), opens("direct-tcpip", direct{"example.com", 80, "127.0.0.1", 65536}),
		opens("direct-tcpip", direct{"a\x00b", 80, "", 1}), opens("direct-tcpip", direct{"example.com\x00", 80, "", 1}),
		opens("direct-tcpip", nil), opens("direct-tcpip", text{"example.com"}),
		opens("direct-streamlocal@openssh.com", direct{"/tmp/x", 0, "", 0}), // which has a wrong shape
		opens("direct-streamlocal@openssh.com", struct {
			Path, Originator string
			Port             uint32
		}{"/tmp/x", "", 0}),
		opens("direct-streamlocal@openssh.com", text{"/tmp/x"}),
		opens("tun@openssh.com", modeUnit{1, 0x7fffffff}), opens("tun@openssh.com", modeUnit{2, 0}), opens("tun@openssh.com", modeUnit{3, 0}),
		opens("tun@openssh.com", []byte{0, 0, 0, 1}), opens("tun@openssh.com", nil),
		asksGlobally("tcpip-forward", hostPort{"", 8080}), asksGlobally("tcpip-forward", hostPort{"localhost", 0}), asksGlobally("tcpip-forward", nil),
		asksGlobally("tcpip-forward", hostPort{"a\x00b", 8080}), asksGlobally("cancel-tcpip-forward", hostPort{"", 8080}), asksGlobally("cancel-tcpip-forward", text{"x"}),
		asksGlobally("streamlocal-forward@openssh.com", text{"/tmp/x"}), asksGlobally("streamlocal-forward@openssh.com", nil),
		asksGlobally("cancel-streamlocal-forward@openssh.com", text{"/tmp/x"}), asksGlobally("cancel-streamlocal-forward@openssh.com", []byte{1}),
		asksGlobally("keepalive@openssh.com", nil), asksGlobally("nonesuch", []byte("x")), asksGlobally("", nil),
		asksGlobally("no-more-sessions@openssh.com", nil), asksGlobally("no-more-sessions@openssh.com", []byte("x")),
		asksGlobally("hostkeys-prove-00@openssh.com", nil), asksGlobally("hostkeys-prove-00@openssh.com", text{"x"}), asksGlobally("hostkeys-prove-00@openssh.com", []byte{1}),
		asksGlobally("hostkeys-00@openssh.com", nil),
		asksOnChannel(half, terminal, half, sleeps, half), asksOnChannel(request{"break", nil}), asksOnChannel(sleeps, half),
		asksOnChannel(eow, sleeps, eow, eow), asksOnChannel(request{"eow@openssh.com", []byte("x")}),
		asksOnChannel(agent, agent, sleeps, agent), asksOnChannel(request{"auth-agent-req@openssh.com", []byte("x")}), asksOnChannel(sleeps, request{"auth-agent-req@openssh.com", []byte("x")}),
		asksOnChannel(x11, x11, sleeps, x11), asksOnChannel(request{"x11-req", []byte("x")}), asksOnChannel(sleeps, request{"x11-req", []byte("x")}),
		asksOnChannel(request{"keepalive@openssh.com", nil}, request{"xon-xoff", []byte{1}}, request{"", nil}, request{"nonesuch", []byte("x")}),
		asksOnChannel(sleeps, request{"keepalive@openssh.com", nil}, request{"exit-status", []byte{0, 0, 0, 0}}),
		{"session after no-more-sessions", func(c *xssh.Client) string {
			_, _, _ = c.SendRequest("no-more-sessions@openssh.com", true, nil)
			_, _, err := c.OpenChannel("session", nil)
			return told(true, nil, err)
		}},
		{"sessions beyond MaxSessions", func(c *xssh.Client) string {
			for range 10 {
				if _, _, err := c.OpenChannel("session", nil); err != nil {
					return err.Error()
				}
			}
			_, _, err := c.OpenChannel("session", nil)
			return told(true, nil, err)
		}},
	}
}

// What clients are told about forwarding is what a real sshd tells that forbids it.
// FORWARD_REFERENCE names another one than this machine's.
func TestForwardingAnswersAreThoseOfSSHD(t *testing.T) {
	theirs := reference(t)
	configure(t, "forwarding: {tcp_local: deny}\n")
	err := eventually(func() error {
		c, err := dialErr(freshSource(), "root", time.Second)
		if err == nil {
			c.Close()
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, q := range questions() {
		want, got := q.ask(dialReference(t, theirs)), q.ask(dialReference(t, address))
		if want != got {
			t.Errorf("%s:\n sshd %s\n ours %s", q.name, want, got)
		} else {
			t.Logf("%s: %s", q.name, got)
		}
	}
}
