//go:build appliance

package appliance

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	pods "github.com/sandtrap/sandtrap/internal/podman"
)

// steering is what must not reach a terminal as it is: clipboard, queries that it answers
// by typing, titles, modes that stay, DCS, PM, APC, eight-bit controls, directions.
const steering = "\x1b]52;c;ZWNobyBwd25lZA==\a\x1b[6n\x1b[c\x1b[21t\x1b]0;title\a\x1bP$qm\x1b\\\x1b^x\x1b\\\x1b_x\x1b\\\x1b]8;;http://x/\x1b\\" +
	"\x1b[?1000;1006;2004;1004h\x1b[3g\u009b6n\u009d0;t\u009c\u202eevil\u2066\ufeff\x7f\x05"

// printable fails for output that holds anything but lines of what can be seen.
func printable(t *testing.T, what, text string) {
	t.Helper()
	if !utf8.ValidString(text) {
		t.Errorf("%s is not UTF-8", what)
	}
	for _, line := range strings.Split(text, "\n") {
		for _, r := range line {
			if !unicode.IsPrint(r) {
				t.Errorf("%s: %U in %.200q", what, r, line)
				return
			}
		}
	}
}

// harmlessSequence is all that replay passes on after an escape.
var harmlessSequence = regexp.MustCompile(`^(?:[78DEM]|[()][0B]|\[[0-9;:]*[A-IKLMPSXZabdefmr@]|\[[0-2]?J|\[4[hl]|\[\?(?:(?:5|6|7|12|25|47|1047|1048|1049);?)+[hl])`)

// TestHostileText has an attacker say such things wherever they can, and then looks at
// everything that an operator looks at.
func TestHostileText(t *testing.T) {
	source, begin := freshSource(), time.Now().Format("2006-01-02 15:04:05")
	if _, err := dialErr(source, "no\x1b]0;t\a\u009b6n\u202e", patience); err != nil {
		t.Fatal(err)
	}
	c := dial(t, source, "root")
	s, err := c.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	_ = s.Setenv("LANG", steering)
	if err := s.RequestPty("xterm"+steering, 24, 80, nil); err != nil {
		t.Fatal(err)
	}
	out := &collector{}
	s.Stdout = out
	if err := s.Run("printf '%s' '" + steering + "'; echo; exit 7 # " + steering); err == nil {
		t.Fatal("the command did not end with 7")
	}
	_ = c.Close()
	terminal := lastSession(t)
	dir := t.TempDir()
	name := "x\x1b]0;t\a\u009b6n\u202e..\xff"
	if err := os.WriteFile(filepath.Join(dir, name), []byte("content"), 0o600); err != nil {
		t.Fatal(err)
	}
	r := finish(t, withPassword(exec.Command("scp", append([]string{"-O", "-P", "2222"}, append(sshOptions, filepath.Join(dir, name), "root@127.0.0.1:/tmp/")...)...)), nil)
	if r.status != 0 {
		t.Fatalf("scp: %+v", r)
	}
	copied := lastSession(t)
	if len(copied.Channels) != 1 || len(copied.Channels[0].Transfers) != 1 || !strings.Contains(string(copied.Channels[0].Transfers[0].Name), "\x1b]0;") {
		t.Errorf("the file's name is not kept: %+v", copied.Channels)
	}
	for _, args := range [][]string{
		{"list"}, {"list", "--format", "json"}, {"show", terminal.ID}, {"show", "--format", "json", terminal.ID},
		{"show", copied.ID}, {"show", "--format", "json", copied.ID}, {"replay", "--input", "--speed", "0", terminal.ID}, {"doctor"}, {"show", steering},
	} {
		text, _ := output("sandtrap", args...)
		printable(t, "sandtrap "+args[0], text)
	}
	text := must(t, "sandtrap", "replay", "--speed", "0", terminal.ID)
	for i, r := range text {
		if r == 0x1b && !harmlessSequence.MatchString(text[i+1:]) || r != 0x1b && r != '\r' && r != '\n' && r != 0x0f && !unicode.IsPrint(r) {
			t.Errorf("replay passes %U on: %.100q", r, text[i:])
			break
		}
	}
	if !strings.Contains(text, "evil") {
		t.Errorf("replay shows %q", text)
	}
	printable(t, "systemctl status", must(t, "systemctl", "status", "--no-pager", "--full", "sandtrap.service"))
	printable(t, "the journal", must(t, "journalctl", "--no-pager", "--output=cat", "--since", begin, "--unit=sandtrap.service"))
	events, _ := filepath.Glob(stateDir + "/events/*.jsonl")
	for _, path := range events {
		raw, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		// Events of an upgraded version before are not ours to judge.
		if i := strings.Index(string(raw), terminal.ID); i >= 0 {
			printable(t, path, string(raw[i:]))
		}
	}
	ownNames(t)
}

