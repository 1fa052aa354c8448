package transfer

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// packet is a packet of SFTP out of numbers and strings.
func packet(kind byte, parts ...any) []byte {
	p := []byte{0, 0, 0, 0, kind}
	for _, part := range parts {
		switch v := part.(type) {
		case int:
			p = binary.BigEndian.AppendUint32(p, uint32(v))
		case int64:
			p = binary.BigEndian.AppendUint64(p, uint64(v))
		case string:
			p = append(binary.BigEndian.AppendUint32(p, uint32(len(v))), v...)
		default:
			panic(fmt.Sprintf("%T in a packet", part))
		}
	}
	binary.BigEndian.PutUint32(p, uint32(len(p)-4))
	return p
}

// script is a conversation: what is sent, and what is answered to it.
type script struct {
	*stage
	id int
}

func sftpScript(t testing.TB, limits Limits) *script {
	return &script{stage: watch(t, SFTPServer, limits)}
}

// ask sends a request and returns its id.
func (s *script) ask(kind byte, parts ...any) int {
	s.id++
	s.Input(packet(kind, append([]any{s.id}, parts...)...))
	return s.id
}

func (s *script) status(id, code int) { s.Output(packet(sftpStatus, id, code, "", "")) }

// open opens a file, without attributes.
func (s *script) open(name string, flags int, handle string) {
	s.Output(packet(sftpHandle, s.ask(sftpOpen, name, flags, 0), handle))
}

func (s *script) write(handle string, off int64, data string) {
	s.status(s.ask(sftpWrite, handle, off, data), statusOK)
}

func (s *script) read(handle string, off int64, n int, data string) {
	id := s.ask(sftpRead, handle, off, n)
	if data == "" {
		s.status(id, statusEOF)
	} else {
		s.Output(packet(sftpData, id, data))
	}
}

func (s *script) closeFile(handle string) { s.status(s.ask(sftpClose, handle), statusOK) }

const (
	fresh  = openWrite | openCreate | openTrunc
	rework = openWrite | openCreate
)

