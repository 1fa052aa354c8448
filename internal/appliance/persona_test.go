//go:build appliance

package appliance

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sandtrap/sandtrap/internal/persona"
	"github.com/sandtrap/sandtrap/internal/testssh"
)

const personaPort = "2203"

// startSSHD runs the real sshd of the target's image with an sshd_config on a port of
// the loopback device. root's password is the one that all tests type.
func startSSHD(t *testing.T, config []byte, port string, options ...string) {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "sshd_config"), config, 0o644); err != nil {
		t.Fatal(err)
	}
	boot := `mkdir -p /run/sshd; echo "root:` + password + `" | chpasswd; exec /usr/sbin/sshd -D "$@"`
	args := []string{"run", "--detach", "--replace", "--rm", "--name", "sshd-" + port, "--network=host", "--log-driver=none",
		"--volume", dir + ":/persona:ro", "--stop-timeout=0", "--entrypoint=/bin/sh", "localhost/sandtrap-target-debian:latest", "-c", boot, "sh",
		"-f", "/persona/sshd_config", "-p", port, "-o", "ListenAddress=127.0.0.1"}
	for _, o := range append([]string{"MaxStartups=1000"}, options...) { // the last one counts
		args = append(args, "-o", o)
	}
	must(t, "podman", args...)
	t.Cleanup(func() { _, _ = output("podman", "rm", "--force", "sshd-"+port) })
	awaitServer(t, "127.0.0.1:"+port)
}

// TestPersonas holds each persona against a real sshd that has its sshd_config: what
// both send to everybody who connects, and what they answer before the encryption.
func TestPersonas(t *testing.T) {
	referenceImage(t, "localhost/sandtrap-target-debian:latest")
	for _, name := range persona.Names() {
		t.Run(name, func(t *testing.T) {
			p, err := persona.Load(name)
			if err != nil {
				t.Fatal(err)
			}
			startSSHD(t, p.Config, personaPort)
			configure(t, "ssh: {persona: "+name+", max_connections: 1000}")
			compareGreetings(t, p)
			if name == persona.Default { // the sshd here has its version
				compareAnswers(t)
			}
		})
	}
}

func compareGreetings(t *testing.T, p *persona.Persona) {
	t.Helper()
	real, err := testssh.Greet("127.0.0.1:" + personaPort)
	if err != nil {
		t.Fatal(err)
	}
	ours, err := testssh.Greet(address)
	if err != nil {
		t.Fatal(err)
	}
	if want := "SSH-2.0-" + p.Version + "\r\n"; ours.Line != want || p.Name == persona.Default && real.Line != want {
		t.Errorf("identification %q, the real one %q, the persona's %q", ours.Line, real.Line, want)
	}
	a, err := real.Lists()
	if err != nil {
		t.Fatal(err)
	}
	b, err := ours.Lists()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(a, b); diff != "" {
		t.Errorf("lists of KEXINIT (-sshd +sandtrap):\n%s", diff)
	}
	if string(real.KexInit) != string(ours.KexInit) || real.Padding != ours.Padding {
		t.Errorf("KEXINIT of %d bytes padded by %d, the real one of %d by %d", len(ours.KexInit), ours.Padding, len(real.KexInit), real.Padding)
	}
}

func compareAnswers(t *testing.T) {
	t.Helper()
	real, err := testssh.AskAll("127.0.0.1:" + personaPort)
	if err != nil {
		t.Fatal(err)
	}
	ours, err := testssh.AskAll(address)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range testssh.Probes() {
		want := p.Want
		if real[p.Name] != want {
			t.Errorf("%s: sshd answers %s, not %s", p.Name, real[p.Name], want)
		}
		if p.Ours != "" {
			want = p.Ours
			t.Logf("known difference: %s: %s, not %s: %s", p.Name, p.Ours, p.Want, p.Why)
		}
		if ours[p.Name] != want {
			t.Errorf("%s: SandTrap answers %s, sshd %s", p.Name, ours[p.Name], p.Want)
		}
	}
}

