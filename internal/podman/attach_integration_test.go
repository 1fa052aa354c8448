//go:build integration

package podman

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"
)

// bootMain starts a container whose main process is a shell command with a
// standard input.
func bootMain(t *testing.T, c *Client, command string) string {
	t.Helper()
	spec := Spec{
		Image: image, Hostname: "srv01", Labels: map[string]string{label: t.Name()}, Unlimited: true,
		Stdin: true, Command: []string{"/bin/sh", "-c", command},
	}
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

// both sends data over a stream to something that sends it back.
func both(t *testing.T, stream io.ReadWriter, data []byte) {
	t.Helper()
	var wg sync.WaitGroup
	wg.Go(func() {
		if _, err := stream.Write(data); err != nil {
			t.Error(err)
		}
	})
	got := make([]byte, len(data))
	if _, err := io.ReadFull(stream, got); err != nil {
		t.Error(err)
	}
	wg.Wait()
	if sha256.Sum256(got) != sha256.Sum256(data) {
		t.Errorf("%d bytes came back, differing from those sent", len(got))
	}
}

func someBytes(n int) []byte {
	data := make([]byte, n)
	source := rand.NewChaCha8([32]byte{2})
	_, _ = source.Read(data)
	return data
}

// TestAttachToMainProcess also sends the bytes that end a stream which did not say
// that it has no detach keys: control-P, control-Q.
func TestAttachToMainProcess(t *testing.T) {
	c := dial(t)
	stream, err := c.Attach(t.Context(), bootMain(t, c, "exec cat"))
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	both(t, stream, []byte("before\x10\x11after\x00\xff\r\n"))
	began := time.Now()
	data := someBytes(64 << 20)
	both(t, stream, data)
	t.Logf("%.0f MB/s through cat", float64(len(data))/1e6/time.Since(began).Seconds())
}

// TestStdinEndsWithItsClient is why a broken stream is not attached again.
func TestStdinEndsWithItsClient(t *testing.T) {
	c := dial(t)
	id := bootMain(t, c, "cat >/dev/null; echo over >/tmp/over; sleep 600")
	stream, err := c.Attach(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Write([]byte("x")); err != nil {
		t.Error(err)
	}
	stream.Close()
	r := run(t, c, id, sh("for i in $(seq 100); do test -e /tmp/over && break; sleep 0.1; done; cat /tmp/over"), nil)
	if r.stdout.String() != "over\n" {
		t.Errorf("after the client went: %q", r.stdout.String())
	}
}

func TestAttachedProcessEnds(t *testing.T) {
	c := dial(t)
	id := bootMain(t, c, "read line; echo got $line; echo why >&2; exit 3")
	stream, err := c.Attach(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	if _, err := stream.Write([]byte("line\n")); err != nil {
		t.Error(err)
	}
	var got bytes.Buffer
	if _, err = io.Copy(&got, struct{ io.Reader }{stream}); err == nil || !strings.Contains(err.Error(), "why") || got.String() != "got line\n" {
		t.Errorf("read %q, %v", got.String(), err)
	}
	for running := true; running; {
		if running, err = c.Running(t.Context(), id); err != nil {
			t.Fatal(err)
		}
	}
	if stream, err := c.Attach(t.Context(), id); !errors.Is(err, ErrNotRunning) || stream != nil {
		t.Errorf("Attach to what has exited = %v, %v", stream, err)
	}
	if list, err := c.List(t.Context(), label+"="+t.Name()); err != nil || len(list) != 1 || list[0].Running {
		t.Errorf("List = %+v, %v", list, err)
	}
}

func TestBridgeToAProgram(t *testing.T) {
	c := dial(t)
	id := boot(t, c)
	stream, err := c.Bridge(t.Context(), id, []string{"/bin/sh", "-c", "id -u; exec cat"})
	if err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 2)
	if _, err := io.ReadFull(stream, got); err != nil || string(got) != "0\n" {
		t.Errorf("runs as %q, %v", got, err)
	}
	both(t, stream, someBytes(8<<20))
	if err := stream.Close(); err != nil {
		t.Error(err)
	}
	if r := run(t, c, id, sh("cat /proc/[0-9]*/comm"), nil); strings.Contains(r.stdout.String(), "cat\n") {
		t.Errorf("left behind:\n%s", r.stdout.String())
	}
	// Podman says that a program is not there only when it has begun the stream.
	stream, err = c.Bridge(t.Context(), id, []string{"/no/such/program"})
	if err == nil {
		defer stream.Close()
		n, rerr := stream.Read(make([]byte, 1000))
		t.Logf("a program that is not there: %d bytes, %v", n, rerr)
		if rerr == nil {
			t.Error("a program that is not there was started")
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
	before, known, err := c.FreeLocks(t.Context())
	if err != nil || !known {
		t.Fatalf("FreeLocks = %d, %v, %v", before, known, err)
	}
	boot(t, c)
	after, _, err := c.FreeLocks(t.Context())
	if err != nil || after != before-1 {
		t.Errorf("FreeLocks went from %d to %d, %v", before, after, err)
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
