//go:build appliance

package appliance

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	xssh "golang.org/x/crypto/ssh"
)

const keyDir = "/etc/sandtrap/hostkeys"

// secrets are byte strings that nobody but root and the service may have: the numbers
// of the host keys, in the forms in which they would leak.
func secrets(t *testing.T) map[string][]byte {
	t.Helper()
	all := map[string][]byte{}
	for _, keyType := range []string{"rsa", "ecdsa", "ed25519"} {
		text, err := os.ReadFile(filepath.Join(keyDir, "ssh_host_"+keyType+"_key"))
		if err != nil {
			t.Fatal(err)
		}
		lines := strings.Split(strings.TrimSpace(string(text)), "\n")
		all[keyType+", a line"] = []byte(lines[len(lines)-3]) // of the private half
		key, err := xssh.ParseRawPrivateKey(text)
		if err != nil {
			t.Fatal(err)
		}
		raw := private(t, key)
		all[keyType] = raw
		all[keyType+" in hexadecimal"] = fmt.Appendf(nil, "%x", raw)
		all[keyType+" in base64"] = []byte(base64.RawStdEncoding.EncodeToString(raw)[:40])
	}
	return all
}

// private is the secret number of a key, or a part of it.
func private(t *testing.T, key any) []byte {
	t.Helper()
	switch k := key.(type) {
	case *rsa.PrivateKey:
		return k.D.Bytes()[:32]
	case *ecdsa.PrivateKey:
		b, err := k.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		return b
	case *ed25519.PrivateKey:
		return k.Seed()
	}
	t.Fatalf("a key of type %T", key)
	return nil
}

// search looks for secrets in what r holds, in pieces that overlap.
func search(r io.Reader, all map[string][]byte) []string {
	const overlap = 4096
	var found []string
	buffer, kept := make([]byte, 1<<20), 0
	for {
		n, err := io.ReadFull(r, buffer[kept:])
		for name, secret := range all {
			if bytes.Contains(buffer[:kept+n], secret) {
				found = append(found, name)
			}
		}
		if err != nil {
			return found
		}
		kept = copy(buffer, buffer[len(buffer)-overlap:])
	}
}