// TestContent: what a file comes to, however it was written.
func TestContent(t *testing.T) {
	tests := []struct {
		name    string
		flags   int
		run     func(s *script)
		content string // of the artifact
		want    File   // without hashes, name and such
	}{
		{"in order", fresh, func(s *script) {
			s.write("h", 0, "abc")
			s.write("h", 3, "def")
		}, "abcdef", File{Size: 6, Transferred: 6, Complete: true}},
		{"out of order", fresh, func(s *script) {
			s.write("h", 3, "def")
			s.write("h", 0, "abc")
		}, "abcdef", File{Size: 6, Transferred: 6, Complete: true}},
		{"overlapping", fresh, func(s *script) {
			s.write("h", 0, "aaaa")
			s.write("h", 1, "b")
			s.write("h", 3, "cc")
			s.write("h", 2, "d")
		}, "abdcc", File{Size: 5, Transferred: 8, Complete: true}},
		{"answers out of order", fresh, func(s *script) {
			first := s.ask(sftpWrite, "h", int64(0), "abc")
			second := s.ask(sftpWrite, "h", int64(3), "def")
			s.status(second, statusOK)
			s.status(first, statusOK)
		}, "abcdef", File{Size: 6, Transferred: 6, Complete: true}},
		{"refused in between", fresh, func(s *script) {
			s.write("h", 0, "abc")
			s.status(s.ask(sftpWrite, "h", int64(3), "XXX"), 4)
			s.write("h", 3, "def")
		}, "abcdef", File{Size: 6, Transferred: 6, Complete: true}},
		{"refused at the end", fresh, func(s *script) {
			s.write("h", 0, "abc")
			s.status(s.ask(sftpWrite, "h", int64(3), "XXX"), 4)
		}, "abc", File{Size: 3, Transferred: 3, Complete: true}},
		{"no bytes at all, far away", fresh, func(s *script) {
			s.write("h", 0, "abc")
			s.write("h", 1<<40, "")
		}, "abc", File{Size: 3, Transferred: 3, Complete: true}},
		{"never answered", fresh, func(s *script) {
			s.write("h", 0, "abc")
			s.ask(sftpWrite, "h", int64(3), "XXX")
		}, "abc", File{Size: 3, Transferred: 3, Complete: true}},
		{"nothing", fresh, func(*script) {}, "", File{Complete: true}},
		{"a gap in a new file", fresh, func(s *script) {
			s.write("h", 1, "b")
			s.write("h", 4, "e")
		}, "\x00b\x00\x00e", File{Size: 5, Transferred: 2, Complete: true}},
		{"a gap in an old file", rework, func(s *script) {
			s.write("h", 0, "a")
			s.write("h", 4, "e")
		}, "ae", File{Size: 5, Transferred: 2, Reason: reasonSparse}},
		{"a giant gap", fresh, func(s *script) {
			s.write("h", 0, "a")
			s.write("h", 1<<60, "z")
		}, "az", File{Size: 1<<60 + 1, Transferred: 2, Reason: reasonSparse}},
		{"beyond any file", fresh, func(s *script) {
			s.write("h", 0, "a")
			s.write("h", -1, "z")
		}, "a", File{Size: 1, Transferred: 1, Reason: reasonOrder}},
		{"resumed", rework, func(s *script) {
			s.write("h", 100, "abc")
			s.write("h", 103, "def")
		}, "abcdef", File{Size: 106, Transferred: 6, Offset: 100, Reason: reasonResumed}},
		{"appended", rework | openAppend, func(s *script) {
			s.write("h", 100, "abc")
			s.write("h", 0, "def")
		}, "abcdef", File{Size: 106, Transferred: 6, Offset: 100, Reason: reasonResumed}},
		{"truncated", fresh, func(s *script) {
			s.write("h", 0, "abcdef")
			s.status(s.ask(sftpFsetstat, "h", hasSize, int64(2)), statusOK)
			s.write("h", 4, "x")
		}, "ab\x00\x00x", File{Size: 5, Transferred: 7, Complete: true}},
		{"truncated, refused", fresh, func(s *script) {
			s.write("h", 0, "abcdef")
			s.status(s.ask(sftpFsetstat, "h", hasSize, int64(2)), 3)
		}, "abcdef", File{Size: 6, Transferred: 6, Complete: true}},
		{"made longer", fresh, func(s *script) {
			s.write("h", 0, "ab")
			s.status(s.ask(sftpFsetstat, "h", hasSize, int64(4)), statusOK)
		}, "ab\x00\x00", File{Size: 4, Transferred: 2, Complete: true}},
		{"made giant", fresh, func(s *script) {
			s.write("h", 0, "ab")
			s.status(s.ask(sftpFsetstat, "h", hasSize, int64(1)<<50), statusOK)
		}, "ab", File{Size: 1 << 50, Transferred: 2, Reason: reasonSparse}},
		{"copied into by the server", fresh, func(s *script) {
			s.write("h", 0, "ab")
			s.status(s.ask(sftpExtended, "copy-data", "other", int64(0), int64(0), "h", int64(0)), statusOK)
		}, "ab", File{Size: 2, Transferred: 2, Reason: reasonCopied}},
		{"more than of one file", fresh, func(s *script) {
			for i := range 5 {
				s.write("h", int64(i)*4, "abcd")
			}
		}, "abcdabcdab", File{Size: 20, Transferred: 20, Reason: reasonFileLimit}},
		{"more than of one file, out of order", fresh, func(s *script) {
			s.write("h", 8, "ijkl")
			s.write("h", 4, "efgh")
			s.write("h", 0, "abcd")
		}, "abefghijkl", File{Size: 12, Transferred: 12, Reason: reasonFileLimit}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := sftpScript(t, Limits{File: 10, Session: 100})
			s.open("name\xff", tt.flags, "h")
			tt.run(s)
			s.closeFile("h")
			got, content := s.finish().file()
			if content != tt.content {
				t.Errorf("content %q, want %q", content, tt.content)
			}
			if got.Complete && got.SHA256 != hexHash([]byte(content)) {
				t.Errorf("hash %s", got.SHA256)
			}
			tt.want.Protocol, tt.want.Direction, tt.want.Name, tt.want.Mode, tt.want.Modified = SFTP, Upload, "name\xff", -1, -1
			tt.want.Captured, tt.want.Artifact, tt.want.SHA256 = int64(len(content)), got.Artifact, got.SHA256
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
			s.quiet()
		})
	}
}

