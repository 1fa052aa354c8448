//go:build appliance

package appliance

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/sandtrap/sandtrap/internal/event"
	"github.com/sandtrap/sandtrap/internal/evidence"
)

// transferFiles runs sftp(1) or scp(1) in a directory, from a source.
func transferFiles(t *testing.T, dir, source, stdin, program string, args ...string) {
	t.Helper()
	// sftp(1) takes -b for a reason not to ask for a password.
	options := append([]string{"-P", "2222", "-o", "BindAddress=" + source, "-o", "BatchMode=no"}, sshOptions...)
	c := withPassword(exec.Command(program, append(options, args...)...))
	c.Dir = dir
	if r := finish(t, c, strings.NewReader(stdin)); r.status != 0 {
		t.Fatalf("%+v", r)
	}
}

// randomFile makes a file of random bytes and returns its hash.
func randomFile(t *testing.T, path string, size int) string {
	t.Helper()
	p := make([]byte, size)
	_, _ = rand.NewChaCha8([32]byte([]byte(fmt.Sprintf("%-32.32s", path+t.Name())))).Read(p)
	return writeFile(t, path, p)
}

func writeFile(t *testing.T, path string, content []byte) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, content, 0o640); err != nil {
		t.Fatal(err)
	}
	return hashOf(content)
}

func hashOf(p []byte) string {
	sum := sha256.Sum256(p)
	return hex.EncodeToString(sum[:])
}

func hashFile(t *testing.T, path string) string {
	t.Helper()
	p, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return hashOf(p)
}

// wantFiles holds what session.json lists of a channel, and the artifacts, against
// lines of direction, name, mode and hash.
func wantFiles(t *testing.T, s evidence.Session, want ...string) {
	t.Helper()
	if len(s.Channels) != 1 {
		t.Fatalf("channels: %+v", s.Channels)
	}
	var got []string
	for _, f := range s.Channels[0].Transfers {
		got = append(got, fmt.Sprintf("%s %s %s %s", f.Direction, f.Name, f.Mode, f.SHA256))
		if !f.Complete {
			got[len(got)-1] += " (" + f.Reason + ")"
		}
		if f.Size == 0 {
			continue
		}
		path := filepath.Join(stateDir, evidence.ArtifactPath(f.Artifact))
		if hashFile(t, path) != f.SHA256 {
			t.Errorf("%s does not hold %q", path, f.Name)
		}
		if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o640 {
			t.Errorf("%s: %v, %v", path, st.Mode(), err)
		}
	}
	slices.Sort(got) // directories are sent in any order
	slices.Sort(want)
	if a, b := strings.Join(want, "\n"), strings.Join(got, "\n"); a != b {
		t.Errorf("files:\n%s\nwant:\n%s", b, a)
	}
	told := events(t, s, event.TransferFile)
	if len(told) != len(want) {
		t.Errorf("%d events of %d files", len(told), len(want))
	}
	for i, e := range told {
		if f := s.Channels[0].Transfers[i]; e["path"] != string(f.Name) || e["sha256"] != f.SHA256 || e["complete"] != f.Complete {
			t.Errorf("event %v of %+v", e, f)
		}
	}
	if temps, err := os.ReadDir(filepath.Join(stateDir, "artifacts", "tmp")); err != nil || len(temps) > 0 {
		t.Errorf("temporary files: %v, %v", temps, err)
	}
}

// events are the events of a kind and a session in the event files.
func events(t *testing.T, s evidence.Session, kind event.Kind) (all []map[string]any) {
	t.Helper()
	files, _ := filepath.Glob(filepath.Join(stateDir, "events", "events-*.jsonl"))
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for line := range bytes.Lines(raw) {
			if !bytes.Contains(line, []byte(s.ID)) || !bytes.Contains(line, []byte(kind)) {
				continue
			}
			var e map[string]any
			if err := json.Unmarshal(line, &e); err != nil {
				t.Fatal(err)
			}
			if e["session"] == s.ID && e["event"] == string(kind) {
				all = append(all, e)
			}
		}
	}
	return all
}

