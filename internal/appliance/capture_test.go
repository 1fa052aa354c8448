//go:build appliance

package appliance

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sandtrap/sandtrap/internal/evidence"
)

// leaveAll makes one of everything that an attacker can leave behind.
const leaveAll = `exec 2>&1
printf 'in root' >/root/x; chown 33:34 /root/x; chmod 4750 /root/x
printf 'in tmp' >/tmp/t; ln /tmp/t /tmp/t2; printf 'in memory' >/dev/shm/m
cp "$(command -v sleep)" /tmp/gone; /tmp/gone 1234 </dev/null >/dev/null 2>&1 & sleep 0.3; rm /tmp/gone
if command -v perl >/dev/null; then perl -e '
	$n = "hidden"; $fd = syscall(319, $n, 0); open(F, ">&=", $fd); open(S, "<", "/bin/sleep"); local $/; print F <S>; F->flush;
	if (!fork) { close STDOUT; close STDERR; close STDIN; exec "/proc/self/fd/$fd", "4321" }' ; fi
rm /etc/issue.net; echo '# changed' >>/etc/hosts
mkdir /tmp/h; cd /tmp/h; printf n >'new
line'; printf e >"$(printf 'esc\033[2J')"; printf b >"$(printf 'bytes\377\376')"; ln -s . loop; ln -s /etc/shadow link; mkfifo fifo
truncate -s 4294967295 sparse; printf d >'..data'; dd if=/dev/zero of=deep bs=1M count=1 status=none
rm -rf /opt; mkdir /opt; echo left`

func capturedEntries(t *testing.T, s evidence.Session) map[string]evidence.CaptureEntry {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(directory(s), evidence.CaptureFile))
	if err != nil {
		t.Fatal(err)
	}
	if strings.ContainsAny(string(b), "\x1b\x7f\u009b") {
		t.Error("the lines steer a terminal")
	}
	all := map[string]evidence.CaptureEntry{}
	for lines := bufio.NewScanner(bytes.NewReader(b)); lines.Scan(); {
		var e evidence.CaptureEntry
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			t.Fatal(err)
		}
		key := e.Kind + " " + string(e.Path)
		if e.Kind == "process" {
			var words []string
			for _, a := range e.Arguments {
				words = append(words, string(a))
			}
			key = e.Kind + " " + strings.Join(words, " ")
		}
		all[key] = e
	}
	return all
}

// content is that of an entry's artifact.
func content(t *testing.T, e evidence.CaptureEntry) string {
	t.Helper()
	if e.SHA256 == "" {
		t.Errorf("%q has no artifact: %s", e.Path, e.Reason)
		return ""
	}
	b, err := os.ReadFile(filepath.Join(stateDir, evidence.ArtifactPath(e.SHA256)))
	if err != nil {
		t.Error(err)
	}
	return string(b)
}

