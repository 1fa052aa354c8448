package layer

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/sandtrap/sandtrap/internal/frame"
	"github.com/sandtrap/sandtrap/internal/testhelper"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	own   = strings.Repeat("a", 64)
	image = strings.Repeat("b", 64)
	base  = strings.Repeat("c", 64)
)

// store is a directory of layers as Podman's overlay driver keeps it: one of a
// container over two of an image.
type store struct {
	*testing.T
	dir string
}

func newStore(t *testing.T) *store {
	t.Helper()
	s := &store{t, t.TempDir()}
	short := map[string]string{image: strings.Repeat("I", 26), base: strings.Repeat("B", 26)}
	for id, name := range short {
		s.mkdir(id + "/diff")
		s.mkdir("l")
		s.symlink("../"+id+"/diff", "l/"+name)
	}
	s.mkdir(own + "/diff")
	s.write(own+"/lower", "l/"+short[image]+":l/"+short[base])
	return s
}

func (s *store) check(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

func (s *store) at(path string) string        { return filepath.Join(s.dir, path) }
func (s *store) mkdir(path string)            { s.Helper(); s.check(os.MkdirAll(s.at(path), 0o755)) }
func (s *store) symlink(to, path string)      { s.Helper(); s.check(os.Symlink(to, s.at(path))) }
func (s *store) in(layer, path string) string { return layer + "/diff/" + path }

func (s *store) write(path, content string) {
	s.Helper()
	s.mkdir(filepath.Dir(path))
	s.check(os.WriteFile(s.at(path), []byte(content), 0o644))
}

func (s *store) mknod(path string, mode uint32, device int) {
	s.Helper()
	s.mkdir(filepath.Dir(path))
	if err := unix.Mknod(s.at(path), mode, device); err != nil {
		s.Skip("cannot make device nodes here: ", err)
	}
}

// read is what the helper tells: "change kind path" and content, sorted.
func (s *store) read() ([]string, frame.CapturedMessage) {
	s.Helper()
	socket := testhelper.Serve(s.T, (&Server{Layers: s.dir}).Answer)
	var got []string
	end, err := Read(s.Context(), socket, own, func(m frame.ItemMessage, content *os.File) error {
		line := string(rune(m.Change)) + " " + string(rune(m.Kind)) + " " + m.Path
		if m.Note != 0 {
			line += " " + string(rune(m.Note))
		}
		if m.Link != "" {
			line += " -> " + m.Link
		}
		if content != nil {
			p, err := io.ReadAll(content)
			s.check(err)
			line += " = " + string(p)
		}
		got = append(got, line)
		return nil
	})
	s.check(err)
	slices.Sort(got)
	return got, end
}

func TestLayer(t *testing.T) {
	s := newStore(t)
	s.write(s.in(base, "etc/passwd"), "old")
	s.write(s.in(base, "etc/gone"), "old")
	s.write(s.in(base, "opt/a/x"), "old")
	s.write(s.in(base, "usr/hidden"), "old")
	s.write(s.in(base, "srv/below"), "old")
	s.mknod(s.in(image, "usr/hidden"), unix.S_IFCHR, 0) // the image itself removed it
	s.write(s.in(image, "srv"), "no directory any more")
	s.write(s.in(own, "etc/passwd"), "new")
	s.mknod(s.in(own, "etc/gone"), unix.S_IFCHR, 0)
	s.write(s.in(own, "usr/hidden"), "again")
	s.write(s.in(own, "srv/below"), "again")
	s.write(s.in(own, "tmp/a\nb\xff"), "x")
	s.write(s.in(own, "tmp/empty"), "")
	s.check(os.Link(s.at(s.in(own, "tmp/a\nb\xff")), s.at(s.in(own, "tmp/second"))))
	s.symlink("/etc/shadow", s.in(own, "tmp/link"))
	s.symlink(".", s.in(own, "tmp/loop"))
	s.mknod(s.in(own, "tmp/fifo"), unix.S_IFIFO, 0)
	s.mknod(s.in(own, "tmp/null"), unix.S_IFCHR, int(unix.Mkdev(1, 3)))
	s.mkdir(s.in(own, "opt/a"))
	if err := unix.Setxattr(s.at(s.in(own, "opt/a")), "user.overlay.opaque", []byte("y"), 0); err != nil {
		t.Skip("no extended attributes here: ", err)
	}
	s.check(os.Chmod(s.at(s.in(own, "usr")), 0o700))
	got, end := s.read()
	// Of several names the one that comes first has the content.
	first, second := "/tmp/a\nb\xff", "/tmp/second"
	if slices.Contains(got, "a f "+second+" = x") {
		first, second = second, first
	}
	want := []string{
		"a d /tmp", "a f " + first + " = x", "a f " + second + " h", "a f /tmp/empty", "a f /usr/hidden = again", "a f /srv/below = again",
		"a l /tmp/link -> /etc/shadow", "a l /tmp/loop -> .", "a p /tmp/fifo", "a c /tmp/null",
		"c d /opt/a r", "c d /usr", "c d /srv", "c f /etc/passwd = new", "d ? /etc/gone",
	}
	slices.Sort(want)
	if diff := cmp.Diff(want, got); diff != "" || end != (frame.CapturedMessage{}) {
		t.Errorf("end %+v, items (-want +got):\n%s", end, diff)
	}
}

// TestIDs are those in the container, whatever the attacker made of its root directory.
func TestIDs(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root to give files away")
	}
	s := newStore(t)
	s.write(s.in(own, "mine"), "")
	s.write(s.in(own, "other"), "")
	s.write(s.in(own, "foreign"), "")
	s.check(os.Chown(s.at(image+"/diff"), 200000, 300000))
	s.check(os.Chown(s.at(own+"/diff"), 200033, 300033))
	s.check(os.Chown(s.at(s.in(own, "mine")), 200000, 300000))
	s.check(os.Chown(s.at(s.in(own, "other")), 201000, 301000))
	socket := testhelper.Serve(t, (&Server{Layers: s.dir}).Answer)
	got := map[string][2]uint32{}
	_, err := Read(t.Context(), socket, own, func(m frame.ItemMessage, _ *os.File) error {
		got[m.Path] = [2]uint32{m.UID, m.GID}
		return nil
	})
	s.check(err)
	want := map[string][2]uint32{"/mine": {0, 0}, "/other": {1000, 1000}, "/foreign": {nobody, nobody}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestDepthAndLongNames(t *testing.T) {
	s := newStore(t)
	dir := s.in(own, "d")
	for range maxDepth + 5 {
		dir += "/d"
	}
	s.write(dir+"/bottom", "x")
	got, end := s.read()
	if len(got) != maxDepth+1 || end.Omitted == 0 {
		t.Errorf("%d items, end %+v", len(got), end)
	}
}

func TestLayersThatAreNone(t *testing.T) {
	for name, spoil := range map[string]func(s *store){
		"no layer":         func(s *store) { s.check(os.RemoveAll(s.at(own))) },
		"no files":         func(s *store) { s.check(os.RemoveAll(s.at(own + "/diff"))) },
		"files are a link": func(s *store) { s.check(os.RemoveAll(s.at(own + "/diff"))); s.symlink("/etc", own+"/diff") },
		"no image":         func(s *store) { s.check(os.Remove(s.at(own + "/lower"))) },
		"image elsewhere":  func(s *store) { s.write(own+"/lower", "../../etc") },
		"image not there":  func(s *store) { s.write(own+"/lower", "l/"+strings.Repeat("Z", 26)) },
		"link of the image": func(s *store) {
			s.symlink("/etc", "l/"+strings.Repeat("Z", 26))
			s.write(own+"/lower", "l/"+strings.Repeat("Z", 26))
		},
		"lower is a pipe": func(s *store) { s.check(os.Remove(s.at(own + "/lower"))); s.mknod(own+"/lower", unix.S_IFIFO, 0) },
	} {
		t.Run(name, func(t *testing.T) {
			s := newStore(t)
			spoil(s)
			socket := testhelper.Serve(t, (&Server{Layers: s.dir}).Answer)
			_, err := Read(t.Context(), socket, own, func(m frame.ItemMessage, _ *os.File) error {
				t.Errorf("told %q", m.Path)
				return nil
			})
			if err == nil || !strings.Contains(err.Error(), "the helper says") {
				t.Errorf("Read = %v", err)
			}
		})
	}
}

var errEnough = errors.New("enough")

func TestReadGivesUp(t *testing.T) {
	s := newStore(t)
	s.write(s.in(own, "a"), "x")
	socket := testhelper.Serve(t, (&Server{Layers: s.dir}).Answer)
	if _, err := Read(t.Context(), socket, own, func(frame.ItemMessage, *os.File) error { return errEnough }); !errors.Is(err, errEnough) {
		t.Errorf("Read = %v", err)
	}
	hung := testhelper.Serve(t, func(ctx context.Context, _ *net.UnixConn, _ string) { <-ctx.Done() })
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errEnough)
	if _, err := Read(ctx, hung, own, nil); !errors.Is(err, errEnough) {
		t.Errorf("Read = %v", err)
	}
	if _, err := Read(t.Context(), filepath.Join(t.TempDir(), "none"), own, nil); err == nil {
		t.Error("without a helper: no error")
	}
}

// fine begins an answer.
var fine = record(accounts, []byte("y"))

// answer serves one stream of bytes after what comes first, with a descriptor at its
// beginning or none.
func answer(t *testing.T, first, said []byte, file *os.File) string {
	return testhelper.Serve(t, func(_ context.Context, client *net.UnixConn, _ string) {
		_, _ = client.Write(first)
		var rights []byte
		if file != nil {
			rights = unix.UnixRights(int(file.Fd()))
		}
		_, _, _ = client.WriteMsgUnix(said, rights, nil)
	})
}

func record(kind frame.Type, payload []byte) []byte {
	return append([]byte{0, 0, byte(len(payload) >> 8), byte(len(payload)), byte(kind)}, payload...)
}

func item(change func(*frame.ItemMessage)) []byte {
	m := frame.ItemMessage{Kind: frame.KindFile, Origin: frame.OriginLayer, Change: frame.Added, Path: "/x", Size: 1}
	change(&m)
	return record(frame.Item, m.Encode())
}

func TestMalformedAnswers(t *testing.T) {
	device, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer device.Close()
	file, err := os.Open(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for name, tt := range map[string]struct {
		said []byte
		file *os.File
		want string
	}{
		"nothing":                  {nil, nil, "EOF"},
		"half a header":            {[]byte{0, 0}, nil, "EOF"},
		"half a record":            {item(func(*frame.ItemMessage) {})[:20], nil, "EOF"},
		"no end":                   {item(func(*frame.ItemMessage) {}), nil, "EOF"},
		"another type":             {record(frame.Hello, nil), nil, "malformed answer"},
		"huge":                     {[]byte{0xff, 0, 0, 0, byte(frame.Item)}, nil, "malformed answer"},
		"garbled":                  {record(frame.Item, []byte("x")), nil, "malformed"},
		"of another origin":        {item(func(m *frame.ItemMessage) { m.Origin = frame.OriginTmpfs }), nil, "malformed answer"},
		"content without a file":   {item(func(m *frame.ItemMessage) { m.Content = true }), nil, "not as its descriptors"},
		"a file without content":   {item(func(*frame.ItemMessage) {}), file, "not as its descriptors"},
		"a device for a file":      {item(func(m *frame.ItemMessage) { m.Content = true }), device, "no regular file"},
		"an end with a file":       {record(frame.Captured, new(frame.CapturedMessage).Encode()), file, "malformed answer"},
		"accounts once more":       {fine, nil, "malformed answer"},
		"a refusal with an escape": {[]byte("!\x1b[2J\n"), nil, `says "\x1b[2J"`},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Read(t.Context(), answer(t, fine, tt.said, tt.file), own, func(frame.ItemMessage, *os.File) error { return nil })
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Read = %v, want %q", err, tt.want)
			}
		})
	}
}

// said is a stream without descriptors.
type said struct{ io.Reader }

func (s said) ReadMsgUnix(b, _ []byte) (n, oobn, flags int, addr *net.UnixAddr, err error) {
	n, err = s.Read(b)
	return n, 0, 0, nil, err
}

// FuzzRead is a helper that says anything.
func FuzzRead(f *testing.F) {
	end := frame.CapturedMessage{Stop: frame.StopTime, Omitted: 7}
	f.Add(append(item(func(*frame.ItemMessage) {}), record(frame.Captured, end.Encode())...))
	f.Add([]byte("!no\n"))
	f.Add([]byte{0, 0, 0xff, 0xff, 'I'})
	f.Fuzz(func(t *testing.T, b []byte) {
		r := &reader{server: said{strings.NewReader(string(b))}}
		var end frame.CapturedMessage
		for items := 0; ; items++ {
			m, content, last, err := r.next(&end)
			if content != nil || m.Content && err == nil {
				t.Fatal("content out of nowhere")
			}
			if err != nil || last {
				return
			}
			if m.Origin != frame.OriginLayer || len(m.Path) > frame.MaxItemPath || items > len(b) {
				t.Fatalf("item %+v", m)
			}
		}
	})
}
