package transfer

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// filler is content that is the same every time.
func filler(n int) string {
	p := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(p)
	return string(p)
}

// scenario is something that a client of OpenSSH's does in a directory in which
// both sides run.
type scenario struct {
	name  string
	kind  Kind
	files map[string]string // what is there before
	args  []string
	stdin string

	want       []File // without hashes, which are those of content
	operations []Operation
}

const kept = 0o640

// whole is a file that was transferred and captured as a whole.
func whole(protocol, direction, name, content string, mode int, modified int64) File {
	f := File{Protocol: protocol, Direction: direction, Name: name, Size: int64(len(content)), Transferred: int64(len(content)),
		Mode: mode, Modified: modified, SHA256: hexHash([]byte(content)), Captured: int64(len(content)), Complete: true}
	if content != "" {
		f.Artifact = f.SHA256
	}
	return f
}

// part is the rest of a file from an offset on.
func part(direction, name, content string, offset int64, mode int, modified int64) File {
	f := whole(SFTP, direction, name, content, mode, modified)
	f.Offset, f.Complete, f.Reason, f.Size = offset, false, reasonResumed, offset+int64(len(content))
	return f
}

const then = 1700000000 // when the files before were changed

var (
	small = "hello\n\x00\xff"
	big   = filler(40_000)
)

var scenarios = []scenario{
	{
		name: "sftp-put", kind: SFTPServer, files: map[string]string{"small": small, "big": big, "empty": "", "half": big[:20000]},
		args: []string{"sftp", "-q", "-b", "-", "host"},
		stdin: `put small up-small
put big "up big"
put -p empty up-empty
chmod 4711 up-small
rename up-small moved
symlink moved link
ln "up big" hard
mkdir dir
-rm missing
rm hard
reput big half
rmdir dir
`,
		want: []File{
			whole(SFTP, Upload, "up-small", small, kept, -1),
			whole(SFTP, Upload, "up big", big, kept, -1),
			whole(SFTP, Upload, "up-empty", "", kept, then),
			part(Upload, "half", big[20000:], 20000, kept, -1),
		},
		operations: []Operation{
			{SFTP, "setstat", "up-empty", "", kept, -1, true},
			{SFTP, "setstat", "up-small", "", 0o4711, -1, true},
			{SFTP, "rename", "up-small", "moved", -1, -1, true},
			{SFTP, "symlink", "moved", "link", -1, -1, true},
			{SFTP, "link", "up big", "hard", -1, -1, true},
			{SFTP, "mkdir", "dir", "", 0o777, -1, true},
			{SFTP, "remove", "missing", "", -1, -1, false},
			{SFTP, "remove", "hard", "", -1, -1, true},
			{SFTP, "rmdir", "dir", "", -1, -1, true},
		},
	},
	{
		name: "sftp-get", kind: SFTPServer, files: map[string]string{"small": small, "big": big, "empty": "", "half": big[:20000]},
		args: []string{"sftp", "-q", "-b", "-", "host"},
		stdin: `get small got-small
get big got-big
get empty got-empty
reget big half
-get missing
-put small missing/dir
`,
		want: []File{
			whole(SFTP, Download, "small", small, kept, then),
			whole(SFTP, Download, "big", big, kept, then),
			whole(SFTP, Download, "empty", "", kept, then),
			part(Download, "big", big[20000:], 20000, kept, then),
		},
		operations: []Operation{{SFTP, "open", "missing/dir", "", kept, -1, false}},
	},
	{
		name: "scp-sftp-put", kind: SFTPServer, files: map[string]string{"big": big},
		args:       []string{"scp", "-q", "-p", "big", "host:up"},
		want:       []File{whole(SFTP, Upload, "up", big, kept, then)},
		operations: []Operation{{SFTP, "setstat", "up", "", kept, -1, true}, {SFTP, "setstat", "up", "", -1, int64(len(big)), true}},
	},
	{
		name: "scp-put", kind: SCPSink, files: map[string]string{"tree/a b": small, "tree/sub/big": big, "tree/empty": ""},
		args: []string{"scp", "-q", "-O", "-r", "-p", "tree", "host:up"},
		want: []File{
			whole(SCP, Upload, "tree/a b", small, kept, then),
			whole(SCP, Upload, "tree/sub/big", big, kept, then),
			whole(SCP, Upload, "tree/empty", "", kept, then),
		},
		operations: []Operation{{SCP, "directory", "tree", "", 0o755, -1, true}, {SCP, "directory", "tree/sub", "", 0o755, -1, true}},
	},
	{
		name: "scp-put-refused", kind: SCPSink, files: map[string]string{"small": small, "big": big},
		args:       []string{"scp", "-q", "-O", "small", "big", "host:missing/dir"},
		operations: nil, // the sink complains before the first file
	},
	{
		name: "scp-put-one-refused", kind: SCPSink, files: map[string]string{"small": small, "big": big, "dest/small/x": ""},
		args:       []string{"scp", "-q", "-O", "small", "big", "host:dest"},
		want:       []File{whole(SCP, Upload, "big", big, kept, -1)},
		operations: []Operation{{SCP, "open", "small", "", kept, int64(len(small)), false}},
	},
	{
		name: "scp-get", kind: SCPSource, files: map[string]string{"tree/a b": small, "tree/sub/big": big, "tree/empty": ""},
		args: []string{"scp", "-q", "-O", "-r", "-p", "host:tree", "got"},
		want: []File{
			whole(SCP, Download, "tree/a b", small, kept, then),
			whole(SCP, Download, "tree/sub/big", big, kept, then),
			whole(SCP, Download, "tree/empty", "", kept, then),
		},
		operations: []Operation{{SCP, "directory", "tree", "", 0o755, -1, true}, {SCP, "directory", "tree/sub", "", 0o755, -1, true}},
	},
	{
		name: "scp-get-missing", kind: SCPSource, files: map[string]string{"small": small},
		args: []string{"scp", "-q", "-O", "host:missing", "."},
	},
}

