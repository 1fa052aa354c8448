package transcript

import (
	"bufio"
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/creack/pty"
	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "make the traces anew with the shells of this machine")

// step is one entry of a trace: o, i or r and its bytes.
type step struct {
	kind byte
	data string
}

// shells are the command lines of the shells, and the environment variable that names
// the program where it is not in the usual place.
var shells = map[string]struct {
	env  string
	argv []string
}{
	"":     {"BASH", []string{"bash", "--noprofile", "--norc", "-i"}},
	"dash": {"DASH", []string{"dash", "-i"}},
	"ash":  {"BUSYBOX", []string{"busybox", "ash", "-i"}},
	"zsh":  {"ZSH", []string{"zsh", "-f", "-i"}},
}

// command is the shell of a scene in an empty home with a few files.
func (sc scene) command(t *testing.T) *exec.Cmd {
	sh := shells[sc.shell]
	name := sh.argv[0]
	if other := os.Getenv(sh.env); other != "" && sh.env != "BASH" {
		name = other
	}
	name, err := exec.LookPath(name)
	if err != nil {
		t.Skipf("no %s here", sh.argv[0])
	}
	dir := t.TempDir()
	for _, f := range []string{"alphabet.txt", "bolt.txt", "bell.txt", "batch.txt"} {
		if err := os.WriteFile(filepath.Join(dir, f), []byte(strings.Repeat("abc\n", 100)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command(name, sh.argv[1:]...)
	if sc.shell == "ash" {
		if err := os.Symlink(name, filepath.Join(dir, "busybox")); err != nil {
			t.Fatal(err)
		}
	}
	cmd.Dir = dir
	cmd.Env = append([]string{
		"TERM=xterm", "PATH=/usr/bin:/bin:" + dir, "HOME=" + dir, "LC_ALL=C.UTF-8", "HISTFILE=", "PS1=root@web:$ ", "PS2=> ", "INPUTRC=/dev/null", "LESSHISTFILE=-",
	}, sc.env...)
	return cmd
}

// record plays a scene at its shell.
func (sc scene) record(t *testing.T) []step {
	cmd := sc.command(t)
	columns, rows := sc.columns()
	f, err := pty.StartWithSize(cmd, &pty.Winsize{Cols: uint16(columns), Rows: uint16(rows)})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	defer cmd.Process.Kill()
	output := make(chan []byte)
	go func() {
		defer close(output)
		for {
			b := make([]byte, 4096)
			n, err := f.Read(b)
			if n > 0 {
				output <- b[:n]
			}
			if err != nil {
				return
			}
		}
	}()
	var trace []step
	quiet := func(d time.Duration) {
		for {
			select {
			case b, ok := <-output:
				if !ok {
					return
				}
				trace = append(trace, step{'o', string(b)})
			case <-time.After(d):
				return
			}
		}
	}
	quiet(500 * time.Millisecond)
	for _, s := range sc.steps {
		switch size, resize := strings.CutPrefix(s, "\x00resize "); {
		case s == wait:
			quiet(waited)
			continue
		case resize:
			var w pty.Winsize
			fmt.Sscanf(size, "%dx%d", &w.Cols, &w.Rows)
			trace = append(trace, step{'r', size})
			if err := pty.Setsize(f, &w); err != nil {
				t.Fatal(err)
			}
		default:
			trace = append(trace, step{'i', s})
			if _, err := f.WriteString(s); err != nil {
				t.Fatal(err)
			}
		}
		quiet(time.Duration(min(300, 100+200*len(s))) * time.Millisecond)
	}
	quiet(200 * time.Millisecond)
	cmd.Process.Kill()
	f.Close()
	for range output {
	}
	cmd.Wait()
	return trace
}

func (sc scene) columns() (columns, rows int) {
	if sc.size == [2]int{} {
		return plainColumns, plainRows
	}
	return sc.size[0], sc.size[1]
}

func (sc scene) file() string { return filepath.Join("testdata", "scenes", sc.name+".trace") }

func writeTrace(t *testing.T, file string, trace []step) {
	var b bytes.Buffer
	for _, s := range trace {
		fmt.Fprintf(&b, "%c %s\n", s.kind, strconv.QuoteToASCII(s.data))
	}
	if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, b.Bytes(), 0o644)); err != nil {
		t.Fatal(err)
	}
}

func readTrace(t testing.TB, file string) (trace []step) {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	sc := bufio.NewScanner(bytes.NewReader(b))
	sc.Buffer(nil, 1<<20)
	for sc.Scan() {
		kind, quoted, _ := strings.Cut(sc.Text(), " ")
		data, err := strconv.Unquote(quoted)
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		trace = append(trace, step{kind[0], data})
	}
	if err := sc.Err(); err != nil {
		t.Fatal(err)
	}
	return trace
}

// play returns the lines of a trace, those that were not echoed with a "!". Data goes in
// in pieces of at most chunk bytes.
func play(tr *Tracker, trace []step, chunk int) (got []string) {
	take := func(lines []Line) {
		for _, l := range lines {
			mark := "!"
			if l.Echoed {
				mark = ""
			}
			got = append(got, mark+l.Text)
		}
	}
	at := time.Unix(0, 0)
	for _, s := range trace {
		if s.kind == 'r' {
			var columns, rows int
			fmt.Sscanf(s.data, "%dx%d", &columns, &rows)
			tr.Resize(columns, rows)
			continue
		}
		for rest := s.data; rest != ""; {
			n := min(chunk, len(rest))
			if s.kind == 'i' {
				take(tr.Input([]byte(rest[:n]), at))
			} else {
				take(tr.Output([]byte(rest[:n]), at))
			}
			rest = rest[n:]
		}
	}
	take(tr.Close())
	return got
}

func TestScenes(t *testing.T) {
	for _, sc := range scenes {
		t.Run(sc.name, func(t *testing.T) {
			if *update {
				writeTrace(t, sc.file(), sc.record(t))
			}
			trace := readTrace(t, sc.file())
			for _, chunk := range []int{1 << 20, 1, 3} {
				columns, rows := sc.columns()
				if diff := cmp.Diff(sc.want, play(New(Options{Columns: columns, Rows: rows}), trace, chunk)); diff != "" {
					t.Fatalf("in pieces of %d (-want +got):\n%s", chunk, diff)
				}
			}
		})
	}
}
