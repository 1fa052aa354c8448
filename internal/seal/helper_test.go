package seal

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/oklog/ulid/v2"
	"golang.org/x/crypto/ssh"

	"github.com/sandtrap/sandtrap/internal/event"
	"github.com/sandtrap/sandtrap/internal/evidence"
	"github.com/sandtrap/sandtrap/internal/record"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// noon is the start of the tests' sessions.
var noon = time.Date(2026, 3, 31, 12, 0, 0, 0, time.UTC)

// yard is a state directory with a sealer.
type yard struct {
	testing.TB
	dir    string
	store  *evidence.Store
	key    ssh.Signer
	sealer *Sealer
	events bytes.Buffer
}

// sink keeps events as lines.
type sink struct{ b *bytes.Buffer }

func (s sink) Write(e *event.Event) error {
	values := map[string]any{"event": e.Kind, "session": e.Session}
	for _, f := range e.Values {
		values[f.Name] = f.Value
	}
	return json.NewEncoder(s.b).Encode(values)
}

func (s sink) Close() error { return nil }

func newKey(t testing.TB, seed byte) ssh.Signer {
	t.Helper()
	key, err := ssh.NewSignerFromKey(ed25519.NewKeyFromSeed(bytes.Repeat([]byte{seed}, ed25519.SeedSize)))
	must(t, err)
	return key
}

func newYard(t testing.TB, dir string) *yard {
	t.Helper()
	y := &yard{TB: t, dir: dir, key: newKey(t, 1)}
	y.open()
	t.Cleanup(y.close)
	return y
}

// open is the start of a service.
func (y *yard) open() {
	y.Helper()
	var err error
	y.store, err = evidence.Open(y.dir)
	must(y, err)
	_, err = y.store.Recover(noon.Add(time.Hour))
	must(y, err)
	y.sealer, err = NewSealer(Config{Store: y.store, Key: y.key, Version: "1.2.3", Events: event.New(sink{&y.events}), Log: hclog.NewNullLogger()})
	must(y, err)
	y.sealer.now = func() time.Time { return noon.Add(time.Hour) }
}

// close is its end.
func (y *yard) close() {
	if y.sealer != nil {
		y.sealer.Close()
		y.store.Close()
		y.sealer = nil
	}
}

// restart is a start after an end of any kind; all that is closed gets sealed.
func (y *yard) restart() {
	y.Helper()
	y.close()
	y.open()
	y.sealAll()
}

func (y *yard) sealAll() {
	y.Helper()
	if !y.sealer.sealAll(context.Background()) {
		y.Errorf("not all was sealed: %s", &y.events)
	}
}

func newID(n int) string {
	var id ulid.ULID
	if err := id.SetTime(ulid.Timestamp(noon)); err != nil {
		panic(err)
	}
	id[14], id[15] = byte(n>>8), byte(n)
	return id.String()
}

// pathOf is the directory of a session in the file system.
func (y *yard) pathOf(id string, file ...string) string {
	p, err := evidence.PathOf(id)
	must(y, err)
	return filepath.Join(append([]string{y.dir, p}, file...)...)
}

// session makes a closed session with two recordings, a forward and an artifact.
func (y *yard) session(n int) (id string) {
	y.Helper()
	return y.sessionOf(n, []byte(strings.Repeat(fmt.Sprintf("output %d\r\n", n), 1000)))
}

func (y *yard) sessionOf(n int, output []byte) (id string) {
	y.Helper()
	id = newID(n)
	d, err := y.store.Create(id, noon)
	must(y, err)
	defer d.Close()
	s := evidence.Session{State: evidence.StateClosed, Start: noon, Source: evidence.Endpoint{IP: "192.0.2.7", Port: 4000}}
	end := noon.Add(time.Minute)
	s.End = &end
	for i, o := range []record.Options{{Name: "channel-0", Terminal: "xterm"}, {Name: "channel-1", Command: "id"}, {Name: "forward-0", Forward: "a\x00b\x001\x00c\x002"}} {
		o.Dir, o.Start = d.Root(), noon
		r, err := record.Create(o)
		must(y, err)
		must(y, r.Output(output))
		sum, err := r.Close()
		must(y, err)
		if o.Forward != "" {
			s.Forwards = append(s.Forwards, evidence.Forward{ID: 0, Recording: sum})
			continue
		}
		s.Channels = append(s.Channels, evidence.Channel{ID: i, Kind: "shell", Terminal: evidence.Text(o.Terminal), Recording: sum})
	}
	content := fmt.Appendf(nil, "artifact %d", n)
	a, err := y.store.NewArtifact()
	must(y, err)
	_, err = a.Write(content)
	must(y, err)
	must(y, a.Commit(hashOf(content), int64(len(content))))
	s.Channels[0].Transfers = []evidence.Transfer{{Artifact: hashOf(content)}, {Artifact: hashOf([]byte("lost"))}, {}}
	must(y, d.Root().WriteFile("capture.jsonl", fmt.Appendf(nil, "{\"kind\":\"file\",\"sha256\":%q}\nno JSON \"sha256\"\n", hashOf(content)), 0o640))
	must(y, d.Save(s))
	return id
}

