package session

import (
	"crypto/ed25519"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/crypto/ssh"

	"github.com/sandtrap/sandtrap/internal/evidence"
	"github.com/sandtrap/sandtrap/internal/sshd"
)

func keyLine(t testing.TB, seed string) string {
	t.Helper()
	k, err := ssh.NewPublicKey(ed25519.NewKeyFromSeed([]byte(strings.Repeat(seed, ed25519.SeedSize))).Public())
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(k)))
}

// used opens a session in which a program has run, and what is read of the keys after.
func used(st *stage, cat func(s *fakeStream, stdout, stderr func([]byte) error) error) *Session {
	s := st.open(st.login())
	st.runs(newStream(0, func(*fakeStream, func([]byte) error, func([]byte) error) error { return nil }))
	r := st.start(s, sshd.Program{Kind: sshd.Shell})
	if err := r.Serve(st.Context(), (&client{stdin: strings.NewReader("")}).stream()); err != nil {
		st.Error(err)
	}
	st.runs(newStream(0, cat))
	return s
}

func TestPlantedKeys(t *testing.T) {
	st := setUp(t)
	var found []string
	st.service.Planted = func(from netip.Addr, keys func() []ssh.PublicKey) {
		if from.String() != "192.0.2.7" {
			t.Errorf("keys from %s", from)
		}
		for _, k := range keys() {
			found = append(found, sshd.KeyLine(k))
		}
	}
	one, two := keyLine(t, "1"), keyLine(t, "2")
	s := used(st, func(_ *fakeStream, stdout, _ func([]byte) error) error {
		for _, part := range []string{"# comment\n" + one[:20], one[20:] + " mdrf\xff\n", "ssh-rsa nonsense\ncommand=\"x\" " + two} {
			if err := stdout([]byte(part)); err != nil {
				return err
			}
		}
		return nil
	})
	s.Close("client disconnected")
	if want := []string{one, two}; !cmp.Equal(found, want) {
		t.Errorf("found %q, want %q", found, want)
	}
	if want := []evidence.Text{evidence.Text(one + " mdrf\xff"), evidence.Text(`command="x" ` + two)}; !cmp.Equal(st.saved().PlantedKeys, want) {
		t.Errorf("record %q, want %q", st.saved().PlantedKeys, want)
	}
	last := st.podman.programs[len(st.podman.programs)-1]
	if last.Path != "/bin/cat" || last.Argv[2] != "/root/.ssh/authorized_keys" || !last.Subsystem {
		t.Errorf("program %+v", last)
	}
}

// TestPlantedKeysAreBounded, whatever the file is: endless, or one that never answers.
func TestPlantedKeysAreBounded(t *testing.T) {
	line := []byte(keyLine(t, "1") + "\n")
	for name, cat := range map[string]func(s *fakeStream, stdout, stderr func([]byte) error) error{
		"endless": func(_ *fakeStream, stdout, _ func([]byte) error) error {
			for {
				if err := stdout(line); err != nil {
					return err
				}
			}
		},
		"silent": untilClosed,
	} {
		t.Run(name, func(t *testing.T) {
			st := setUp(t)
			n := -1
			st.service.Planted = func(_ netip.Addr, keys func() []ssh.PublicKey) { n = len(keys()) }
			s := used(st, cat)
			began := time.Now()
			s.Close("client disconnected")
			if want := map[string]int{"endless": maxKeys, "silent": 0}[name]; n != want {
				t.Errorf("%d keys, want %d", n, want)
			}
			if took := time.Since(began); took > 20*time.Second {
				t.Errorf("it took %s", took)
			}
		})
	}
}

// TestNoKeysAreLookedFor where nobody wants to know, or nothing ran.
func TestNoKeysAreLookedFor(t *testing.T) {
	st := setUp(t)
	st.service.Planted = func(netip.Addr, func() []ssh.PublicKey) {}
	used(st, untilClosed).Close("client disconnected")
	if n := len(st.podman.programs); n != 1 {
		t.Errorf("%d programs ran, want the client's", n)
	}
	other := setUp(t)
	other.service.Planted = func(netip.Addr, func() []ssh.PublicKey) { t.Error("asked about a target in which nothing ran") }
	s := other.open(other.login())
	s.Prepare(other.Context(), true)
	s.Close("client disconnected")
}

func FuzzParseKeys(f *testing.F) {
	f.Add([]byte(keyLine(f, "1") + " me\n# x\n"))
	f.Add([]byte("command=\"\\\" ssh-rsa A\n\x00\n\r"))
	f.Add([]byte("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI\n"))
	f.Fuzz(func(t *testing.T, file []byte) {
		keys, lines := parseKeys(file)
		if len(keys) != len(lines) || len(keys) > maxKeys {
			t.Errorf("%d keys, %d lines", len(keys), len(lines))
		}
		for _, k := range keys {
			_ = sshd.KeyLine(k)
		}
	})
}
