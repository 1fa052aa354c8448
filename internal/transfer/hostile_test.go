package transfer

import (
	"encoding/binary"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestEndOfDecoding: what cannot be followed ends decoding with one event, and
// what was open is told.
func TestEndOfDecoding(t *testing.T) {
	tests := []struct {
		name string
		run  func(s *script)
		want string
	}{
		{"a packet too long", func(s *script) { s.Input(binary.BigEndian.AppendUint32(nil, maxPacket+1)); s.Input([]byte{1}) }, "malformed"},
		{"a packet without a type", func(s *script) { s.Input(make([]byte, 5)) }, "malformed"},
		{"a request cut short", func(s *script) { s.Input(packet(sftpRename, 1, "a")) }, "malformed"},
		{"a string beyond its packet", func(s *script) { s.Input(packet(sftpRemove, 1, 5000)) }, "malformed"},
		{"a handle beyond its packet", func(s *script) { s.Input(packet(sftpWrite, 1, -1, int64(0), "")) }, "malformed"},
		{"content beyond its packet", func(s *script) { s.Input(packet(sftpWrite, 1, "h", int64(0), 100)) }, "malformed"},
		{"an answer cut short", func(s *script) { s.Output(packet(sftpStatus, s.ask(sftpRemove, "a"))) }, "malformed"},
		{"a handle cut short", func(s *script) { s.Output(packet(sftpHandle, s.ask(sftpOpen, "x", fresh, 0), 5)) }, "malformed"},
		{"text before the server runs", func(s *script) { s.Output([]byte("Welcome!\n")) }, "malformed"},
		{"something else than answers", func(s *script) { s.Output(packet(50, 1, 1)) }, "malformed"},
		{"data beyond its packet", func(s *script) { s.Output(packet(sftpData, s.ask(sftpRead, "h", int64(0), 9), 100)) }, "malformed"},
		{"an answer to nothing", func(s *script) { s.Output(packet(sftpStatus, 999, 0)) }, errAnswer.Error()},
		{"a long handle", func(s *script) {
			s.Output(packet(sftpHandle, s.ask(sftpOpen, "x", fresh, 0), strings.Repeat("h", maxHandle+1)))
		}, "malformed"},
		{"another version", func(s *script) { s.Output(packet(sftpVersion, 6)) }, errVersion.Error()},
		{"requests without answers", func(s *script) {
			for range maxHeld / requestCost {
				s.ask(sftpRead, "h", int64(0), 1)
			}
		}, errTooMuch.Error()},
		{"names without answers", func(s *script) {
			for range maxHeld / maxName {
				s.ask(sftpRename, strings.Repeat("a", 100_000), strings.Repeat("b", 100_000))
			}
		}, errTooMuch.Error()},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := sftpScript(t, generous)
			s.open("f", fresh, "h")
			s.write("h", 0, "abc")
			tt.run(s)
			if len(s.gaps) != 1 || s.gaps[0] != tt.want {
				t.Errorf("gaps: %q, want %q", s.gaps, tt.want)
			}
			s.write("h", 3, "more") // which nobody looks at
			s.closeFile("h")
			f, content := s.finish().file()
			if content != "abc" || f.Complete || f.Reason != reasonStopped || len(s.gaps) != 1 || len(s.operations) > 0 {
				t.Errorf("%q, %+v, gaps %q", content, f, s.gaps)
			}
		})
	}
}

func TestCutOff(t *testing.T) {
	s := sftpScript(t, generous)
	s.open("f", fresh, "h")
	s.write("h", 0, "abc")
	s.Input(packet(sftpWrite, 99, "h", int64(3), "def")[:20])
	if f, content := s.finish().file(); content != "abc" || f.Complete || f.Reason != reasonCut || f.Size != 3 {
		t.Errorf("%q, %+v", content, f)
	}
	s.quiet()
}

// TestHandleGivenTwice: a server that gives one handle for two files is no server.
func TestHandleGivenTwice(t *testing.T) {
	s := sftpScript(t, generous)
	s.open("a", fresh, "h")
	s.Input(packet(sftpWrite, 99, "h", int64(0), "abcdef")[:28]) // content is on its way to a
	s.Output(packet(sftpHandle, s.idOfOpen("b"), "h"))
	s.Input(packet(sftpWrite, 99, "h", int64(0), "abcdef")[28:])
	s.status(99, statusOK) // for which file?
	s.finish().quiet()
	reasons := map[string]string{}
	for _, f := range s.files {
		reasons[f.Name] = f.Reason
	}
	if diff := cmp.Diff(map[string]string{"a": reasonOrder, "b": reasonCut}, reasons); diff != "" {
		t.Error(diff)
	}
}

// TestAnsweredAfterClose: content of one file is not taken for that of the next.
func TestAnsweredAfterClose(t *testing.T) {
	s := sftpScript(t, generous)
	s.open("a", fresh, "h")
	s.write("h", 0, "abc")
	late := s.ask(sftpWrite, "h", int64(3), "def")
	s.closeFile("h")
	s.open("b", fresh, "h")
	s.status(late, statusOK)
	s.closeFile("h")
	s.finish().quiet()
	if len(s.files) != 2 || s.files[0].Name == s.files[1].Name {
		t.Fatalf("files: %+v", s.files)
	}
	for _, f := range s.files {
		if f.Name == "a" && (!f.Complete || f.SHA256 != hexHash([]byte("abc"))) || f.Name == "b" && (f.Reason != reasonOrder || f.Captured != 0) {
			t.Errorf("%+v", f)
		}
	}
}

