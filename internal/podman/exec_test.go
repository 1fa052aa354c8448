package podman

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sandtrap/sandtrap/internal/testpodman"
)

// collect gathers what a program says.
func collect(b *bytes.Buffer) func([]byte) error {
	return func(p []byte) error {
		b.Write(p)
		return nil
	}
}

func TestExec(t *testing.T) {
	s, c := fakeClient(t)
	var process *testpodman.Process
	s.Run = func(p *testpodman.Process) int {
		process = p
		in, _ := io.ReadAll(p.Stdin)
		fmt.Fprintf(p.Stdout, "got %q", in)
		fmt.Fprint(p.Stderr, "warning")
		return 3
	}
	e, err := c.Exec(t.Context(), fakeContainer(t, c), ExecOptions{User: "root", Dir: "/root", Command: []string{"sh", "-c", "x"}, Env: []string{"A=b"}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := e.Write([]byte("in\x00\xff")); err != nil {
		t.Error(err)
	}
	if err := e.CloseWrite(); err != nil {
		t.Error(err)
	}
	var stdout, stderr bytes.Buffer
	if err := e.Copy(collect(&stdout), collect(&stderr)); err != nil {
		t.Error(err)
	}
	if stdout.String() != `got "in\x00\xff"` || stderr.String() != "warning" {
		t.Errorf("stdout %q, stderr %q", stdout.String(), stderr.String())
	}
	if status, err := e.Wait(t.Context()); status != 3 || err != nil {
		t.Errorf("Wait = %d, %v", status, err)
	}
	if process.User != "root" || process.TTY || !cmp.Equal(process.Command, []string{"sh", "-c", "x"}) || !cmp.Equal(process.Env, []string{"A=b"}) {
		t.Errorf("process %+v", process)
	}
	if err := e.Close(); err != nil || s.Execs() != 0 {
		t.Errorf("Close: %v, %d exec sessions left", err, s.Execs())
	}
}

func TestExecWithTerminal(t *testing.T) {
	s, c := fakeClient(t)
	resized := make(chan struct{})
	s.Run = func(p *testpodman.Process) int {
		<-resized
		fmt.Fprint(p.Stdout, "\x01\x00\x00\x00\x00\x00\x00\x02raw") // no frames on a terminal
		return 0
	}
	e, err := c.Exec(t.Context(), fakeContainer(t, c), ExecOptions{TTY: true, Size: Size{80, 24}})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	if err := e.Resize(t.Context(), Size{1 << 31, 7}); err != nil {
		t.Error(err)
	}
	close(resized)
	var stdout bytes.Buffer
	if err := e.Copy(collect(&stdout), nil); err != nil {
		t.Error(err)
	}
	if stdout.String() != "\x01\x00\x00\x00\x00\x00\x00\x02raw" {
		t.Errorf("stdout %q", stdout.String())
	}
	if got := s.Sizes(); !cmp.Equal(got, []string{"80 x 24", "65535 x 7"}) {
		t.Errorf("sizes %q", got)
	}
}

func TestExecStartRefused(t *testing.T) {
	answers := map[string]string{
		"404":             "HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\ngone",
		"500":             "HTTP/1.1 500 Internal Server Error\r\nContent-Length: 4\r\n\r\noops",
		"no upgrade":      "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
		"endless error":   "HTTP/1.1 500 Internal Server Error\r\n\r\n" + strings.Repeat("x", 1<<20),
		"garbage headers": "HTTP/1.1 101 \x00\xff\r\n\x01\x02: \r\n: :\r\n\r\n",
		"not HTTP":        "\x00\x01\x02\x03",
		"nothing":         "",
		"cut":             "HTTP/1.1 101 Switching Protocols\r\nConn",
	}
	for name, text := range answers {
		t.Run(name, func(t *testing.T) {
			s, c := fakeClient(t)
			id := fakeContainer(t, c)
			s.Answer = func(w http.ResponseWriter, r *http.Request) bool {
				if !strings.HasSuffix(r.URL.Path, "/start") {
					return false
				}
				conn, _, err := http.NewResponseController(w).Hijack()
				if err != nil {
					t.Error(err)
					return true
				}
				_, _ = io.WriteString(conn, text)
				conn.Close()
				return true
			}
			e, err := c.Exec(t.Context(), id, ExecOptions{})
			if err == nil || e != nil || !strings.Contains(err.Error(), "start program in container") || len(err.Error()) > 32<<10 {
				t.Errorf("Exec = %v, %.200v", e, err)
			}
			if s.Execs() != 0 {
				t.Error("the exec session was left behind")
			}
		})
	}
}

func TestExecStartHangs(t *testing.T) {
	s, c := fakeClient(t)
	id := fakeContainer(t, c)
	ctx, cancel := context.WithCancel(t.Context())
	s.Answer = func(_ http.ResponseWriter, r *http.Request) bool {
		if strings.HasSuffix(r.URL.Path, "/start") {
			cancel()
			untilHangUp(r)
			return true
		}
		return false
	}
	if e, err := c.Exec(ctx, id, ExecOptions{}); !errors.Is(err, context.Canceled) || e != nil {
		t.Errorf("Exec = %v, %v", e, err)
	}
	if s.Execs() != 0 {
		t.Error("the exec session was left behind")
	}
}

// streaming is an exec session whose service has sent exactly text, then EOF.
func streaming(t *testing.T, tty bool, text string) *Exec {
	t.Helper()
	s, c := fakeClient(t)
	id := fakeContainer(t, c)
	s.Answer = func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.HasPrefix(r.URL.Path[strings.Index(r.URL.Path, "libpod/")+7:], "exec/") || !strings.HasSuffix(r.URL.Path, "/start") {
			return false
		}
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return true
		}
		_, _ = io.WriteString(conn, "HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n"+text)
		conn.Close()
		return true
	}
	e, err := c.Exec(t.Context(), id, ExecOptions{TTY: tty})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close() })
	return e
}

