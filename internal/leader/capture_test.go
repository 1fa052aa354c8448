package leader

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/sandtrap/sandtrap/internal/attach"
	"github.com/sandtrap/sandtrap/internal/frame"
)

// found is what a leader told.
type found struct {
	items   []frame.ItemMessage
	content []string // of each
}

func (f *found) Item(m frame.ItemMessage) error {
	f.items, f.content = append(f.items, m), append(f.content, "")
	return nil
}

func (f *found) Content(p []byte) error {
	f.content[len(f.content)-1] += string(p)
	return nil
}

// find returns the first item that is it.
func (f *found) find(t *testing.T, is func(m frame.ItemMessage) bool) (frame.ItemMessage, string) {
	t.Helper()
	for i, m := range f.items {
		if is(m) {
			return m, f.content[i]
		}
	}
	t.Errorf("not told; there are %d items", len(f.items))
	return frame.ItemMessage{}, ""
}

var wide = frame.CaptureMessage{Items: 10000, FileBytes: 8 << 20, Bytes: 64 << 20, Milliseconds: 20000}

// prepared is a container in which somebody was.
func prepared(t *testing.T) *attach.Leader {
	t.Helper()
	l := container(t, "leader")
	enter(t, l, "root")
	got := output(t, l, shell(`exec 2>&1; mkdir -p /run/a/b && cd /run/a/b && printf first >one && ln one two && ln -s /etc/shadow link && mkfifo pipe &&
		head -c 3000000 /dev/zero >big && truncate -s 1G sparse && printf x >'new
line' && cp "$(command -v sleep)" /run/gone && { /run/gone 1000 >/dev/null 2>&1 </dev/null & } && sleep 0.2 && rm /run/gone && echo done`))
	if !strings.HasSuffix(got.stdout, "done\n") {
		t.Fatalf("prepare: %+v", got)
	}
	return l
}

func TestCapture(t *testing.T) {
	l := prepared(t)
	var f found
	end, err := l.Capture(t.Context(), wide, &f)
	if err != nil || end.Stop != 0 {
		t.Fatalf("%+v, %v", end, err)
	}
	sleeping, _ := f.find(t, func(m frame.ItemMessage) bool {
		return m.Kind == frame.KindProcess && m.Text == "/run/gone\x001000\x00"
	})
	if age := time.Since(time.Unix(0, sleeping.Modified)); sleeping.Path != "/run/gone (deleted)" || sleeping.PPID == 0 || age < -10*time.Second || age > 5*time.Minute {
		t.Errorf("process %+v, %s old", sleeping, age)
	}
	gone, content := f.find(t, func(m frame.ItemMessage) bool { return m.Path == "/run/gone (deleted)" && m.Kind == frame.KindFile })
	if gone.Note != frame.NoteDeleted || uint64(len(content)) != gone.Size || !strings.HasPrefix(content, "\x7fELF") {
		t.Errorf("executable %+v with %d bytes", gone, len(content))
	}
	f.find(t, func(m frame.ItemMessage) bool { return m.Kind == frame.KindProcess && m.PID == 1 })
	f.find(t, func(m frame.ItemMessage) bool {
		return m.Kind == frame.KindNet && m.Path == "/proc/net/tcp" && strings.Contains(m.Text, ":0016")
	})
	_, one := f.find(t, func(m frame.ItemMessage) bool { return m.Path == "/run/a/b/one" || m.Path == "/run/a/b/two" })
	second, none := f.find(t, func(m frame.ItemMessage) bool {
		return strings.HasPrefix(m.Path, "/run/a/b/") && m.Note == frame.NoteHardLink
	})
	if one != "first" || none != "" || second.Links != 2 {
		t.Errorf("two names: %q, %q", one, none)
	}
	if m, content := f.find(t, func(m frame.ItemMessage) bool { return m.Path == "/run/a/b/big" }); content != string(make([]byte, 3000000)) || m.Origin != frame.OriginTmpfs {
		t.Errorf("big: %d bytes", len(content))
	}
	if m, content := f.find(t, func(m frame.ItemMessage) bool { return m.Path == "/run/a/b/sparse" }); content != "" || m.Size != 1<<30 || m.Note != frame.NoteSparse {
		t.Errorf("sparse: %+v, %d bytes", m, len(content))
	}
	f.find(t, func(m frame.ItemMessage) bool { return m.Path == "/run/a/b/pipe" && m.Kind == frame.KindFIFO })
	f.find(t, func(m frame.ItemMessage) bool { return m.Path == "/run/a/b/new\nline" })
	for _, m := range f.items {
		if m.Path == "/run/a/b/link" {
			t.Error("a link was told")
		}
	}
	if _, err := l.Capture(t.Context(), wide, &f); err == nil {
		t.Error("it tells twice")
	}
}

func TestCaptureKeepsBounds(t *testing.T) {
	for name, tt := range map[string]struct {
		m    frame.CaptureMessage
		want frame.Stop
	}{
		"items": {frame.CaptureMessage{Items: 3, FileBytes: 8 << 20, Bytes: 64 << 20, Milliseconds: 20000}, frame.StopItems},
		"time":  {frame.CaptureMessage{Items: 1000, FileBytes: 8 << 20, Bytes: 64 << 20}, frame.StopTime},
		"bytes": {frame.CaptureMessage{Items: 100000, FileBytes: 100, Bytes: 150, Milliseconds: 20000}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			l := prepared(t)
			var f found
			end, err := l.Capture(t.Context(), tt.m, &f)
			if err != nil || end.Stop != tt.want || (tt.want != 0 && end.Omitted == 0) || len(f.items) > int(tt.m.Items) {
				t.Errorf("%+v, %v, %d items", end, err, len(f.items))
			}
			all := 0
			for _, content := range f.content {
				all += len(content)
				if uint64(len(content)) > tt.m.FileBytes {
					t.Errorf("%d bytes of one", len(content))
				}
			}
			if uint64(all) > tt.m.Bytes {
				t.Errorf("%d bytes", all)
			}
		})
	}
}

// TestSecondCapture ends a leader: the front end asks once.
func TestSecondCapture(t *testing.T) {
	if err := (&worker{captured: true}).capture(wide.Encode()); err == nil {
		t.Error("no error")
	}
	if err := (&worker{}).capture(bytes.Repeat([]byte{1}, 3)); err == nil {
		t.Error("no error for what is no message")
	}
}

// TestOnlyContainersAreStopped: elsewhere a signal to all would reach everybody.
func TestOnlyContainersAreStopped(t *testing.T) {
	ids, err := readProc("/proc/self/uid_map")
	if err != nil {
		t.Skip(err)
	}
	f := strings.Fields(string(ids))
	if whole := len(f) == 3 && f[2] == "4294967295"; whole == ownUsers() {
		t.Errorf("ids %q, taken for a container: %v", ids, ownUsers())
	}
}
