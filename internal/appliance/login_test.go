//go:build appliance

package appliance

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/creack/pty"
)

func TestExec(t *testing.T) {
	r := ssh(t, "root", "echo out; echo err >&2; hostname; exit 42")
	if r.stdout != "out\nsrv01\n" || r.stderr != "err\n" || r.status != 42 {
		t.Errorf("got %+v", r)
	}
	for _, status := range []int{0, 1, 127, 255} {
		if r := ssh(t, "root", fmt.Sprintf("exit %d", status)); r.status != status {
			t.Errorf("exit %d came back as %d (%s)", status, r.status, r.stderr)
		}
	}
	if r := ssh(t, "root", "no-such-command"); r.status != 127 || !strings.Contains(r.stderr, "not found") {
		t.Errorf("unknown command: %+v", r)
	}
}

func TestEnvironment(t *testing.T) {
	source := freshSource()
	c := sshFrom(source, "-o", "SendEnv=LANG LC_TEST SECRET", "root@127.0.0.1", "env")
	c.Env = append(c.Env, "LC_TEST=yes", "SECRET=no")
	r := finish(t, c, nil)
	for _, want := range []string{"LC_TEST=yes\n", "LANG=C.UTF-8\n", "SHELL=/bin/bash\n", "LOGNAME=root\n", "SSH_CONNECTION=" + source + " "} {
		if !strings.Contains(r.stdout, want) {
			t.Errorf("%q is missing in:\n%s", want, r.stdout)
		}
	}
	for _, tell := range []string{"SECRET", "container", "podman", "sandtrap"} {
		if strings.Contains(r.stdout, tell) {
			t.Errorf("%q shows in:\n%s", tell, r.stdout)
		}
	}
}

func TestBinaryStreams(t *testing.T) {
	data := make([]byte, 5<<20)
	source := rand.NewChaCha8([32]byte{7})
	_, _ = source.Read(data)
	sum := fmt.Sprintf("%x", sha256.Sum256(data))
	up := finish(t, sshCommand("root@127.0.0.1", "sha256sum; echo done >&2"), bytes.NewReader(data))
	if !strings.HasPrefix(up.stdout, sum) || up.stderr != "done\n" || up.status != 0 {
		t.Errorf("up: got %q, %q, %d, want %s", up.stdout, up.stderr, up.status, sum)
	}
	down := finish(t, sshCommand("root@127.0.0.1", "cat"), bytes.NewReader(data))
	if got := fmt.Sprintf("%x", sha256.Sum256([]byte(down.stdout))); got != sum || down.status != 0 {
		t.Errorf("down: %d bytes with hash %s, want %s", len(down.stdout), got, sum)
	}
}

func TestShellOnATerminal(t *testing.T) {
	term := openTerminal(t, freshSource(), "root@127.0.0.1")
	steps := []struct{ typed, want string }{
		{"", "# "},
		{"stty size; tty; echo $TERM\n", "30 100"},
		{"echo $((6*7))\n", "42"},
		{"shopt -q login_shell && echo log''in\n", "login"},
	}
	for _, s := range steps {
		term.enter(t, s.typed)
		if err := eventually(term.out.has(s.want)); err != nil {
			t.Fatal(err)
		}
	}
	if err := pty.Setsize(term.file, &pty.Winsize{Cols: 120, Rows: 50}); err != nil {
		t.Fatal(err)
	}
	err := eventually(func() error {
		term.enter(t, "stty size\n")
		time.Sleep(200 * time.Millisecond)
		return term.out.has("50 120")()
	})
	if err != nil {
		t.Fatal(err)
	}
	term.enter(t, "exit 7\n")
	if err := term.wait(); err == nil || err.Error() != "exit status 7" {
		t.Errorf("ssh ended with %v, want exit status 7", err)
	}
	s := lastSession(t)
	if len(s.Channels) != 1 || s.Channels[0].Kind != "shell" || s.Channels[0].Size.Columns != 100 || string(s.Channels[0].Terminal) == "" {
		t.Errorf("channels = %+v", s.Channels)
	}
	cast := readCast(t, s, 0)
	for _, want := range []string{`"r","120x50"`, `"i","`, `"o","`} {
		if !strings.Contains(strings.ReplaceAll(cast, ", ", ","), want) {
			t.Errorf("the cast has no %s:\n%.2000s", want, cast)
		}
	}
}

func TestSeveralChannelsOneTarget(t *testing.T) {
	control := filepath.Join(t.TempDir(), "control")
	master := sshCommand("-M", "-N", "-S", control, "root@127.0.0.1")
	if err := master.Start(); err != nil {
		t.Fatal(err)
	}
	if err := eventually(func() error { _, err := os.Stat(control); return err }); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for i := range 5 {
		wg.Go(func() {
			r := finish(t, sshCommand("-S", control, "root@127.0.0.1", fmt.Sprintf("echo %d >> /root/log; cat", i)), strings.NewReader(fmt.Sprint("n", i)))
			if r.stdout != fmt.Sprint("n", i) {
				t.Errorf("channel %d: %+v", i, r)
			}
		})
	}
	wg.Wait()
	if r := finish(t, sshCommand("-S", control, "root@127.0.0.1", "sort /root/log | tr -d '\\n'"), nil); r.stdout != "01234" {
		t.Errorf("the channels share no target: %+v", r)
	}
	if out, err := exec.Command("ssh", "-S", control, "-O", "exit", "root@127.0.0.1").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	_ = master.Wait()
	if s := lastSession(t); len(s.Channels) != 6 {
		t.Errorf("%d channels recorded, want 6", len(s.Channels))
	}
}