// TestHashOfWhatIsNotKept: the limit is one of space, not of knowledge.
func TestHashOfWhatIsNotKept(t *testing.T) {
	s := sftpScript(t, Limits{File: 10, Session: 13})
	for i, content := range []string{"0123456789abcdef", "0123456789abcdef", ""} {
		s.open(fmt.Sprint(i), fresh, "h")
		s.write("h", 0, content)
		s.closeFile("h")
	}
	s.finish().quiet()
	whole := hexHash([]byte("0123456789abcdef"))
	for i, want := range []File{
		{SHA256: whole, Artifact: hexHash([]byte("0123456789")), Captured: 10, Reason: reasonFileLimit},
		{SHA256: whole, Artifact: hexHash([]byte("012")), Captured: 3, Reason: reasonSessionLimit},
		{SHA256: hexHash(nil), Complete: true},
	} {
		got := s.files[i]
		if got.SHA256 != want.SHA256 || got.Artifact != want.Artifact || got.Captured != want.Captured || got.Reason != want.Reason || got.Complete != want.Complete {
			t.Errorf("file %d: %+v", i, got)
		}
	}
}

// TestLimitInFlight: clients write on before they have an answer.
func TestLimitInFlight(t *testing.T) {
	s := sftpScript(t, Limits{File: 3, Session: 100})
	s.open("f", fresh, "h")
	ids := []int{s.ask(sftpWrite, "h", int64(0), "ab"), s.ask(sftpWrite, "h", int64(2), "cd"), s.ask(sftpWrite, "h", int64(4), "ef")}
	for _, id := range ids {
		s.status(id, statusOK)
	}
	s.closeFile("h")
	f, content := s.finish().file()
	if content != "abc" || f.Complete || f.Reason != reasonFileLimit || f.SHA256 != hexHash([]byte("abcdef")) {
		t.Errorf("%q, %+v", content, f)
	}
}

// TestNothingIsKept: what limits of 0 mean.
func TestNothingIsKept(t *testing.T) {
	for want, limits := range map[string]Limits{reasonFileLimit: {Session: 1}, reasonSessionLimit: {File: 1}} {
		s := sftpScript(t, limits)
		s.open("f", fresh, "h")
		s.write("h", 0, "abc")
		s.closeFile("h")
		s.open("empty", fresh, "h")
		s.write("h", 0, "")
		s.closeFile("h")
		s.finish()
		if f := s.files[0]; f.Reason != want || f.Artifact != "" || f.SHA256 != hexHash([]byte("abc")) || s.store.made != 0 {
			t.Errorf("%+v, %d temporary files", f, s.store.made)
		}
		if f := s.files[1]; !f.Complete {
			t.Errorf("%+v", f)
		}
	}
}

// TestRandomWrites compares what is captured with a file.
func TestRandomWrites(t *testing.T) {
	for seed := range uint64(300) {
		random := rand.New(rand.NewPCG(seed, 1))
		s := sftpScript(t, generous)
		s.open("f", fresh, "h")
		var model []byte
		type pending struct {
			id, off int
			data    string
		}
		var queue []pending
		for range 40 {
			off, n := random.IntN(200), 1+random.IntN(60)
			if random.IntN(2) == 0 {
				off = len(model)
			}
			data := strings.Repeat(string(rune('a'+random.IntN(26))), n)
			queue = append(queue, pending{s.ask(sftpWrite, "h", int64(off), data), off, data})
			for len(queue) > random.IntN(4) {
				p := queue[0]
				queue = queue[1:]
				if random.IntN(8) == 0 {
					s.status(p.id, 4)
					continue
				}
				s.status(p.id, statusOK)
				if need := p.off + len(p.data); need > len(model) {
					model = append(model, make([]byte, need-len(model))...)
				}
				copy(model[p.off:], p.data)
			}
			if random.IntN(10) == 0 && len(queue) == 0 {
				size := random.IntN(150)
				s.status(s.ask(sftpFsetstat, "h", hasSize, int64(size)), statusOK)
				model = append(model, make([]byte, 150)...)[:size]
			}
		}
		for _, p := range queue {
			s.status(p.id, 4)
		}
		s.closeFile("h")
		f, content := s.finish().file()
		if content != string(model) || !f.Complete || f.SHA256 != hexHash(model) || f.Size != int64(len(model)) {
			t.Fatalf("seed %d: %+v\n%q\nwant\n%q", seed, f, content, model)
		}
	}
}