// wantOperations holds events of operations against lines of name, paths and
// whether they were granted.
func wantOperations(t *testing.T, s evidence.Session, want ...string) {
	t.Helper()
	var got []string
	for _, e := range events(t, s, event.TransferChange) {
		line := fmt.Sprint(e["operation"], " ", e["path"])
		for _, name := range []string{"new_path", "mode", "size_bytes"} {
			if e[name] != nil {
				line += fmt.Sprint(" ", e[name])
			}
		}
		got = append(got, fmt.Sprint(line, " ", e["accepted"]))
	}
	if a, b := strings.Join(want, "\n"), strings.Join(got, "\n"); a != b {
		t.Errorf("operations:\n%s\nwant:\n%s", b, a)
	}
	if gaps := events(t, s, event.TransferGap); len(gaps) > 0 {
		t.Errorf("gaps: %v", gaps)
	}
}

const large = 20 << 20

func TestSFTPFilesAreKept(t *testing.T) {
	dir := t.TempDir()
	small := writeFile(t, filepath.Join(dir, "small"), []byte("#!/bin/sh\n"))
	big := randomFile(t, filepath.Join(dir, "big"), large)
	content, err := os.ReadFile(filepath.Join(dir, "big"))
	if err != nil {
		t.Fatal(err)
	}
	batch := `cd /tmp
put small
put big
chmod 755 small
rename small moved
-rm missing
get big back
mkdir d
`
	transferFiles(t, dir, freshSource(), batch, "sftp", "-b", "-", "root@127.0.0.1")
	if hashFile(t, filepath.Join(dir, "back")) != big {
		t.Error("the file came back changed")
	}
	s := lastSession(t)
	wantFiles(t, s, "upload /tmp/small 0640 "+small, "upload /tmp/big 0640 "+big, "download /tmp/big 0640 "+big)
	wantOperations(t, s, "setstat /tmp/small 0755 true", "rename /tmp/small /tmp/moved true", "remove /tmp/missing false", "mkdir /tmp/d 0777 true")
	if out := must(t, "sandtrap", "show", s.ID); !strings.Contains(out, `upload "/tmp/big" 20.0 MiB mode 0640`) || !strings.Contains(out, evidence.ArtifactPath(big)) {
		t.Errorf("show:\n%s", out)
	}
	t.Run("resumed", func(t *testing.T) {
		half := content[:large/2]
		writeFile(t, filepath.Join(dir, "part"), half)
		// The first session leaves a half; its source comes back to it.
		source := freshSource()
		transferFiles(t, dir, source, "put part /root/resumed\n", "sftp", "-b", "-", "root@127.0.0.1")
		lastSession(t)
		transferFiles(t, dir, source, "reput big /root/resumed\nget /root/resumed whole\n", "sftp", "-b", "-", "root@127.0.0.1")
		if hashFile(t, filepath.Join(dir, "whole")) != big {
			t.Error("the file was not resumed as it should be")
		}
		s := lastSession(t)
		wantFiles(t, s, "upload /root/resumed 0640 "+hashOf(content[large/2:])+" (does not begin at the file's beginning)", "download /root/resumed 0640 "+big)
		if f := s.Channels[0].Transfers[0]; f.Offset != large/2 || f.Size != large {
			t.Errorf("%+v", f)
		}
	})
}