// marked expects that one cast names what was captured, once, at its end.
func (y *yard) marked(id string) {
	y.Helper()
	d, err := y.store.OpenDir(strings.TrimPrefix(y.pathOf(id), y.dir+"/"))
	must(y, err)
	defer d.Close()
	s, err := d.Load()
	must(y, err)
	for i, want := range []int{1, 0} {
		r := s.Channels[i].Recording
		cast := read(y, y.pathOf(id, r.Cast))
		if n := bytes.Count(cast, []byte(`"m", "file: captured in part  sha256:`)); n != want || r.CaptureMarkers != want || r.CastBytes != int64(len(cast)) || !bytes.HasSuffix(cast, []byte("]\n")) {
			y.Errorf("session %s, channel %d: %d markers of %d bytes: %+v", id, i, n, len(cast), r)
		}
	}
}

// signers are those who may seal: our key.
func (y *yard) signers(keys ...ssh.Signer) *Signers {
	if keys == nil {
		keys = []ssh.Signer{y.key}
	}
	s := &Signers{}
	for _, k := range keys {
		s.all = append(s.all, signer{key: k.PublicKey()})
	}
	return s
}

// verify returns the findings, one line each, without the notices that every session of
// these tests has.
func (y *yard) verify(o VerifyOptions) ([]string, Summary) {
	y.Helper()
	var found []string
	o.Store = y.store
	if o.Signers == nil {
		o.Signers = y.signers()
	}
	o.Report = func(f Finding) {
		if f.Check == "artifact-missing" && f.Level == Notice {
			return
		}
		found = append(found, strings.TrimSpace(fmt.Sprintf("%s %s %s %s: %s", f.Level, f.Check, strings.TrimLeft(f.Session[max(0, len(f.Session)-2):], "0"), f.File, f.Text)))
	}
	sum, err := Verify(context.Background(), o)
	must(y, err)
	slices.Sort(found)
	return found, sum
}

// clean expects no findings and so many sealed sessions.
func (y *yard) clean(sealed int) {
	y.Helper()
	if found, sum := y.verify(VerifyOptions{Strict: true}); len(found) > 0 || sum.Sealed != sealed || sum.Failures > 0 {
		y.Errorf("verify: %+v\n%s", sum, strings.Join(found, "\n"))
	}
}

// has expects a finding that begins so and no other failure of another kind.
func (y *yard) has(found []string, wants ...string) {
	y.Helper()
	for _, want := range wants {
		if !slices.ContainsFunc(found, func(f string) bool { return strings.HasPrefix(f, want) }) {
			y.Errorf("no finding %q in:\n%s", want, strings.Join(found, "\n"))
		}
	}
	if len(found) != len(wants) {
		y.Errorf("%d findings, want %d:\n%s", len(found), len(wants), strings.Join(found, "\n"))
	}
}

func read(t testing.TB, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	must(t, err)
	return b
}

// change replaces text in a file.
func change(t testing.TB, path, old, now string) {
	t.Helper()
	b := read(t, path)
	if !bytes.Contains(b, []byte(old)) {
		t.Fatalf("no %q in %s", old, path)
	}
	must(t, os.WriteFile(path, bytes.Replace(b, []byte(old), []byte(now), 1), 0o640))
}

// Remove removes a sealed session, see RemoveAll.
func (s *Sealer) Remove(id, reason string) (err error) {
	failed := s.RemoveAll(context.Background(), []Removal{{id, reason}}, func(_ Removal, e error) { err = e })
	return errors.Join(failed, err)
}