// TestGuessedHandles: servers count handles up from 0, so that a client need not
// wait for one to write to it.
func TestGuessedHandles(t *testing.T) {
	s := sftpScript(t, generous)
	s.open("old", fresh, "h")
	s.write("h", 0, "old content")
	closing := s.ask(sftpClose, "h")
	opening := s.ask(sftpOpen, "new", fresh, 0)
	first := s.ask(sftpWrite, "h", int64(0), "new ")
	second := s.ask(sftpWrite, "h", int64(4), "content")
	closingNew := s.ask(sftpClose, "h")
	s.status(closing, statusOK)
	s.Output(packet(sftpHandle, opening, "h"))
	s.status(first, statusOK)
	s.status(second, statusOK)
	s.status(closingNew, statusOK)
	s.finish().quiet()
	for i, want := range []string{"old content", "new content"} {
		f := s.files[i]
		if got := string(s.store.kept[f.Artifact]); got != want || !f.Complete || f.SHA256 != hexHash([]byte(want)) {
			t.Errorf("%s: %q, %+v", f.Name, got, f)
		}
	}
}

// TestGuessedHandleAnsweredLate: content that waited lies over what came later if
// the server says so.
func TestGuessedHandleAnsweredLate(t *testing.T) {
	for _, flags := range []int{fresh, fresh | openAppend} {
		s := sftpScript(t, generous)
		opening := s.ask(sftpOpen, "f", flags, 0)
		early := s.ask(sftpWrite, "h", int64(0), "abc")
		s.Output(packet(sftpHandle, opening, "h"))
		late := s.ask(sftpWrite, "h", int64(0), "xyz")
		s.status(late, statusOK)
		s.status(early, statusOK)
		s.closeFile("h")
		want := "abc"
		if flags != fresh {
			want = "xyzabc"
		}
		if f, content := s.finish().file(); content != want || f.SHA256 != hexHash([]byte(want)) {
			t.Errorf("flags %x: %q, %+v", flags, content, f)
		}
	}
}

// TestSameID: a client may give all requests one id; servers answer in order.
func TestSameID(t *testing.T) {
	s := sftpScript(t, generous)
	for _, p := range [][]byte{
		packet(sftpOpen, 7, "a", fresh, 0), packet(16, 7, "."), packet(sftpWrite, 7, "\x00\x00\x00\x00", int64(0), "abc"), packet(sftpClose, 7, "\x00\x00\x00\x00"),
	} {
		s.Input(p)
	}
	for _, p := range [][]byte{
		packet(sftpHandle, 7, "\x00\x00\x00\x00"), packet(104, 7, 1, "/", "/", 0), packet(sftpStatus, 7, 0), packet(sftpStatus, 7, 0),
	} {
		s.Output(p)
	}
	if f, content := s.finish().file(); content != "abc" || !f.Complete {
		t.Errorf("%q, %+v", content, f)
	}
	s.quiet()
}

