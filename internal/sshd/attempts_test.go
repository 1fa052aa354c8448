package sshd

import (
	"context"
	"crypto/ed25519"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/crypto/ssh"

	"github.com/sandtrap/sandtrap/internal/auth"
	"github.com/sandtrap/sandtrap/internal/event"
)

func testKey(t *testing.T, seed string) ssh.Signer {
	t.Helper()
	key, err := ssh.NewSignerFromKey(ed25519.NewKeyFromSeed([]byte(strings.Repeat(seed, ed25519.SeedSize))))
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// forger has the public key but not the private one.
type forger struct{ ssh.Signer }

func (f forger) Sign(r io.Reader, data []byte) (*ssh.Signature, error) {
	return f.Signer.Sign(r, append([]byte("not "), data...))
}

// tried is an attempt as its event shows it.
type tried struct {
	Method, Password, KeyState string
	Accepted                   bool
}

func (f *fixture) tries(t *testing.T) []tried {
	t.Helper()
	var all []tried
	for _, e := range f.events.wait(t, event.AuthAttempt, 1) {
		one := tried{Method: field(e, "method").(string), Accepted: field(e, "accepted").(bool)}
		one.Password, _ = field(e, "password").(string)
		one.KeyState, _ = field(e, "key_state").(string)
		if field(e, "user") != "root" || field(e, "reason") == "" {
			t.Errorf("attempt %+v has user %q and reason %q", one, field(e, "user"), field(e, "reason"))
		}
		all = append(all, one)
	}
	return all
}

func TestEveryAttemptIsAnEvent(t *testing.T) {
	key := testKey(t, "k")
	interactive := ssh.KeyboardInteractive(func(name, instruction string, questions []string, echos []bool) ([]string, error) {
		if len(questions) == 0 { // what PAM ends with
			return nil, nil
		}
		if name != "" || instruction != "" || !cmp.Equal(questions, []string{"Password: "}) || !cmp.Equal(echos, []bool{false}) {
			t.Errorf("asked %q %q %q %v", name, instruction, questions, echos)
		}
		return []string{"typed"}, nil
	})
	none := tried{Method: "none"}
	tests := []struct {
		name    string
		policy  auth.Policy
		methods []ssh.AuthMethod
		want    []tried
	}{
		{"none", auth.AcceptAll{}, nil, []tried{none}},
		{"password", auth.AcceptAll{}, []ssh.AuthMethod{ssh.Password("p\x00\xff")}, []tried{none, {Method: "password", Password: "p\x00\xff", Accepted: true}}},
		{"keyboard-interactive", auth.AcceptAll{}, []ssh.AuthMethod{interactive}, []tried{none, {Method: "keyboard-interactive", Password: "typed", Accepted: true}}},
		{
			"refused key, then password", auth.AcceptAll{}, []ssh.AuthMethod{ssh.PublicKeys(key), ssh.Password("p")},
			[]tried{none, {Method: "publickey", KeyState: KeyOffered}, {Method: "password", Password: "p", Accepted: true}},
		},
		{
			"welcome key", auth.AcceptAll{Keys: true}, []ssh.AuthMethod{ssh.PublicKeys(key)},
			[]tried{none, {Method: "publickey", KeyState: KeyOffered}, {Method: "publickey", KeyState: KeyVerified, Accepted: true}},
		},
		{
			// The library ends the connection here; sshd would go on.
			"forged signature", auth.AcceptAll{Keys: true}, []ssh.AuthMethod{ssh.PublicKeys(forger{key})},
			[]tried{none, {Method: "publickey", KeyState: KeyOffered}},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := listen(t, func(c *Config) { c.Policy = func() Policy { return always{tt.policy} } })
			_, _, err := f.login(clientConfig("root", tt.methods...))
			got := f.tries(t)
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("attempts (-want +got):\n%s", diff)
			}
			if last := tt.want[len(tt.want)-1]; (err == nil) != last.Accepted {
				t.Errorf("login: %v, want accepted %v", err, last.Accepted)
			}
		})
	}
}