func TestCapture(t *testing.T) {
	source := freshSource()
	if r := finish(t, sshFrom(source, "root@127.0.0.1", leaveAll), nil); !strings.HasSuffix(r.stdout, "left\n") {
		t.Fatalf("%+v", r)
	}
	s := lastSession(t)
	all := capturedEntries(t, s)
	c := s.Capture
	if c == nil || c.Volatile != "complete" || c.Layer != "complete" || c.Error != "" || c.Omitted != 0 || c.Deleted == 0 {
		t.Errorf("capture %+v", c)
	}
	t.Logf("capture %+v, %d entries", c, len(all))
	for key, want := range map[string]string{
		"file /root/x": "in root", "file /tmp/t": "in tmp", "file /tmp/t2": "in tmp", "file /dev/shm/m": "in memory", "file /tmp/h/new\nline": "n",
		"file /tmp/h/esc\x1b[2J": "e", "file /tmp/h/bytes\xff\xfe": "b", "file /tmp/h/..data": "d",
	} {
		if got := content(t, all[key]); got != want {
			t.Errorf("%q holds %.100q", key, got)
		}
	}
	if e := all["file /root/x"]; e.Change != "added" || e.Mode != "4750" || *e.UID != 33 || *e.GID != 34 || e.Where != "layer" || !strings.HasPrefix(e.Type, "text/plain") {
		t.Errorf("/root/x: %+v", e)
	}
	if e := all["file /dev/shm/m"]; e.Where != "tmpfs" {
		t.Errorf("/dev/shm/m: %+v", e)
	}
	if e := all["file /etc/hosts"]; e.Change != "changed" || !strings.HasSuffix(content(t, e), "# changed\n") {
		t.Errorf("/etc/hosts: %+v", e)
	}
	if e := all["unknown /etc/issue.net"]; e.Change != "deleted" {
		t.Errorf("/etc/issue.net: %+v", e)
	}
	if e := all["process /tmp/gone 1234"]; e.PID == 0 || e.PPID == 0 || e.Path != "/tmp/gone (deleted)" || e.Start == nil || *e.UID != 0 {
		t.Errorf("process: %+v", e)
	}
	if e := all["file /tmp/gone (deleted)"]; e.Where != "process" || !*e.Complete || !strings.HasPrefix(content(t, e), "\x7fELF") {
		t.Errorf("deleted program: %+v", e)
	}
	if e := all["file /memfd:hidden (deleted)"]; !*e.Complete || !strings.HasPrefix(content(t, e), "\x7fELF") || !strings.Contains(e.Reason, "memfd") {
		t.Errorf("memfd: %+v", e)
	}
	if e := all["file /tmp/h/sparse"]; *e.Size != 4294967295 || e.SHA256 != "" || !strings.Contains(e.Reason, "sparse") {
		t.Errorf("sparse: %+v", e)
	}
	for _, key := range []string{"link /tmp/h/loop", "link /tmp/h/link", "fifo /tmp/h/fifo"} {
		if e, ok := all[key]; !ok || e.SHA256 != "" {
			t.Errorf("%s: %+v", key, e)
		}
	}
	if out := must(t, "sh", "-c", "cat "+stateDir+"/events/*.jsonl | grep "+s.ID); !strings.Contains(out, `"file.capture"`) || !strings.Contains(out, `"capture.end"`) {
		t.Errorf("events: %.2000s", out)
	}
	t.Run("the cast names what was captured", func(t *testing.T) {
		r, cast := s.Channels[0].Recording, readCast(t, s, 0)
		for _, want := range []string{
			`"m", "file: captured /root/x sha256:` + all["file /root/x"].SHA256, `"m", "file: captured /tmp/gone (deleted) sha256:`, `"m", "file: captured /tmp/h/new line sha256:`,
			`"m", "file: captured /tmp/h/esc\u001b[2J sha256:`,
		} {
			if strings.Count(cast, want) != 1 {
				t.Errorf("%q is not there once", want)
			}
		}
		if n := strings.Count(cast, `"m", "file: captured `); n != c.Artifacts || n != r.CaptureMarkers || r.CastBytes != int64(len(cast)) {
			t.Errorf("%d markers of %d artifacts in %d bytes: %+v\n%s", n, c.Artifacts, len(cast), r, cast)
		}
		must(t, "asciinema", "cat", filepath.Join(directory(s), r.Cast))
		must(t, "script", "-qec", "asciinema play -s 100 "+filepath.Join(directory(s), r.Cast), "/dev/null")
		must(t, "sandtrap", "verify", s.ID)
		must(t, "sandtrap", "replay", "--speed", "0", s.ID)
	})
	t.Run("comes back", func(t *testing.T) { // only what is new is told
		if r := finish(t, sshFrom(source, "root@127.0.0.1", "printf more >/root/second"), nil); r.status != 0 {
			t.Fatalf("%+v", r)
		}
		again := lastSession(t)
		all := capturedEntries(t, again)
		if _, ok := all["file /root/x"]; ok || again.Target.PreviousSession != s.ID || content(t, all["file /root/second"]) != "more" || again.Capture.Earlier == 0 {
			t.Errorf("capture %+v, %+v", again.Capture, all["file /root/x"])
		}
	})
}

