package seal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hiddeco/sshsig"

	"github.com/sandtrap/sandtrap/internal/evidence"
	"github.com/sandtrap/sandtrap/internal/record"
)

func TestSeal(t *testing.T) {
	y := newYard(t, t.TempDir())
	first, second := y.session(1), y.session(2)
	y.sealAll()
	y.clean(2)
	for i, id := range []string{first, second} {
		entries, err := os.ReadDir(y.pathOf(id))
		must(t, err)
		var names []string
		for _, e := range entries {
			names = append(names, e.Name())
		}
		want := []string{"ARTIFACTS.SHA256SUMS", "SHA256SUMS", "SHA256SUMS.sig", "capture.jsonl", "channel-0.cast", "channel-0.raw.zst", "channel-1.cast", "channel-1.raw.zst", "forward-0.raw.zst", "seal.json", "session.json"}
		if diff := cmp.Diff(want, names); diff != "" {
			t.Errorf("files (-want +got):\n%s", diff)
		}
		s, dir, err := y.store.Find(id)
		must(t, err)
		if s.Channels[1].Recording.Raw != "channel-1.raw.zst" || s.Forwards[0].Recording.Raw != "forward-0.raw.zst" || s.Channels[1].Recording.RawBytes < 9000 {
			t.Errorf("session.json: %+v %+v", s.Channels, s.Forwards)
		}
		y.marked(id)
		root, err := os.OpenRoot(dir)
		must(t, err)
		r, c, err := record.Open(root, "channel-1.raw") // as a reader that came before the seal
		must(t, err)
		n := 0
		for ; err == nil; n++ {
			_, err = r.Next()
		}
		if err != io.EOF || n != 4 { // command, output, end, EOF
			t.Errorf("%d frames, %v", n, err)
		}
		c.Close()
		root.Close()
		seal, err := parseSeal(read(t, y.pathOf(id, sealFile)))
		must(t, err)
		if seal.Sequence != int64(i+1) || (seal.Previous == nil) != (i == 0) || seal.SandTrap != "1.2.3" || !seal.Time.Equal(noon.Add(time.Hour)) || len(seal.MissingArtifacts) != 1 {
			t.Errorf("seal %+v", seal)
		}
		if i == 1 && (seal.Previous.Session != first || seal.Previous.SHA256 != hashOf(read(t, y.pathOf(first, sumsFile)))) {
			t.Errorf("previous %+v", seal.Previous)
		}
	}
	if n := strings.Count(y.events.String(), `"event":"session.seal"`); n != 2 || !strings.Contains(y.events.String(), `"session":"`+first+`"`) {
		t.Errorf("events:\n%s", &y.events)
	}
	y.events.Reset()
	y.restart() // nothing is left to do
	y.clean(2)
	if y.events.Len() > 0 {
		t.Errorf("sealed again:\n%s", &y.events)
	}
}