func TestKeyEventCarriesTheKey(t *testing.T) {
	key := testKey(t, "k")
	f := listen(t, func(c *Config) { c.Policy = func() Policy { return always{auth.AcceptAll{Keys: true}} } })
	if _, _, err := f.login(clientConfig("git", ssh.PublicKeys(key))); err != nil {
		t.Fatal(err)
	}
	line := strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key.PublicKey())))
	want := []any{"git", "ssh-ed25519", ssh.FingerprintSHA256(key.PublicKey()), line, nil}
	for _, e := range f.events.wait(t, event.AuthAttempt, 3)[1:] {
		if got := fields(e, "user", "key_type", "fingerprint", "public_key", "password"); !cmp.Equal(got, want) {
			t.Errorf("event has %q, want %q", got, want)
		}
	}
}

func TestWrongCredentialsUpToTheLimit(t *testing.T) {
	static, err := auth.NewStatic([]auth.Credential{{User: "root", Password: "right"}})
	if err != nil {
		t.Fatal(err)
	}
	f := listen(t, func(c *Config) {
		c.MaxAuthTries = 3
		c.Policy = func() Policy { return always{static} }
	})
	asked := 0
	_, _, err = f.login(clientConfig("root", ssh.RetryableAuthMethod(ssh.PasswordCallback(func() (string, error) {
		asked++
		return strings.Repeat("x", asked), nil
	}), 10)))
	if err == nil || asked != 3 {
		t.Errorf("login: %v after %d passwords, want an error after 3", err, asked)
	}
	want := []tried{{Method: "none"}, {Method: "password", Password: "x"}, {Method: "password", Password: "xx"}, {Method: "password", Password: "xxx"}}
	if diff := cmp.Diff(want, f.tries(t)); diff != "" {
		t.Errorf("attempts (-want +got):\n%s", diff)
	}
	if got := field(f.events.wait(t, event.ConnectionEnd, 1)[0], "reason"); got != "authentication failed" {
		t.Errorf("connection ended with %q", got)
	}
	if len(f.all()) != 0 {
		t.Error("a session was opened")
	}
}

func TestSecondTryIsAccepted(t *testing.T) {
	static, err := auth.NewStatic([]auth.Credential{{User: "root", Password: "2"}})
	if err != nil {
		t.Fatal(err)
	}
	f := listen(t, func(c *Config) { c.Policy = func() Policy { return always{static} } })
	n := 0
	client, raw, err := f.login(clientConfig("root", ssh.RetryableAuthMethod(ssh.PasswordCallback(func() (string, error) {
		n++
		return []string{"", "1", "2"}[n], nil
	}), 3)))
	if err != nil {
		t.Fatal(err)
	}
	if got := string(client.ServerVersion()); got != "SSH-2.0-"+testVersion {
		t.Errorf("server version %q", got)
	}
	// The reply to a request proves that the session is open.
	if _, _, err := client.SendRequest("x", true, nil); err != nil {
		t.Fatal(err)
	}
	l := f.all()[0].login
	if l.User() != "root" || l.Accepted().Password != "2" || !l.Accepted().Accepted || len(l.Attempts) != 3 || l.Attempts[1].Password != "1" || l.Attempts[1].Accepted {
		t.Errorf("attempts = %+v", l.Attempts)
	}
	if l.ClientVersion != "SSH-2.0-TestClient_1" || l.Source.String() != raw.LocalAddr().String() || l.Local.String() != f.addr || len(l.ID) != 26 || l.Opened.IsZero() {
		t.Errorf("login = %+v", l)
	}
}

// metadata is a connection as the library shows it to callbacks.
type metadata struct{ user string }

func (m metadata) User() string          { return m.user }
func (metadata) SessionID() []byte       { return nil }
func (metadata) ClientVersion() []byte   { return nil }
func (metadata) ServerVersion() []byte   { return nil }
func (metadata) RemoteAddr() net.Addr    { return nil }
func (metadata) LocalAddr() net.Addr     { return nil }
func (metadata) Method() (string, error) { return "", nil }

