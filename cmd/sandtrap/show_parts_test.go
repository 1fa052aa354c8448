package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sandtrap/sandtrap/internal/evidence"
	"github.com/sandtrap/sandtrap/internal/record"
)

// typedState is a state directory with one session: a terminal, a file and a command.
func typedState(t *testing.T) (dir, config string) {
	t.Helper()
	state := t.TempDir()
	at := func(s int) time.Time { return march31.Add(time.Duration(s) * time.Second) }
	end := at(9)
	addSession(t, state, idClosed, evidence.Session{
		State: evidence.StateClosed, Start: march31, End: &end,
		Channels: []evidence.Channel{
			{ID: 0, Kind: "shell", Terminal: "xterm", Size: record.Size{Columns: 80, Rows: 24}, Start: at(1), End: &end, Commands: []evidence.Command{
				{Time: at(2), Text: "uname \x1b[2J"}, {Time: at(3), Text: "secret", NotEchoed: true},
			}, CommandsOmitted: 7},
			{ID: 1, Kind: "subsystem", Command: "sftp", Start: at(4), Transfers: []evidence.Transfer{
				{Time: at(5), Protocol: "sftp", Direction: "upload", Name: "/tmp/x\n", Size: 3000, SHA256: strings.Repeat("ab", 32), Artifact: strings.Repeat("ab", 32), Complete: true},
			}, TransfersOmitted: 2},
			{ID: 2, Kind: "exec", Command: "cat big", Start: at(6)},
		},
		Forwards: []evidence.Forward{{ID: 0, Kind: "direct-tcpip", Destination: "example.com", DestinationPort: 25, Start: at(7)}},
	}, func(r *record.Recorder) {
		ok(t, r.Output([]byte("web:~# ")))
		ok(t, r.Input([]byte("uname\r")))
		ok(t, r.Output([]byte("uname\r\n\x1b[1mLinux\x1b[0m\x1b]0;evil\a \u202e\\x\r\nweb:~# \x1b[?1049h\x1b[Hpicture\x1b[?1049l")))
	}, func(r *record.Recorder) {
		ok(t, r.Input([]byte("\x00\x00\x00\x05\x01")))
	}, func(r *record.Recorder) {
		ok(t, r.Output([]byte("first\n")))
		ok(t, r.Output([]byte(strings.Repeat("x", 100000)+"\nlast\n")))
	})
	config = filepath.Join(t.TempDir(), "sandtrap.yaml")
	ok(t, os.WriteFile(config, []byte("state_dir: "+state+"\n"), 0o600))
	return filepath.Join(state, "sessions/2026/03/31", idClosed), config
}

func TestShowTimeline(t *testing.T) {
	_, config := typedState(t)
	_, out, _ := sandtrap(config, "show", idClosed)
	zone := march31.In(time.Local)
	at := func(s int) string { return zone.Add(time.Duration(s) * time.Second).Format(time.TimeOnly) }
	want := "Timeline\n" +
		"  " + at(0) + " connected\n" +
		"  " + at(1) + " channel 0 shell\n" +
		"  " + at(2) + " channel 0 typed \"uname \\x1b[2J\"\n" +
		"  " + at(3) + " channel 0 typed, not echoed \"secret\"\n" +
		"  " + at(4) + " channel 1 subsystem \"sftp\"\n" +
		"  " + at(5) + " channel 1 upload \"/tmp/x\\n\"\n" +
		"  " + at(6) + " channel 2 exec \"cat big\"\n" +
		"  " + at(7) + " forward 0 direct-tcpip \"example.com port 25\"\n" +
		"  " + at(9) + " channel 0 ended\n" +
		"  " + at(9) + " disconnected\n" +
		"  and 7 more lines of channel 0, which the events and the recording have\n"
	if _, got, _ := strings.Cut(out, "Timeline\n"); "Timeline\n"+got != want {
		t.Errorf("(-want +got):\n%s", cmp.Diff(want, "Timeline\n"+got))
	}
	many := evidence.Session{Channels: []evidence.Channel{{Start: march31}}}
	for range shownTimeline + 5 {
		many.Channels[0].Commands = append(many.Channels[0].Commands, evidence.Command{Time: march31, Text: "x"})
	}
	if text := describe(many, "", march31); !strings.HasSuffix(text, "  and 6 more\n") {
		t.Errorf("many: %s", text[len(text)-60:])
	}
}

