package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"

	"github.com/sandtrap/sandtrap/internal/evidence"
	"github.com/sandtrap/sandtrap/internal/record"
)

// screenplay is a session of pieces of output, each so long after the one before. A piece
// that begins with "m:" is a marker.
func screenplay(t *testing.T, gap time.Duration, pieces ...string) (config string) {
	t.Helper()
	state := t.TempDir()
	addSession(t, state, idClosed, evidence.Session{State: evidence.StateClosed, Start: march31, Channels: []evidence.Channel{{Kind: "shell"}}},
		func(r *record.Recorder) {
			for i, piece := range pieces {
				if i > 0 {
					time.Sleep(gap)
				}
				if marker, is := strings.CutPrefix(piece, "m:"); is {
					ok(t, r.Marker(marker))
					continue
				}
				ok(t, r.Output([]byte(piece)))
			}
		})
	config = t.TempDir() + "/sandtrap.yaml"
	ok(t, os.WriteFile(config, []byte("state_dir: "+state+"\n"), 0o600))
	return config
}

// viewer is somebody who watches a replay in a terminal.
type viewer struct {
	*testing.T
	tty  *os.File // ours
	far  *os.File // the program's
	cmd  *exec.Cmd
	once sync.Once

	mu   sync.Mutex // guards all below
	seen bytes.Buffer
	more chan struct{} // has room for one: something was seen
}

func watchReplay(t *testing.T, config string, args ...string) *viewer {
	t.Helper()
	tty, far, err := pty.Open()
	ok(t, err)
	v := &viewer{T: t, tty: tty, far: far, more: make(chan struct{}, 1)}
	v.cmd = exec.Command(os.Args[0], append([]string{"--config", config, "replay", idClosed}, args...)...)
	v.cmd.Env = append(os.Environ(), asSandtrap+"=1")
	v.cmd.Stdin, v.cmd.Stdout, v.cmd.Stderr = far, far, far
	v.cmd.SysProcAttr = &unix.SysProcAttr{Setsid: true, Setctty: true}
	ok(t, v.cmd.Start())
	done := make(chan struct{})
	go func() {
		defer close(done)
		b := make([]byte, 4096)
		for {
			n, err := tty.Read(b)
			v.mu.Lock()
			v.seen.Write(b[:n])
			v.mu.Unlock()
			select {
			case v.more <- struct{}{}:
			default:
			}
			if err != nil {
				return
			}
		}
	}()
	t.Cleanup(func() {
		v.cmd.Process.Kill()
		v.once.Do(func() { v.cmd.Wait() })
		far.Close()
		tty.Close()
		<-done
	})
	return v
}

// await waits until something is seen, and forgets what was up to there.
func (v *viewer) await(want string) {
	v.Helper()
	deadline := time.After(10 * time.Second)
	for {
		v.mu.Lock()
		all := v.seen.String()
		i := strings.Index(all, want)
		if i >= 0 {
			v.seen.Next(i + len(want))
		}
		v.mu.Unlock()
		if i >= 0 {
			return
		}
		select {
		case <-v.more:
		case <-deadline:
			v.Fatalf("waited for %q, have %q", want, all)
		}
	}
}

func (v *viewer) press(keys string) {
	v.Helper()
	_, err := v.tty.WriteString(keys)
	ok(v.T, err)
}

// end waits for the program and checks how it left the terminal.
func (v *viewer) end(code int) {
	v.Helper()
	v.once.Do(func() { v.cmd.Wait() })
	if got := v.cmd.ProcessState.ExitCode(); got != code {
		v.Errorf("exit status %d, want %d", got, code)
	}
	v.cooked(true)
}

