package sshd

import (
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"
)

func TestMatches(t *testing.T) {
	for _, tt := range []struct {
		name, pattern string
		want          bool
	}{
		{"LANG", "LANG", true}, {"LANG", "LAN", false}, {"LAN", "LANG", false}, {"", "", true}, {"", "*", true}, {"", "?", false},
		{"LC_ALL", "LC_*", true}, {"LC_", "LC_*", true}, {"LC_a/b", "LC_*", true}, {"XLC_", "LC_*", false},
		{"LC_ALL", "L?_A*L", true}, {"LC_ALL", "*_ALL", true}, {"LC_ALL", "*_A*_*", false}, {"LC_[", "LC_[", true}, {"LC_a", "LC_[a]", false},
	} {
		if got := matches(tt.name, tt.pattern); got != tt.want {
			t.Errorf("%q matches %q: %v", tt.name, tt.pattern, got)
		}
	}
}

func TestWholeModes(t *testing.T) {
	for modes, want := range map[string]bool{
		"": true, "\x00": true, "\x00rest": true, "\x01\x00\x00\x00\x01": true, "\x01\x00\x00\x00": false, "\x01": false,
		"\x9f\x00\x00\x00\x01\x00": true, "\x9f\x00": false, "\xa0": true, "\xa0rest": true, "\x80\x00": false, "\x81\x00\x00\x00\x01": true,
	} {
		if got := wholeModes(modes); got != want {
			t.Errorf("modes %q are whole: %v", modes, got)
		}
	}
}

// FuzzRequests gives payloads of all kinds to what decodes them: whatever is
// accepted has no NUL in its texts, and is bounded by the payload.
func FuzzRequests(f *testing.F) {
	f.Add(ssh.Marshal(ptyRequest{Term: "xterm", Columns: 80, Rows: 24, Modes: "\x35\x00\x00\x00\x01\x00"}))
	f.Add(ssh.Marshal(envRequest{"LC_ALL", "C\x00"}))
	f.Add(ssh.Marshal(commandRequest{"id\x00; id"}))
	f.Add(ssh.Marshal(windowChange{80, 24, 0, 0}))
	f.Add(ssh.Marshal(signalRequest{"TERM\x00"}))
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0})
	f.Fuzz(func(t *testing.T, payload []byte) {
		var p ptyRequest
		var e envRequest
		var c commandRequest
		var s signalRequest
		var w windowChange
		_ = decode(payload, &w)
		texts := []string{}
		if decode(payload, &p, &p.Term) {
			texts = append(texts, p.Term)
			_ = wholeModes(p.Modes)
		}
		if decode(payload, &e, &e.Name, &e.Value) {
			texts = append(texts, e.Name, e.Value)
			_ = matches(e.Name, "LC_*")
		}
		if decode(payload, &c, &c.Command) {
			texts = append(texts, c.Command)
		}
		if decode(payload, &s, &s.Signal) {
			texts = append(texts, s.Signal)
		}
		for _, text := range texts {
			if strings.Contains(text, "\x00") || len(text) > len(payload) {
				t.Errorf("%q has the text %q", payload, text)
			}
		}
	})
}

// FuzzModes compares with a reading after ttymodes.c of OpenSSH.
func FuzzModes(f *testing.F) {
	f.Add("\x35\x00\x00\x00\x01\x00")
	f.Add("\x80\x00\x00\x25\x80\x81\x00\x00\x25\x80\x00")
	f.Add("\x9f\x00\xa0")
	f.Fuzz(func(t *testing.T, modes string) {
		want, rest := true, modes
	reading:
		for rest != "" {
			switch o := rest[0]; {
			case o == 0, o > 159:
				break reading
			case len(rest) < 1+4:
				want = false
				break reading
			}
			rest = rest[5:]
		}
		if got := wholeModes(modes); got != want {
			t.Errorf("%q is whole: %v", modes, got)
		}
	})
}
