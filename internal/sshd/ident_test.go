package sshd

import (
	"bytes"
	"errors"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/sandtrap/sandtrap/internal/event"
)

const ourLine = "SSH-2.0-" + testVersion + "\r\n"

// kexInit stands for a key exchange that begins, in place of an answer.
const kexInit = "(key exchange)"

func TestIdentification(t *testing.T) {
	const invalid, mismatch = identInvalid + "\r\n", identMismatch + "\r\n"
	tests := []struct {
		name, send string
		eof        bool   // the client sends no more
		answer     string // after our line
		version    string // in the event; "" for no event
		reason     string
	}{
		{"garbage", "\x16\x03\x01\x02\xff\n", false, invalid, "\x16\x03\x01\x02\xff", "not SSH"},
		{"TLS", "\x16\x03\x01\x02\x00", false, invalid, "\x16\x03\x01\x02\x00", "not SSH"},
		{"empty line", "\r\n", false, invalid, "", "not SSH"},
		{"HTTP", "GET / HTTP/1.1\r\n", false, invalid, "GET / HTTP/1.1", "not SSH"},
		{"version 1", "SSH-1.5-old\n", false, mismatch, "SSH-1.5-old", "not SSH"},
		{"version 9", "SSH-9.9-new\r\n", false, mismatch, "SSH-9.9-new", "not SSH"},
		{"version 1.99", "SSH-1.99-both\r\n", false, kexInit, "SSH-1.99-both", ""},
		{"version 2", "SSH-2.0-OpenSSH_9.7 comment\r\n", false, kexInit, "SSH-2.0-OpenSSH_9.7 comment", ""},
		{"bare LF", "SSH-2.0-Go\n", false, kexInit, "SSH-2.0-Go", ""},
		{"several CR", "SSH-2.0-Go\r\r\n", false, kexInit, "SSH-2.0-Go", ""},
		{"CR inside", "SSH-2.0-G\ro", false, invalid, "SSH-2.0-G\ro", "not SSH"},
		{"NUL", "SSH-2.0-G\x00", false, invalid, "SSH-2.0-G\x00", "not SSH"},
		{"no software", "SSH-2.0-\r\n", false, invalid, "SSH-2.0-", "not SSH"},
		{"no version", "SSH-\r\n", false, invalid, "SSH-", "not SSH"},
		{"lower case", "ssh-2.0-x\r\n", false, invalid, "ssh-2.0-x", "not SSH"},
		{"over-long", "SSH-2.0-" + strings.Repeat("x", maxIdent-7), false, invalid, "SSH-2.0-" + strings.Repeat("x", maxIdent-7), "not SSH"},
		{"nothing, then EOF", "", true, "", "", "client disconnected before authentication"},
		{"no newline, then EOF", "SSH-2.0-half", true, "", "SSH-2.0-half", "client disconnected before authentication"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := listen(t, nil)
			c := f.tcp()
			if _, err := io.WriteString(c, tt.send); err != nil {
				t.Fatal(err)
			}
			if tt.eof {
				if err := c.CloseWrite(); err != nil {
					t.Fatal(err)
				}
			}
			checkAnswer(t, c, tt.answer)
			end := f.events.wait(t, event.ConnectionEnd, 1)[0]
			if got := field(end, "reason"); tt.reason != "" && got != tt.reason {
				t.Errorf("connection ended with %q, want %q", got, tt.reason)
			}
			versions, _ := f.events.of(event.ClientVersion)
			if tt.version == "" {
				if len(versions) != 0 {
					t.Errorf("event for no version: %q", field(versions[0], "client_version"))
				}
				return
			}
			if len(versions) != 1 || field(versions[0], "client_version") != tt.version {
				t.Fatalf("%d events, first version not %q", len(versions), tt.version)
			}
			if e := versions[0]; e.Source.String() != c.LocalAddr().String() || e.Local.String() != c.RemoteAddr().String() || len(e.Session) != 26 {
				t.Errorf("event's identity = %+v", e.Identity)
			}
		})
	}
}

