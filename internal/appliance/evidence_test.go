//go:build appliance

package appliance

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/sandtrap/sandtrap/internal/event"
	"github.com/sandtrap/sandtrap/internal/evidence"
)

func directory(s evidence.Session) string {
	return filepath.Join(stateDir, "sessions", s.Start.UTC().Format("2006/01/02"), s.ID)
}

func readCast(t *testing.T, s evidence.Session, channel int) string {
	t.Helper()
	cast, err := os.ReadFile(filepath.Join(directory(s), s.Channels[channel].Recording.Cast))
	if err != nil {
		t.Fatal(err)
	}
	return string(cast)
}

func TestSessionIsLinked(t *testing.T) {
	source := freshSource()
	if r := finish(t, sshFrom(source, "root@127.0.0.1", "cat; echo marker-$((40+2)); exit 4"), strings.NewReader("typed\xff\n")); r.status != 4 {
		t.Fatalf("%+v", r)
	}
	s := lastSession(t)
	if s.State != evidence.StateClosed || string(s.Login.User) != "root" || string(s.Login.Password) != password || s.Source.IP != source || s.Source.Port == 0 {
		t.Errorf("session = %+v", s)
	}
	if !strings.HasPrefix(string(s.ClientVersion), "SSH-2.0-OpenSSH_") || !strings.HasPrefix(s.Target.ImageDigest, "sha256:") {
		t.Errorf("client %q, image %q", s.ClientVersion, s.Target.ImageDigest)
	}
	channel := s.Channels[0]
	if string(channel.Command) != "cat; echo marker-$((40+2)); exit 4" || channel.Recording.ExitStatus == nil || *channel.Recording.ExitStatus != 4 {
		t.Errorf("channel = %+v", channel)
	}
	for _, name := range []string{channel.Recording.Raw, channel.Recording.Cast} {
		info, err := os.Stat(filepath.Join(directory(s), name))
		if err != nil || info.Size() == 0 {
			t.Errorf("%s: %v", name, err)
		}
	}
	t.Run("container is stopped, kept and named by the session", func(t *testing.T) {
		got := podman(t, "inspect", "--format", "{{.ID}} {{.State.Status}} {{.Image}}", s.ID)
		want := s.Target.Container + " exited " + strings.TrimPrefix(s.Target.ImageDigest, "sha256:")
		if got != want {
			t.Errorf("podman says %q, want %q", got, want)
		}
		if diff := podman(t, "inspect", "--format", "{{index .Config.Labels \"io.sandtrap.target\"}}", s.ID); diff != "debian" {
			t.Errorf("label = %q", diff)
		}
	})
	t.Run("replay shows it", func(t *testing.T) {
		if out := must(t, "sandtrap", "replay", "--speed", "0", s.ID); !strings.Contains(out, "marker-42") {
			t.Errorf("replay = %q", out)
		}
		if out := must(t, "sandtrap", "replay", "--speed", "0", "--raw", s.ID); !strings.Contains(out, "typed\xff") {
			t.Errorf("raw replay = %q", out)
		}
	})
	t.Run("list and show know it", func(t *testing.T) {
		if out := must(t, "sandtrap", "list"); !strings.Contains(out, s.ID) {
			t.Errorf("list = %s", out)
		}
		if out := must(t, "sandtrap", "show", s.ID); !strings.Contains(out, s.Target.Container) || !strings.Contains(out, password) {
			t.Errorf("show = %s", out)
		}
	})
	t.Run("asciinema accepts the cast", func(t *testing.T) {
		cast := filepath.Join(directory(s), channel.Recording.Cast)
		if out := must(t, "asciinema", "cat", cast); !strings.Contains(out, "marker-42") {
			t.Errorf("asciinema cat = %q", out)
		}
		must(t, "script", "-qec", "asciinema play -s 100 "+cast, "/dev/null")
	})
	t.Run("journal has its events", func(t *testing.T) { checkJournal(t, s, source) })
	t.Run("event files have its events", func(t *testing.T) { checkEventFiles(t, s) })
}

// wanted are the kinds that every session with one command goes through.
var wanted = []event.Kind{event.ConnectionOpen, event.ClientVersion, event.AuthAttempt, event.SessionOpen, event.ChannelOpen,
	event.SessionLease, event.ExecStart, event.ProgramExit, event.ChannelClose, event.TargetStop, event.SessionClose, event.ConnectionEnd, event.SessionSeal}

func checkJournal(t *testing.T, s evidence.Session, source string) {
	var entries []map[string]any
	err := eventually(func() error { // journald takes its time
		entries = nil
		out := must(t, "journalctl", "-u", "sandtrap", "-o", "json", "SANDTRAP_SESSION="+s.ID)
		lines := bufio.NewScanner(strings.NewReader(out))
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			var entry map[string]any
			if err := json.Unmarshal(lines.Bytes(), &entry); err != nil {
				return err
			}
			entries = append(entries, entry)
		}
		ended := func(e map[string]any) bool { return e["SANDTRAP_EVENT"] == string(event.ConnectionEnd) }
		if !slices.ContainsFunc(entries, ended) {
			return errors.New("the connection's end is not in the journal")
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]map[string]any{}
	for _, e := range entries {
		seen[e["SANDTRAP_EVENT"].(string)] = e
	}
	for _, kind := range wanted {
		if seen[string(kind)] == nil {
			t.Errorf("%s is not in the journal", kind)
		}
	}
	start := seen[string(event.ExecStart)]
	if start["SANDTRAP_COMMAND"] != string(s.Channels[0].Command) || start["SANDTRAP_SRC_IP"] != source || start["MESSAGE_ID"] != event.Define(event.ExecStart).MessageID || start["PRIORITY"] != "5" {
		t.Errorf("exec.start = %v", start)
	}
	if try := seen[string(event.AuthAttempt)]; try["SANDTRAP_PASSWORD"] != password || try["SANDTRAP_ACCEPTED"] != "true" {
		t.Errorf("auth.attempt = %v", try)
	}
}

func checkEventFiles(t *testing.T, s evidence.Session) {
	files, err := filepath.Glob(filepath.Join(stateDir, "events", "events-*.jsonl"))
	if err != nil || len(files) == 0 {
		t.Fatalf("event files = %v, %v", files, err)
	}
	kinds := map[string]bool{}
	next := 0.0
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		d := json.NewDecoder(bytes.NewReader(raw))
		for {
			var e map[string]any
			if err := d.Decode(&e); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatal(err)
			}
			if seq := e["seq"].(float64); seq != 1 && seq != next { // it starts over with the service
				t.Errorf("event %v follows %v: one is lost", seq, next-1)
			}
			next = e["seq"].(float64) + 1
			if e["session"] == s.ID {
				kinds[e["event"].(string)] = true
			}
		}
	}
	for _, kind := range wanted {
		if !kinds[string(kind)] {
			t.Errorf("%s is not in the event files", kind)
		}
	}
}