// TestStockTools: what an expert witness has is enough.
func TestStockTools(t *testing.T) {
	for _, tool := range []string{"ssh-keygen", "sha256sum", "zstd"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skip(err)
		}
	}
	y := newYard(t, t.TempDir())
	id := y.session(1)
	y.sealAll()
	signers := filepath.Join(t.TempDir(), "signers")
	must(t, allow(signers, y.key.PublicKey()))
	run := func(stdin []byte, name string, arg ...string) (string, error) {
		c := exec.Command(name, arg...)
		c.Dir, c.Stdin = y.pathOf(id), bytes.NewReader(stdin)
		out, err := c.CombinedOutput()
		return string(out), err
	}
	sums := read(t, y.pathOf(id, sumsFile))
	verify := []string{"-Y", "verify", "-f", signers, "-I", "sandtrap", "-n", "sandtrap-evidence", "-s", "SHA256SUMS.sig"}
	if out, err := run(sums, "ssh-keygen", verify...); err != nil || !strings.HasPrefix(out, `Good "sandtrap-evidence" signature for sandtrap`) {
		t.Errorf("ssh-keygen: %v, %s", err, out)
	}
	if out, err := run(append(sums, '\n'), "ssh-keygen", verify...); err == nil {
		t.Errorf("ssh-keygen took other sums: %s", out)
	}
	for _, file := range []string{sumsFile, artifactsFile} {
		if out, err := run(nil, "sha256sum", "--strict", "-c", file); err != nil {
			t.Errorf("sha256sum -c %s: %v, %s", file, err, out)
		}
	}
	if out, err := run(nil, "zstd", "-t", "channel-0.raw.zst", "forward-0.raw.zst"); err != nil {
		t.Errorf("zstd: %v, %s", err, out)
	}
	// An entry of the chain, as docs/evidence.md has it.
	script := `set -e
		line=$(sed -n 1p ../../../../../chain)
		printf '%s' "$line" | sed 's/,"signature":"[^"]*"}$/}/' > "$T/entry"
		{ echo '-----BEGIN SSH SIGNATURE-----'; printf '%s' "$line" | sed 's/.*,"signature":"\([^"]*\)"}$/\1/' | fold -w 70; echo; echo '-----END SSH SIGNATURE-----'; } > "$T/entry.sig"
		ssh-keygen -Y verify -f "$T/signers" -I sandtrap -n sandtrap-evidence -s "$T/entry.sig" < "$T/entry"`
	c := exec.Command("sh", "-c", script)
	c.Dir, c.Env = y.pathOf(id), append(os.Environ(), "T="+filepath.Dir(signers))
	if out, err := c.CombinedOutput(); err != nil {
		t.Errorf("signature of the chain: %v, %s", err, out)
	}
}