// TestFilesBesideATerminal: who replays a terminal sees what came on another channel
// meanwhile, and what was left in the end.
func TestFilesBesideATerminal(t *testing.T) {
	dir := t.TempDir()
	control, local := filepath.Join(dir, "control"), filepath.Join(dir, "local")
	if err := os.WriteFile(local, []byte("brought"), 0o600); err != nil {
		t.Fatal(err)
	}
	term := openTerminal(t, freshSource(), "-M", "-S", control, "root@127.0.0.1")
	term.enter(t, "echo left >/root/typed; echo re''ady\n")
	if err := eventually(term.out.has("ready")); err != nil {
		t.Fatal(err)
	}
	options := append([]string{"-P", "2222", "-o", "ControlPath=" + control}, sshOptions...)
	if r := finish(t, exec.Command("scp", append(options, local, "root@127.0.0.1:/root/brought")...), nil); r.status != 0 {
		t.Fatalf("scp: %+v", r)
	}
	term.enter(t, "exit\n")
	if err := term.wait(); err != nil {
		t.Error(err)
	}
	s := lastSession(t)
	if len(s.Channels) != 2 || s.Channels[1].Kind != "shell" { // in the order in which they ended
		t.Fatalf("channels %+v", s.Channels)
	}
	rest := readCast(t, s, 1)
	for _, want := range []string{
		`"m", "command: echo left >/root/typed`, `"m", "file: upload /root/brought"`, `"m", "command: exit"`, `"m", "exit status 0"`,
	} {
		_, after, ok := strings.Cut(rest, want)
		if !ok {
			t.Fatalf("%q is not in its place:\n%s", want, readCast(t, s, 1))
		}
		rest = after
	}
	for _, want := range []string{`"m", "file: captured /root/brought sha256:`, `"m", "file: captured /root/typed sha256:`} {
		if !strings.Contains(rest, want) {
			t.Errorf("%q is not at the end:\n%s", want, rest)
		}
	}
	if own := readCast(t, s, 0); strings.Contains(own, "file: captured /root/brought") || !strings.Contains(own, `"m", "file: upload /root/brought"`) {
		t.Errorf("the channel of the file:\n%.2000s", own)
	}
}

// TestCaptureOfNothing: what is told of a session that did nothing is what a login
// itself does.
func TestCaptureOfNothing(t *testing.T) {
	if r := finish(t, sshFrom(freshSource(), "root@127.0.0.1", "true"), nil); r.status != 0 {
		t.Fatalf("%+v", r)
	}
	s := lastSession(t)
	t.Logf("capture %+v", s.Capture)
	for key, e := range capturedEntries(t, s) {
		t.Logf("%s %s %s", e.Where, key, e.Change)
		if e.Where == "layer" && !strings.HasPrefix(string(e.Path), "/run") && !strings.HasPrefix(string(e.Path), "/var/log") && !strings.HasPrefix(string(e.Path), "/var/spool/cron") {
			t.Errorf("entry %+v", e)
		}
	}
}

// TestCaptureAgainstWill: those who kill or stop the session leader lose only what they
// take with it.
func TestCaptureAgainstWill(t *testing.T) {
	for _, signal := range []string{"KILL", "STOP"} {
		c := dial(t, freshSource(), "root")
		b := startCommand(t, c, "printf kept >/root/x; sleep 0.3; kill -"+signal+" $PPID; echo done; sleep 100") // after the answer that it runs
		ended := make(chan struct{})
		go func() {
			_ = c.Wait()
			close(ended)
		}()
		if err := eventually(func() error {
			select {
			case <-ended:
				if signal == "KILL" { // the connection ends with the leader
					return nil
				}
			default:
			}
			if !strings.Contains(b.out.String(), "done") {
				return errors.New("nothing was done yet")
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		_ = c.Close()
		s := lastSession(t)
		if s.Capture == nil || s.Capture.Volatile == "complete" || s.Capture.Layer != "complete" || content(t, capturedEntries(t, s)["file /root/x"]) != "kept" {
			t.Errorf("%s: capture %+v", signal, s.Capture)
		}
		t.Logf("%s: %+v", signal, s.Capture)
	}
}

// TestCaptureCost tells what captures cost, and that what is too much is said.
func TestCaptureCost(t *testing.T) {
	for _, files := range []string{"0", "100", "10000"} {
		command := "i=0; mkdir /root/d; while [ $i -lt " + files + " ]; do echo $i >/root/d/$i; i=$((i+1)); done"
		if r := finish(t, sshFrom(freshSource(), "root@127.0.0.1", command), nil); r.status != 0 {
			t.Fatalf("%+v", r)
		}
		s := lastSession(t)
		t.Logf("%s files: %+v", files, s.Capture)
		if many := files == "10000"; s.Capture == nil || many != (s.Capture.Layer == "more than capture.max_files") || many != (s.Capture.Omitted > 0) {
			t.Errorf("capture %+v", s.Capture)
		}
	}
}