// idOfOpen asks to open a file behind the decoder's back, in the middle of a packet.
func (s *script) idOfOpen(name string) int {
	d := s.decoder.(*sftp)
	_ = d.expect(request{id: 500, kind: sftpOpen, detail: &detail{path: name, flags: fresh}})
	return 500
}

func TestBounds(t *testing.T) {
	t.Run("operations", func(t *testing.T) {
		s := sftpScript(t, generous)
		for range 2 * maxOperations {
			s.status(s.ask(sftpRemove, "x"), 2)
		}
		if s.finish(); len(s.operations) != maxOperations || len(s.gaps) != 1 {
			t.Errorf("%d operations, gaps %q", len(s.operations), s.gaps)
		}
	})
	t.Run("files", func(t *testing.T) {
		s := sftpScript(t, generous)
		for i := range maxFiles + 10 {
			s.open(fmt.Sprint(i), fresh, "h")
			s.write("h", 0, "x")
			s.closeFile("h")
		}
		if s.finish(); len(s.files) != maxFiles || len(s.gaps) != 1 {
			t.Errorf("%d files, gaps %q", len(s.files), s.gaps)
		}
	})
	t.Run("handles", func(t *testing.T) {
		s := sftpScript(t, generous)
		for i := range maxHandles + 10 {
			s.open(fmt.Sprint(i), fresh, fmt.Sprint(i))
			s.write(fmt.Sprint(i), 0, "x")
		}
		if s.store.open != maxTemps {
			t.Errorf("%d temporary files are open", s.store.open)
		}
		s.finish()
		captured := 0
		for _, f := range s.files {
			if f.SHA256 != hexHash([]byte("x")) {
				t.Errorf("%+v", f)
			}
			if f.Artifact != "" {
				captured++
			} else if !strings.Contains(f.Reason, reasonTemps) {
				t.Errorf("%+v", f)
			}
		}
		if len(s.files) != maxHandles || captured != maxTemps || len(s.gaps) != 1 {
			t.Errorf("%d files, %d captured, gaps %q", len(s.files), captured, s.gaps)
		}
	})
	t.Run("pieces", func(t *testing.T) {
		s := sftpScript(t, generous)
		s.open("f", fresh, "h")
		for i := range maxPieces + 10 {
			s.write("h", int64(2*i), "x")
		}
		if s.pieces > maxPieces {
			t.Errorf("%d pieces", s.pieces)
		}
		s.closeFile("h")
		if f, content := s.finish().file(); f.Reason != reasonPieces || len(content) != maxPieces {
			t.Errorf("%d bytes, %+v", len(content), f)
		}
	})
	t.Run("zeros", func(t *testing.T) { // few bytes must not fill the disk
		s := sftpScript(t, Limits{File: 1000, Session: 1500})
		for i := range 3 {
			s.open("f", fresh, "h")
			s.status(s.ask(sftpFsetstat, "h", hasSize, int64(900+i)), statusOK)
			s.closeFile("h")
		}
		s.finish().quiet()
		total := int64(0)
		for _, f := range s.files {
			total += f.Captured
		}
		if total > 1500 {
			t.Errorf("%d bytes captured: %+v", total, s.files)
		}
	})
}

// TestStoreFails: a full disk ends capturing with one event.
func TestStoreFails(t *testing.T) {
	for _, tt := range []struct {
		name string
		fail func(s *script)
		want string // of the artifact
	}{
		{"making", func(s *script) { s.store.fails = errFull; s.open("f", fresh, "h"); s.write("h", 0, "abcdef") }, ""},
		{"writing", func(s *script) {
			s.open("f", fresh, "h")
			s.write("h", 0, "abc")
			s.store.fails = errFull
			s.write("h", 3, "def")
			s.store.fails = nil
		}, "abc"},
		{"keeping", func(s *script) {
			s.open("f", fresh, "h")
			s.write("h", 0, "abcdef")
			s.store.fails = errFull
		}, ""},
		{"putting together", func(s *script) {
			s.open("f", fresh, "h")
			s.write("h", 3, "def")
			s.write("h", 0, "abc")
			s.store.fails = errFull
		}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := sftpScript(t, generous)
			tt.fail(s)
			s.closeFile("h")
			f, content := s.finish().file()
			if f.Complete || !strings.Contains(f.Reason, reasonStore) || f.Captured != int64(len(tt.want)) || f.Artifact != "" && content != tt.want {
				t.Errorf("%q, %+v", content, f)
			}
			if f.SHA256 != hexHash([]byte("abcdef")) && tt.name != "putting together" {
				t.Errorf("hash %s", f.SHA256)
			}
			if len(s.gaps) != 1 || !strings.Contains(s.gaps[0], errFull.Error()) {
				t.Errorf("gaps: %q", s.gaps)
			}
		})
	}
}

// clumsy is a decoder with a mistake in it.
type clumsy struct{ decoder }

func (clumsy) input([]byte) error { panic("oops") }

func TestMistakeOfOurs(t *testing.T) {
	s := sftpScript(t, generous)
	s.open("f", fresh, "h")
	s.write("h", 0, "abc")
	s.decoder = clumsy{s.decoder}
	s.Input([]byte("x"))
	s.Input([]byte("x"))
	f, content := s.finish().file()
	if content != "abc" || f.Reason != reasonStopped || len(s.gaps) != 1 || s.gaps[0] != "internal error" || len(s.panics) != 1 || s.panics[0] != "oops" {
		t.Errorf("%q, %+v, gaps %q", content, f, s.gaps)
	}
}

func TestNothingToWatch(t *testing.T) {
	w := Watch(None, nil, nil)
	w.Input([]byte("x"))
	w.Output([]byte("x"))
	w.Close()
}
