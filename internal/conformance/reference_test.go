//go:build appliance

package conformance

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
)

// The reference is the target's own OpenSSH, in a container of root's that is made
// from the target's image and has no restrictions of ours.
const (
	image     = "localhost/sandtrap-target-debian:latest"
	container = "conformance-sshd"
	podmanURL = "unix:///run/sandtrap-pods/podman.sock"
)

// referenceBoot makes a server of the container whose password is known.
const referenceBoot = `for name in root debian; do echo "$name:$0"; done | chpasswd && exec /usr/sbin/sshd -D -e`

func startReference() error {
	dir, err := os.MkdirTemp("", "conformance")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	config, err := filepath.Abs("testdata/sshd_config")
	if err != nil {
		return err
	}
	archive := filepath.Join(dir, "image.tar")
	for _, command := range [][]string{
		{"podman", "--url", podmanURL, "save", "--quiet", "--output", archive, image},
		{"podman", "load", "--quiet", "--input", archive},
		{"podman", "run", "--detach", "--replace", "--name", container, "--network=host", "--hostname=srv01", "--no-hosts", "--unsetenv=container", "--log-driver=none",
			"--volume", config + ":/etc/ssh/sshd_config:ro", "--entrypoint=/bin/sh", image, "-c", referenceBoot, password},
	} {
		if out, err := output(command[0], command[1:]...); err != nil {
			return fmt.Errorf("%q: %s: %w", command, out, err)
		}
	}
	return eventually(func() error {
		c, err := net.Dial("tcp", "127.0.0.1:2202")
		if err != nil {
			return errors.Join(err, errors.New("the reference does not answer"))
		}
		return c.Close()
	})
}

// stopReference leaves nothing of it behind.
func stopReference() {
	_, _ = output("podman", "rm", "--force", "--time=0", "--ignore", container)
	_, _ = output("podman", "rmi", "--force", "--ignore", image)
}