func TestFileTransfer(t *testing.T) {
	dir := t.TempDir()
	local, back := filepath.Join(dir, "up"), filepath.Join(dir, "down")
	data := bytes.Repeat([]byte("evidence\x00\xff"), 50_000)
	if err := os.WriteFile(local, data, 0o600); err != nil {
		t.Fatal(err)
	}
	options := append([]string{"-P", "2222", "-o", "BindAddress=" + freshSource()}, sshOptions...)
	// Round trips over one connection each: there and back, by SFTP.
	batch := fmt.Sprintf("put %s /root/f\nget /root/f %s\n", local, back)
	r := finish(t, withPassword(exec.Command("sftp", append(options, "root@127.0.0.1")...)), strings.NewReader(batch))
	if got, err := os.ReadFile(back); err != nil || !bytes.Equal(got, data) {
		t.Errorf("sftp: %v, %d bytes back, want %d: %+v", err, len(got), len(data), r)
	}
	r = finish(t, withPassword(exec.Command("scp", append(options, local, "root@127.0.0.1:/tmp/x")...)), nil)
	if r.status != 0 {
		t.Errorf("scp: %+v", r)
	}
	if s := lastSession(t); len(s.Channels) != 1 || s.Channels[0].Kind != "subsystem" || s.Channels[0].Recording.InputBytes < int64(len(data)) {
		t.Errorf("scp left %+v", s.Channels)
	}
}

func TestStaticCredentials(t *testing.T) {
	key := filepath.Join(t.TempDir(), "id")
	must(t, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key)
	public, err := os.ReadFile(key + ".pub")
	if err != nil {
		t.Fatal(err)
	}
	configure(t, fmt.Sprintf("auth:\n  mode: static\n  credentials:\n    - {user: root, password: %q}\n    - {user: admin, public_key: %q}\n", password, strings.TrimSpace(string(public))))
	if r := ssh(t, "root", "echo in"); r.stdout != "in\n" {
		t.Errorf("listed password: %+v", r)
	}
	for _, user := range []string{"admin", "nobody1"} {
		if r := ssh(t, user, "echo in"); r.status != 255 || r.stdout != "" || !strings.Contains(r.stderr, "Permission denied") {
			t.Errorf("wrong credentials of %s: %+v", user, r)
		}
	}
	if r := finish(t, sshCommand("-i", key, "-o", "PreferredAuthentications=publickey", "admin@127.0.0.1", "echo in"), nil); r.stdout != "in\n" {
		t.Errorf("listed key: %+v", r)
	}
	s := lastSession(t)
	if s.Login.Method != "publickey" || !strings.HasPrefix(s.Login.Fingerprint, "SHA256:") || s.Attempts[len(s.Attempts)-1].KeyState != "verified" {
		t.Errorf("login = %+v of %+v", s.Login, s.Attempts)
	}
}

// Host keys come from credentials where the administrator put them there, and
// from the state directory, always the same, where not.
func TestHostKeys(t *testing.T) {
	scan := func() string {
		t.Helper()
		var keys []string
		for _, line := range strings.Split(must(t, "ssh-keyscan", "-p", "2222", "127.0.0.1"), "\n") {
			if fields := strings.Fields(line); len(fields) == 3 && fields[0] != "#" {
				keys = append(keys, fields[1]+" "+fields[2])
			}
		}
		sort.Strings(keys)
		return strings.Join(keys, "\n")
	}
	made := scan()
	if n := strings.Count(made, "\n") + 1; n != 3 {
		t.Fatalf("%d host keys, want 3:\n%s", n, made)
	}
	must(t, "systemctl", "restart", "sandtrap.service")
	if again := scan(); again != made {
		t.Errorf("host keys changed over a restart:\n%s\n%s", made, again)
	}
	var want []string
	for _, keyType := range []string{"ecdsa", "ed25519", "rsa"} {
		path := "/etc/credstore/ssh_host_" + keyType + "_key"
		must(t, "mkdir", "-p", "/etc/credstore")
		must(t, "ssh-keygen", "-q", "-t", keyType, "-N", "", "-C", "", "-f", path)
		t.Cleanup(func() { _, _ = os.Remove(path), os.Remove(path+".pub") })
		public, err := os.ReadFile(path + ".pub")
		if err != nil {
			t.Fatal(err)
		}
		want = append(want, strings.TrimSpace(string(public)))
	}
	sort.Strings(want)
	t.Cleanup(func() { must(t, "systemctl", "restart", "sandtrap.service") })
	must(t, "systemctl", "restart", "sandtrap.service")
	if got := scan(); got != strings.Join(want, "\n") {
		t.Errorf("host keys:\n%s\nwant the credentials:\n%s", got, strings.Join(want, "\n"))
	}
}