// afterNewKeys are the differences that golang.org/x/crypto/ssh makes: lines that
// ssh(1) prints with either server, none where there is nothing to see. A test fails
// when one is no longer there. docs/personas.md explains them.
var afterNewKeys = []struct{ sshd, sandtrap string }{
	{"kex_input_ext_info: extension publickey-hostbound@openssh.com", "kex_input_ext_info: extension ping@openssh.com"},
	{"kex_ext_info_client_parse: " + sigAlgs("webauthn-sk-ecdsa-sha2-nistp256@openssh.com,"), "kex_ext_info_client_parse: " + sigAlgs("")},
	{"Authentications that can continue: publickey,password", "Authentications that can continue: password,publickey"},
	{"Received disconnect from 127.0.0.1 port N:2: Too many authentication failures", "Received disconnect from 127.0.0.1 port N:2: too many authentication failures"},
	{"channel 0: rcvd adjust 2097152", ""},
}

func sigAlgs(webauthn string) string {
	return "server-sig-algs=<ssh-ed25519,sk-ssh-ed25519@openssh.com,ecdsa-sha2-nistp256,ecdsa-sha2-nistp384,ecdsa-sha2-nistp521," +
		"sk-ecdsa-sha2-nistp256@openssh.com," + webauthn + "ssh-dss,ssh-rsa,rsa-sha2-256,rsa-sha2-512>"
}

// interesting are the lines of ssh -vvv that tell what a server sent.
var interesting = regexp.MustCompile(`^debug\d: (kex_(?:input_ext_info|ext_info_client_parse): .*|Authentications that can continue: .*|client_input_.*|channel \d+: (?:open confirm|rcvd).*|Remote: .*)|^(Received disconnect|Disconnected).*`)

// numbers are those that differ from time to time.
var numbers = regexp.MustCompile(`port \d+|window \d+`)

// seen is what ssh(1) sees of a server with a password.
func seen(t *testing.T, port, typed, command string, more ...string) []string {
	t.Helper()
	args := append(append([]string{"-vvv", "-p", port, "-b", freshSource()}, sshOptions[:len(sshOptions)-4]...), more...)
	c := exec.Command("ssh", append(args, "-o", "ConnectTimeout=30", "-o", "LogLevel=DEBUG3", "-o", "NumberOfPasswordPrompts=9", "root@127.0.0.1", command)...)
	withPassword(c)
	c.Env = append(c.Env, "ASKPASS_PASSWORD="+typed)
	var lines []string
	for _, line := range strings.Split(finish(t, c, nil).stderr, "\n") {
		line = strings.TrimRight(line, "\r ")
		if interesting.MatchString(line) {
			_, after, _ := strings.Cut(line, ": ")
			if !strings.HasPrefix(line, "debug") {
				after = line
			}
			lines = append(lines, numbers.ReplaceAllStringFunc(after, func(s string) string { return strings.Fields(s)[0] + " N" }))
		}
	}
	return lines
}

// inOrder is a command of which both servers tell the end in one order. That of others,
// and whether eow@openssh.com is sent, depends on what comes first: the client's end of
// input, that of the output, or the news that the process is gone.
const inOrder = "cat; exec >&- 2>&-; sleep 0.5"

func TestPersonaAfterNewKeys(t *testing.T) {
	referenceImage(t, "localhost/sandtrap-target-debian:latest")
	p, err := persona.Load(persona.Default)
	if err != nil {
		t.Fatal(err)
	}
	startSSHD(t, p.Config, personaPort, "MaxAuthTries=2")
	configure(t, "ssh: {max_auth_tries: 2}\nauth: {mode: static, credentials: [{user: root, password: \""+password+"\"}]}\n")
	found := map[string]bool{}
	for name, typed := range map[string]string{"right password": password, "wrong password": "wrong"} {
		real, ours := seen(t, personaPort, typed, inOrder), seen(t, "2222", typed, inOrder)
		for _, d := range afterNewKeys {
			if d.sandtrap == "" {
				found[d.sshd] = found[d.sshd] || slices.Contains(real, d.sshd)
				real = slices.DeleteFunc(real, func(line string) bool { return line == d.sshd })
			}
			for i := range ours {
				if ours[i] == d.sandtrap {
					found[d.sshd], ours[i] = true, d.sshd
				}
			}
		}
		if diff := cmp.Diff(real, ours); diff != "" {
			t.Errorf("%s (-sshd +sandtrap):\n%s", name, diff)
		}
	}
	for _, d := range afterNewKeys {
		if !found[d.sshd] {
			t.Errorf("there is no such difference any more: %q, %q", d.sshd, d.sandtrap)
		}
	}
}
