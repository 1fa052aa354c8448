//go:build integration

// These tests talk to the rootless Podman of the disposable system. They need
// the API socket and a target image; see docs/development.md.
package podman

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"testing"
	"time"
)

const label = "io.sandtrap.test"

func env(name, fallback string) string {
	if v := os.Getenv(name); v != "" {
		return v
	}
	return fallback
}

var (
	socket = env("TEST_SOCKET", "/run/sandtrap-pods/podman.sock")
	image  = env("TEST_IMAGE", "localhost/sandtrap-target-debian:latest")
)

func dial(t *testing.T) *Client {
	t.Helper()
	c, err := Dial(t.Context(), socket)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// boot starts a container that the test's end removes.
func boot(t *testing.T, c *Client) string {
	t.Helper()
	spec := Spec{Image: image, Hostname: "srv01", Labels: map[string]string{label: t.Name()}, Unlimited: true}
	id, err := c.Create(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Remove(context.Background(), id); err != nil {
			t.Error(err)
		}
	})
	if err := c.Start(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	return id
}

// result runs a program to its end.
type result struct {
	stdout, stderr bytes.Buffer
	status         int
}

func run(t *testing.T, c *Client, id string, o ExecOptions, stdin io.Reader) *result {
	t.Helper()
	e, err := c.Exec(t.Context(), id, o)
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	var wg sync.WaitGroup
	wg.Go(func() {
		if stdin != nil {
			_, _ = io.Copy(onlyWriter{e}, stdin)
		}
		_ = e.CloseWrite()
	})
	r := &result{}
	to := func(b *bytes.Buffer) func([]byte) error {
		return func(p []byte) error { b.Write(p); return nil }
	}
	if err := e.Copy(to(&r.stdout), to(&r.stderr)); err != nil {
		t.Fatal(err)
	}
	if r.status, err = e.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	wg.Wait()
	return r
}

type onlyWriter struct{ io.Writer }

func sh(command string) ExecOptions {
	return ExecOptions{User: "root", Dir: "/root", Command: []string{"/bin/sh", "-c", command}}
}

func TestLifeOfAContainer(t *testing.T) {
	c := dial(t)
	if err := c.Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	id := boot(t, c)
	if running, err := c.Running(t.Context(), id); err != nil || !running {
		t.Fatalf("Running = %v, %v", running, err)
	}
	name := fmt.Sprintf("renamed-%d", time.Now().UnixNano())
	if err := c.Rename(t.Context(), id, name); err != nil {
		t.Fatal(err)
	}
	list, err := c.List(t.Context(), label+"="+t.Name())
	if err != nil || len(list) != 1 || list[0].Name != name || !list[0].Running || list[0].ID != id {
		t.Fatalf("List = %+v, %v", list, err)
	}
	for range 2 { // stopping what is stopped is no error
		if err := c.Stop(t.Context(), id); err != nil {
			t.Fatal(err)
		}
	}
	if running, err := c.Running(t.Context(), id); err != nil || running {
		t.Fatalf("Running after Stop = %v, %v", running, err)
	}
	passwd, err := c.ReadFile(t.Context(), id, "/etc/passwd", 64<<10)
	if err != nil || !bytes.HasPrefix(passwd, []byte("root:")) {
		t.Errorf("ReadFile = %.40q, %v", passwd, err)
	}
}

func TestMissingThings(t *testing.T) {
	c := dial(t)
	if _, err := c.Image(t.Context(), "localhost/no-such-image:latest"); !errors.Is(err, ErrNotFound) {
		t.Errorf("Image = %v, want ErrNotFound", err)
	}
	if _, err := c.Running(t.Context(), "no-such-container"); !errors.Is(err, ErrNotFound) {
		t.Errorf("Running = %v, want ErrNotFound", err)
	}
	if _, err := c.Exec(t.Context(), "no-such-container", sh("true")); !errors.Is(err, ErrNotFound) {
		t.Errorf("Exec = %v, want ErrNotFound", err)
	}
	if err := c.Remove(t.Context(), "no-such-container"); err != nil {
		t.Errorf("Remove = %v, want nil", err)
	}
	id := boot(t, c)
	if _, err := c.ReadFile(t.Context(), id, "/etc", 64<<10); err == nil {
		t.Error("ReadFile of a directory succeeded")
	}
	if _, err := c.ReadFile(t.Context(), id, "/bin/bash", 1024); err == nil {
		t.Error("ReadFile over the limit succeeded")
	}
	if _, err := Dial(t.Context(), "/run/no-such.sock"); err == nil {
		t.Error("Dial of a missing socket succeeded")
	}
}

func TestExecKeepsStreamsApart(t *testing.T) {
	c := dial(t)
	id := boot(t, c)
	r := run(t, c, id, sh("echo out; echo err >&2; exit 7"), nil)
	if r.stdout.String() != "out\n" || r.stderr.String() != "err\n" || r.status != 7 {
		t.Errorf("got %q, %q, %d", r.stdout.String(), r.stderr.String(), r.status)
	}
	for _, status := range []int{0, 1, 127, 255} {
		if r := run(t, c, id, sh(fmt.Sprintf("exit %d", status)), nil); r.status != status {
			t.Errorf("exit %d came back as %d", status, r.status)
		}
	}
}

func TestExecHalfCloses(t *testing.T) {
	c := dial(t)
	r := run(t, c, boot(t, c), sh("wc -c; echo after"), strings.NewReader("12345"))
	if r.stdout.String() != "5\nafter\n" {
		t.Errorf("after EOF of stdin: %q", r.stdout.String())
	}
}

func TestExecIsBinaryClean(t *testing.T) {
	c := dial(t)
	data := make([]byte, 5<<20)
	source := rand.NewChaCha8([32]byte{1})
	_, _ = source.Read(data)
	r := run(t, c, boot(t, c), sh("cat"), bytes.NewReader(data))
	if sha256.Sum256(r.stdout.Bytes()) != sha256.Sum256(data) {
		t.Errorf("%d bytes came back, differing from the %d sent", r.stdout.Len(), len(data))
	}
}

func TestExecTerminal(t *testing.T) {
	c := dial(t)
	// The first size may come late, as a change of its own.
	o := sh("while [ \"$(stty size)\" = '0 0' ]; do sleep 0.1; done; stty size; tty; echo err >&2")
	o.TTY, o.Size = true, Size{Columns: 132, Rows: 43}
	r := run(t, c, boot(t, c), o, nil)
	if want := "43 132\r\n/dev/pts/0\r\nerr\r\n"; r.stdout.String() != want || r.stderr.Len() != 0 {
		t.Errorf("got %q, want %q", r.stdout.String(), want)
	}
}

func TestExecResize(t *testing.T) {
	c := dial(t)
	// The first size may come late, as a change of its own.
	o := sh("trap 'stty size; [ \"$(stty size)\" != \"30 100\" ] || exit 3' WINCH; echo ready; while :; do sleep 0.1; done")
	o.TTY, o.Size = true, Size{80, 24}
	e, err := c.Exec(t.Context(), boot(t, c), o)
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	var out bytes.Buffer
	resized := false
	err = e.Copy(func(p []byte) error {
		out.Write(p)
		if !resized && strings.Contains(out.String(), "ready") {
			resized = true
			return e.Resize(t.Context(), Size{100, 30})
		}
		return nil
	}, nil)
	if err != nil || !strings.Contains(out.String(), "30 100") {
		t.Errorf("got %q, %v", out.String(), err)
	}
	if status, err := e.Wait(t.Context()); status != 3 || err != nil {
		t.Errorf("Wait = %d, %v", status, err)
	}
}

func TestCloseEndsCopy(t *testing.T) {
	c := dial(t)
	e, err := c.Exec(t.Context(), boot(t, c), sh("sleep 600"))
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() { done <- e.Copy(func([]byte) error { return nil }, func([]byte) error { return nil }) }()
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err == nil {
		t.Error("Copy of a closed stream returned nil")
	}
}

func TestContainerIsLockedDown(t *testing.T) {
	c := dial(t)
	r := run(t, c, boot(t, c), sh("cat /proc/self/status /proc/self/uid_map; ls /sys/class/net; env; hostname; cat /etc/hosts"), nil)
	out := r.stdout.String()
	for _, want := range []string{"NoNewPrivs:\t1", "Seccomp:\t2", "CapEff:\t00000000000404fb", "CapBnd:\t00000000000404fb", "srv01"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is missing in:\n%s", want, out)
		}
	}
	for _, tell := range []string{"container=", "eth0", "tap0", "containers.internal"} {
		if strings.Contains(out, tell) {
			t.Errorf("%q shows in:\n%s", tell, out)
		}
	}
}

