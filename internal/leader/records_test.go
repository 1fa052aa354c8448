package leader

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// entry is what matters of a record.
type entry struct {
	Kind       uint16
	PID        uint32
	Line, ID   string
	User, Host string
	Address    string
	NoTime     bool
}

func entriesOf(t *testing.T, path string) []entry {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var list []entry
	for ; len(b) >= recordSize; b = b[recordSize:] {
		list = append(list, entry{
			Kind: binary.NativeEndian.Uint16(b), PID: binary.NativeEndian.Uint32(b[4:]),
			Line: cFields(b[8:40]), ID: cFields(b[40:44]), User: cFields(b[44:76]), Host: cFields(b[76:332]),
			Address: string(bytes.TrimRight(b[348:364], "\x00")),
			NoTime:  binary.NativeEndian.Uint32(b[340:]) == 0,
		})
	}
	return list
}

// The records are those that a real sshd has been seen to write.
func TestRecords(t *testing.T) {
	root := newRoot(t)
	l := &login{account: account{name: "tester", uid: 3}, records: newRecords(root, "203.0.113.5"), monitor: os.Getpid()}
	first := &channel{pid: 1234, pty: &pty{number: 0}}
	other := &channel{pid: 1235, pty: &pty{number: 12}}
	if at, _ := l.lastLogin(); !at.IsZero() {
		t.Errorf("last login %v", at)
	}
	l.logIn(first)
	l.logIn(other)
	in := entry{Kind: userProcess, PID: 1234, Line: "pts/0", ID: "ts/0", User: "tester", Host: "203.0.113.5", Address: "\xcb\x00\x71\x05"}
	in12 := in
	in12.PID, in12.Line, in12.ID = 1235, "pts/12", "s/12"
	utmp, wtmp := filepath.Join(root, utmpPath), filepath.Join(root, wtmpPath)
	if diff := cmp.Diff([]entry{in, in12}, entriesOf(t, utmp)); diff != "" {
		t.Error(diff)
	}
	l.logOut(first)
	out := entry{Kind: deadProcess, PID: 1234, Line: "pts/0", ID: "ts/0", Address: in.Address}
	if diff := cmp.Diff([]entry{out, in12}, entriesOf(t, utmp)); diff != "" {
		t.Error(diff)
	}
	l.logIn(first) // takes its place again
	if diff := cmp.Diff([]entry{in, in12}, entriesOf(t, utmp)); diff != "" {
		t.Error(diff)
	}
	left := entry{Kind: deadProcess, PID: uint32(os.Getpid()), Line: "pts/0"}
	if diff := cmp.Diff([]entry{in, in12, left, in}, entriesOf(t, wtmp)); diff != "" {
		t.Error(diff)
	}
	at, host := l.lastLogin()
	if time.Since(at) > time.Minute || host != "203.0.113.5" {
		t.Errorf("last login %v from %q", at, host)
	}
	if st, err := os.Stat(filepath.Join(root, lastlogPath)); err != nil || st.Size() != 4*lastSize {
		t.Errorf("lastlog: %v, %v", st, err)
	}
}

// Files that are not there are not made, as by sshd.
func TestNoRecords(t *testing.T) {
	l := &login{account: account{name: "tester"}, records: newRecords(t.TempDir(), "x")}
	c := &channel{pid: 1, pty: &pty{}}
	l.logIn(c)
	l.logOut(c)
	if names := entries(l.root); len(names) > 0 {
		t.Errorf("made %v", names)
	}
}

func TestAddress(t *testing.T) {
	for text, want := range map[string]string{
		"203.0.113.5":      "\xcb\x00\x71\x05",
		"::1":              "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01",
		"2001:db8::5":      "\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x05",
		"fe80::1%eth0":     "\xfe\x80\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01",
		"1:2:3:4:5:6:7:8":  "\x00\x01\x00\x02\x00\x03\x00\x04\x00\x05\x00\x06\x00\x07\x00\x08",
		"::ffff:192.0.2.1": "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\xff\xff\xc0\x00\x02\x01",
		"":                 "", "1.2.3": "", "1.2.3.256": "", "host": "", "1:2": "", "1::2::3": "", "1:2:3:4:5:6:7:8::": "", "g::": "",
	} {
		if got := string(address(text)); got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
}