func TestDownloads(t *testing.T) {
	for _, tt := range []struct {
		name    string
		run     func(s *script)
		content string
		want    File
	}{
		{"to the end", func(s *script) {
			s.read("h", 0, 3, "abc")
			s.read("h", 3, 3, "d")
			s.read("h", 4, 3, "")
		}, "abcd", File{Size: 4, Transferred: 4, Complete: true}},
		{"to the size that was told", func(s *script) {
			s.Output(packet(sftpAttrs, s.ask(sftpFstat, "h"), hasSize|hasMode|hasTimes, int64(3), 0o100755, 1, 2))
			s.read("h", 0, 3, "abc")
		}, "abc", File{Size: 3, Transferred: 3, Complete: true, Mode: 0o755, Modified: 2}},
		{"out of order", func(s *script) {
			s.read("h", 3, 3, "def")
			s.read("h", 0, 3, "abc")
			s.read("h", 6, 3, "")
		}, "abcdef", File{Size: 6, Transferred: 6, Complete: true}},
		{"in part", func(s *script) {
			s.read("h", 0, 3, "abc")
		}, "abc", File{Size: 3, Transferred: 3, Reason: reasonUnread}},
		{"the middle", func(s *script) {
			s.read("h", 10, 3, "abc")
			s.read("h", 13, 3, "")
		}, "abc", File{Size: 13, Transferred: 3, Offset: 10, Reason: reasonResumed}},
		{"empty", func(s *script) { s.read("h", 0, 3, "") }, "", File{Complete: true}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := sftpScript(t, generous)
			s.open("f", openRead, "h")
			tt.run(s)
			s.closeFile("h")
			got, content := s.finish().file()
			if content != tt.content || got.Artifact != "" && got.SHA256 != got.Artifact {
				t.Errorf("content %q", content)
			}
			if tt.want.Mode == 0 {
				tt.want.Mode, tt.want.Modified = -1, -1
			}
			tt.want.Protocol, tt.want.Direction, tt.want.Name = SFTP, Download, "f"
			tt.want.Captured, tt.want.Artifact, tt.want.SHA256 = int64(len(content)), got.Artifact, got.SHA256
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
			s.quiet()
		})
	}
}

// TestOpenedForBoth: one handle may be an upload and a download.
func TestOpenedForBoth(t *testing.T) {
	s := sftpScript(t, generous)
	s.open("f", openRead|rework, "h")
	s.read("h", 0, 3, "abc")
	s.write("h", 0, "xyz")
	s.closeFile("h")
	s.finish().quiet()
	if len(s.files) != 2 || s.files[0].Direction != Upload || s.files[0].SHA256 != hexHash([]byte("xyz")) || s.files[1].SHA256 != hexHash([]byte("abc")) {
		t.Errorf("files: %+v", s.files)
	}
}

func TestOperations(t *testing.T) {
	s := sftpScript(t, generous)
	s.Input(packet(1, 3))
	s.Output(packet(sftpVersion, 3, "posix-rename@openssh.com", "1"))
	s.open("f", fresh, "h")
	for _, id := range []int{
		s.ask(sftpExtended, "posix-rename@openssh.com", "a", "b"),
		s.ask(sftpExtended, "hardlink@openssh.com", "c", "d"),
		s.ask(sftpExtended, "lsetstat@openssh.com", "e", hasMode, 0o100600),
		s.ask(sftpExtended, "fsync@openssh.com", "h"),
		s.ask(sftpExtended, "nobody@knows.this", "h", 1, 2, 3),
		s.ask(sftpSetstat, "g", hasSize|hasOwner|hasMode|hasTimes, int64(5), 1, 2, 0o644, 3, 4),
		s.ask(sftpFsetstat, "h", hasMode, 0o755),
	} {
		s.status(id, statusOK)
	}
	s.status(s.ask(sftpRemove, strings.Repeat("x", maxName+1)), 2)
	s.closeFile("h")
	if f, _ := s.finish().file(); f.Mode != 0o755 {
		t.Errorf("file %+v", f)
	}
	s.quiet()
	want := []Operation{
		{SFTP, "rename", "a", "b", -1, -1, true},
		{SFTP, "link", "c", "d", -1, -1, true},
		{SFTP, "lsetstat", "e", "", 0o600, -1, true},
		{SFTP, "setstat", "g", "", 0o644, 5, true},
		{SFTP, "setstat", "f", "", 0o755, -1, true},
		{SFTP, "remove", strings.Repeat("x", maxName), "", -1, -1, false},
	}
	if diff := cmp.Diff(want, s.operations); diff != "" {
		t.Error(diff)
	}
}
