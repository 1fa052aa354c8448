package seal

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sandtrap/sandtrap/internal/evidence"
)

func FuzzSums(f *testing.F) {
	hash := strings.Repeat("0a", 32)
	f.Add([]byte(hash + "  channel-0.raw.zst\n" + hash + "  session.json\n"))
	f.Add([]byte(`\` + hash + `  a\nb\\c` + "\n"))
	f.Add([]byte(hash + " *x\n"))
	f.Add([]byte(hash + "  ../../x\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		all, err := readSums(bytes.NewReader(b))
		if err != nil {
			return
		}
		var again []byte
		for _, s := range all {
			again = appendSum(again, s)
		}
		back, err := readSums(bytes.NewReader(again))
		if err != nil || !cmp.Equal(all, back, cmp.AllowUnexported(sum{})) {
			t.Errorf("%q became %q, %v", all, back, err)
		}
	})
}

func FuzzSealFile(f *testing.F) {
	b, _ := json.Marshal(Seal{Version: version, Session: newID(1), Previous: &Previous{1, newID(2), hashOf(nil)}, MissingArtifacts: []string{hashOf(nil)}})
	f.Add(b)
	f.Add([]byte(`{"version":2}`))
	f.Add([]byte(`{"version":1,"missing_artifacts":["../x"]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		seal, err := parseSeal(b)
		if err != nil {
			return
		}
		for _, hash := range seal.MissingArtifacts {
			if !evidence.IsHash(hash) {
				t.Errorf("%q", hash)
			}
		}
	})
}

func FuzzSigners(f *testing.F) {
	f.Add([]byte("sandtrap namespaces=\"sandtrap-evidence\" ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIfjPWhQTkWmP8Krmj1QOcu4SkqZ8hIHyiAZhCnPnFpG\n"))
	f.Add([]byte("sandtrap valid-after=\"2026\" x"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if s, err := parseSigners(b); err == nil {
			for _, one := range s.all {
				one.key.Marshal()
			}
		}
	})
}

// FuzzChain: whatever the chain holds, it is read to its end, verified, and goes on.
func FuzzChain(f *testing.F) {
	y := newYard(f, f.TempDir())
	y.session(1)
	y.session(2)
	y.sealAll()
	must(f, y.sealer.Remove(newID(1), "age"))
	whole := read(f, filepath.Join(y.dir, chainFile))
	f.Add(whole)
	f.Add(whole[:len(whole)-10])
	f.Add([]byte("{}\n\n\x00\n"))
	f.Add(bytes.Repeat([]byte("x"), 3*maxLine))
	f.Add(append(bytes.Repeat([]byte("x"), 3*maxLine), '\n'))
	dir := f.TempDir()
	root, err := os.OpenRoot(dir)
	must(f, err)
	defer root.Close()
	signers := y.signers()
	f.Fuzz(func(t *testing.T, b []byte) {
		must(t, root.WriteFile(chainFile, b, 0o600))
		l := &ledger{root: root, signers: signers, report: func(Finding) {}, deep: true,
			sessions: make(map[string]*known), before: make(map[int64]placed), artifacts: make(map[string]bool)}
		must(t, l.read())
		c, err := openChain(root)
		must(t, err)
		defer c.close()
		if c.sequence < l.lines || c.sequence > l.lines+1 {
			t.Errorf("%d lines, and %d", c.sequence, l.lines)
		}
		_, hash, err := c.append(y.key, func(position) (Entry, error) {
			return Entry{Action: ActionSeal, Session: newID(9), SHA256: hashOf(nil)}, nil
		})
		must(t, err)
		if all, err := c.find(newID(9)); err != nil || all[newID(9)].hash != hash || all[newID(9)].entry.Sequence != c.sequence {
			t.Errorf("%+v, %v", all, err)
		}
	})
}

// FuzzVerify: whatever is in a session's directory, Verify gets to its end.
func FuzzVerify(f *testing.F) {
	y := newYard(f, f.TempDir())
	y.session(1)
	y.sealAll()
	for _, name := range []string{sumsFile, sealFile, signatureFile, artifactsFile, "session.json"} {
		f.Add(name, read(f, y.pathOf(newID(1), name)))
		f.Add(name, []byte("{}"))
	}
	dir, signers := y.pathOf(newID(1)), y.signers()
	f.Fuzz(func(t *testing.T, name string, b []byte) {
		switch name {
		case sumsFile, sealFile, signatureFile, artifactsFile, "session.json":
		default:
			return
		}
		path := filepath.Join(dir, name)
		whole := read(t, path)
		must(t, os.WriteFile(path, b, 0o600))
		defer func() { must(t, os.WriteFile(path, whole, 0o600)) }()
		failures := 0
		_, err := Verify(context.Background(), VerifyOptions{Store: y.store, Signers: signers, Report: func(f Finding) {
			if f.Level == Failure {
				failures++
			}
		}})
		must(t, err)
		if !bytes.Equal(b, whole) && failures == 0 && name != signatureFile {
			t.Errorf("an altered %s passed", name)
		}
	})
}

func BenchmarkSeal(b *testing.B) {
	for name, size := range map[string]int{"small": 2 << 10, "1MiB": 1 << 20, "16MiB": 16 << 20} {
		b.Run(name, func(b *testing.B) {
			y := newYard(b, b.TempDir())
			output := bytes.Repeat([]byte("-rw-r--r-- 1 root root 3771 Apr 23  2023 .bashrc\r\n"), size/50+1)
			b.SetBytes(int64(3 * len(output)))
			n := 0
			for b.Loop() {
				b.StopTimer()
				n++
				id := y.sessionOf(n, output)
				b.StartTimer()
				if !y.sealer.Seal(context.Background(), strings.TrimPrefix(y.pathOf(id), y.dir+"/")) {
					b.Fatalf("not sealed: %s", &y.events)
				}
			}
		})
	}
}

func BenchmarkVerify(b *testing.B) {
	y := newYard(b, b.TempDir())
	for n := range 100 {
		y.session(n)
	}
	y.sealAll()
	for b.Loop() {
		y.clean(100)
	}
}
