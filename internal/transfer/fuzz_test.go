package transfer

import (
	"cmp"
	"encoding/binary"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	diff "github.com/google/go-cmp/cmp"
)

// A fuzzed conversation is a row of chunks: a byte with the length of what follows,
// whose highest bit says that the program and not the client said it.

func conversation(chunks []chunk) []byte {
	var p []byte
	for _, c := range chunks {
		for rest := c.data; len(rest) > 0; {
			n := min(len(rest), 0x7f)
			head := byte(n)
			if !c.input {
				head |= 0x80
			}
			p = append(append(p, head), rest[:n]...)
			rest = rest[n:]
		}
	}
	return p
}

func chunksOf(p []byte) (chunks []chunk) {
	for len(p) > 1 {
		n := min(int(p[0]&0x7f), len(p)-1)
		chunks = append(chunks, chunk{p[0]&0x80 == 0, p[1 : 1+n]})
		p = p[1+n:]
	}
	return chunks
}

var tight = Limits{File: 300, Session: 1000}

// hear follows a conversation in steps of some bytes.
func hear(t *testing.T, kind Kind, chunks []chunk, step int) *stage {
	s := watch(t, kind, tight)
	for _, c := range chunks {
		for p := range slices.Chunk(c.data, step) {
			if c.input {
				s.Input(p)
			} else {
				s.Output(p)
			}
		}
	}
	s.finish()
	return s
}

// check holds what was told against what must be so whatever was said.
func (s *stage) check() {
	s.tb.Helper()
	captured := int64(0)
	for _, f := range s.files {
		captured += f.Captured
		if f.Captured > tight.File || f.Captured < 0 || f.Size < 0 || f.Transferred < 0 || f.Offset < 0 || len(f.Name) > maxName+1 {
			s.tb.Errorf("out of bounds: %+v", f)
		}
		if f.Complete != (f.Reason == "") || f.Complete && f.Size > 0 && f.Artifact != f.SHA256 {
			s.tb.Errorf("complete or not: %+v", f)
		}
		if f.Artifact != "" && int64(len(s.store.kept[f.Artifact])) != f.Captured {
			s.tb.Errorf("%d bytes kept of %+v", len(s.store.kept[f.Artifact]), f)
		}
	}
	if captured > tight.Session {
		s.tb.Errorf("%d bytes captured", captured)
	}
	for _, p := range s.panics {
		s.tb.Errorf("panic: %v", p)
	}
	slices.SortFunc(s.files, func(a, b File) int { // files that are put together are late
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Direction, b.Direction), cmp.Compare(a.SHA256, b.SHA256), cmp.Compare(a.Transferred, b.Transferred))
	})
}

func fuzz(f *testing.F, kinds []Kind, transcripts string, scripts ...[]chunk) {
	paths, err := filepath.Glob(filepath.Join("testdata", transcripts))
	if err != nil || len(paths) == 0 {
		f.Fatalf("transcripts: %v, %v", paths, err)
	}
	for _, path := range paths {
		whole := conversation(readTap(f, path))
		f.Add(whole[:min(len(whole), 4096)])
	}
	for _, chunks := range scripts {
		f.Add(conversation(chunks))
	}
	f.Fuzz(func(t *testing.T, p []byte) {
		chunks := chunksOf(p)
		for _, kind := range kinds {
			whole, split := hear(t, kind, chunks, 0x7f), hear(t, kind, chunks, 1)
			whole.check()
			split.check()
			if d := diff.Diff(whole.operations, split.operations); d != "" {
				t.Errorf("operations differ with the chunks:\n%s", d)
			}
			// What is captured depends on how much had come when a limit was met.
			if d := diff.Diff(whole.files, split.files); d != "" && len(whole.gaps) == 0 {
				t.Errorf("files differ with the chunks:\n%s", d)
			}
		}
	})
}

func FuzzSFTP(f *testing.F) {
	var guessed []chunk
	add := func(input bool, p []byte) { guessed = append(guessed, chunk{input, p}) }
	add(true, packet(sftpOpen, 1, "a", fresh, 0))
	add(true, packet(sftpWrite, 2, "h", int64(5), "abc"))
	add(true, packet(sftpWrite, 3, "h", int64(4), "xyz"))
	add(true, packet(sftpClose, 4, "h"))
	add(true, packet(sftpExtended, 5, "copy-data", "h", int64(0), int64(0), "h", int64(0)))
	add(false, packet(sftpHandle, 1, "h"))
	add(false, packet(sftpStatus, 3, 0))
	add(false, packet(sftpStatus, 2, 0))
	add(false, packet(sftpStatus, 5, 0))
	add(false, packet(sftpStatus, 4, 0))
	inFlight := []chunk{{true, packet(sftpOpen, 0, "a", fresh, 0)}, {false, packet(sftpHandle, 0, "h")}}
	for i := range 5 {
		inFlight = append(inFlight, chunk{true, packet(sftpWrite, i, "h", int64(i)*90, strings.Repeat("x", 90))})
	}
	for i := range 5 {
		inFlight = append(inFlight, chunk{false, packet(sftpStatus, i, 0)})
	}
	inFlight = append(inFlight, chunk{true, packet(sftpClose, 9, "h")}, chunk{false, packet(sftpStatus, 9, 0)})
	fuzz(f, []Kind{SFTPServer}, "*sftp*.tap", guessed, inFlight)
}

func FuzzSCP(f *testing.F) {
	chunks := func(said ...string) (all []chunk) {
		for _, s := range said {
			all = append(all, chunk{s[0] == '>', []byte(s[1:])})
		}
		return all
	}
	fuzz(f, []Kind{SCPSink, SCPSource}, "scp-[pg]*.tap",
		chunks(">D0755 0 d\nT1 0 1 0\nC0755 3 a\nabc\x00E\n", "<\x00\x00\x00\x01no\n\x00\x00\x00"),
		chunks(">\x00\x01no\n\x00", "<C0600 3 x\n", "<C0600 3 a\nab"))
}

// BenchmarkUpload is the decoder's share of an upload: sftp(1) writes 32 KiB at once.
func BenchmarkUpload(b *testing.B) {
	const size = 32 << 10
	for _, capture := range []bool{false, true} {
		name := map[bool]string{false: "hash", true: "capture"}[capture]
		b.Run(name, func(b *testing.B) {
			limits := Limits{}
			if capture {
				limits = Limits{File: 1 << 40, Session: 1 << 40}
			}
			s := &script{stage: &stage{tb: b}}
			s.Watcher = Watch(SFTPServer, NewCapture(void{}, limits), &s.told)
			s.open("f", fresh, "h")
			request := packet(sftpWrite, 0, "h", int64(0), strings.Repeat("x", size))
			answer := packet(sftpStatus, 0, statusOK, "", "")
			b.SetBytes(size)
			for i := 0; b.Loop(); i++ {
				binary.BigEndian.PutUint32(request[5:], uint32(i))
				binary.BigEndian.PutUint64(request[len(request)-size-12:], uint64(i)*size)
				binary.BigEndian.PutUint32(answer[5:], uint32(i))
				s.Input(request)
				s.Output(answer)
			}
			s.Close()
		})
	}
}

// void is a store that keeps nothing.
type void struct{}

func (void) Temp() (Temp, error)               { return void{}, nil }
func (void) Write(p []byte) (int, error)       { return len(p), nil }
func (void) ReadAt([]byte, int64) (int, error) { return 0, nil }
func (void) Commit(string, int64) error        { return nil }
func (void) Discard()                          {}
