package record

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

func newRoot(t testing.TB) *os.Root {
	t.Helper()
	root, err := os.OpenRoot(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	return root
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func content(t testing.TB, root *os.Root, name string) []byte {
	t.Helper()
	b, err := root.ReadFile(name)
	must(t, err)
	return b
}

// frames reads a whole raw log and returns what Next said at its end.
func frames(t testing.TB, raw []byte) ([]Frame, error) {
	t.Helper()
	r, err := NewReader(bytes.NewReader(raw))
	must(t, err)
	var all []Frame
	for {
		f, err := r.Next()
		if err != nil {
			return all, err
		}
		all = append(all, f)
	}
}

// joined returns the payload of all frames of one kind.
func joined(all []Frame, kind Kind) []byte {
	var b []byte
	for _, f := range all {
		if f.Kind == kind {
			b = append(b, f.Data...)
		}
	}
	return b
}

func TestRecording(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		root, start := newRoot(t), time.Now()
		time.Sleep(250 * time.Millisecond)
		r, err := Create(Options{Dir: root, Name: "channel-0", Start: start, Terminal: "xterm\x1b", Shell: "/bin/bash", Size: Size{100, 30}})
		must(t, err)
		must(t, r.Output([]byte("srv01:~# \xe2\x82")))
		must(t, r.Input([]byte("ls\r\xff\n")))
		time.Sleep(1234567 * time.Microsecond)
		must(t, r.Output([]byte("\xac\n\x1b[m")))
		must(t, r.Resize(Size{4294967295, 24}))
		must(t, r.Resize(Size{}))
		must(t, r.Marker("hi \xff"))
		must(t, r.InputEOF())
		must(t, r.Exit(-1))
		must(t, r.Output([]byte("\xf0\x9f\x92")))
		if r.Summary().OutputBytes != 19 || !r.Summary().End.IsZero() {
			t.Errorf("Summary while recording: %+v", r.Summary())
		}
		time.Sleep(time.Second)
		sum, err := r.Close()
		must(t, err)

		raw, castFile := content(t, root, "channel-0.raw"), content(t, root, "channel-0.cast")
		status := -1
		want := Summary{
			Raw: "channel-0.raw", Cast: "channel-0.cast", RawBytes: int64(len(raw)), CastBytes: int64(len(castFile)),
			InputBytes: 5, OutputBytes: 19, Start: start.UTC(), End: start.UTC().Add(2484567 * time.Microsecond), ExitStatus: &status,
		}
		if diff := cmp.Diff(want, sum); diff != "" {
			t.Errorf("summary (-want +got):\n%s", diff)
		}
		wantCast := strings.Join([]string{
			`{"version":2,"width":100,"height":30,"timestamp":946684800,"title":"channel-0","env":{"TERM":"xterm\u001b","SHELL":"/bin/bash"}}`,
			`[0.250000, "o", "srv01:~# "]`,
			`[0.250000, "i", "ls\r` + "\ufffd" + `\n"]`,
			`[1.484567, "o", "€\n\u001b[m"]`,
			`[1.484567, "r", "1000x24"]`,
			`[1.484567, "m", "hi ` + "\ufffd" + `"]`,
			`[1.484567, "m", "exit status -1"]`,
			`[2.484567, "o", "` + "\ufffd\ufffd\ufffd" + `"]`,
			``,
		}, "\n")
		if diff := cmp.Diff(wantCast, string(castFile)); diff != "" {
			t.Errorf("cast (-want +got):\n%s", diff)
		}
		a, b := 250*time.Millisecond, 1484567*time.Microsecond
		wantFrames := []Frame{
			{KindTerminal, a, []byte("xterm\x1b")},
			{KindResize, a, []byte{0, 0, 0, 100, 0, 0, 0, 30}},
			{KindOutput, a, []byte("srv01:~# \xe2\x82")},
			{KindInput, a, []byte("ls\r\xff\n")},
			{KindOutput, b, []byte("\xac\n\x1b[m")},
			{KindResize, b, []byte{255, 255, 255, 255, 0, 0, 0, 24}},
			{KindResize, b, []byte{0, 0, 0, 0, 0, 0, 0, 0}},
			{KindMarker, b, []byte("hi \xff")},
			{KindInputEOF, b, []byte{}},
			{KindExit, b, []byte{255, 255, 255, 255}},
			{KindOutput, b, []byte("\xf0\x9f\x92")},
			{KindEnd, b + time.Second, []byte{}},
		}
		got, err := frames(t, raw)
		if err != io.EOF {
			t.Errorf("raw log ends with %v", err)
		}
		if diff := cmp.Diff(wantFrames, got); diff != "" {
			t.Errorf("frames (-want +got):\n%s", diff)
		}
		again, err := r.Close()
		if err != nil || !cmp.Equal(again, sum) {
			t.Errorf("second Close = %+v, %v", again, err)
		}
		if err := r.Output([]byte("late")); !errors.Is(err, errClosed) {
			t.Errorf("Output after Close: %v", err)
		}
	})
}