func TestSizeOfALayer(t *testing.T) {
	c := dial(t)
	id := boot(t, c)
	before, err := c.Size(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	run(t, c, id, sh("head -c 5000000 /dev/urandom >/var/tmp/file"), nil)
	after, err := c.Size(t.Context(), id)
	if err != nil || after-before < 5_000_000 || after-before > 6_000_000 {
		t.Errorf("Size went from %d to %d, %v", before, after, err)
	}
	if _, err := c.Size(t.Context(), "no-such-container"); !errors.Is(err, ErrNotFound) {
		t.Errorf("Size of nothing: %v", err)
	}
}

func TestLocksAreCounted(t *testing.T) {
	c := dial(t)
	before, err := c.Left(t.Context())
	if err != nil || !before.LocksKnown || !before.SpaceKnown || before.Space < 1<<20 {
		t.Fatalf("Left = %+v, %v", before, err)
	}
	boot(t, c)
	after, err := c.Left(t.Context())
	if err != nil || after.Locks != before.Locks-1 {
		t.Errorf("Left went from %+v to %+v, %v", before, after, err)
	}
}

func TestImageAndItsLabels(t *testing.T) {
	c := dial(t)
	got, err := c.Image(t.Context(), image)
	if err != nil || !strings.HasPrefix(got.Digest, "sha256:") || len(got.Digest) != 7+64 {
		t.Errorf("Image = %+v, %v", got, err)
	}
	t.Logf("labels %q", got.Labels)
}
