package report

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sandtrap/sandtrap/internal/evidence"
	"github.com/sandtrap/sandtrap/internal/record"
)

// hostile is what gets out of every kind of quotation, if it is let.
const hostile = "</script><script>document.title='owned'</script>\"'><img src=x onerror=alert(1)>`` `x` \x1b]0;owned\a\u202e\xff"

// sample is a session in which everything happened that a report tells, with its
// recordings in dir.
func sample(t *testing.T, dir string) evidence.Session {
	t.Helper()
	start := time.Date(2026, 3, 31, 12, 0, 0, 0, time.UTC)
	end, status := start.Add(90*time.Second), 7
	s := evidence.Session{
		Version: evidence.Version, ID: "01KN2FQ6T0ZZZZZZZZZZZZZZZZ", State: evidence.StateClosed, Start: start, End: &end, EndReason: "client",
		Source: evidence.Endpoint{IP: "192.0.2.7", Port: 40000}, ClientVersion: hostile, HASSH: "06046964c022c6407d15a27b12a6a4fb",
		Login:    evidence.Login{User: "root", Method: "password", Password: hostile},
		Attempts: []evidence.Attempt{{Time: start, User: hostile, Method: "password", Password: "no", Reason: "no"}, {User: "root", Method: "password", Accepted: true}},
		Target:   evidence.Target{Name: "debian", Container: "c0ffee", Account: "root"},
		Channels: []evidence.Channel{
			{ID: 0, Kind: "shell", Terminal: "xterm", Size: record.Size{Columns: 40, Rows: 10}, Start: start, End: &end,
				Recording: record.Summary{Raw: "channel-0.raw", Cast: "channel-0.cast", Start: start, ExitStatus: &status},
				Commands:  []evidence.Command{{Time: start.Add(3 * time.Second), Text: hostile}, {Time: start.Add(4 * time.Second), Text: "hunter2", NotEchoed: true}},
				Transfers: []evidence.Transfer{{Time: start.Add(5 * time.Second), Direction: "upload", Name: hostile, Size: 3, SHA256: "abc"}}},
			{ID: 1, Kind: "exec", Command: "uname -a", Start: start, Recording: record.Summary{Cast: "channel-1.cast"}},
		},
		Forwards: []evidence.Forward{{Kind: "direct-tcpip", Destination: hostile, DestinationPort: 25, Start: start}},
	}
	cast := `{"version":2,"width":40,"height":10}
[0.1,"o","srv01:~# "]
[1.0,"i","id\u007f\r"]
[1.1,"o","\u001b[1;31mred\u001b[0m <b>not bold</b> \u001b]0;title\u0007\r\n"]
[2.0,"o","\u001b[5;3Hhere\u001b[?1049hgone\u001b[?1049l"]
[3.0,"m","id"]
[4.0,"o","\u001b[2J\u001b[Hlast picture </pre><script>document.title='owned'</script>"]
[4.5,"o","torn`
	if err := os.WriteFile(filepath.Join(dir, "channel-0.cast"), []byte(cast), 0o600); err != nil {
		t.Fatal(err)
	}
	return s
}