// searchFiles looks into every regular file below dir that was written since.
func searchFiles(t *testing.T, dir string, since time.Time, all map[string][]byte) (files int) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err == nil && d.IsDir() && d.Name() == "merged":
			return fs.SkipDir // the layers, once more
		case err != nil || !d.Type().IsRegular():
			return nil // gone, or nothing that holds bytes
		}
		if info, err := d.Info(); err != nil || info.ModTime().Before(since) {
			return nil
		}
		f, err := os.Open(path)
		if err != nil {
			return nil
		}
		defer f.Close()
		files++
		for _, name := range search(f, all) {
			t.Errorf("%s holds %s", path, name)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// searchOutput looks into what a command prints.
func searchOutput(t *testing.T, all map[string][]byte, name string, args ...string) {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil || len(out) == 0 {
		t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
	for _, secret := range search(bytes.NewReader(out), all) {
		t.Errorf("%s %v shows %s", name, args, secret)
	}
}

// TestKeysStayWhereTheyAre looks for the host keys in everything that the product
// writes or shows.
func TestKeysStayWhereTheyAre(t *testing.T) {
	all := secrets(t)
	if found := search(strings.NewReader("x"+string(all["ed25519"])+"y"), all); len(found) != 1 {
		t.Fatalf("the search found %q", found)
	}
	begin := time.Now()
	for range 3 {
		ssh(t, "root", "env; cat /proc/*/environ; echo x >/tmp/f")
	}
	ssh(t, "nobody-there", "id")
	for dir, since := range map[string]time.Time{
		"/var/lib/sandtrap": {}, "/run/pods": {}, "/run/sandtrap-pods": {}, "/var/log": {},
		"/var/lib/pods": begin, // the rest is the image
	} {
		if n := searchFiles(t, dir, since, all); n == 0 && strings.HasPrefix(dir, "/var/lib") {
			t.Errorf("nothing was found below %s", dir)
		}
	}
	searchOutput(t, all, "journalctl", "--no-pager", "--output=export", "--all")
	environments, err := filepath.Glob("/proc/[0-9]*/environ")
	if err != nil || len(environments) < 10 {
		t.Fatalf("%d environments, %v", len(environments), err)
	}
	for _, kind := range []string{"environ", "cmdline"} {
		for _, path := range environments {
			text, _ := os.ReadFile(filepath.Join(filepath.Dir(path), kind))
			for _, name := range search(bytes.NewReader(text), all) {
				t.Errorf("%s of %s holds %s", kind, path, name)
			}
		}
	}
	for _, name := range strings.Fields(podman(t, "ps", "--all", "--quiet")) {
		out, _ := output("podman", "--url", podmanURL, "inspect", name) // it may be gone
		for _, secret := range search(strings.NewReader(out), all) {
			t.Errorf("inspect %s shows %s", name, secret)
		}
	}
	searchOutput(t, all, "podman", "--url", podmanURL, "info")
	searchOutput(t, all, "systemctl", "show", "sandtrap.service", "sandtrap-hostkeys.service")
	searchOutput(t, all, "sandtrap", "config", "show")
}

// TestKeysAreRoots: the account of the front end has them by credential, and can
// neither read nor change where they come from.
func TestKeysAreRoots(t *testing.T) {
	info, err := os.Stat(keyDir)
	if err != nil || info.Mode().Perm() != 0o700 || info.Sys().(*syscall.Stat_t).Uid != 0 {
		t.Errorf("%s: %v, %v", keyDir, info.Mode(), err)
	}
	file := filepath.Join(keyDir, "ssh_host_rsa_key")
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 || info.Sys().(*syscall.Stat_t).Uid != 0 {
		t.Errorf("%s: %v, %v", file, info, err)
	}
	pid := must(t, "systemctl", "show", "-P", "MainPID", "sandtrap.service")
	for _, account := range []string{"sandtrap", "sandtrap-pods", "sandtrap-filter"} {
		for _, try := range []string{
			"cat " + file, "ls " + keyDir, "echo x >>" + file, "mv " + keyDir + " /etc/sandtrap/other", "touch /etc/sandtrap/x",
			"cat /proc/" + pid + "/environ", "cat /proc/" + pid + "/mem", "ls /proc/" + pid + "/fd", "cat /proc/" + pid + "/maps",
		} {
			out, err := output("setpriv", "--reuid="+account, "--regid="+account, "--init-groups", "sh", "-c", try)
			if err == nil || !strings.Contains(out, "Permission denied") {
				t.Errorf("%s as %s: %v, %s", try, account, err, out)
			}
		}
	}
	if left, _ := filepath.Glob("/var/lib/sandtrap/hostkeys/*"); len(left) > 0 {
		t.Errorf("keys where the account could change them: %v", left)
	}
}

// An earlier version had made the keys in the state directory: they move, and the
// fingerprint stays.
func TestKeysOfAnEarlierVersion(t *testing.T) {
	before := must(t, "sh", "-c", "sha256sum "+keyDir+"/*")
	must(t, "sh", "-c", "systemctl stop sandtrap.service && install -d -o sandtrap -g sandtrap -m 700 /var/lib/sandtrap/hostkeys && mv "+keyDir+"/* /var/lib/sandtrap/hostkeys/ && chown -R sandtrap:sandtrap /var/lib/sandtrap/hostkeys")
	must(t, "systemctl", "start", "sandtrap.service")
	if after := must(t, "sh", "-c", "sha256sum "+keyDir+"/*"); after != before {
		t.Errorf("keys were\n%s\nand are\n%s", before, after)
	}
	TestKeysAreRoots(t)
}

// crashing has the service dump where it may write, if anything but its own will
// keeps it from that.
const crashing = `[Service]
LimitCORE=infinity
WorkingDirectory=/var/lib/sandtrap
Environment=GOTRACEBACK=crash
`

// TestCrashesTellNothing kills the service in the ways that dump.
func TestCrashesTellNothing(t *testing.T) {
	all := secrets(t)
	const dropIn = "/run/systemd/system/sandtrap.service.d/crash.conf"
	must(t, "mkdir", "-p", filepath.Dir(dropIn))
	if err := os.WriteFile(dropIn, []byte(crashing), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = os.Remove(dropIn)
		must(t, "systemctl", "daemon-reload")
		must(t, "systemctl", "restart", "sandtrap.service")
	})
	must(t, "systemctl", "daemon-reload")
	must(t, "systemctl", "restart", "sandtrap.service")
	for _, signal := range []string{"ABRT", "SEGV", "QUIT"} {
		since := time.Now().Format("2006-01-02 15:04:05")
		ssh(t, "root", "true")
		pid := must(t, "systemctl", "show", "-P", "MainPID", "sandtrap.service")
		must(t, "systemctl", "kill", "--kill-whom=main", "--signal="+signal, "sandtrap.service")
		err := eventually(func() error {
			if now := must(t, "systemctl", "show", "-P", "MainPID", "sandtrap.service"); now == pid {
				return errors.New("the service still runs")
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		must(t, "systemctl", "start", "sandtrap.service")
		trace := must(t, "journalctl", "--no-pager", "--output=cat", "--since", since, "--unit=sandtrap.service")
		if !strings.Contains(trace, "goroutine ") || strings.Contains(trace, "dumped core") {
			t.Errorf("SIG%s: no trace in the journal to look at, or a dump", signal)
		}
		searchOutput(t, all, "journalctl", "--no-pager", "--output=export", "--all", "--since", since)
		if left, _ := filepath.Glob("/var/lib/sandtrap/core*"); len(left) > 0 {
			t.Errorf("SIG%s left %v", signal, left)
			must(t, "rm", left[0])
		}
	}
	searchFiles(t, "/var/lib/sandtrap", time.Time{}, all)
}
