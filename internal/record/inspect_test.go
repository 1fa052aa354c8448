package record

import (
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestInspectAgreesWithClose(t *testing.T) {
	root := newRoot(t)
	r, err := Create(Options{Dir: root, Name: "c", Terminal: "xterm", Size: Size{90, 20}, Command: "top", MaxBytes: 3000})
	must(t, err)
	must(t, r.Output([]byte("out")))
	must(t, r.Stderr([]byte("error")))
	must(t, r.Input([]byte("i")))
	must(t, r.Resize(Size{1, 2}))
	must(t, r.Exit(7))
	if info, err := Inspect(root, "c"); err != nil || info.Complete || info.Summary.OutputBytes != 3 {
		t.Errorf("Inspect while recording: %+v, %v", info, err)
	}
	if err := r.Output(make([]byte, 3000)); !errors.Is(err, ErrQuota) {
		t.Fatal(err)
	}
	sum, err := r.Close()
	must(t, err)
	info, err := Inspect(root, "c")
	must(t, err)
	want := Info{Summary: sum, Terminal: "xterm", Command: "top", Size: Size{90, 20}, Complete: true}
	if diff := cmp.Diff(want, info); diff != "" {
		t.Errorf("Inspect (-want +got):\n%s", diff)
	}
}

func TestForwardHasNoCast(t *testing.T) {
	root := newRoot(t)
	asked := "direct-tcpip\x00example.com\x0080\x00\xff\x001"
	r, err := Create(Options{Dir: root, Name: "forward-0", Forward: asked, MaxBytes: 1000})
	must(t, err)
	must(t, r.Input([]byte("GET / HTTP/1.0\r\n")))
	if _, err := root.Stat("forward-0.cast"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("cast: %v", err)
	}
	// What a cast would take does not count.
	must(t, r.Input([]byte(strings.Repeat("x", 800))))
	if err := r.Input(make([]byte, 100)); !errors.Is(err, ErrQuota) {
		t.Errorf("beyond the limit: %v", err)
	}
	sum, err := r.Close()
	must(t, err)
	if sum.Cast != "" || sum.CastBytes != 0 || !sum.Truncated || sum.InputBytes != 816 {
		t.Errorf("summary %+v", sum)
	}
	info, err := Recover(root, "forward-0")
	must(t, err)
	if diff := cmp.Diff(Info{Summary: sum, Forward: asked, Complete: true}, info); diff != "" {
		t.Errorf("Recover (-want +got):\n%s", diff)
	}
	if _, err := Create(Options{Dir: root, Name: "forward-0", Forward: asked}); err == nil {
		t.Error("the same recording again")
	}
	if st, err := root.Stat("forward-0.raw"); err != nil || st.Size() != sum.RawBytes {
		t.Errorf("the first is damaged: %v", err)
	}
}

func TestRecoverTrimsTheCastOnly(t *testing.T) {
	header := `{"version":2,"width":80,"height":24}` + "\n"
	for _, tt := range []struct{ name, cast, want string }{
		{"whole", header + "[0, \"o\", \"x\"]\n", header + "[0, \"o\", \"x\"]\n"},
		{"torn line", header + "[0, \"o\", \"x", header},
		{"long torn line", header + strings.Repeat("x", 100_000), header},
		{"torn header", `{"vers`, ""},
		{"empty", "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			root := newRoot(t)
			log, _ := sample()
			log = log[:len(log)-2]
			must(t, root.WriteFile("c.raw", log, 0o600))
			must(t, root.WriteFile("c.cast", []byte(tt.cast), 0o600))
			info, err := Recover(root, "c")
			must(t, err)
			if got := string(content(t, root, "c.cast")); got != tt.want {
				t.Errorf("cast is %.80q", got)
			}
			if string(content(t, root, "c.raw")) != string(log) {
				t.Error("the raw log was changed")
			}
			s := info.Summary
			if s.OutputBytes != 5 || s.RawBytes != int64(len(log)) || s.CastBytes != int64(len(tt.want)) || s.End.Sub(s.Start).Seconds() != 1 || info.Complete {
				t.Errorf("info %+v", info)
			}
		})
	}
}

func TestInspectDamage(t *testing.T) {
	root := newRoot(t)
	log, _ := sample()
	log[len(log)-1]++
	must(t, root.WriteFile("bad.raw", log, 0o600))
	info, err := Recover(root, "bad")
	if !errors.Is(err, ErrCorrupt) || info.Summary.OutputBytes != 5 {
		t.Errorf("damaged log: %+v, %v", info, err)
	}
	must(t, root.WriteFile("text.raw", []byte("hello, hello, hello, hello"), 0o600))
	if _, err := Inspect(root, "text"); !errors.Is(err, ErrFormat) {
		t.Errorf("foreign file: %v", err)
	}
	if _, _, err := Open(root, "text.raw"); !errors.Is(err, ErrFormat) {
		t.Errorf("Open of a foreign file: %v", err)
	}
	if _, err := Inspect(root, "none"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
}

func TestOpenFollowsNoLinks(t *testing.T) {
	root := newRoot(t)
	log, _ := sample()
	must(t, root.WriteFile("real.raw", log, 0o600))
	must(t, root.Symlink("real.raw", "link.raw"))
	must(t, root.Symlink("real.raw", "link.cast"))
	if _, _, err := Open(root, "link.raw"); err == nil {
		t.Error("Open followed a symbolic link")
	}
	if _, err := Recover(root, "link"); err == nil {
		t.Error("Recover followed a symbolic link")
	}
	r, c, err := Open(root, "real.raw")
	must(t, err)
	defer c.Close()
	if f, err := r.Next(); err != nil || string(f.Data) != "first" {
		t.Errorf("Next = %v, %v", f, err)
	}
}

func TestNames(t *testing.T) {
	root := newRoot(t)
	for _, n := range []string{"channel-10.raw", "channel-9.raw", "channel-9.cast", "session.json", "channel-0.raw"} {
		must(t, root.WriteFile(n, nil, 0o600))
	}
	must(t, root.Mkdir("dir.raw", 0o700))
	got, err := Names(root)
	must(t, err)
	if diff := cmp.Diff([]string{"channel-0", "channel-9", "channel-10"}, got); diff != "" {
		t.Errorf("Names (-want +got):\n%s", diff)
	}
}