func TestBadFrames(t *testing.T) {
	tests := []struct {
		name, stream   string
		stdout, stderr string
		fails          bool
	}{
		{"nothing", "", "", "", false},
		{"empty frame", "\x01\x00\x00\x00\x00\x00\x00\x00", "", "", false},
		{"both", "\x01\x00\x00\x00\x00\x00\x00\x01a\x02\x00\x00\x00\x00\x00\x00\x01b", "a", "b", false},
		{"cut header", "\x01\x00\x00", "", "", true},
		{"cut frame", "\x01\x00\x00\x00\x00\x00\x00\x05ab", "ab", "", true},
		{"unknown stream", "\x09\x00\x00\x00\x00\x00\x00\x01a", "", "", true},
		{"huge frame that ends", "\x01\x00\x00\x00\xff\xff\xff\xffabc", "abc", "", true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			e := streaming(t, false, tt.stream)
			var stdout, stderr bytes.Buffer
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			err := e.Copy(collect(&stdout), collect(&stderr))
			runtime.ReadMemStats(&after)
			if (err != nil) != tt.fails || stdout.String() != tt.stdout || stderr.String() != tt.stderr {
				t.Errorf("Copy: %q, %q, %v", stdout.String(), stderr.String(), err)
			}
			if grown := after.TotalAlloc - before.TotalAlloc; grown > 1<<20 {
				t.Errorf("%d bytes were allocated", grown)
			}
		})
	}
}

func TestCopyEndsWithItsReader(t *testing.T) {
	full := errors.New("disk full")
	for name, tty := range map[string]bool{"frames": false, "terminal": true} {
		e := streaming(t, tty, "\x01\x00\x00\x00\x00\x00\x00\x03abc")
		if err := e.Copy(func([]byte) error { return full }, nil); !errors.Is(err, full) {
			t.Errorf("%s: Copy = %v", name, err)
		}
	}
}

func TestCloseEndsEveryStream(t *testing.T) {
	for name, tty := range map[string]bool{"frames": false, "terminal": true} {
		s, c := fakeClient(t)
		s.Run = func(p *testpodman.Process) int {
			fmt.Fprint(p.Stdout, "here")
			_, _ = io.ReadAll(p.Stdin)
			return 0
		}
		e, err := c.Exec(t.Context(), fakeContainer(t, c), ExecOptions{TTY: tty})
		if err != nil {
			t.Fatal(err)
		}
		err = e.Copy(func([]byte) error { // the program is there and says no more
			go e.Close()
			return nil
		}, nil)
		if !errors.Is(err, net.ErrClosed) {
			t.Errorf("%s: Copy = %v", name, err)
		}
	}
}

func TestServiceDiesAmidAStream(t *testing.T) {
	s, c := fakeClient(t)
	s.Run = func(p *testpodman.Process) int {
		fmt.Fprint(p.Stdout, "last words")
		return 0
	}
	id := fakeContainer(t, c)
	e, err := c.Exec(t.Context(), id, ExecOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	s.Stop() // what runs, runs on
	var stdout bytes.Buffer
	if err := e.Copy(collect(&stdout), nil); err != nil || stdout.String() != "last words" {
		t.Errorf("Copy = %v, %q", err, stdout.String())
	}
	if _, err := e.Wait(t.Context()); err == nil {
		t.Error("an exit status out of nowhere")
	}
	if err := e.Resize(t.Context(), Size{1, 1}); err == nil {
		t.Error("Resize without a service")
	}
	if err := e.Signal(t.Context(), "TERM"); err == nil {
		t.Error("a signal was sent")
	}
}

func TestWaitForAProgramThatGoesOn(t *testing.T) {
	s, c := fakeClient(t)
	finish := make(chan struct{})
	s.Run = func(*testpodman.Process) int { <-finish; return 0 }
	e, err := c.Exec(t.Context(), fakeContainer(t, c), ExecOptions{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := e.Wait(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Wait = %v", err)
	}
	waiting := make(chan error)
	go func() {
		<-e.Exited()
		_, err := e.Wait(context.Background())
		waiting <- err
	}()
	e.Close()
	if err := <-waiting; !errors.Is(err, net.ErrClosed) {
		t.Errorf("Wait after Close = %v", err)
	}
	close(finish)
}

// TestStatusComesLate: the stream has ended and Podman does not know yet.
func TestStatusComesLate(t *testing.T) {
	s, c := fakeClient(t)
	s.Run = func(*testpodman.Process) int { return 7 }
	asked := 0
	s.Answer = func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.Contains(r.URL.Path, "/libpod/exec/") || !strings.HasSuffix(r.URL.Path, "/json") {
			return false
		}
		if asked++; asked > 3 {
			return false
		}
		testpodman.Reply(w, http.StatusOK, map[string]any{"Running": true})
		return true
	}
	e, err := c.Exec(t.Context(), fakeContainer(t, c), ExecOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	if err := e.Copy(nil, nil); err != nil {
		t.Error(err)
	}
	if status, err := e.Wait(t.Context()); status != 7 || err != nil {
		t.Errorf("Wait = %d, %v", status, err)
	}
}
