package sshd

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/sandtrap/sandtrap/internal/auth"
	"github.com/sandtrap/sandtrap/internal/event"
)

// attempts puts a connection's credentials before the policy and keeps them for
// the record. How many there can be is bounded by MaxAuthTries, and for keys that
// are only asked about by the library.
type attempts struct {
	policy Policy
	source netip.Addr
	began  time.Time // of the connection
	events *event.Emitter
	tried  []Tried // the library calls from one goroutine, the handshake's
	kept   bool    // the attempt that log hears of next is among tried

	accepted func() // called when an attempt was let in
	drop     func(reason string)
	// checked is called when an attempt was put before the policy, and takes the time
	// that this takes.
	checked func(t auth.Attempt, accepted bool)
}

// errRefused is all that a client's failure says.
var errRefused = errors.New("permission denied")

// States of a public key in an attempt.
const (
	KeyOffered  = "offered"  // the client asked whether the key would do: RFC 4252, section 7
	KeyVerified = "verified" // the client proved that it holds the private key
)

// KeyLine is a key as one line of authorized_keys; see sshd(8).
func KeyLine(key ssh.PublicKey) string {
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key)))
}

// decide puts one attempt before the policy.
func (a *attempts) decide(t auth.Attempt, keyState string) (*ssh.Permissions, error) {
	if len(a.tried) > 0 && a.tried[0].User != t.User {
		// sshd disconnects at once; RFC 4252, section 5.
		t.Void = true
		a.keep(t, auth.Decision{Reason: userChanged, Honeytoken: a.ask(&t, keyState).Honeytoken}, keyState)
		a.drop(userChanged)
		return nil, errRefused
	}
	d := a.ask(&t, keyState)
	a.keep(t, d, keyState)
	a.checked(t, d.Accept && keyState != KeyOffered)
	if !d.Accept {
		return nil, errRefused
	}
	return &ssh.Permissions{}, nil
}

// ask completes an attempt and puts it before the policy.
func (a *attempts) ask(t *auth.Attempt, keyState string) auth.Decision {
	t.Source, t.At, t.Verified = a.source, time.Now(), keyState == KeyVerified
	return a.policy.Decide(*t)
}

// userChanged is why a connection ends that goes on with another login name.
const userChanged = "user name changed"

// keep records an attempt and its outcome. A key that would do lets nobody in
// until it is verified.
func (a *attempts) keep(t auth.Attempt, d auth.Decision, keyState string) {
	one := Tried{
		Attempt: t, Time: time.Now(), Accepted: d.Accept && keyState != KeyOffered, Reason: d.Reason, Rule: d.Rule, KeyState: keyState,
		Honeytoken: d.Honeytoken,
	}
	before := a.began
	if n := len(a.tried); n > 0 {
		before = a.tried[n-1].Time
	}
	a.tried = append(a.tried, one)
	// What follows an offer that was welcome is a question answered, of which log
	// never hears, or a signature.
	a.kept = !(d.Accept && keyState == KeyOffered)
	shown := one.shown()
	fields := append(shown[:len(shown):len(shown)], event.F("accepted", one.Accepted), event.F("reason", d.Reason), event.F("since_previous_ms", one.Time.Sub(before).Milliseconds()))
	if d.Rule != "" {
		fields = append(fields, event.F("rule", d.Rule))
	}
	a.events.Emit(event.AuthAttempt, fields...)
	if token := d.Honeytoken; token != nil {
		fields := append(shown, event.F("accepted", one.Accepted), event.F("honeytoken", token.Name))
		if token.Session != "" {
			fields = append(fields, event.F("bait_session", token.Session))
		}
		a.events.Emit(event.HoneytokenUse, fields...)
	}
	if one.Accepted {
		a.accepted()
	}
}

// shown is the credential of an attempt as events have it.
func (t *Tried) shown() []event.Field {
	fields := []event.Field{event.F("user", t.User), event.F("method", t.Method)}
	switch {
	case t.Key != nil:
		fields = append(fields, event.F("key_type", t.Key.Type()), event.F("fingerprint", ssh.FingerprintSHA256(t.Key)),
			event.F("public_key", KeyLine(t.Key)), event.F("key_state", t.KeyState))
	case t.Method == auth.Password || t.Method == auth.KeyboardInteractive:
		fields = append(fields, event.F("password", t.Password))
	}
	return fields
}

// password is what PasswordAuthentication is to sshd (RFC 4252, section 8).
func (a *attempts) password(m ssh.ConnMetadata, password []byte) (*ssh.Permissions, error) {
	return a.decide(auth.Attempt{User: m.User(), Method: "password", Password: string(password)}, "")
}

// interactive asks for a password as OpenSSH's PAM conversation does (RFC 4256).
func (a *attempts) interactive(m ssh.ConnMetadata, ask ssh.KeyboardInteractiveChallenge) (*ssh.Permissions, error) {
	answers, err := ask("", "", []string{"Password: "}, []bool{false})
	if err != nil {
		return nil, err
	}
	if len(answers) != 1 {
		return nil, errRefused
	}
	p, err := a.decide(auth.Attempt{User: m.User(), Method: "keyboard-interactive", Password: answers[0]}, "")
	if err == nil { // PAM has nothing more to ask, which is asked as well
		_, err = ask("", "", nil, nil)
	}
	if err != nil {
		return nil, err
	}
	return p, nil
}

// offered answers whether a key would do; nothing is proved by it yet. The
// library also calls it before it verifies a signature for a key not asked about.
func (a *attempts) offered(m ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
	return a.decide(auth.Attempt{User: m.User(), Method: "publickey", Key: key}, KeyOffered)
}

// verified is called with a key that offered accepted and whose signature holds. The
// policy hears of it again, for now it counts; it may have changed its mind.
func (a *attempts) verified(m ssh.ConnMetadata, key ssh.PublicKey, p *ssh.Permissions, _ string) (*ssh.Permissions, error) {
	t := auth.Attempt{User: m.User(), Method: "publickey", Key: key}
	d := a.ask(&t, KeyVerified)
	a.keep(t, d, KeyVerified)
	if !d.Accept {
		return nil, errRefused
	}
	return p, nil
}

// log hears of every attempt's outcome. It keeps those that reached no callback:
// the method none, a method we do not know, a wrong signature, a malformed try.
func (a *attempts) log(m ssh.ConnMetadata, method string, err error) {
	kept := a.kept
	a.kept = false
	if kept || err == nil {
		return
	}
	t := auth.Attempt{User: m.User(), Method: method}
	switch method {
	case "none":
		a.keep(t, a.ask(&t, ""), "")
	case "password", "keyboard-interactive", "publickey":
		a.keep(t, auth.Decision{Reason: "malformed, not verified or not offered"}, "")
	case "hostbased", "gssapi-with-mic":
		a.keep(t, auth.Decision{Reason: "method is not offered"}, "")
	default:
		t.Method = "unknown"
		a.keep(t, auth.Decision{Reason: fmt.Sprintf("unknown method %+q", method[:min(len(method), maxMethod)])}, "")
	}
	a.kept = false
	a.checked(t, false)
}

// maxMethod is the longest name of a method, in bytes; RFC 4250, section 4.6.1.
const maxMethod = 64
