package podman

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"

	"github.com/sandtrap/sandtrap/internal/testpodman"
)

// withStdin makes and starts a container that can be attached to.
func withStdin(t *testing.T, c *Client) string {
	t.Helper()
	id, err := c.Create(t.Context(), Spec{Image: fakeImage, Stdin: true})
	if err == nil {
		err = c.Start(t.Context(), id)
	}
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// echo says on standard output what it reads, and complains.
func echo(p *testpodman.Process) int {
	fmt.Fprint(p.Stderr, "starting")
	_, _ = io.Copy(p.Stdout, p.Stdin)
	return 0
}

func TestAttach(t *testing.T) {
	s, c := fakeClient(t)
	s.Main = echo
	stream, err := c.Attach(t.Context(), withStdin(t, c))
	if err != nil {
		t.Fatal(err)
	}
	sent := bytes.Repeat([]byte("all bytes \x00\x10\x11\xff"), 10000) // with the default detach keys
	var wg sync.WaitGroup
	wg.Go(func() {
		if _, err := stream.Write(sent); err != nil {
			t.Error(err)
		}
	})
	got := make([]byte, len(sent))
	if _, err := io.ReadFull(stream, got); err != nil || !bytes.Equal(got, sent) {
		t.Errorf("read: %v", err)
	}
	wg.Wait()
	if n, err := stream.Read(nil); n != 0 || err != nil {
		t.Errorf("Read of nothing = %d, %v", n, err)
	}
	for range 2 {
		if err := stream.Close(); err != nil {
			t.Error(err)
		}
	}
	if _, err := stream.Read(got); err == nil {
		t.Error("Read after Close")
	}
}

// TestAttachLooksFirst: attaching to a container that has exited would prepare it
// for another start.
func TestAttachLooksFirst(t *testing.T) {
	s, c := fakeClient(t)
	id := withStdin(t, c)
	if err := c.Stop(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	s.Answer = func(_ http.ResponseWriter, r *http.Request) bool {
		if strings.HasSuffix(r.URL.Path, "/attach") || strings.HasSuffix(r.URL.Path, "/exec") {
			t.Errorf("asked for %s", r.URL.Path)
		}
		return false
	}
	for name, call := range map[string]func(string) (io.ReadWriteCloser, error){
		"Attach": func(id string) (io.ReadWriteCloser, error) { return c.Attach(t.Context(), id) },
		"Bridge": func(id string) (io.ReadWriteCloser, error) { return c.Bridge(t.Context(), id, []string{"x"}) },
	} {
		if stream, err := call(id); !errors.Is(err, ErrNotRunning) || stream != nil {
			t.Errorf("%s = %v, %v", name, stream, err)
		}
		if stream, err := call("no-such-container"); !errors.Is(err, ErrNotFound) || stream != nil {
			t.Errorf("%s of nothing = %v, %v", name, stream, err)
		}
	}
}

func TestAttachRefused(t *testing.T) {
	_, c := fakeClient(t)
	if stream, err := c.Attach(t.Context(), fakeContainer(t, c)); err == nil || stream != nil || !strings.Contains(err.Error(), "attach to container") {
		t.Errorf("Attach without a standard input = %v, %v", stream, err)
	}
}

func TestBridge(t *testing.T) {
	s, c := fakeClient(t)
	var process *testpodman.Process
	killed := make(chan struct{}) // it does not end by itself
	defer close(killed)
	s.Run = func(p *testpodman.Process) int {
		process = p
		echo(p)
		<-killed
		return 0
	}
	stream, err := c.Bridge(t.Context(), fakeContainer(t, c), []string{"/leader", "-i"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(stream, "hello"); err != nil {
		t.Error(err)
	}
	got := make([]byte, 5)
	if _, err := io.ReadFull(stream, got); err != nil || string(got) != "hello" {
		t.Errorf("read %q, %v", got, err)
	}
	if process.User != "root" || process.TTY || !cmp.Equal(process.Command, []string{"/leader", "-i"}) {
		t.Errorf("process %+v", process)
	}
	for range 2 {
		_ = stream.Close()
	}
	if s.Execs() != 0 {
		t.Error("the exec session is still known")
	}
}

func TestStreamFrames(t *testing.T) {
	const out, err2 = "\x01\x00\x00\x00\x00\x00\x00", "\x02\x00\x00\x00\x00\x00\x00"
	tests := []struct{ name, stream, want, fails string }{
		{"nothing", "", "", "EOF"},
		{"empty frames", out + "\x00" + err2 + "\x00" + out + "\x01a", "a", "EOF"},
		{"only standard output", out + "\x01a" + err2 + "\x03err" + out + "\x01b", "ab", `said "err"`},
		{"cut header", out, "", "unexpected EOF"},
		{"cut frame", out + "\x05ab", "ab", "unexpected EOF"},
		{"cut complaint", err2 + "\x05ab", "", `unexpected EOF; the container said "ab"`},
		{"unknown stream", "\x09" + out[1:] + "\x01a", "", "multiplexed stream"},
		{"huge frame", "\x01\x00\x00\x00\xff\xff\xff\xffabc", "abc", "unexpected EOF"},
		{"terminal escapes", err2 + "\x04\x1b[2J", "", `\x1b[2J`},
	}
	for _, tt := range tests {
		for size := 1; size < 20; size += 6 {
			t.Run(fmt.Sprintf("%s/%d", tt.name, size), func(t *testing.T) {
				s := &stream{reader: newReader(iotest.OneByteReader(strings.NewReader(tt.stream)))}
				var got []byte
				var err error
				for err == nil {
					var n int
					p := make([]byte, size)
					n, err = s.Read(p)
					got = append(got, p[:n]...)
				}
				if string(got) != tt.want || !strings.Contains(err.Error(), tt.fails) {
					t.Errorf("read %q, %v", got, err)
				}
			})
		}
	}
}

// TestComplaintIsBounded: a leader that only complains costs no memory.
func TestComplaintIsBounded(t *testing.T) {
	frame := "\x02\x00\x00\x00\x00\x00\x10\x00" + strings.Repeat("x", 4096)
	s := &stream{reader: newReader(strings.NewReader(strings.Repeat(frame, 100)))}
	if n, err := s.Read(make([]byte, 10)); n != 0 || err == nil || len(err.Error()) > 2*maxComplaint || len(s.complaint) != maxComplaint {
		t.Errorf("Read = %d, %.100v, %d bytes kept", n, err, len(s.complaint))
	}
}

func TestStreamEndsWithItsService(t *testing.T) {
	s, c := fakeClient(t)
	s.Main = func(p *testpodman.Process) int {
		fmt.Fprint(p.Stdout, "last words")
		return 0
	}
	stream, err := c.Attach(context.Background(), withStdin(t, c))
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	if all, err := io.ReadAll(stream); err != nil || string(all) != "last words" {
		t.Errorf("read %q, %v", all, err)
	}
}