// TestAlterations: whatever is done to sealed evidence is found, and named.
func TestAlterations(t *testing.T) {
	whole := newYard(t, t.TempDir())
	for n := range 3 {
		whole.session(n + 1)
	}
	whole.sealAll()
	for name, tt := range map[string]struct {
		do   func(y *yard, id func(int) string)
		want []string
	}{
		"altered recording": {func(y *yard, id func(int) string) {
			change(y, y.pathOf(id(2), "channel-0.cast"), "output", "outpux")
		}, []string{"failure file 2 channel-0.cast: it was altered"}},
		"removed recording": {func(y *yard, id func(int) string) { must(y, os.Remove(y.pathOf(id(2), "channel-1.raw.zst"))) }, []string{"failure file 2 channel-1.raw.zst: it is missing"}},
		"added file":        {func(y *yard, id func(int) string) { must(y, os.WriteFile(y.pathOf(id(2), "x\n"), nil, 0o600)) }, []string{"failure file 2 x\n: it was added"}},
		"link in place": {func(y *yard, id func(int) string) {
			must(y, os.Remove(y.pathOf(id(2), "channel-0.cast")))
			must(y, os.Symlink("channel-1.cast", y.pathOf(id(2), "channel-0.cast")))
		}, []string{"failure file 2 : the directory is not as it was left", "failure file 2 channel-0.cast: it cannot be read: no regular file"}},
		"sums altered": {func(y *yard, id func(int) string) {
			change(y, y.pathOf(id(2), "channel-0.cast"), "output", "outpux")
			change(y, y.pathOf(id(2), sumsFile), "  channel-0.cast", "  channel-0.cast\n"+strings.Repeat("0", 64)+"  y")
		}, []string{"failure seal 2 SHA256SUMS: it is not what was sealed", "failure signature 2 SHA256SUMS.sig: signature is wrong", "failure file 2 channel-0.cast: it was altered", "failure file 2 y: it is missing"}},
		"sums of nothing": {func(y *yard, id func(int) string) { must(y, os.WriteFile(y.pathOf(id(2), sumsFile), nil, 0o600)) },
			[]string{"failure seal 2 SHA256SUMS: it is not what", "failure seal 2 SHA256SUMS: it does not name", "failure signature 2", "failure file 2 ARTIFACTS", "failure file 2 capture",
				"failure file 2 channel-0.cast", "failure file 2 channel-0.raw", "failure file 2 channel-1.cast", "failure file 2 channel-1.raw", "failure file 2 forward", "failure file 2 seal.json", "failure file 2 session.json"}},
		"names outside": {func(y *yard, id func(int) string) {
			change(y, y.pathOf(id(2), sumsFile), "  channel-0.cast", "  ../../../../../chain\n"+strings.Repeat("0", 64)+"  channel-0.cast")
		}, []string{"failure seal 2 SHA256SUMS: it is not what", "failure seal 2 SHA256SUMS: it names \"../../../../../chain\"", "failure signature 2", "failure file 2 channel-0.cast: it was altered"}},
		"seal taken off": {func(y *yard, id func(int) string) { must(y, os.Remove(y.pathOf(id(2), signatureFile))) }, []string{"failure signature 2 SHA256SUMS.sig: it is missing"}},
		"all of the seal taken off": {func(y *yard, id func(int) string) {
			for _, f := range []string{signatureFile, sumsFile, sealFile} {
				must(y, os.Remove(y.pathOf(id(2), f)))
			}
		}, []string{"failure seal 2 SHA256SUMS: it cannot be read: no such file"}},
		"session removed":      {func(y *yard, id func(int) string) { must(y, os.RemoveAll(y.pathOf(id(2)))) }, []string{"failure session-missing 2 : the session was sealed as number 2 and is gone"}},
		"last session removed": {func(y *yard, id func(int) string) { must(y, os.RemoveAll(y.pathOf(id(3)))) }, []string{"failure session-missing 3"}},
		"session copied": {func(y *yard, id func(int) string) {
			must(y, os.CopyFS(y.pathOf(newID(9)), os.DirFS(y.pathOf(id(2)))))
		}, []string{"failure chain 9 : the session has a seal and is not in the chain", "failure seal 9 seal.json: it belongs to session"}},
		"artifact altered": {func(y *yard, _ func(int) string) {
			must(y, os.WriteFile(filepath.Join(y.dir, evidence.ArtifactPath(hashOf([]byte("artifact 2")))), []byte("x"), 0o600))
		}, []string{"failure artifact 2 artifacts/sha256/"}},
		"artifact removed": {func(y *yard, _ func(int) string) {
			must(y, os.Remove(filepath.Join(y.dir, evidence.ArtifactPath(hashOf([]byte("artifact 2"))))))
		}, []string{"failure artifact 2 artifacts/sha256/"}},
		"foreign file": {func(y *yard, _ func(int) string) {
			must(y, os.WriteFile(filepath.Join(y.dir, "sessions/2026/x"), nil, 0o600))
		}, []string{"failure foreign  sessions/2026/x"}},
		"chain entry altered": {func(y *yard, id func(int) string) {
			change(y, filepath.Join(y.dir, chainFile), `"action":"seal","session":"`+id(2), `"action":"seal","session":"`+newID(8))
		},
			[]string{"failure chain  chain: line 3 does not follow", "failure chain-signature  chain: line 2", "failure chain 2 : the session has a seal and is not", "failure session-missing 8", "failure seal 3 seal.json: it names another place"}},
		"chain line removed": {func(y *yard, _ func(int) string) {
			lines := bytes.SplitAfter(read(y, filepath.Join(y.dir, chainFile)), []byte("\n"))
			must(y, os.WriteFile(filepath.Join(y.dir, chainFile), bytes.Join([][]byte{lines[0], lines[2]}, nil), 0o600))
		}, []string{"failure chain  chain: line 2 has number 3", "failure chain  chain: line 2 does not follow", "failure chain 2 ", "failure seal 3 seal.json: it names another place"}},
		"chain cut": {func(y *yard, _ func(int) string) {
			lines := bytes.SplitAfter(read(y, filepath.Join(y.dir, chainFile)), []byte("\n"))
			must(y, os.WriteFile(filepath.Join(y.dir, chainFile), bytes.Join(lines[:2], nil), 0o600))
		}, []string{"failure chain 3 : the session has a seal and is not in the chain"}},
		"chain gone": {func(y *yard, _ func(int) string) { must(y, os.Remove(filepath.Join(y.dir, chainFile))) }, []string{"failure chain 1 ", "failure chain 2 ", "failure chain 3 "}},
		"chain garbage": {func(y *yard, _ func(int) string) {
			must(y, os.WriteFile(filepath.Join(y.dir, chainFile), bytes.Repeat([]byte("x"), 9000), 0o600))
		}, []string{"failure chain 1 ", "failure chain 2 ", "failure chain 3 "}},
		"another's seal": {func(y *yard, id func(int) string) {
			s, err := sign(newKey(y, 7), read(y, y.pathOf(id(2), sumsFile)))
			must(y, err)
			must(y, os.WriteFile(y.pathOf(id(2), signatureFile), sshsig.Armor(s), 0o600))
		}, []string{"failure signature 2 SHA256SUMS.sig: signed with a key that is not among"}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			must(t, os.CopyFS(dir, os.DirFS(whole.dir)))
			y := newYard(t, dir)
			y.clean(3)
			tt.do(y, newID)
			found, _ := y.verify(VerifyOptions{})
			y.has(found, tt.want...)
			// What the service does at its next start hides nothing of it.
			y.close()
			y.open()
			y.sealer.sealAll(context.Background())
			if again, _ := y.verify(VerifyOptions{}); len(again) == 0 && name != "seal taken off" {
				t.Error("a start of the service made it good")
			}
		})
	}
}

