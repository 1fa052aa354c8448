package sshd

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/crypto/ssh"

	"github.com/sandtrap/sandtrap/internal/auth"
	"github.com/sandtrap/sandtrap/internal/event"
)

// judge is a policy of one test.
type judge func(auth.Attempt) auth.Decision

func (j judge) Decide(a auth.Attempt) auth.Decision { return j(a) }

// marks knows one honeytoken, and lets in who shows it if accept is set.
func marks(accept bool) judge {
	return func(a auth.Attempt) auth.Decision {
		d := auth.Decision{Accept: accept && a.Method != "none", Reason: "because", Rule: "third"}
		if a.Password == "stolen" || a.Key != nil {
			d.Honeytoken = &auth.Honeytoken{Name: "wiki", Session: "01JQ"}
		}
		return d
	}
}

// TestHoneytokenIsAnEvent whatever becomes of the attempt, with the credential.
func TestHoneytokenIsAnEvent(t *testing.T) {
	for _, accept := range []bool{false, true} {
		f := listen(t, func(c *Config) { c.Policy = func() Policy { return marks(accept) } })
		_, _, err := f.login(clientConfig("svc", ssh.Password("stolen")))
		if (err == nil) != accept {
			t.Fatalf("login: %v", err)
		}
		e := f.events.wait(t, event.HoneytokenUse, 1)[0]
		want := []any{"svc", "password", "stolen", accept, "wiki", "01JQ"}
		if got := fields(e, "user", "method", "password", "accepted", "honeytoken", "bait_session"); !cmp.Equal(got, want) {
			t.Errorf("event has %v, want %v", got, want)
		}
		if e.Severity != event.Critical {
			t.Errorf("severity %v", e.Severity)
		}
		attempts := f.events.wait(t, event.AuthAttempt, 2)
		if last := attempts[len(attempts)-1]; field(last, "rule") != "third" || field(last, "since_previous_ms").(int64) < 0 {
			t.Errorf("attempt %v", last)
		}
	}
}

func TestHoneytokenKey(t *testing.T) {
	key := testKey(t, "k")
	f := listen(t, func(c *Config) { c.Policy = func() Policy { return marks(true) } })
	client, _, err := f.login(clientConfig("root", ssh.PublicKeys(key)))
	if err != nil {
		t.Fatal(err)
	}
	// The reply to a request proves that the session is open.
	if _, _, err := client.SendRequest("x", true, nil); err != nil {
		t.Fatal(err)
	}
	found := f.events.wait(t, event.HoneytokenUse, 2)
	for i, state := range []string{KeyOffered, KeyVerified} {
		want := []any{ssh.FingerprintSHA256(key.PublicKey()), state, state == KeyVerified}
		if got := fields(found[i], "fingerprint", "key_state", "accepted"); !cmp.Equal(got, want) {
			t.Errorf("event has %v, want %v", got, want)
		}
	}
	if token := f.all()[0].login.Accepted().Honeytoken; token == nil || token.Name != "wiki" {
		t.Errorf("the session hears of %+v", token)
	}
}

// TestHoneytokenAfterUserChange: a connection that goes on with another name ends, and
// what it shows counts for nothing but is looked at.
func TestHoneytokenAfterUserChange(t *testing.T) {
	log := newEventLog()
	void := 0
	policy := judge(func(a auth.Attempt) auth.Decision {
		if a.Void {
			void++
		}
		return marks(true)(a)
	})
	a := attempts{policy: policy, events: event.New(log), checked: func(auth.Attempt, bool) {}, accepted: func() {}, drop: func(string) {}}
	if _, err := a.password(metadata{"a"}, []byte("x")); err != nil {
		t.Fatal(err)
	}
	if _, err := a.password(metadata{"b"}, []byte("stolen")); err == nil {
		t.Error("let in")
	}
	found, _ := log.of(event.HoneytokenUse)
	if len(found) != 1 || field(found[0], "accepted") != false || void != 1 {
		t.Errorf("events %v, %d attempts were void", found, void)
	}
}

// TestBanner is sent once, with the answer to the first attempt.
func TestBanner(t *testing.T) {
	const text = "Authorized users only\n\x1b"
	f := listen(t, func(c *Config) { c.Banner = text; c.Policy = func() Policy { return marks(false) } })
	var got []string
	config := clientConfig("svc", ssh.RetryableAuthMethod(ssh.Password("x"), 3))
	config.BannerCallback = func(message string) error {
		got = append(got, message)
		return nil
	}
	if _, _, err := f.login(config); err == nil {
		t.Fatal("let in")
	}
	if !cmp.Equal(got, []string{text}) {
		t.Errorf("banners %q", got)
	}
}

// TestVerifiedKeyIsAskedAbout: the policy hears of the proof, of the source and of the
// time, and may say no.
func TestVerifiedKeyIsAskedAbout(t *testing.T) {
	var asked []auth.Attempt
	f := listen(t, func(c *Config) {
		c.Policy = func() Policy {
			return judge(func(a auth.Attempt) auth.Decision {
				asked = append(asked, a)
				return auth.Decision{Accept: a.Method == "publickey" && !a.Verified, Reason: "no longer"}
			})
		}
	})
	_, raw, err := f.login(clientConfig("root", ssh.PublicKeys(testKey(t, "k"))))
	if err == nil {
		t.Fatal("let in")
	}
	f.events.wait(t, event.ConnectionEnd, 1)
	_ = raw
	var verified []bool
	for _, a := range asked {
		if !a.Source.IsLoopback() || time.Since(a.At) > patience {
			t.Errorf("asked about %+v", a)
		}
		if a.Key != nil {
			verified = append(verified, a.Verified)
		}
	}
	if want := []bool{false, true}; !cmp.Equal(verified, want) {
		t.Errorf("keys verified: %v, want %v", verified, want)
	}
	if len(f.all()) != 0 {
		t.Error("a session was opened")
	}
	attempts := f.events.wait(t, event.AuthAttempt, 3)
	if last := attempts[len(attempts)-1]; field(last, "accepted") != false || field(last, "key_state") != KeyVerified || field(last, "reason") != "no longer" {
		t.Errorf("last attempt %v", fields(last, "accepted", "key_state", "reason"))
	}
}