// cooked checks whether the terminal is as a shell leaves it to programs.
func (v *viewer) cooked(want bool) {
	v.Helper()
	const flags = unix.ICANON | unix.ECHO
	deadline := time.Now().Add(10 * time.Second)
	for {
		t, err := unix.IoctlGetTermios(int(v.far.Fd()), unix.TCGETS)
		ok(v.T, err)
		if got := t.Lflag&flags == flags && t.Cc[unix.VQUIT] != 0; got == want {
			return
		}
		if time.Now().After(deadline) {
			v.Fatalf("local modes %#x, want them in order: %v", t.Lflag, want)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// stopped waits until the program is, see proc_pid_stat(5).
func (v *viewer) stopped() {
	v.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", v.cmd.Process.Pid))
		ok(v.T, err)
		if strings.Contains(string(b), ") T ") {
			return
		}
		if time.Now().After(deadline) {
			v.Fatalf("not stopped: %s", b)
		}
	}
}

func TestReplayKeys(t *testing.T) {
	config := screenplay(t, 20*time.Millisecond, "one ", "m:a", "two\x1b]0;evil\a ", "m:b", "\x1b[31mthree ", "four ")
	// An hour between the pieces: nothing comes by itself.
	v := watchReplay(t, config, "--speed", "0.000005")
	v.await("one ")
	v.cooked(false)
	v.press("]")
	v.press("]")
	v.await("two ")
	v.press(".")
	v.await("\x1b[31mthree ")
	v.press("[") // to the marker before three
	v.await(clearScreen + "one two ")
	v.press("[")
	v.await(clearScreen + "one ")
	v.press("\x1b[C") // beyond the end
	v.await("two \x1b[31mthree four ")
	v.end(exitOK)
	v.await("\x1b[0m") // the terminal is in order again
}

func TestReplayHaltsAndEnds(t *testing.T) {
	config := screenplay(t, 100*time.Millisecond, "one ", "two ", "three ")
	v := watchReplay(t, config, "--speed", "0.000005")
	v.await("one ")
	v.press(" ")
	v.press(".")
	v.await("two ")
	v.press("\x1b[D")
	v.await(clearScreen)
	v.press("x\x1bOx\x1b\x1bq") // no keys of ours, and one with Alt
	v.press("q")
	v.end(exitOK)
}

func TestReplayIsSuspended(t *testing.T) {
	config := screenplay(t, 50*time.Millisecond, "\x1b[?1049hone ", "two ")
	v := watchReplay(t, config, "--speed", "0.000005")
	v.await("one ")
	v.cooked(false)
	v.press("\x1a")
	v.await("\x1b[?1049l") // the main screen for the shell
	v.cooked(true)
	v.stopped()
	ok(t, v.cmd.Process.Signal(unix.SIGCONT))
	v.await(clearScreen + "\x1b[?1049hone ")
	v.cooked(false)
	v.press("q")
	v.end(exitOK)
}

func TestReplayIsInterrupted(t *testing.T) {
	config := screenplay(t, 50*time.Millisecond, "\x1b[?25lone ", "two ")
	for _, by := range []string{"key", "signal", "quit key"} {
		t.Run(by, func(t *testing.T) {
			v := watchReplay(t, config, "--speed", "0.000005")
			v.await("one ")
			v.cooked(false)
			switch by {
			case "key":
				v.press("\x03")
			case "signal":
				ok(t, v.cmd.Process.Signal(unix.SIGTERM))
			case "quit key": // would dump core
				v.press("\x1c")
				v.press("q")
				v.end(exitOK)
				return
			}
			v.end(exitInterrupted)
			v.await("\x1b[?25h")
		})
	}
}

func TestReplayWithoutKeys(t *testing.T) {
	config := screenplay(t, 0, "one ", "two ")
	// Standard output is no terminal: keys are none of ours.
	tty, far, err := pty.Open()
	ok(t, err)
	defer tty.Close()
	defer far.Close()
	cmd := exec.Command(os.Args[0], "--config", config, "replay", idClosed)
	cmd.Env = append(os.Environ(), asSandtrap+"=1")
	cmd.Stdin = far
	out, err := cmd.Output()
	if err != nil || string(out) != "one two " {
		t.Errorf("replay = %q, %v", out, err)
	}
}

func TestRedrawIsBounded(t *testing.T) {
	var out bytes.Buffer
	d := &redraw{w: &out}
	d.begin()
	for i := range 5 * maxRedraw / 1000 {
		_, err := io.WriteString(d, strings.Repeat(string(rune('a'+i%26)), 999)+"\n")
		ok(t, err)
		if len(d.held) > 2*maxRedraw+1000 {
			t.Fatalf("%d bytes are held", len(d.held))
		}
	}
	ok(t, d.end(nil))
	if s := out.String(); !strings.HasPrefix(s, clearScreen) || len(s) > 2*maxRedraw+1000 || strings.Index(s, "\n") != len(clearScreen)+999 {
		t.Errorf("%d bytes: %.40q", len(s), s)
	}
}
