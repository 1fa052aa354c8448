//go:build appliance

package appliance

import (
	"bytes"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// buildImage makes an image from the target's, in the store of the pods, and
// removes it with the test. Files lie beside the Containerfile.
func buildImage(t *testing.T, name, containerfile string, files map[string][]byte) string {
	t.Helper()
	dir := t.TempDir()
	content := "FROM localhost/sandtrap-target-debian:latest\n" + containerfile
	if err := os.WriteFile(filepath.Join(dir, "Containerfile"), []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
	for file, content := range files {
		if err := os.WriteFile(filepath.Join(dir, file), content, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	image := "localhost/" + name + ":latest"
	podman(t, "build", "--quiet", "--pull=never", "--network=none", "--tag", image, dir)
	t.Cleanup(func() { _, _ = output("podman", "--url", podmanURL, "rmi", "--force", image) })
	return image
}

// probeImage is the target's image with the probe in it.
func probeImage(t *testing.T) string {
	t.Helper()
	probe, err := os.ReadFile("testdata/inside/probe")
	if err != nil {
		t.Fatal(err)
	}
	return buildImage(t, "inside", "COPY probe "+probePath+"\nRUN chmod 644 "+probePath+"\n", map[string][]byte{"probe": probe})
}

// referenceImage copies an image to root's own store: containers of root know
// nothing of SandTrap's units.
func referenceImage(t *testing.T, image string) {
	t.Helper()
	archive := filepath.Join(t.TempDir(), "image.tar")
	podman(t, "save", "--quiet", "--output", archive, image)
	must(t, "podman", "load", "--quiet", "--input", archive)
	t.Cleanup(func() { _, _ = output("podman", "rmi", "--force", image) })
}

// referenceBoot makes a server of the image whose password is known, and hands
// over to its init, with the environment that the kernel would give it.
const referenceBoot = `
chmod 755 / # as on every machine but Podman's
for name in root debian; do echo "$name:` + password + `" | chpasswd; done
echo PermitRootLogin yes >/etc/ssh/sshd_config.d/root.conf
start() { env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$1"; }
start /usr/sbin/cron
start /usr/sbin/sshd
exec env -i HOME=/ TERM=linux /sbin/init`

// targetCapabilities are those that a target has: with others there would be no end of
// differences.
var targetCapabilities = []string{
	"--cap-add=CHOWN", "--cap-add=DAC_OVERRIDE", "--cap-add=FOWNER", "--cap-add=FSETID", "--cap-add=KILL",
	"--cap-add=NET_BIND_SERVICE", "--cap-add=SETGID", "--cap-add=SETUID", "--cap-add=SYS_CHROOT",
}

// newReference boots a real sshd in a container of its own. Clients reach it by
// going into its network namespace, so that it has as little network as a target.
func newReference(t *testing.T, image, name string) host {
	t.Helper()
	args := []string{"run", "--detach", "--replace", "--rm", "--name", name, "--hostname", "srv01", "--network=none",
		"--systemd=false", "--unsetenv=container", "--no-hosts", "--log-driver=none", "--ulimit=nofile=1024:4096", "--stop-timeout=0", "--cap-drop=all"}
	args = append(args, targetCapabilities...)
	must(t, "podman", append(args, "--entrypoint=/bin/bash", image, "-c", referenceBoot)...)
	t.Cleanup(func() { _, _ = output("podman", "rm", "--force", name) })
	pid := must(t, "podman", "inspect", "--format", "{{.State.Pid}}", name)
	err := eventually(func() error {
		tcp, err := os.ReadFile("/proc/" + pid + "/net/tcp")
		if err != nil {
			return err
		}
		started, _ := output("ps", "-o", "comm=", "--ppid", pid)
		if !bytes.Contains(tcp, []byte(":0016 00000000:0000 0A")) || !strings.Contains(started, "cron") {
			return errors.New("the reference has not booted: " + started)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(4 * time.Second) // as waitBooted
	source := freshSource()
	return host{source, func(args ...string) *exec.Cmd {
		fixed := append([]string{"--target", pid, "--net", "ssh"}, clientOptions("22", source)...)
		return withPassword(exec.Command("nsenter", append(append(fixed, sshOptions...), args...)...))
	}}
}

// loopbackReference starts a real sshd in a container of the target's image, which
// clients reach over loopback, and returns its address. Options are as in sshd_config(5),
// with an equals sign.
func loopbackReference(t *testing.T, options ...string) string {
	t.Helper()
	const image, name, address = "localhost/sandtrap-target-debian:latest", "reference-loopback", "127.0.0.1:2203"
	referenceImage(t, image)
	args := []string{"run", "--detach", "--replace", "--rm", "--name", name, "--hostname", "srv01", "--network=host", "--no-hosts",
		"--systemd=false", "--unsetenv=container", "--log-driver=none", "--ulimit=nofile=1024:4096", "--stop-timeout=0", "--cap-drop=all"}
	args = append(args, targetCapabilities...)
	script := `for name in root debian admin; do echo "$name:` + password + `" | chpasswd; done
exec env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin /usr/sbin/sshd -D -p 2203 -o ListenAddress=127.0.0.1 -o PermitRootLogin=yes -o MaxStartups=100`
	for _, o := range options {
		script += " -o '" + o + "'"
	}
	must(t, "podman", append(args, "--entrypoint=/bin/bash", image, "-c", script)...)
	t.Cleanup(func() { _, _ = output("podman", "rm", "--force", name) })
	awaitServer(t, address)
	return address
}

// awaitServer waits until a server takes connections.
func awaitServer(t *testing.T, address string) {
	t.Helper()
	err := eventually(func() error {
		c, err := net.DialTimeout("tcp", address, time.Second)
		if err == nil {
			_ = c.Close()
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
