package capture

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sandtrap/sandtrap/internal/attach"
	"github.com/sandtrap/sandtrap/internal/evidence"
	"github.com/sandtrap/sandtrap/internal/frame"
)

// artifacts is a store in memory, which fails when told to.
type artifacts struct {
	kept                      map[string]string
	open                      int
	newErr, writeErr, keepErr error
}

type artifact struct {
	bytes.Buffer
	store *artifacts
}

func (s *artifacts) make() (Artifact, error) {
	if s.newErr != nil {
		return nil, s.newErr
	}
	s.open++
	return &artifact{store: s}, nil
}

func (a *artifact) Write(p []byte) (int, error) {
	if a.store.writeErr != nil {
		return 0, a.store.writeErr
	}
	return a.Buffer.Write(p)
}

func (a *artifact) Commit(sha256 string, size int64) error {
	a.store.open--
	if a.store.keepErr != nil {
		return a.store.keepErr
	}
	a.store.kept[sha256] = a.String()[:size]
	return nil
}

func (a *artifact) Discard() { a.store.open-- }

func sumOf(content string) string {
	sum := sha256.Sum256([]byte(content))
	return hex.EncodeToString(sum[:])
}

// stage is a capture with its surroundings.
type stage struct {
	*testing.T
	*Capture
	store artifacts
	out   bytes.Buffer
	kept  []evidence.CaptureEntry
	dir   string
}

func begin(t *testing.T, change func(*Options)) *stage {
	s := &stage{T: t, store: artifacts{kept: map[string]string{}}, dir: t.TempDir()}
	o := Options{
		Limits: Limits{FileBytes: 1 << 20, SessionBytes: 4 << 20, Files: 100, Time: time.Minute}, Since: time.Now(), To: &s.out,
		NewArtifact: s.store.make, Kept: func(e evidence.CaptureEntry) { s.kept = append(s.kept, e) },
	}
	if change != nil {
		change(&o)
	}
	s.Capture = New(o)
	return s
}

// end closes the capture and returns its lines.
func (s *stage) end() ([]evidence.CaptureEntry, evidence.Capture, error) {
	s.Helper()
	sum, err := s.Close()
	if s.store.open != 0 {
		s.Errorf("%d artifacts are left open", s.store.open)
	}
	var list []evidence.CaptureEntry
	for d := json.NewDecoder(&s.out); d.More(); {
		var e evidence.CaptureEntry
		if err := d.Decode(&e); err != nil {
			s.Fatal(err)
		}
		list = append(list, e)
	}
	return list, sum, err
}

// file is an item of the layer that has changed just now.
func file(path string, size int) frame.ItemMessage {
	return frame.ItemMessage{
		Kind: frame.KindFile, Origin: frame.OriginLayer, Change: frame.Added, Path: path, Size: uint64(size), Content: size > 0,
		Mode: 0o100755, UID: 1000, GID: 1000, Links: 1, Altered: time.Now().UnixNano(), Modified: 1e18,
	}
}

// told is an item with what is in the file of its content.
type told struct {
	frame.ItemMessage
	content string
}

// layer captures a layer that holds items.
func (s *stage) layer(ctx context.Context, items ...told) {
	s.Layer(ctx, func(_ context.Context, each func(frame.ItemMessage, *os.File) error) (frame.CapturedMessage, error) {
		for _, i := range items {
			var f *os.File
			if i.Content {
				path := filepath.Join(s.dir, "content")
				if err := os.WriteFile(path, []byte(i.content), 0o600); err != nil {
					s.Fatal(err)
				}
				f, _ = os.Open(path)
			}
			err := each(i.ItemMessage, f)
			if f != nil {
				f.Close()
			}
			if err != nil {
				return frame.CapturedMessage{}, err
			}
		}
		return frame.CapturedMessage{}, nil
	})
}

const elf = "\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\x3e\x00\x01\x00\x00\x00"