// checkAnswer reads our line and exactly the answer; for a key exchange only its
// beginning, and the client then leaves.
func checkAnswer(t *testing.T, c net.Conn, answer string) {
	t.Helper()
	if answer != kexInit {
		if got := readAll(c); got != ourLine+answer {
			t.Errorf("server sent %q, want %q", got, ourLine+answer)
		}
		return
	}
	got := make([]byte, len(ourLine)+6)
	if _, err := io.ReadFull(c, got); err != nil {
		t.Fatalf("no key exchange: %v, only %q", err, got)
	}
	const msgKexInit = 20 // behind the lengths of packet and padding
	if string(got[:len(ourLine)]) != ourLine || got[len(got)-1] != msgKexInit {
		t.Errorf("server sent %q, want %q and a KEXINIT", got, ourLine)
	}
	c.Close()
}

func TestIdentificationByteByByte(t *testing.T) {
	server, client := net.Pipe()
	defer client.Close()
	go func() {
		_, _ = io.CopyN(io.Discard, client, int64(len(ourLine)))
		for _, b := range []byte("SSH-2.0-slow\r\nrest") {
			if _, err := client.Write([]byte{b}); err != nil {
				return
			}
		}
		client.Close()
	}()
	ident := newClearConn(server)
	line, err := ident.exchange(testVersion)
	if err != nil || line != "SSH-2.0-slow" {
		t.Fatalf("exchange = %q, %v", line, err)
	}
	ident.encrypted = true
	if got := readAll(ident); got != "SSH-2.0-slow\r\nrest" {
		t.Errorf("the library would read %q", got)
	}
}

func TestIdentificationIsWrittenOnce(t *testing.T) {
	wire := &fakeWire{in: strings.NewReader("SSH-2.0-x\r\n")}
	ident := newClearConn(wire)
	if _, err := ident.exchange("us"); err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{"SSH-2.0-", "us\r\n", string(clearPacket([]byte("packet")))} {
		if n, err := io.WriteString(ident, part); n != len(part) || err != nil {
			t.Errorf("Write(%q) = %d, %v", part, n, err)
		}
	}
	if got := wire.out.String(); got != "SSH-2.0-us\r\n"+string(clearPacket([]byte("packet"))) {
		t.Errorf("wire has %q", got)
	}
}

func TestIdentificationOnADeadConnection(t *testing.T) {
	server, client := net.Pipe()
	client.Close()
	defer server.Close()
	if line, err := newClearConn(server).exchange("us"); err == nil || line != "" {
		t.Errorf("exchange = %q, %v", line, err)
	}
}

// fakeWire is a connection made of a reader and a buffer.
type fakeWire struct {
	net.Conn
	in  *strings.Reader
	out bytes.Buffer
}

func (w *fakeWire) Read(p []byte) (int, error)  { return w.in.Read(p) }
func (w *fakeWire) Write(p []byte) (int, error) { return w.out.Write(p) }

func FuzzIdent(f *testing.F) {
	for _, seed := range []string{"", "SSH-2.0-x\r\n", "SSH-1.99-x\nmore", "SSH-1.5-x\n", "GET / HTTP/1.1\r\n\r\n", "SSH-2.0-\x00\r\n", "SSH-2.0-a\rb\n", "SSH--1.-1--\n", "SSH-99999999999999999999.0-x\n"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, sent string) {
		wire := &fakeWire{in: strings.NewReader(sent)}
		ident := newClearConn(wire)
		line, err := ident.exchange("us")
		ident.encrypted = true
		answer, ours := strings.CutPrefix(wire.out.String(), "SSH-2.0-us\r\n")
		if !ours {
			t.Fatalf("server sent %q", wire.out.String())
		}
		if len(line) > maxIdent+2 || strings.Contains(line, "\n") {
			t.Errorf("line of %d bytes: %q", len(line), line)
		}
		taken := sent[:len(sent)-wire.in.Len()]
		if i := strings.IndexByte(taken, '\n'); i >= 0 && i != len(taken)-1 {
			t.Errorf("read past the line: %q", taken)
		}
		switch {
		case err == nil:
			if answer != "" || !strings.HasPrefix(line, "SSH-") || strings.ContainsAny(line, "\r\x00") || readAll(ident) != line[:min(len(line), maxLibraryIdent)]+"\r\n"+sent[len(taken):] {
				t.Errorf("accepted %q with answer %q", line, answer)
			}
		case errors.Is(err, errIdent):
			if answer != identInvalid+"\r\n" && answer != identMismatch+"\r\n" {
				t.Errorf("refused %q with %q", line, answer)
			}
		case !errors.Is(err, io.EOF) || answer != "" || len(taken) != len(sent):
			t.Errorf("exchange of %q: %v, answer %q", sent, err, answer)
		}
	})
}