func TestAttemptsWithoutCallback(t *testing.T) {
	failed := errors.New("no")
	tests := []struct {
		method, want, reason string
		err                  error
	}{
		{"none", "none", "method is not accepted", failed},
		{"hostbased", "hostbased", "method is not offered", failed},
		{"publickey", "publickey", "malformed, not verified or not offered", failed},
		{"\x1b[2J" + strings.Repeat("é", 100), "unknown", `unknown method "\x1b[2J` + strings.Repeat(`\u00e9`, 30) + `"`, failed},
		{"password", "", "", nil},
	}
	for _, tt := range tests {
		log := newEventLog()
		a := attempts{policy: always{auth.AcceptAll{}}, events: event.New(log), checked: func(auth.Attempt, bool) {}}
		a.log(metadata{"root"}, tt.method, tt.err)
		found, _ := log.of(event.AuthAttempt)
		if tt.want == "" {
			if len(found) != 0 {
				t.Errorf("%q: unexpected event", tt.method)
			}
			continue
		}
		if len(found) != 1 || len(a.tried) != 1 {
			t.Fatalf("%q: %d events, %d attempts", tt.method, len(found), len(a.tried))
		}
		if got := fields(found[0], "user", "method", "accepted", "reason", "password"); !cmp.Equal(got, []any{"root", tt.want, false, tt.reason, nil}) {
			t.Errorf("%q: event has %q", tt.method, got)
		}
	}
}

// TestInteractiveEndsWithoutAQuestion: who was let in is asked once more, for nothing;
// who was not is told at once.
func TestInteractiveEndsWithoutAQuestion(t *testing.T) {
	for _, policy := range []auth.Policy{auth.AcceptAll{}, &auth.Static{}} {
		a := attempts{policy: always{policy}, events: event.New(newEventLog()), accepted: func() {}, checked: func(auth.Attempt, bool) {}}
		var asked []int
		p, err := a.interactive(metadata{"root"}, func(_, _ string, questions []string, _ []bool) ([]string, error) {
			asked = append(asked, len(questions))
			return questions, nil
		})
		want := []int{1, 0}
		if p == nil {
			want = want[:1]
		}
		if !cmp.Equal(asked, want) || (p == nil) != (err != nil) {
			t.Errorf("%T: let in: %t, %v, after %d questions, want %d", policy, p != nil, err, asked, want)
		}
	}
}

func TestInteractiveWithoutAnAnswer(t *testing.T) {
	a := attempts{policy: always{auth.AcceptAll{}}, events: event.New(newEventLog()), checked: func(auth.Attempt, bool) {}}
	for name, ask := range map[string]ssh.KeyboardInteractiveChallenge{
		"error":       func(string, string, []string, []bool) ([]string, error) { return nil, io.EOF },
		"no answer":   func(string, string, []string, []bool) ([]string, error) { return nil, nil },
		"two answers": func(string, string, []string, []bool) ([]string, error) { return []string{"a", "b"}, nil },
	} {
		if p, err := a.interactive(metadata{"root"}, ask); err == nil || p != nil {
			t.Errorf("%s: let in", name)
		}
		a.log(metadata{"root"}, "keyboard-interactive", errRefused)
	}
	if len(a.tried) != 3 {
		t.Errorf("%d attempts were kept, want 3", len(a.tried))
	}
}

// TestPasswordTime: passwords take their time whether they are right or wrong, keys
// do not, and a session begins meanwhile.
func TestPasswordTime(t *testing.T) {
	const d = 200 * time.Millisecond
	key := testKey(t, "k")
	for name, tt := range map[string]struct {
		method ssh.AuthMethod
		policy auth.Policy
		takes  bool
	}{
		"password": {ssh.Password("x"), auth.AcceptAll{}, true},
		"wrong":    {ssh.Password("x"), &auth.Static{}, true},
		"key":      {ssh.PublicKeys(key), auth.AcceptAll{Keys: true}, false},
	} {
		t.Run(name, func(t *testing.T) {
			f := listen(t, func(c *Config) {
				c.PasswordTime = d
				c.Policy = func() Policy { return always{tt.policy} }
			})
			began := time.Now()
			opened := make(chan time.Duration, 1)
			f.open = func(Login) error { opened <- time.Since(began); return nil }
			c, err := ssh.Dial("tcp", f.addr, &ssh.ClientConfig{User: "root", Auth: []ssh.AuthMethod{tt.method}, HostKeyCallback: ssh.InsecureIgnoreHostKey()})
			took := time.Since(began)
			if err == nil {
				c.Close()
				if at := <-opened; tt.takes && at > took-d/2 {
					t.Errorf("the session was opened after %s of %s", at, took)
				}
			}
			if tt.takes != (took >= d*3/4) || tt.takes && took > 3*d {
				t.Errorf("the answer took %s", took)
			}
		})
	}
}