func TestShowTranscript(t *testing.T) {
	dir, config := typedState(t)
	code, out, diagnostics := sandtrap(config, "show", "--transcript", idClosed)
	if code != exitOK || diagnostics != "" {
		t.Fatalf("show = %d, %s", code, diagnostics)
	}
	for _, part := range []string{
		"Channel 0 shell, terminal \"xterm\" 80x24, 2026-03-31 ",
		" web:~# uname\n" + `           Linux \u202e\x` + "\n           web:~#\n         | picture\n\nChannel 1 ",
		"(packets of a subsystem; --files shows what was transferred)\n",
		"Channel 2 exec \"cat big\", 2026-03-31 ",
		"           first\n           xxxxx",
	} {
		if !strings.Contains(out, part) {
			t.Errorf("the transcript lacks %q:\n%.2000s", part, out)
		}
	}
	if first, _, _ := strings.Cut(out, " web:~# uname"); len(strings.TrimSpace(first[strings.LastIndex(first, "\n"):])) != len(time.TimeOnly) {
		t.Errorf("no time before the command:\n%.200s", out)
	}
	if len(out) > 2*maxPlainText || strings.Contains(out, "last") || !strings.HasSuffix(out, "(the rest is in the recording)\n") {
		t.Errorf("%d bytes of transcript, the end is %q", len(out), out[max(0, len(out)-60):])
	}
	if strings.ContainsAny(out, "\x1b\x07\u202e") {
		t.Error("the transcript steers a terminal")
	}
	_, out, _ = sandtrap(config, "show", "--transcript", "--format", "json", idClosed)
	var list []transcriptRow
	if err := json.Unmarshal([]byte(out), &list); err != nil || len(list) < 5 || list[0].Text != "web:~# uname" || list[0].Time == nil || !list[3].Picture {
		t.Errorf("%v: %.300s", err, out)
	}
	// One that is damaged does not keep the others from being shown.
	raw := filepath.Join(dir, "channel-0.raw")
	ok(t, os.WriteFile(raw, []byte("no log"), 0o600))
	if code, out, diagnostics := sandtrap(config, "show", "--transcript", idClosed); code != exitOK || !strings.Contains(out, "first") || !strings.Contains(diagnostics, "channel 0: ") {
		t.Errorf("show = %d, %s", code, diagnostics)
	}
}

func TestShowFiles(t *testing.T) {
	dir, config := typedState(t)
	captured := fmt.Sprintf(`{"kind":"file","where":"layer","path":"/root/\u001b[2J","change":"added","sha256":"%064d","size":12,"type":"text/plain"}
{"kind":"process","where":"process","path":"/bin/sh"}
nonsense
{"kind":"file","where":"tmpfs","path":{"base64":"L3RtcC//"},"size":1,"reason":"too large"}
`, 7)
	ok(t, os.WriteFile(filepath.Join(dir, evidence.CaptureFile), []byte(captured), 0o600))
	code, out, diagnostics := sandtrap(config, "show", "--files", idClosed)
	want := []string{
		"TIME      WHAT            SIZE  SHA-256 ", "  upload       2.9 KiB  " + strings.Repeat("ab", 32) + `  /tmp/x\n`,
		"and 2 more in channel 1", fmt.Sprintf("-         added           12 B  %064d  ", 7) + `/root/\x1b[2J text/plain`, `/tmp/\xff (too large)`,
	}
	for _, part := range want {
		if !strings.Contains(out, part) {
			t.Errorf("show lacks %q:\n%s", part, out)
		}
	}
	if code != exitOK || strings.Contains(out, "/bin/sh") || !strings.Contains(diagnostics, "skip line 3 of capture.jsonl") {
		t.Errorf("show = %d, %q\n%s", code, diagnostics, out)
	}
	_, out, _ = sandtrap(config, "show", "--files", "--format", "json", idClosed)
	var list []map[string]any
	if err := json.Unmarshal([]byte(out), &list); err != nil || len(list) != 3 || list[0]["name"] != "/tmp/x\n" || list[0]["channel"] != 1.0 || list[1]["captured"].(map[string]any)["size"] != 12.0 {
		t.Errorf("%v: %s", err, out)
	}
	ok(t, os.Remove(filepath.Join(dir, evidence.CaptureFile)))
	ok(t, os.Symlink("/etc/passwd", filepath.Join(dir, evidence.CaptureFile)))
	if code, _, diagnostics := sandtrap(config, "show", "--files", idClosed); code != exitError || !strings.Contains(diagnostics, "no regular file") {
		t.Errorf("show = %d, %s", code, diagnostics)
	}
	if code, _, _ := sandtrap(config, "show", "--files", "--transcript", idClosed); code != exitUsage {
		t.Errorf("both = %d", code)
	}
}

