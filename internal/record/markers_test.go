package record

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os/signal"
	"strings"
	"testing"
	"unicode/utf8"

	"golang.org/x/sys/unix"
)

func TestAddMarkers(t *testing.T) {
	for name, talk := range map[string]func(*Recorder){
		"nothing happened": func(*Recorder) {},
		"a dialogue": func(r *Recorder) {
			must(t, r.Output([]byte(strings.Repeat("\x01", maxPayload)))) // the longest line there is
			must(t, r.Exit(0))
		},
	} {
		t.Run(name, func(t *testing.T) {
			root := newRoot(t)
			r, err := Create(Options{Dir: root, Name: "c", Terminal: "xterm"})
			must(t, err)
			talk(r)
			sum, err := r.Close()
			must(t, err)
			before := castLines(t, content(t, root, sum.Cast))
			texts := []string{"file: captured /tmp/x", "file: captured \x1b]0;owned\a\u202e\xff\"", "last"}
			var size int64
			for range 2 { // as after a crash before the new size was saved
				size, err = AddMarkers(root, sum.Cast, sum.CastBytes, texts)
				must(t, err)
			}
			whole := content(t, root, sum.Cast)
			after := castLines(t, whole) // none goes back in time
			if size != int64(len(whole)) || len(after) != len(before)+len(texts) || bytes.ContainsAny(whole, "\x1b\a\u202e") {
				t.Fatalf("size %d of %d, %d lines after %d: %q", size, len(whole), len(after), len(before), whole)
			}
			for i, e := range after[len(before):] {
				if e.code != "m" || e.text != strings.ToValidUTF8(texts[i], "\ufffd") || len(before) > 0 && e.at != before[len(before)-1].at {
					t.Errorf("marker %d is %+v", i, e)
				}
			}
			// And what a crash has torn, or an earlier version told at more length.
			for _, left := range [][]byte{whole[:len(whole)-3], append(bytes.Clone(whole), "[9.0, \"m\", \"mo"...)} {
				must(t, root.WriteFile(sum.Cast, left, 0o600))
				_, err = AddMarkers(root, sum.Cast, sum.CastBytes, texts)
				must(t, err)
				if !bytes.Equal(whole, content(t, root, sum.Cast)) {
					t.Errorf("what was left is not taken off: %q", content(t, root, sum.Cast))
				}
			}
		})
	}
}

// What is no cast of ours is left alone.
func TestAddMarkersToDamage(t *testing.T) {
	root := newRoot(t)
	const header = "{\"version\":2}\n"
	for i, cast := range []string{
		"", "no line", header + "torn", header + "[1.0", header + "[1.0\n", header + "x,\n", header + "[NaN, \"o\", \"\"]\n", header + "[.500000, \"o\", \"\"]\n", header + "[01.500000, \"o\", \"\"]\n", header + "[1e9, \"o\", \"\"]\n", header + "{}\n",
		header + strings.Repeat("x", maxCastLine) + "\n",
	} {
		name := fmt.Sprint(i)
		must(t, root.WriteFile(name, []byte(cast), 0o600))
		for _, size := range []int64{int64(len(cast)), int64(len(cast)) + 1, -1} {
			if n, err := AddMarkers(root, name, size, []string{"m"}); n != size || err != nil {
				t.Errorf("%q of %d: %d, %v", cast, size, n, err)
			}
		}
		if got := string(content(t, root, name)); got != cast {
			t.Errorf("%q became %q", cast, got)
		}
	}
	if n, err := AddMarkers(root, "none", 7, nil); n != 7 || err != nil {
		t.Errorf("a missing cast: %d, %v", n, err)
	}
	must(t, root.Symlink("0", "link"))
	if _, err := AddMarkers(root, "link", 7, nil); err == nil {
		t.Error("followed a link")
	}
}

// A full disk leaves the cast as it was.
func TestAddMarkersToFullDisk(t *testing.T) {
	root := newRoot(t)
	const cast = "{\"version\":2}\n"
	must(t, root.WriteFile("c", []byte(cast), 0o600))
	signal.Ignore(unix.SIGXFSZ) // so that a write fails instead
	defer signal.Reset(unix.SIGXFSZ)
	var old unix.Rlimit
	must(t, unix.Getrlimit(unix.RLIMIT_FSIZE, &old))
	must(t, unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: uint64(len(cast)) + 5, Max: old.Max}))
	n, err := AddMarkers(root, "c", int64(len(cast)), []string{"m"})
	must(t, unix.Setrlimit(unix.RLIMIT_FSIZE, &old))
	if n != int64(len(cast)) || err == nil || string(content(t, root, "c")) != cast {
		t.Errorf("%d, %v: %q", n, err, content(t, root, "c"))
	}
}

func FuzzMarkers(f *testing.F) {
	f.Add([]byte("{\"version\":2}\n[0.500000, \"o\", \"x\"]\n"), int64(-1), "file: captured /tmp/x")
	f.Add([]byte("{\"version\":2}\n"), int64(14), "\xff\n\x1b")
	f.Add([]byte("{\"version\":2}\n[1..2, \"o\", \"x\"]\n[, \n"), int64(-1), "")
	f.Add([]byte("{}\n[.5,\n"), int64(1<<62), "")
	f.Fuzz(func(t *testing.T, cast []byte, size int64, text string) {
		if size < 0 {
			size = int64(len(cast))
		}
		at, err := lastTime(bytes.NewReader(cast), size)
		must(t, err)
		if at == "" {
			return
		}
		added := appendMarkers(nil, at, []string{text, text})
		for line := range bytes.Lines(added) {
			var at float64
			var code, back string
			if err := json.Unmarshal(line, &[]any{&at, &code, &back}); err != nil || code != "m" || back != strings.ToValidUTF8(text, "\ufffd") && utf8.ValidString(text) {
				t.Fatalf("behind %q comes %q: %v", cast, line, err)
			}
		}
		if bytes.Count(added, []byte("\n")) != 2 {
			t.Fatalf("lines %q", added)
		}
	})
}

func TestBrief(t *testing.T) {
	long := strings.Repeat("x", maxMarker-1)
	for in, want := range map[string]string{"a\nb": "a b", long + "é": long + "…", "\xff": "\xff"} {
		if got := Brief(in); got != want {
			t.Errorf("Brief(%q) = %q", in, got)
		}
	}
}