func TestLayer(t *testing.T) {
	s := begin(t, nil)
	old := file("/run/crond.pid", 3)
	old.Altered = time.Now().Add(-time.Minute).UnixNano()
	first, second := file("/root/x", len(elf)), file("/root/y", len(elf))
	first.Links, first.Inode, first.Device = 2, 7, 1
	second.Links, second.Inode, second.Device, second.Content, second.Note = 2, 7, 1, false, frame.NoteHardLink
	gone := frame.ItemMessage{Kind: frame.KindUnknown, Origin: frame.OriginLayer, Change: frame.Deleted, Path: "/etc/issue", Altered: time.Now().UnixNano()}
	link := file("/tmp/a\n../\xff", 0)
	link.Kind, link.Link, link.Change = frame.KindLink, "/etc/shadow", frame.Changed
	s.layer(t.Context(), told{old, "123"}, told{first, elf}, told{second, ""}, told{gone, ""}, told{link, ""}, told{file("/empty", 0), ""})
	list, sum, err := s.end()
	if err != nil || len(list) != 5 {
		t.Fatalf("%v, entries %+v", err, list)
	}
	for _, e := range list[:2] {
		if e.SHA256 != sumOf(elf) || !strings.Contains(e.Type, "elf") && !strings.Contains(e.Type, "executable") || *e.Size != int64(len(elf)) || !*e.Complete ||
			e.Mode != "0755" || *e.UID != 1000 || e.Links != 2 || e.Modified.Unix() != 1e9 {
			t.Errorf("entry %+v", e)
		}
	}
	if list[1].Reason != reasonHardLink || s.store.kept[sumOf(elf)] != elf || len(s.kept) != 2 {
		t.Errorf("second name %+v, kept %d, %d reported", list[1], len(s.store.kept), len(s.kept))
	}
	if e := list[2]; e.Change != "deleted" || e.Path != "/etc/issue" || e.UID != nil || e.Mode != "" {
		t.Errorf("deleted %+v", e)
	}
	if e := list[3]; e.Kind != "link" || e.Path != "/tmp/a\n../\xff" || e.Link != "/etc/shadow" || e.SHA256 != "" {
		t.Errorf("link %+v", e)
	}
	sum.Duration = 0
	want := evidence.Capture{
		File: evidence.CaptureFile, Volatile: notTried, Layer: complete, Files: 3, Added: 3, Changed: 1, Deleted: 1,
		Artifacts: 2, Captured: int64(len(elf)), Earlier: 1,
	}
	if diff := cmp.Diff(want, sum); diff != "" {
		t.Errorf("summary (-want +got):\n%s", diff)
	}
}

func TestLimits(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(*Options)
		want   []string // reason of each, "+" for those with an artifact
		layer  string
	}{
		"file":        {func(o *Options) { o.FileBytes = 4 }, []string{"+" + reasonFileLimit, "+" + reasonFileLimit}, complete},
		"session":     {func(o *Options) { o.SessionBytes = 6 }, []string{"+", "+" + reasonSessionLimit}, complete},
		"no content":  {func(o *Options) { o.FileBytes = 0 }, []string{reasonFileLimit, reasonFileLimit}, complete},
		"one entry":   {func(o *Options) { o.Files = 1 }, []string{"+"}, reasonFiles},
		"little room": {func(o *Options) { o.Low = func() bool { return true } }, []string{reasonSpace, reasonSpace}, complete},
	} {
		t.Run(name, func(t *testing.T) {
			s := begin(t, tt.change)
			s.layer(t.Context(), told{file("/a", 5), "12345"}, told{file("/b", 5), "67890"})
			list, sum, err := s.end()
			var got []string
			for _, e := range list {
				mark := ""
				if e.SHA256 != "" {
					mark = "+"
				}
				got = append(got, mark+e.Reason)
				if *e.Complete != (e.Captured == 5) {
					t.Errorf("complete: %+v", e)
				}
			}
			if diff := cmp.Diff(tt.want, got); diff != "" || err != nil || sum.Layer != tt.layer {
				t.Errorf("%v, layer %q, reasons (-want +got):\n%s", err, sum.Layer, diff)
			}
			if sum.Omitted != 2-len(list) {
				t.Errorf("%d omitted", sum.Omitted)
			}
		})
	}
}