// TestWitness: the end of the chain can be cut off without a trace here, but not
// without one where its events went.
func TestWitness(t *testing.T) {
	y := newYard(t, t.TempDir())
	for n := range 3 {
		y.session(n + 1)
	}
	y.sealAll()
	chain := filepath.Join(y.dir, chainFile)
	lines := bytes.SplitAfter(read(t, chain), []byte("\n"))
	head := Head{3, hashOf(lines[2])}
	if found, _ := y.verify(VerifyOptions{Head: head}); len(found) != 0 {
		t.Errorf("found %q", found)
	}
	must(t, os.WriteFile(chain, bytes.Join(lines[:2], nil), 0o600))
	must(t, os.RemoveAll(y.pathOf(newID(3))))
	y.clean(2)
	found, _ := y.verify(VerifyOptions{Head: head})
	y.has(found, "failure chain  chain: it ends with line 2, and had line 3")
	y.restart()
	y.session(4)
	y.sealAll()
	found, _ = y.verify(VerifyOptions{Head: head})
	y.has(found, "failure chain  chain: line 3 is not the one that was there")
	for _, bad := range []string{"", "3", "x:" + head.SHA256, "0:" + head.SHA256, "3:abc"} {
		if _, err := ParseHead(bad); err == nil {
			t.Errorf("%q was taken for a head", bad)
		}
	}
	if h, err := ParseHead(fmt.Sprintf("3:%s", head.SHA256)); err != nil || h != head {
		t.Errorf("%v, %v", h, err)
	}
}

// TestOneSession: what is verified when one is asked for.
func TestOneSession(t *testing.T) {
	y := newYard(t, t.TempDir())
	y.session(1)
	y.session(2)
	y.sealAll()
	change(t, y.pathOf(newID(1), "channel-0.cast"), "output", "outpux")
	if found, sum := y.verify(VerifyOptions{IDs: []string{newID(2)}}); len(found) != 0 || sum.Sealed != 1 {
		t.Errorf("%q, %+v", found, sum)
	}
	found, _ := y.verify(VerifyOptions{IDs: []string{newID(1)}})
	y.has(found, "failure file 1 channel-0.cast")
	if _, err := Verify(context.Background(), VerifyOptions{Store: y.store, Signers: y.signers(), IDs: []string{newID(5)}}); !errors.Is(err, evidence.ErrNotFound) {
		t.Errorf("missing session: %v", err)
	}
	must(t, y.sealer.Remove(newID(2), "age"))
	found, _ = y.verify(VerifyOptions{IDs: []string{newID(2)}})
	y.has(found, "notice session-removed 2")
	must(t, os.RemoveAll(y.pathOf(newID(1))))
	found, _ = y.verify(VerifyOptions{IDs: []string{newID(1)}})
	y.has(found, "failure session-missing 1")
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := Verify(ctx, VerifyOptions{Store: y.store, Signers: y.signers()}); !errors.Is(err, context.Canceled) {
		t.Errorf("interrupted: %v", err)
	}
	nothing, err := evidence.OpenReadOnly(filepath.Join(t.TempDir(), "none"))
	must(t, err)
	if sum, err := Verify(context.Background(), VerifyOptions{Store: nothing}); err != nil || sum != (Summary{}) {
		t.Errorf("%+v, %v", sum, err)
	}
}