// TestClientLeavesBeforeTheAnswer that would let it in.
func TestClientLeavesBeforeTheAnswer(t *testing.T) {
	f := listen(t, func(c *Config) { c.PasswordTime = 200 * time.Millisecond })
	raw, err := net.Dial("tcp", f.addr)
	if err != nil {
		t.Fatal(err)
	}
	f.open = func(Login) error { return raw.Close() }
	_, _, _, err = ssh.NewClientConn(raw, "", &ssh.ClientConfig{User: "root", Auth: []ssh.AuthMethod{ssh.Password("x")}, HostKeyCallback: ssh.InsecureIgnoreHostKey()})
	if err == nil {
		t.Error("it was let in")
	}
	f.events.wait(t, event.ConnectionEnd, 1)
	if all := f.all(); len(all) != 1 {
		t.Errorf("%d sessions", len(all))
	}
}

// TestHashesWaitForEachOther, two at once, and not for ever.
func TestHashesWaitForEachOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const each = 100 * time.Millisecond
		h := &hashing{each: each}
		began := time.Now()
		var mu sync.Mutex // guards took
		var took []time.Duration
		for range 40 {
			go func() {
				h.wait(t.Context())
				mu.Lock()
				defer mu.Unlock()
				took = append(took, time.Since(began))
			}()
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if first, fourth := took[0], took[3]; first < each*3/4 || first > each*5/4 || fourth < first+each/2 {
			t.Errorf("one took %s, the fourth %s", first, fourth)
		}
		if last := took[len(took)-1]; last < longestQueue*each || last > (longestQueue+2)*each {
			t.Errorf("the last took %s", last)
		}
		began = time.Now()
		h.wait(t.Context())
		if alone := time.Since(began); alone > each*5/4 {
			t.Errorf("one alone took %s", alone)
		}
	})
}

// A failure takes what pam_unix asks for, give or take a quarter, and for each user
// the same few milliseconds at least, doubled until the check is over.
func TestFailuresTakeTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &connection{server: New(Config{FailDelay: 2 * time.Second})}
		took := func(a auth.Attempt, accepted bool) time.Duration {
			began := time.Now()
			c.takeTime(t.Context(), a, accepted)
			return time.Since(began)
		}
		none := took(auth.Attempt{User: "root", Method: "none"}, false)
		if none < 5*time.Millisecond || none > 9200*time.Microsecond || took(auth.Attempt{User: "root", Method: "publickey"}, false) != none {
			t.Errorf("a failure without a password took %s", none)
		}
		for range 100 {
			d := took(auth.Attempt{User: "root", Method: "password"}, false)
			for d > none {
				d /= 2
			}
			if d < none*999/1000 {
				t.Fatalf("a wrong password took no power of two of %s", none)
			}
			if d := took(auth.Attempt{User: "root", Method: "keyboard-interactive"}, false); d < 1500*time.Millisecond || d > 2500*time.Millisecond {
				t.Fatalf("a wrong answer took %s", d)
			}
		}
		if d := took(auth.Attempt{User: "root", Method: "password"}, true); d != 0 {
			t.Errorf("a right password took %s", d)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		began := time.Now()
		c.takeTime(ctx, auth.Attempt{User: "root", Method: "password"}, false)
		if d := time.Since(began); d != 0 {
			t.Errorf("it took %s when the server stopped", d)
		}
	})
}

func TestAnotherUser(t *testing.T) {
	log := newEventLog()
	var dropped []string
	a := attempts{
		policy: always{auth.AcceptAll{}}, events: event.New(log), checked: func(auth.Attempt, bool) {}, accepted: func() { t.Error("the second was let in") },
		drop: func(reason string) { dropped = append(dropped, reason) },
	}
	a.log(metadata{"root"}, "none", errRefused)
	if _, err := a.password(metadata{"admin"}, []byte("x")); err == nil {
		t.Error("another user was let in")
	}
	found, _ := log.of(event.AuthAttempt)
	if len(found) != 2 || field(found[1], "reason") != userChanged || field(found[1], "password") != "x" {
		t.Errorf("events %v", found)
	}
	if !cmp.Equal(dropped, []string{userChanged}) {
		t.Errorf("dropped for %q", dropped)
	}
}