func TestSparse(t *testing.T) {
	s := begin(t, nil)
	path := filepath.Join(s.dir, "sparse")
	if err := os.WriteFile(path, []byte("begin"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, 1<<40); err != nil {
		t.Skip("no sparse files here: ", err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	m := file("/sparse", 1)
	m.Size = 1 << 40
	s.Layer(t.Context(), func(_ context.Context, each func(frame.ItemMessage, *os.File) error) (frame.CapturedMessage, error) {
		return frame.CapturedMessage{}, each(m, f)
	})
	list, sum, err := s.end()
	if err != nil || len(list) != 1 || list[0].Reason != reasonSparse || *list[0].Complete || sum.Captured > 64<<10 || sum.Captured < 5 {
		t.Errorf("%v, %+v, %+v", err, list, sum)
	}
}

// TestStoreFails: entries go on without content.
func TestStoreFails(t *testing.T) {
	broken := errors.New("no space left")
	for name, spoil := range map[string]func(*artifacts){
		"new":    func(a *artifacts) { a.newErr = broken },
		"write":  func(a *artifacts) { a.writeErr = broken },
		"commit": func(a *artifacts) { a.keepErr = broken },
	} {
		t.Run(name, func(t *testing.T) {
			s := begin(t, nil)
			spoil(&s.store)
			s.layer(t.Context(), told{file("/a", 5), "12345"}, told{file("/b", 5), "67890"})
			list, sum, err := s.end()
			if !errors.Is(err, broken) || len(list) != 2 || sum.Error == "" || len(s.kept) != 0 {
				t.Fatalf("%v, %+v, %+v", err, list, sum)
			}
			for _, e := range list {
				if e.Reason != reasonStore || e.SHA256 != "" {
					t.Errorf("entry %+v", e)
				}
			}
		})
	}
}

type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, os.ErrClosed }

// TestLinesFail: what cannot be written is said.
func TestLinesFail(t *testing.T) {
	s := begin(t, func(o *Options) { o.To, o.Files = brokenWriter{}, 10000 })
	var items []told
	for range 1000 {
		items = append(items, told{file("/"+strings.Repeat("x", 200), 0), ""})
	}
	s.layer(t.Context(), items...)
	_, sum, err := s.end()
	if !errors.Is(err, os.ErrClosed) || sum.Error == "" || sum.Layer == complete {
		t.Errorf("%v, %+v", err, sum)
	}
}

func TestEnds(t *testing.T) {
	for name, tt := range map[string]struct {
		cause error
		end   frame.CapturedMessage
		err   error
		want  string
	}{
		"time":         {cause: context.DeadlineExceeded, want: reasonTime},
		"yields":       {cause: ErrYield, want: ErrYield.Error()},
		"helper: time": {end: frame.CapturedMessage{Stop: frame.StopTime, Omitted: 3}, want: reasonTime},
		"helper: many": {end: frame.CapturedMessage{Stop: frame.StopItems, Omitted: 3}, want: reasonFiles},
		"helper: gone": {end: frame.CapturedMessage{Stop: frame.StopError}, want: reasonTold},
		"no helper":    {err: errors.New("connection refused"), want: "connection refused"},
	} {
		t.Run(name, func(t *testing.T) {
			s := begin(t, nil)
			ctx, cancel := context.WithCancelCause(t.Context())
			defer cancel(nil)
			if tt.cause != nil {
				cancel(tt.cause)
				s.layer(ctx, told{file("/a", 5), "12345"})
			} else {
				s.Layer(ctx, func(context.Context, func(frame.ItemMessage, *os.File) error) (frame.CapturedMessage, error) {
					return tt.end, tt.err
				})
			}
			if _, sum, err := s.end(); sum.Layer != tt.want || err != nil || sum.Omitted != int(tt.end.Omitted) {
				t.Errorf("%v, %+v", err, sum)
			}
		})
	}
}

// leader tells what it likes.
type leader func(m frame.CaptureMessage, to attach.Captured) (frame.CapturedMessage, error)

func (l leader) Capture(_ context.Context, m frame.CaptureMessage, to attach.Captured) (frame.CapturedMessage, error) {
	return l(m, to)
}

func TestVolatile(t *testing.T) {
	s := begin(t, nil)
	memfd := file("/memfd:x (deleted)", 3)
	memfd.Origin, memfd.Change, memfd.Note, memfd.PID = frame.OriginProcess, 0, frame.NoteMemfd, 9
	short := file("/dev/shm/x", 300)
	short.Origin, short.Change = frame.OriginTmpfs, 0
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	s.Volatile(ctx, leader(func(m frame.CaptureMessage, to attach.Captured) (frame.CapturedMessage, error) {
		if m.Items != 25 || m.Milliseconds == 0 || m.Milliseconds > 54000 || m.FileBytes != 1<<20 || m.Bytes != 4<<20 {
			t.Errorf("asked for %+v", m)
		}
		err := errors.Join(
			to.Item(frame.ItemMessage{Kind: frame.KindProcess, Origin: frame.OriginProcess, PID: 9, PPID: 1, Path: "/memfd:x (deleted)", Text: "a\x00b c\x00\xff\x00", Modified: 1e18}),
			to.Item(memfd), to.Content([]byte("x")), to.Content([]byte("yz")),
			to.Item(frame.ItemMessage{Kind: frame.KindNet, Origin: frame.OriginProcess, Path: "/proc/net/tcp", Text: "0: 0100007F:0016"}),
			to.Item(short), to.Content([]byte("some")))
		return frame.CapturedMessage{}, err
	}))
	list, sum, err := s.end()
	if err != nil || len(list) != 4 || sum.Volatile != complete || sum.Layer != notTried || sum.Processes != 1 || sum.Artifacts != 2 {
		t.Fatalf("%v, %+v, %+v", err, list, sum)
	}
	if diff := cmp.Diff([]evidence.Text{"a", "b c", "\xff"}, list[0].Arguments); diff != "" || list[0].PID != 9 || list[0].PPID != 1 {
		t.Errorf("process %+v", list[0])
	}
	if e := list[1]; e.SHA256 != sumOf("xyz") || e.Reason != reasonMemfd || !*e.Complete || e.Where != "process" {
		t.Errorf("memfd %+v", e)
	}
	if e := list[2]; e.Kind != "net" || e.Line != "0: 0100007F:0016" {
		t.Errorf("socket %+v", e)
	}
	if e := list[3]; e.SHA256 != sumOf("some") || *e.Complete || e.Reason != reasonShort {
		t.Errorf("short %+v", e)
	}
}

// TestLeaderThatEnds keeps what it has told.
func TestLeaderThatEnds(t *testing.T) {
	s := begin(t, nil)
	m := file("/dev/shm/x", 300)
	m.Origin, m.Change = frame.OriginTmpfs, 0
	s.Volatile(t.Context(), leader(func(_ frame.CaptureMessage, to attach.Captured) (frame.CapturedMessage, error) {
		_, _ = to.Item(m), to.Content([]byte("some"))
		return frame.CapturedMessage{}, errors.New("the leader breaks the protocol")
	}))
	if list, sum, err := s.end(); err != nil || len(list) != 1 || list[0].SHA256 != sumOf("some") || sum.Volatile != "the leader breaks the protocol" {
		t.Errorf("%v, %+v, %+v", err, list, sum)
	}
}

// TestClockSetBack: what is older than the session by the clock may not be by what
// happened.
func TestClockSetBack(t *testing.T) {
	since := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	for name, tt := range map[string]struct{ wall, passed, want time.Duration }{
		"right":     {time.Minute, time.Minute, 0},
		"set ahead": {time.Hour, time.Minute, 0},
		"set back":  {-time.Hour, time.Minute, -time.Hour - time.Minute},
	} {
		if got := threshold(since, since.Add(tt.wall), tt.passed).Sub(since); got != tt.want-clockMargin {
			t.Errorf("%s: the threshold moved by %s", name, got)
		}
	}
}

// FuzzItems is a leader that tells anything, in any order.
func FuzzItems(f *testing.F) {
	m := file("/x", 3)
	f.Add(m.Encode(), []byte("abc"), uint8(1))
	f.Fuzz(func(t *testing.T, payload, content []byte, order uint8) {
		var m frame.ItemMessage
		if m.Decode(payload) != nil {
			return
		}
		s := begin(t, func(o *Options) { o.FileBytes, o.SessionBytes, o.Files = 10, 25, 5 })
		for i := range 8 {
			if order>>i&1 == 1 {
				_ = s.Item(m)
			} else {
				_ = s.Content(content)
			}
		}
		list, sum, err := s.end()
		if err != nil || len(list) > 5 || sum.Captured > 25 {
			t.Errorf("%v, %d entries, %+v", err, len(list), sum)
		}
		for _, e := range list {
			if e.SHA256 != "" && s.store.kept[e.SHA256] == "" {
				t.Errorf("entry %+v", e)
			}
		}
	})
}