// TestUnsealed: open sessions and those of earlier versions are no damage.
func TestUnsealed(t *testing.T) {
	y := newYard(t, t.TempDir())
	y.session(1)
	d, err := y.store.Create(newID(2), noon)
	must(t, err)
	must(t, d.Save(evidence.Session{State: evidence.StateOpen, Start: noon}))
	must(t, d.Close())
	d, err = y.store.Create(newID(3), noon) // has only just begun
	must(t, err)
	must(t, d.Close())
	found, sum := y.verify(VerifyOptions{})
	y.has(found, "notice unsealed 1")
	if sum.Open != 2 {
		t.Errorf("%+v", sum)
	}
	found, _ = y.verify(VerifyOptions{Strict: true})
	y.has(found, "failure unsealed 1")
	y.sealAll()
	y.clean(1)
	if y.store.Sealed(strings.TrimPrefix(y.pathOf(newID(2)), y.dir+"/")) {
		t.Error("an open session was sealed")
	}
}

// TestRotation: seals of older keys stay good, those of a withdrawn one do not.
func TestRotation(t *testing.T) {
	y := newYard(t, t.TempDir())
	y.session(1)
	y.sealAll()
	old := y.key
	y.key = newKey(t, 2)
	y.restart()
	y.session(2)
	y.sealAll()
	if found, _ := y.verify(VerifyOptions{Signers: y.signers(old, y.key)}); len(found) != 0 {
		t.Errorf("found %q", found)
	}
	found, _ := y.verify(VerifyOptions{})
	y.has(found, "failure chain-signature  chain: line 1: signed with a key", "failure signature 1 SHA256SUMS.sig: signed with a key")
	early := &Signers{all: []signer{{key: old.PublicKey(), before: noon}, {key: y.key.PublicKey(), after: noon}}}
	found, _ = y.verify(VerifyOptions{Signers: early})
	y.has(found, "failure chain-signature  chain: line 1: signed with a key", "failure signature 1 SHA256SUMS.sig: signed with a key")
}

// TestClockBack: a clock that was set back spoils nothing.
func TestClockBack(t *testing.T) {
	y := newYard(t, t.TempDir())
	y.session(1)
	y.sealAll()
	y.sealer.now = func() time.Time { return noon.Add(-24 * time.Hour) }
	y.session(2)
	y.sealAll()
	y.clean(2)
	y.restart()
	y.session(3)
	y.sealAll()
	y.clean(3)
}

func TestLate(t *testing.T) {
	y := newYard(t, t.TempDir())
	y.session(1)
	y.sealer.now = func() time.Time { return noon.Add(100 * time.Hour) }
	y.sealAll()
	found, _ := y.verify(VerifyOptions{Strict: true})
	y.has(found, "notice late 1 : sealed 99h59m0s after its end")
}

// TestSealedBefore: a session that lost its seal and was altered gets no other.
func TestSealedBefore(t *testing.T) {
	y := newYard(t, t.TempDir())
	y.session(1)
	y.sealAll()
	must(t, os.Remove(y.pathOf(newID(1), signatureFile)))
	must(t, os.Remove(y.pathOf(newID(1), sumsFile)))
	y.close()
	y.open()
	if y.sealer.sealAll(context.Background()) || !strings.Contains(y.events.String(), "sealed before") {
		t.Errorf("events: %s", &y.events)
	}
	if lines := bytes.Count(read(t, filepath.Join(y.dir, chainFile)), []byte("\n")); lines != 1 {
		t.Errorf("%d lines in the chain", lines)
	}
}