func TestFormsAreHarmless(t *testing.T) {
	dir := t.TempDir()
	r := New(sample(t, dir), dir, nil, time.UTC)
	r.AddRecordings()
	for name, form := range map[string]func(*Report, *bytes.Buffer) error{
		"text":     func(r *Report, b *bytes.Buffer) error { return r.Text(b) },
		"markdown": func(r *Report, b *bytes.Buffer) error { return r.Markdown(b) },
		"json":     func(r *Report, b *bytes.Buffer) error { return r.JSON(b) },
		"html":     func(r *Report, b *bytes.Buffer) error { return r.HTML(b) },
	} {
		t.Run(name, func(t *testing.T) {
			var b bytes.Buffer
			if err := form(r, &b); err != nil {
				t.Fatal(err)
			}
			out := b.String()
			if name != "html" && strings.ContainsAny(out, "\x1b\a\u202e") {
				t.Error("an escape sequence got through")
			}
			switch name {
			case "html":
				// Our own script is the only one, and no attribute was added.
				if n := strings.Count(out, "<script"); n != 1 || strings.Contains(out, "<img") {
					t.Errorf("%d scripts in the page, or an image", n)
				}
			case "markdown":
				for line := range strings.Lines(out) {
					if strings.Contains(line, "<script>") && !strings.Contains(line, "``` ") {
						t.Errorf("not within a longer fence: %q", line)
					}
				}
			case "json":
				var back Report
				if err := json.Unmarshal(b.Bytes(), &back); err != nil {
					t.Fatal(err)
				}
				if got := back.Session.Channels[0].Commands[0].Text; got != hostile {
					t.Errorf("command came back as %q", got)
				}
			}
			for _, want := range []string{"192.0.2.7", "upload", "uname -a", "direct-tcpip", "typed, not echoed"} {
				if !strings.Contains(out, want) {
					t.Errorf("%q is missing", want)
				}
			}
		})
	}
}

func TestTimelineIsInOrder(t *testing.T) {
	r := New(sample(t, t.TempDir()), "/nowhere", nil, time.UTC)
	for i, e := range r.Timeline[1:] {
		if e.Time.Before(r.Timeline[i].Time) {
			t.Errorf("entry %d is before the one above it", i+1)
		}
	}
	typed := r.Timeline[len(r.Timeline)-5]
	if typed.What != "typed" || typed.After() != "+3s" || !typed.Seekable() || typed.Seek() != "3.00" || typed.Clock() != "12:00:03" {
		t.Errorf("got %+v", typed)
	}
}

func TestBounds(t *testing.T) {
	s := sample(t, t.TempDir())
	for range maxTimeline {
		s.Channels[0].Commands = append(s.Channels[0].Commands, evidence.Command{Time: s.Start, Text: "x"})
		s.Attempts = append(s.Attempts, evidence.Attempt{})
	}
	for range maxFiles {
		s.Channels[0].Transfers = append(s.Channels[0].Transfers, evidence.Transfer{})
	}
	r := New(s, "/nowhere", nil, time.UTC)
	if len(r.Timeline) != maxTimeline || len(r.Attempts) != maxAttempts || len(r.Files) != maxFiles || len(r.Omitted) != 2+1 {
		t.Errorf("%d entries, %d attempts, %d files, omitted %q", len(r.Timeline), len(r.Attempts), len(r.Files), r.Omitted)
	}
}

func TestRecordingsThatAreNotThere(t *testing.T) {
	dir := t.TempDir()
	s := sample(t, dir)
	big := filepath.Join(dir, "channel-1.cast")
	if err := os.WriteFile(big, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(big, maxCast+1); err != nil {
		t.Fatal(err)
	}
	s.Channels = append(s.Channels, evidence.Channel{ID: 2, Recording: record.Summary{Cast: "link"}}, evidence.Channel{ID: 3, Recording: record.Summary{Cast: "../secret"}})
	if err := os.Symlink("/etc/passwd", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	r := New(s, dir, nil, time.UTC)
	r.AddRecordings()
	if len(r.Recordings) != 4 || r.Recordings[0].Cast == nil {
		t.Fatalf("got %+v", r.Recordings)
	}
	for i, want := range []string{"too large", "no regular file", "cannot be read"} {
		if got := r.Recordings[i+1]; got.Cast != nil || !strings.Contains(got.Note, want) {
			t.Errorf("channel %d: %q, want %q", i+1, got.Note, want)
		}
	}
}

func TestCode(t *testing.T) {
	for in, want := range map[string]string{"": "", "a": "`a`", "a`b": "`` a`b ``", "``": "``` `` ```", " a ": "`  a  `", "a\nb": "`a\\nb`"} {
		if got := code(in); got != want {
			t.Errorf("code(%q) = %q, want %q", in, got, want)
		}
	}
}
