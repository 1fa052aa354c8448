package leader

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/sandtrap/sandtrap/internal/attach"
)

// reader hands out a program's output in pieces that a test asks for.
type reader struct {
	pieces chan string
	kept   string
}

func follow(t *testing.T, s attach.Stream) *reader {
	r := &reader{pieces: make(chan string, 1024)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer close(r.pieces)
		_ = s.Copy(func(p []byte) error {
			r.pieces <- string(p)
			return nil
		}, func([]byte) error { return nil })
	}()
	t.Cleanup(func() {
		s.Close()
		<-done
	})
	return r
}

// until reads up to and with text and returns what it has read.
func (r *reader) until(t *testing.T, text string) string {
	t.Helper()
	for {
		if before, after, found := strings.Cut(r.kept, text); found {
			r.kept = after
			return before + text
		}
		piece, more := <-r.pieces
		if !more {
			t.Fatalf("the output ends with %q before %q", r.kept, text)
		}
		r.kept += piece
	}
}

func TestTerminal(t *testing.T) {
	l := loggedIn(t)
	p := terminal("tty; echo $SSH_TTY; stat -c %a%t $(tty); stty size; read x; echo \"<$x>\"; stty size; exec cat")
	p.Size = attach.Size{Columns: 132, Rows: 43}
	s := start(t, l, p)
	r := follow(t, s)
	f := strings.Fields(r.until(t, "43 132\r\n"))
	if len(f) != 5 || f[0] != f[1] || !strings.HasPrefix(f[0], "/dev/pts/") || f[2] != "62088" {
		t.Errorf("got %q", f)
	}
	if err := s.Resize(t.Context(), attach.Size{Columns: 50, Rows: 20}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Write([]byte("hello\r")); err != nil {
		t.Fatal(err)
	}
	// The terminal echoes.
	if got := r.until(t, "20 50\r\n"); got != "hello\r\n<hello>\r\n20 50\r\n" {
		t.Errorf("got %q", got)
	}
	// The end of the input means nothing to a terminal.
	if err := s.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if err := s.Signal(t.Context(), "INT"); err != nil {
		t.Fatal(err)
	}
	if exit, err := s.Wait(t.Context()); err != nil || exit.Signal != "INT" {
		t.Errorf("exit %+v, %v", exit, err)
	}
}

func TestTerminalModes(t *testing.T) {
	l := loggedIn(t)
	p := terminal("stty -a")
	p.Modes = modes(53, 0, 3, 8, 42, 1, 128, 9600, 192, 9600) // ECHO, VERASE, IUTF8, a number nobody knows, the speed
	got := output(t, l, p).stdout
	for _, want := range []string{"speed 9600", "erase = ^H", " -echo ", " iutf8"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in %q", want, got)
		}
	}
}

// modes encodes pairs of opcodes and arguments.
func modes(pairs ...uint32) string {
	var b []byte
	for i := 0; i < len(pairs); i += 2 {
		b = append(b, byte(pairs[i]))
		b = binary.BigEndian.AppendUint32(b, pairs[i+1])
	}
	return string(append(b, modesEnd))
}

// All that a terminal holds when its program ends arrives.
func TestTerminalDrains(t *testing.T) {
	l := loggedIn(t)
	for range 20 {
		got := output(t, l, terminal("seq 2000")).stdout
		if lines := strings.Split(got, "\r\n"); len(lines) != 2001 || lines[1999] != "2000" {
			t.Fatalf("%d lines, %q at the end", len(lines), got[max(0, len(got)-20):])
		}
	}
}

// A program that has left the terminal's session does not keep it open.
func TestTerminalEndsWithProgram(t *testing.T) {
	l := loggedIn(t)
	got := output(t, l, terminal("setsid sh -c 'trap \"\" HUP; sleep 1000 & echo $!' ; exit 3"))
	if got.exit.Status != 3 {
		t.Errorf("got %+v", got)
	}
	if pid, err := strconv.Atoi(strings.TrimSpace(got.stdout)); err == nil {
		if p, err := os.FindProcess(pid); err == nil {
			_ = p.Kill()
		}
	}
}

func TestTitle(t *testing.T) {
	p := run(t)
	l := p.connect(t)
	title := func() string {
		b, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(p.Process.Pid), "cmdline"))
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimRight(string(b), "\x00")
	}
	first, second := start(t, l, terminal("tty; read x")), start(t, l, terminal("tty; read x"))
	one := strings.TrimPrefix(strings.TrimSpace(follow(t, first).until(t, "\n")), "/dev/")
	two := strings.TrimPrefix(strings.TrimSpace(follow(t, second).until(t, "\n")), "/dev/")
	if got, want := title(), "sshd: tester@"+one+","+two; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	end(t, l, p, first)
	if got, want := title(), "sshd: tester@"+two; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	end(t, l, p, second)
	if got, want := title(), "sshd: tester@notty"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	tasks, err := filepath.Glob(filepath.Join("/proc", strconv.Itoa(p.Process.Pid), "task/*/comm"))
	if err != nil || len(tasks) == 0 {
		t.Fatal(tasks, err)
	}
	for _, task := range tasks {
		if name, err := os.ReadFile(task); err == nil && string(name) != "sshd\n" {
			t.Errorf("%s is %q", task, name)
		}
	}
}

// end ends a program and waits until the worker has forgotten it.
func end(t *testing.T, l *attach.Leader, p *process, s attach.Stream) {
	t.Helper()
	if _, err := s.Write([]byte("x\n")); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	// One more command: whatever comes after it finds the program forgotten.
	output(t, l, shell("true"))
	_ = p
}

func TestGreeting(t *testing.T) {
	p := run(t)
	l := p.connect(t)
	interactive := terminal("echo prompt")
	interactive.Interactive = true
	if got := output(t, l, interactive).stdout; got != "Have a nice day.\r\nprompt\r\n" {
		t.Errorf("first login: %q", got)
	}
	got := output(t, l, interactive).stdout
	if !strings.HasPrefix(got, "Have a nice day.\r\nLast login: ") || !strings.HasSuffix(got, " from 192.0.2.7\r\r\nprompt\r\n") {
		t.Errorf("second login: %q", got)
	}
	piped := shell("echo prompt")
	piped.Interactive = true
	if got := output(t, l, piped).stdout; got != "Have a nice day.\nprompt\n" {
		t.Errorf("without a terminal: %q", got)
	}
	write(t, filepath.Join(p.root, "etc/motd"), strings.Repeat("day ", maxMotd/4))
	if got := output(t, l, piped).stdout; got != strings.Repeat("day ", smallestPipe/4)+"prompt\n" {
		t.Errorf("a long one: %d bytes", len(got))
	}
	write(t, filepath.Join(p.root, ".hushlogin"), "")
	if got := output(t, l, interactive).stdout; got != "prompt\r\n" {
		t.Errorf("hushed: %q", got)
	}
}