// check decodes what passed in chunks that cut decides about.
func (s scenario) check(t *testing.T, dir string, chunks []chunk, cut func(n int) int) {
	t.Helper()
	st := watch(t, s.kind, generous)
	for _, c := range chunks {
		for rest := c.data; len(rest) > 0; {
			n := cut(len(rest))
			if c.input {
				st.Input(rest[:n])
			} else {
				st.Output(rest[:n])
			}
			rest = rest[n:]
		}
	}
	st.finish().quiet()
	for i := range st.files {
		st.files[i].Name = strings.TrimPrefix(st.files[i].Name, dir+"/")
	}
	for i, o := range st.operations { // sftp(1) makes names absolute
		st.operations[i].Path, st.operations[i].NewPath = strings.TrimPrefix(o.Path, dir+"/"), strings.TrimPrefix(o.NewPath, dir+"/")
	}
	sorted := cmp.Transformer("byName", func(files []File) map[string]File {
		m := map[string]File{}
		for _, f := range files {
			m[f.Name+" "+f.Reason] = f
		}
		return m
	})
	if diff := cmp.Diff(s.want, st.files, sorted); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(s.operations, st.operations, cmp.Transformer("set", func(all []Operation) map[Operation]int {
		m := map[Operation]int{}
		for _, o := range all {
			m[o]++
		}
		return m
	})); diff != "" {
		t.Errorf("operations (-want +got):\n%s", diff)
	}
	for _, f := range st.files {
		if f.Artifact != "" && int64(len(st.store.kept[f.Artifact])) != f.Captured {
			t.Errorf("%s: %d bytes captured", f.Name, len(st.store.kept[f.Artifact]))
		}
	}
}

// makeFiles makes what is there before a scenario.
func (s scenario) makeFiles(t *testing.T, dir string) {
	t.Helper()
	for name, content := range s.files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), kept); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, unix(then), unix(then)); err != nil {
			t.Fatal(err)
		}
	}
}

// keptDir is where the kept transcripts were recorded.
const keptDir = "/tmp/files"

func TestKeptTranscripts(t *testing.T) {
	for _, s := range scenarios {
		t.Run(s.name, func(t *testing.T) {
			path := filepath.Join("testdata", s.name+".tap")
			if *update {
				s.makeFiles(t, keptDir)
				defer os.RemoveAll(keptDir)
				record(t, keptDir, path, s.stdin, s.args...)
			}
			chunks := readTap(t, path)
			s.check(t, keptDir, chunks, func(n int) int { return n })
			s.check(t, keptDir, chunks, func(int) int { return 1 })
			random := rand.New(rand.NewPCG(1, 2))
			s.check(t, keptDir, chunks, func(n int) int { return 1 + random.IntN(min(n, 5000)) })
		})
	}
}

func TestRealPrograms(t *testing.T) {
	for _, s := range scenarios {
		t.Run(s.name, func(t *testing.T) {
			dir := t.TempDir()
			s.makeFiles(t, dir)
			chunks := record(t, dir, filepath.Join(t.TempDir(), "tap"), s.stdin, s.args...)
			s.check(t, dir, chunks, func(n int) int { return n })
		})
	}
}

func unix(seconds int64) time.Time { return time.Unix(seconds, 0) }