func TestRecordingWithoutPTY(t *testing.T) {
	root := newRoot(t)
	command := strings.Repeat("x", maxPayload+10)
	r, err := Create(Options{Dir: root, Name: "c", Title: "exec", Command: command})
	must(t, err)
	must(t, r.Output([]byte("a\nb")))
	must(t, r.Stderr([]byte("e\n")))
	must(t, r.Stderr([]byte("\xc3")))
	must(t, r.Input([]byte("in\n\xe2")))
	must(t, r.InputEOF())
	sum, err := r.Close()
	must(t, err)
	if sum.StderrBytes != 3 || sum.OutputBytes != 3 || sum.InputBytes != 4 {
		t.Errorf("summary %+v", sum)
	}
	all, err := frames(t, content(t, root, "c.raw"))
	if err != io.EOF || string(joined(all, KindCommand)) != command || string(joined(all, KindStderr)) != "e\n\xc3" {
		t.Errorf("raw log differs; ended with %v", err)
	}
	lines := castLines(t, content(t, root, "c.cast"))
	var text []string
	for _, l := range lines {
		text = append(text, l.code+l.text)
	}
	want := []string{"oa\r\nb", "oe\r\n", "iin\n", "i\ufffd", "o\ufffd"}
	if diff := cmp.Diff(want, text); diff != "" {
		t.Errorf("cast (-want +got):\n%s", diff)
	}
	if header, _, _ := bytes.Cut(content(t, root, "c.cast"), []byte("\n")); !bytes.HasPrefix(header, []byte(`{"version":2,"width":80,"height":24,`)) || len(header) > 5000 {
		t.Errorf("cast header: %.100s (%d bytes)", header, len(header))
	}
}

type castLine struct {
	at         float64
	code, text string
}

// castLines checks that a cast is well-formed and returns its events.
func castLines(t testing.TB, cast []byte) []castLine {
	t.Helper()
	lines := bytes.Split(cast, []byte("\n"))
	if n := len(lines); n < 2 || len(lines[n-1]) != 0 {
		t.Fatalf("cast does not end in a whole line: %.100q", cast)
	}
	var header struct{ Version, Width, Height int }
	if err := json.Unmarshal(lines[0], &header); err != nil || header.Version != 2 || header.Width < 1 || header.Height < 1 {
		t.Fatalf("cast header %.100q: %v", lines[0], err)
	}
	var events []castLine
	for _, l := range lines[1 : len(lines)-1] {
		var e castLine
		if err := json.Unmarshal(l, &[]any{&e.at, &e.code, &e.text}); err != nil {
			t.Fatalf("cast line %.100q: %v", l, err)
		}
		if len(l) > 6*maxPayload+64 {
			t.Fatalf("cast line of %d bytes", len(l))
		}
		if n := len(events); n > 0 && e.at < events[n-1].at {
			t.Fatalf("cast goes back in time at %.100q", l)
		}
		events = append(events, e)
	}
	return events
}