func TestSCPFilesAreKept(t *testing.T) {
	dir := t.TempDir()
	small := writeFile(t, filepath.Join(dir, "tree", "a b"), []byte("hello\n"))
	big := randomFile(t, filepath.Join(dir, "tree", "sub", "big"), large)
	if err := os.Chmod(filepath.Join(dir, "tree", "a b"), 0o755); err != nil {
		t.Fatal(err)
	}
	sameTree := func(got string) {
		t.Helper()
		want := os.DirFS(filepath.Join(dir, "tree"))
		err := fs.WalkDir(want, ".", func(path string, d fs.DirEntry, err error) error {
			if err == nil && !d.IsDir() && hashFile(t, filepath.Join(got, path)) != hashFile(t, filepath.Join(dir, "tree", path)) {
				t.Errorf("%s came back changed", path)
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
	}
	t.Run("new protocol", func(t *testing.T) {
		transferFiles(t, dir, freshSource(), "", "scp", "-q", "-p", "tree/a b", "tree/sub/big", "root@127.0.0.1:/tmp")
		s := lastSession(t)
		wantFiles(t, s, "upload /tmp/a b 0755 "+small, "upload /tmp/big 0640 "+big)
		if s.Channels[0].Kind != "subsystem" {
			t.Errorf("%+v", s.Channels[0])
		}
	})
	t.Run("legacy protocol", func(t *testing.T) {
		source := freshSource()
		transferFiles(t, dir, source, "", "scp", "-O", "-q", "-r", "-p", "tree", "root@127.0.0.1:/root/up")
		s := lastSession(t)
		wantFiles(t, s, "upload tree/a b 0755 "+small, "upload tree/sub/big 0640 "+big)
		wantOperations(t, s, "directory tree 0755 true", "directory tree/sub 0755 true")
		if f := s.Channels[0].Transfers[0]; f.Modified == nil || f.Protocol != "scp" {
			t.Errorf("%+v", f)
		}
		transferFiles(t, dir, source, "", "scp", "-O", "-q", "-r", "-p", "root@127.0.0.1:/root/up", "back")
		sameTree(filepath.Join(dir, "back"))
		wantFiles(t, lastSession(t), "download up/a b 0755 "+small, "download up/sub/big 0640 "+big)
	})
}

// TestMalformedSFTP: what cannot be followed harms nobody.
func TestMalformedSFTP(t *testing.T) {
	source := freshSource()
	c := dial(t, source, "root")
	session, err := c.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	stdin, err := session.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := session.RequestSubsystem("sftp"); err != nil {
		t.Fatal(err)
	}
	if _, err := stdin.Write([]byte("\xff\xff\xff\xffgarbage")); err != nil {
		t.Fatal(err)
	}
	if err := session.Wait(); err == nil {
		t.Error("sftp-server took garbage")
	}
	if out, err := run(c, "echo alive"); err != nil || out != "alive\n" {
		t.Errorf("%q, %v", out, err)
	}
	_ = c.Close()
	s := lastSession(t)
	gaps := events(t, s, event.TransferGap)
	if len(gaps) != 1 || gaps[0]["reason"] != "malformed" || gaps[0]["channel"] != 0.0 {
		t.Errorf("gaps: %v", gaps)
	}
	// The same through ssh(1), which ends as sftp-server does.
	r := finish(t, sshCommand("-s", "root@127.0.0.1", "sftp"), strings.NewReader("\xff\xff\xff\xffgarbage"))
	if r.status == 0 || r.status == 255 && r.stderr != "" {
		t.Errorf("%+v", r)
	}
}

// TestCrashDuringUpload: what a kill leaves of an artifact is gone after the next
// start.
func TestCrashDuringUpload(t *testing.T) {
	temps := func() int {
		names, err := os.ReadDir(filepath.Join(stateDir, "artifacts", "tmp"))
		if err != nil {
			t.Fatal(err)
		}
		return len(names)
	}
	c := sshCommand("root@127.0.0.1", "scp -t /tmp")
	stdin, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := stdin.Write([]byte("C0644 1000 a\nabc")); err != nil {
		t.Fatal(err)
	}
	id := waitLive(t, "scp -t /tmp")
	if err := eventually(func() error {
		if temps() == 0 {
			return errors.New("nothing arrives")
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	must(t, "systemctl", "kill", "-s", "KILL", "sandtrap.service")
	_ = c.Wait()
	if err := eventually(func() error {
		if out := must(t, "sandtrap", "show", "--format", "json", id); !strings.Contains(out, `"`+string(evidence.StateRecovered)+`"`) {
			return errors.New("not recovered")
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if n := temps(); n != 0 {
		t.Errorf("%d temporary files are left", n)
	}
	settles(t)
}
