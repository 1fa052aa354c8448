package evidence

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sandtrap/sandtrap/internal/record"
)

// capturedHash is that of every captured file here.
var capturedHash = strings.Repeat("ab", 32)

func newRoot(t *testing.T) *os.Root {
	t.Helper()
	root, err := os.OpenRoot(t.TempDir())
	must(t, err)
	t.Cleanup(func() { root.Close() })
	return root
}

// markedCast are the texts of the markers in a cast.
func markedCast(t *testing.T, root *os.Root, name string) (texts []string) {
	t.Helper()
	b, err := root.ReadFile(name)
	must(t, err)
	for line := range strings.Lines(string(b)) {
		var at float64
		var code, text string
		if strings.HasPrefix(line, "[") {
			must(t, json.Unmarshal([]byte(line), &[]any{&at, &code, &text}))
		}
		if code == "m" {
			texts = append(texts, text)
		}
	}
	return texts
}

// capture writes a CaptureFile.
func capture(t *testing.T, root *os.Root, entries ...CaptureEntry) {
	t.Helper()
	var b []byte
	for _, e := range entries {
		line, err := json.Marshal(e)
		must(t, err)
		b = append(append(b, line...), '\n')
	}
	must(t, root.WriteFile(CaptureFile, append(b, `{"kind":"file","sha256":"torn`...), 0o600))
}

func file(path string, changed *time.Time, complete bool) CaptureEntry {
	return CaptureEntry{Kind: "file", Path: Text(path), SHA256: capturedHash, Altered: changed, Complete: &complete}
}

// ended is a session whose channels were open for so many seconds, from and to; those
// with a T at a terminal.
func ended(t *testing.T, root *os.Root, spans ...string) (s Session) {
	t.Helper()
	for i, span := range spans {
		var from, to int
		var kind string
		_, err := fmt.Sscanf(span, "%d-%d%s", &from, &to, &kind)
		must(t, err)
		c := Channel{ID: i, Kind: "exec"}
		if kind == "T" {
			c.Terminal = "xterm"
		}
		r, err := record.Create(record.Options{Dir: root, Name: fmt.Sprintf("channel-%d", i), Start: noon, Terminal: string(c.Terminal)})
		must(t, err)
		must(t, r.Output([]byte("x")))
		c.Recording, err = r.Close()
		must(t, err)
		c.Recording.Start, c.Recording.End = noon.Add(time.Duration(from)*time.Second), noon.Add(time.Duration(to)*time.Second)
		s.Channels = append(s.Channels, c)
	}
	return s
}

func TestCapturedFilesAreMarked(t *testing.T) {
	for name, tt := range map[string]struct {
		spans   []string
		changed float64 // seconds; negative for unknown
		want    int
	}{
		"the only one":                {[]string{"0-9E"}, 5, 0},
		"open then":                   {[]string{"0-3E", "4-6E", "7-9E"}, 5, 1},
		"a terminal rather":           {[]string{"0-9T", "4-6E"}, 5, 0},
		"but for one that was over":   {[]string{"0-3T", "4-6E"}, 5, 1},
		"the later terminal":          {[]string{"0-9T", "1-9T", "2-9E"}, 5, 1},
		"none was open":               {[]string{"0-1E", "2-3T", "4-5E"}, 8, 1},
		"none had a terminal":         {[]string{"0-1E", "2-3E"}, 8, 1},
		"unknown time":                {[]string{"0-1E", "2-3T", "4-5E"}, -1, 1},
		"a tick before the beginning": {[]string{"0-3E", "4-6E", "7-9E"}, 3.99, 1},
	} {
		t.Run(name, func(t *testing.T) {
			root := newRoot(t)
			s := ended(t, root, tt.spans...)
			var changed *time.Time
			if tt.changed >= 0 {
				at := noon.Add(time.Duration(tt.changed * float64(time.Second)))
				changed = &at
			}
			capture(t, root, file("/tmp/x", changed, true))
			marked, err := MarkCaptured(root, &s)
			must(t, err)
			for i, c := range s.Channels {
				var want []string
				if i == tt.want {
					want = []string{"file: captured /tmp/x sha256:" + capturedHash}
				}
				if diff := cmp.Diff(want, markedCast(t, root, c.Recording.Cast)); diff != "" || c.Recording.CaptureMarkers != len(want) || !marked {
					t.Errorf("channel %d: %+v, %s", i, c.Recording, diff)
				}
				if st, err := root.Stat(c.Recording.Cast); err != nil || st.Size() != c.Recording.CastBytes {
					t.Errorf("channel %d has %d bytes by its record, %v", i, c.Recording.CastBytes, err)
				}
			}
		})
	}
}

// TestMarksOfCapturedFiles: what they say, how many they are, and that they come once.
func TestMarksOfCapturedFiles(t *testing.T) {
	root := newRoot(t)
	s := ended(t, root, "0-9T")
	saved := s.Channels[0].Recording
	entries := []CaptureEntry{
		{Kind: "link", Path: "/tmp/link"}, {Kind: "file", Path: "/tmp/empty", SHA256: "../x"}, file("/tmp/a\nb\x1b[2J", nil, false),
	}
	for i := range maxCaptureMarkers + 4 {
		entries = append(entries, file(fmt.Sprint(i, strings.Repeat("y", 4000)), nil, true))
	}
	capture(t, root, entries...)
	for range 3 {
		if marked, err := MarkCaptured(root, &s); !marked || err != nil {
			t.Fatalf("marked %t, %v", marked, err)
		}
		if marked, err := MarkCaptured(root, &s); marked || err != nil { // it is saved
			t.Fatalf("marked %t again, %v", marked, err)
		}
		got := markedCast(t, root, "channel-0.cast")
		if len(got) != maxCaptureMarkers+1 || got[0] != "file: captured in part /tmp/a b\x1b[2J sha256:"+capturedHash ||
			len(got[1]) > 350 || got[maxCaptureMarkers] != "file: captured 5 more" {
			t.Fatalf("%d markers: %.500q", len(got), got)
		}
		if n := s.Channels[0].Recording.CaptureMarkers; n != len(got) {
			t.Errorf("the record has %d", n)
		}
		s.Channels[0].Recording = saved // a crash came before it was
	}
}

func TestNothingToMark(t *testing.T) {
	root := newRoot(t)
	s := Session{Channels: []Channel{{ID: 0}}}
	for range 2 {
		if marked, err := MarkCaptured(root, &s); marked || err != nil {
			t.Errorf("marked %t, %v", marked, err)
		}
		capture(t, root, file("/tmp/x", nil, true))
	}
	must(t, root.Remove(CaptureFile))
	must(t, root.Mkdir(CaptureFile, 0o700))
	if marked, err := MarkCaptured(root, &s); marked || err == nil {
		t.Errorf("read a directory: %t, %v", marked, err)
	}
}