func TestLongChunksAreSplit(t *testing.T) {
	root := newRoot(t)
	r, err := Create(Options{Dir: root, Name: "c", Terminal: "xterm"})
	must(t, err)
	// The character lies across the first boundary.
	p := append(bytes.Repeat([]byte{0x01}, maxPayload-1), "é and more"...)
	must(t, r.Output(p))
	must(t, r.Marker(string(bytes.Repeat([]byte{'m'}, maxPayload+1))))
	_, err = r.Close()
	must(t, err)
	all, _ := frames(t, content(t, root, "c.raw"))
	if len(all) != 5 || len(all[1].Data) != maxPayload || !bytes.Equal(joined(all, KindOutput), p) {
		t.Errorf("chunk was not split and kept")
	}
	events := castLines(t, content(t, root, "c.cast"))
	if len(events) != 3 || events[1].text != "é and more" {
		t.Errorf("cast has %d events", len(events))
	}
}

func TestConcurrentStreams(t *testing.T) {
	root := newRoot(t)
	r, err := Create(Options{Dir: root, Name: "c"})
	must(t, err)
	var wg sync.WaitGroup
	for _, record := range []func([]byte) error{r.Output, r.Stderr, r.Input} {
		wg.Go(func() {
			for range 200 {
				if err := record([]byte("€\xff")); err != nil {
					t.Error(err)
				}
				r.Summary()
			}
		})
	}
	wg.Wait()
	sum, err := r.Close()
	must(t, err)
	if sum.OutputBytes != 800 || sum.StderrBytes != 800 || sum.InputBytes != 800 {
		t.Errorf("summary %+v", sum)
	}
	if n := len(castLines(t, content(t, root, "c.cast"))); n != 600 {
		t.Errorf("cast has %d events", n)
	}
}

func TestQuota(t *testing.T) {
	root := newRoot(t)
	r, err := Create(Options{Dir: root, Name: "c", MaxBytes: 2000})
	must(t, err)
	var recorded int64
	for err == nil {
		if err = r.Output([]byte("0123456789")); err == nil {
			recorded += 10
		}
	}
	if !errors.Is(err, ErrQuota) || recorded < 100 {
		t.Fatalf("stopped after %d bytes by %v", recorded, err)
	}
	for name, call := range map[string]func() error{
		"Err":   r.Err,
		"Input": func() error { return r.Input([]byte("x")) }, "Resize": func() error { return r.Resize(Size{1, 1}) },
		"Output of nothing": func() error { return r.Output(nil) },
		"Marker":            func() error { return r.Marker("x") }, "InputEOF": r.InputEOF, "Exit": func() error { return r.Exit(3) },
	} {
		if err := call(); !errors.Is(err, ErrQuota) {
			t.Errorf("%s after the quota: %v", name, err)
		}
	}
	sum, err := r.Close()
	must(t, err)
	if !sum.Truncated || sum.OutputBytes != recorded || *sum.ExitStatus != 3 || sum.RawBytes+sum.CastBytes > 2000+200 {
		t.Errorf("summary %+v", sum)
	}
	all, _ := frames(t, content(t, root, "c.raw"))
	if n := len(all); all[n-2].Kind != KindTruncated || all[n-1].Kind != KindEnd {
		t.Errorf("raw log ends with %q %q", all[n-2].Kind, all[n-1].Kind)
	}
	events := castLines(t, content(t, root, "c.cast"))
	if e := events[len(events)-1]; e.code != "m" || !strings.Contains(e.text, "size limit") {
		t.Errorf("cast ends with %+v", e)
	}
}

func BenchmarkOutput(b *testing.B) {
	for name, p := range map[string][]byte{
		"line":   []byte("-rw-r--r-- 1 root root 3771 Apr 23  2023 .bashrc\r\n"),
		"binary": bytes.Repeat([]byte{0x7f, 'E', 0xff, 0x00, 0xe2, 0x82, 0xac, 'x'}, 4096),
	} {
		b.Run(name, func(b *testing.B) {
			r, err := Create(Options{Dir: newRoot(b), Name: "c", Terminal: "xterm"})
			must(b, err)
			b.SetBytes(int64(len(p)))
			for b.Loop() {
				must(b, r.Output(p))
			}
			_, err = r.Close()
			must(b, err)
		})
	}
}