var ownName = regexp.MustCompile(`^[0-9A-Za-z._-]{1,64}$`)

// ownNames looks whether every name below the state directory is one of ours.
func ownNames(t *testing.T) {
	t.Helper()
	err := filepath.WalkDir(stateDir, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return nil // gone
		case !ownName.MatchString(d.Name()):
			t.Errorf("%q is not a name of ours", path)
		case !d.IsDir() && !d.Type().IsRegular():
			t.Errorf("%s is %s", path, d.Type())
		case strings.HasPrefix(path, stateDir+"/artifacts/") && !d.IsDir():
			if info, err := d.Info(); err == nil && info.Mode().Perm()&0o111 != 0 {
				t.Errorf("%s has mode %s", path, info.Mode())
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestReadFileOfAHostileTarget reads /etc/passwd out of a target whose root has made
// something else of it. Not a FIFO: Podman opens it and answers nobody from then on, which
// is why a pool reads nothing out of a target that somebody had.
func TestReadFileOfAHostileTarget(t *testing.T) {
	canary := stateDir + "/canary"
	if err := os.WriteFile(canary, []byte("evidence"), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Remove(canary) })
	machine := must(t, "cat", "/etc/machine-id")
	c := dial(t, freshSource(), "root")
	if _, err := run(c, "cp /etc/passwd /etc/passwd.good"); err != nil {
		t.Fatal(err)
	}
	id := openContainer(t)
	client, err := pods.Dial(t.Context(), "/run/sandtrap-pods/filter.sock")
	if err != nil {
		t.Fatal(err)
	}
	const limit = 64 << 10
	for _, tt := range []struct {
		name, command string
		read          bool // it may be read: it is the target's own
	}{
		{"itself", "true", true},
		{"a link to the evidence", "ln -sfn " + canary + " /etc/passwd", false},
		{"a link that climbs", "ln -sfn ../../../../../../../../.." + canary + " /etc/passwd", false},
		{"a link through another process", "ln -sfn /proc/1/root/../.." + canary + " /etc/passwd", false},
		{"a link to the machine's id", "rm -f /etc/machine-id; ln -sfn ../../../../../../etc/machine-id /etc/passwd", false},
		{"a link to the memory of Podman", "ln -sfn /proc/self/environ /etc/passwd", false},
		{"a loop", "ln -sfn passwd /etc/passwd", false},
		{"a directory of many", "rm -f /etc/passwd; mkdir /etc/passwd; cd /etc/passwd; seq 2000 | xargs touch; head -c 3000000 /dev/zero >big", false},
		{"a sparse giant", "rm -rf /etc/passwd; truncate -s 4G /etc/passwd", false},
		{"a large file", "rm -f /etc/passwd; head -c 70000 /dev/zero | tr '\\0' x >/etc/passwd", false},
		{"a link for its directory", "mkdir -p /tmp/e; echo theirs >/tmp/e/passwd; mv /etc /etc.good; ln -sfn /var/lib/sandtrap /etc", false},
		{"gone", "rm -f /etc; mkdir /etc", false},
		{"itself again", "rm -rf /etc; mv /etc.good /etc; rm -rf /etc/passwd; mv /etc/passwd.good /etc/passwd", true},
	} {
		if out, err := run(c, tt.command); err != nil {
			t.Fatalf("%s: %v %s", tt.name, err, out)
		}
		begin := time.Now()
		got, err := client.ReadFile(t.Context(), id, "/etc/passwd", limit)
		if (err == nil) != tt.read && len(got) > 0 || strings.Contains(string(got), "evidence") || strings.Contains(string(got), machine) || strings.Contains(string(got), "PATH=") || len(got) > limit {
			t.Errorf("%s: read %.200q, %v", tt.name, got, err)
		}
		if tt.read && !strings.HasPrefix(string(got), "root:") {
			t.Errorf("%s: read %.200q, %v", tt.name, got, err)
		}
		if took := time.Since(begin); took > 20*time.Second {
			t.Errorf("%s took %s", tt.name, took)
		}
		if err != nil {
			printable(t, tt.name, strings.ReplaceAll(err.Error(), "\n", " "))
		}
	}
	if r := must(t, "systemctl", "is-active", "sandtrap-podman.service", "sandtrap-filter.service", "sandtrap.service"); strings.Count(r, "active") != 3 || strings.Contains(r, "inactive") {
		t.Errorf("units are %s", r)
	}
}

// openContainer is the id of the container of the latest session, which goes on.
func openContainer(t *testing.T) string {
	t.Helper()
	text := must(t, "sandtrap", "show", "--", "-1")
	m := regexp.MustCompile(`(?m)^Container +([0-9a-f]{64})`).FindStringSubmatch(text)
	if m == nil {
		t.Fatal(fmt.Errorf("no container in\n%s", text))
	}
	return m[1]
}
