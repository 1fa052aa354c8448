package evidence

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sandtrap/sandtrap/internal/record"
)

// type1 types two lines and half of a third at a terminal.
func type1(t *testing.T, r *record.Recorder) {
	must(t, r.Output([]byte("web:~# ")))
	must(t, r.Input([]byte("uname -a\r")))
	must(t, r.Output([]byte("uname -a\r\nLinux\r\nPassword: ")))
	must(t, r.Resize(record.Size{Columns: 100, Rows: 30}))
	must(t, r.Input([]byte("secret\r")))
	must(t, r.Output([]byte("\r\nweb:~# ")))
	must(t, r.Input([]byte("exi")))
}

func texts(commands []Command) (all []string) {
	for _, c := range commands {
		mark := ""
		if c.NotEchoed {
			mark = "!"
		}
		all = append(all, mark+string(c.Text))
	}
	return all
}

func TestRecoverCommands(t *testing.T) {
	s, now := newStore(t), noon.Add(time.Hour)
	id := newID(noon, 1)
	d, err := s.Create(id, noon)
	must(t, err)
	defer d.Close()
	must(t, d.Save(Session{State: StateOpen, Start: noon}))
	terminal, err := record.Create(record.Options{Dir: d.Root(), Name: "channel-0", Start: noon, Terminal: "xterm", Size: record.Size{Columns: 80, Rows: 24}})
	must(t, err)
	type1(t, terminal)
	plain, err := record.Create(record.Options{Dir: d.Root(), Name: "channel-1", Start: noon})
	must(t, err)
	must(t, plain.Input([]byte("id\nexit\n")))
	exec, err := record.Create(record.Options{Dir: d.Root(), Name: "channel-2", Start: noon, Command: "cat"})
	must(t, err)
	must(t, exec.Input([]byte("no\ncommand\n")))
	sftp, err := record.Create(record.Options{Dir: d.Root(), Name: "channel-3", Start: noon})
	must(t, err)
	must(t, sftp.Input([]byte("\x00\x00\x00\x05\x01\x00\x00\x00\x03\nx\n")))

	live := Session{State: StateOpen, Start: noon}
	must(t, AddRecordings(d.Root(), &live))
	got, err := s.Recover(now)
	must(t, err)
	want := [][]string{{"uname -a", "!secret"}, {"!id", "!exit"}, nil, nil}
	for i, c := range got[0].Channels {
		if diff := cmp.Diff(want[i], texts(c.Commands)); diff != "" {
			t.Errorf("channel %d (-want +got):\n%s", i, diff)
		}
		if diff := cmp.Diff(c.Commands, live.Channels[i].Commands); diff != "" {
			t.Errorf("live channel %d: %s", i, diff)
		}
	}
	if first := got[0].Channels[0].Commands[0]; first.Time.Before(noon) {
		t.Errorf("the first line is from %v", first.Time)
	}
	// What was lost at the end takes nothing that was before.
	raw := filepath.Join(s.path, d.Path(), "channel-0.raw")
	b, err := os.ReadFile(raw)
	must(t, err)
	b[len(b)-3] ^= 1
	must(t, os.WriteFile(raw, b, 0o600))
	again := Session{Start: noon}
	if err := AddRecordings(d.Root(), &again); err == nil {
		t.Error("damage was not told")
	}
	if diff := cmp.Diff(want[0], texts(again.Channels[0].Commands)); diff != "" {
		t.Errorf("damaged (-want +got):\n%s", diff)
	}
}

func TestCommandRoom(t *testing.T) {
	var r CommandRoom
	for range maxCommands {
		if !r.Take(1) {
			t.Fatal("no room for a line")
		}
	}
	if r.Take(0) {
		t.Error("room for too many lines")
	}
	r = CommandRoom{}
	if !r.Take(maxCommandText) || r.Take(1) {
		t.Error("the bound of text is wrong")
	}
	// All that a session may keep fits beside the rest: see maxSession.
	c := Channel{}
	for range maxCommands {
		c.Commands = append(c.Commands, Command{Time: noon, Text: Text(strings.Repeat("<", maxCommandText/maxCommands)), NotEchoed: true, Cut: true})
	}
	s := newStore(t)
	d, err := s.Create(newID(noon, 1), noon)
	must(t, err)
	defer d.Close()
	must(t, d.Save(Session{State: StateClosed, Start: noon, Channels: []Channel{c}}))
	st, err := d.Root().Lstat(sessionFile)
	must(t, err)
	if st.Size() > 2500<<10 {
		t.Errorf("session.json has %d bytes", st.Size())
	}
}