func TestShowEvents(t *testing.T) {
	dir, config := typedState(t)
	events := filepath.Join(dir, "../../../../../events")
	ok(t, os.Mkdir(events, 0o700))
	line := func(time, event, more string) string {
		return `{"time":"` + time + `","seq":1,"event":"` + event + `","severity":"notice","message":"x"` + more + "}\n"
	}
	ours := `,"session":"` + idClosed + `","src_ip":"192.0.2.1"`
	write := func(name string, lines ...string) {
		ok(t, os.WriteFile(filepath.Join(events, name), []byte(strings.Join(lines, "")), 0o600))
	}
	write("events-2026-03-31.0001.jsonl", line("2026-03-31T12:00:01Z", "session.open", ours+`,"user":"ro\u001b[2Jot"`),
		line("2026-03-31T12:00:02Z", "exec.start", `,"session":"`+idOpen+`","command":"`+idClosed+`"`))
	write("events-2026-03-31.0002.jsonl", line("2026-03-31T12:00:03Z", "command.input", ours+`,"channel":0,"command":"id","echoed":true`), "torn "+idClosed+"\n")
	write("events-2026-03-31.jsonl", line("2026-03-31T12:00:04Z", "channel.close", ours))
	write("events-2026-04-01.jsonl", line("2026-04-01T00:00:01Z", "session.recover", `,"recovered_session":"`+idClosed+`"`))
	write("events-2026-05-01.jsonl", line("2026-05-01T00:00:01Z", "late", ours))
	write("other.jsonl", line("2026-03-31T12:00:01Z", "other", ours))
	code, out, diagnostics := sandtrap(config, "show", "--events", idClosed)
	at := func(s string) string {
		when, err := time.Parse(time.RFC3339, s)
		ok(t, err)
		return when.In(time.Local).Format(time.RFC3339)
	}
	want := at("2026-03-31T12:00:01Z") + ` session.open: x session=` + idClosed + ` src_ip=192.0.2.1 user="ro\x1b[2Jot"` + "\n" +
		at("2026-03-31T12:00:03Z") + " command.input: x session=" + idClosed + " src_ip=192.0.2.1 channel=0 command=id echoed=true\n" +
		at("2026-03-31T12:00:04Z") + " channel.close: x session=" + idClosed + " src_ip=192.0.2.1\n" +
		at("2026-04-01T00:00:01Z") + " session.recover: x recovered_session=" + idClosed + "\n"
	if code != exitOK || out != want || !strings.Contains(diagnostics, "skip lines of events-2026-03-31.0002.jsonl") {
		t.Errorf("show = %d, %s\n%s", code, diagnostics, cmp.Diff(want, out))
	}
	_, out, _ = sandtrap(config, "show", "--events", "--format", "json", idClosed)
	var list []map[string]any
	if err := json.Unmarshal([]byte(out), &list); err != nil || len(list) != 4 || list[1]["command"] != "id" {
		t.Errorf("%v: %s", err, out)
	}
	ok(t, os.RemoveAll(events))
	if code, _, _ := sandtrap(config, "show", "--events", idClosed); code != exitError {
		t.Errorf("show without events = %d", code)
	}
}
