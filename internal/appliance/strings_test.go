//go:build appliance

package appliance

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
)

// hostileText has what terminals obey, what is not UTF-8 and what turns text around.
const hostileText = "\x1b]0;x\a\x1b[31m\xff\xfe\u202e\u2028\r\n\x7f'\"\\"

// What a client sends is stored as it is, and shown as harmless text.
func TestHostileStrings(t *testing.T) {
	user := "u" + hostileText
	w, err := dialWire(address, freshSource(), "OpenSSH_9.2p1 Debian-2+deb12u3", user)
	if err != nil {
		t.Fatal(err)
	}
	f := newFrames(t, w)
	command := ": '" + strings.ReplaceAll(hostileText, "'", "") + "'; printf %s \"$LC_A$TERM\""
	f.open(0)
	f.request(0, "env", str("LC_A"), str(hostileText))
	f.request(0, "env", str("LC_"+hostileText), str("x"))
	f.request(0, "subsystem", str(hostileText))
	f.request(0, hostileText)
	f.request(0, "pty-req", str(hostileText), num(80), num(24), num(0), num(0), str(""))
	f.exec(0, "stty -onlcr; "+command)
	f.wait("< close")
	if got, want := f.data[0].String(), hostileText+hostileText; got != want {
		t.Errorf("the program has %q, want %q", got, want)
	}
	f.open(0)
	f.exec(0, "echo "+strings.Repeat("x", 100<<10)+" | wc -c")
	f.wait("< close")
	if got := f.data[0].String(); got != "102401\n" {
		t.Errorf("a long command says %q", got)
	}
	_ = f.leave()
	s := lastSession(t)
	c := s.Channels[0]
	for what, got := range map[string][2]string{
		"user": {string(s.Login.User), user}, "command": {string(c.Command), "stty -onlcr; " + command}, "terminal": {string(c.Terminal), hostileText},
		"variable": {string(c.Env[0]), "LC_A=" + hostileText}, "odd variable": {string(c.Env[1]), "LC_" + hostileText + "=x"},
		"long command": {string(s.Channels[1].Command), "echo " + strings.Repeat("x", 100<<10) + " | wc -c"},
	} {
		if got[0] != got[1] {
			t.Errorf("the %s is stored as %.300q, want %.300q", what, got[0], got[1])
		}
	}
	for _, args := range [][]string{{"show", "--", "-1"}, {"list"}, {"replay", "--speed", "1000", "--", "-1"}} {
		out, _ := output("sandtrap", args...)
		if i := strings.IndexAny(out, "\x00\x07\x7f\u202e\u2028"); i >= 0 || strings.Contains(out, "\x1b]") || !validText(out) {
			t.Errorf("sandtrap %s shows %.200q", args, out)
		}
	}
}

func validText(s string) bool { return bytes.Equal(bytes.ToValidUTF8([]byte(s), nil), []byte(s)) }

// Names beyond what a packet holds end the connection, and long ones are no trouble.
func TestLongNames(t *testing.T) {
	before := usage(t)
	if _, err := dialWire(address, freshSource(), "OpenSSH_9.2p1", strings.Repeat("x", 1<<20)); err == nil {
		t.Error("a user name of a MiB got in")
	}
	w, err := dialWire(address, freshSource(), "OpenSSH_9.2p1", strings.Repeat("x", 200<<10))
	if err != nil {
		t.Fatal(err)
	}
	_ = w.conn.Close()
	err = eventually(func() error {
		if n := len(lastSession(t).Login.User); n != 200<<10 {
			return fmt.Errorf("a user name of %d bytes is stored, want %d", n, 200<<10)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	before.compare(t)
}
