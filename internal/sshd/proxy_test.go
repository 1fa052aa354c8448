package sshd

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"io"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sandtrap/sandtrap/internal/admission"
	"github.com/sandtrap/sandtrap/internal/event"
)

// version2 is a header of version 2 of the PROXY protocol.
func version2(command, family byte, rest []byte) string {
	b := append([]byte("\r\n\r\n\x00\r\nQUIT\n"), 0x20|command, family)
	return string(append(binary.BigEndian.AppendUint16(b, uint16(len(rest))), rest...))
}

var (
	four = []byte{192, 0, 2, 7, 198, 51, 100, 1, 0x12, 0x34, 0, 22}
	six  = append(append(netip.MustParseAddr("2001:db8::7").AsSlice(), netip.MustParseAddr("2001:db8::1").AsSlice()...), 0x12, 0x34, 0, 22)
)

const from7 = "192.0.2.7:4660"

var headers = []struct {
	name, header, source string // no source is no header
	local                bool   // the balancer's own address counts
}{
	{"v1", "PROXY TCP4 192.0.2.7 198.51.100.1 4660 22\r\n", from7, false},
	{"v1 of IPv6", "PROXY TCP6 2001:db8::7 2001:db8::1 4660 22\r\n", "[2001:db8::7]:4660", false},
	{"v1 unknown", "PROXY UNKNOWN\r\n", "", true},
	{"v2", version2(1, 0x11, four), from7, false},
	{"v2 of IPv6", version2(1, 0x21, six), "[2001:db8::7]:4660", false},
	{"v2 with a TLV", version2(1, 0x11, append(append([]byte(nil), four...), 4, 0, 3, 1, 2, 3)), from7, false},
	{"v2 local", version2(0, 0, nil), "", true},
	{"nothing", "", "", false},
	{"a client", "SSH-2.0-x\r\n", "", false},
	{"a name", "PROXY TCP4 host.example 198.51.100.1 4660 22\r\n", "", false},
	{"families mixed", "PROXY TCP4 2001:db8::7 198.51.100.1 4660 22\r\n", "", false},
	{"a port too large", "PROXY TCP4 192.0.2.7 198.51.100.1 65536 22\r\n", "", false},
	{"too long", "PROXY UNKNOWN " + strings.Repeat("x", 200) + "\r\n", "", false},
	{"half", "PROXY TCP4 192.0.2.7", "", false},
	{"v2 UDP", version2(1, 0x12, four), "", false},
	{"v2 unix", version2(1, 0x31, make([]byte, 216)), "", false},
	{"v2 too short", version2(1, 0x11, four[:8]), "", false},
	{"v2 too long", version2(1, 0x11, make([]byte, 60000)), "", false},
	{"v2 cut", version2(1, 0x11, four)[:10], "", false},
	{"v2 version 3", strings.Replace(version2(1, 0x11, four), "\x21\x11", "\x31\x11", 1), "", false},
}

func balanced(t *testing.T) *fixture {
	return listen(t, limited(func(l *admission.Limits) {
		l.Balancers = admission.NewSet([]netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")})
		l.Deny = admission.NewSet([]netip.Prefix{netip.MustParsePrefix("192.0.2.66/32")})
	}))
}

// The first word of a listed balancer says whom a connection is from; without one
// nobody is served.
func TestProxyProtocol(t *testing.T) {
	for _, tt := range headers {
		t.Run(tt.name, func(t *testing.T) {
			f := balanced(t)
			c := f.tcp()
			_, _ = io.WriteString(c, tt.header+"SSH-2.0-behind\r\n")
			_ = c.CloseWrite()
			got := readAll(c)
			if tt.source == "" && !tt.local {
				if deny := f.events.wait(t, event.ConnectionDeny, 1)[0]; got != "" || field(deny, "reason") != "no PROXY header from a balancer" || field(deny, "answer") != "closed" {
					t.Errorf("got %q, %v", got, deny)
				}
				return
			}
			if !strings.HasPrefix(got, ourLine) {
				t.Errorf("got %q", got)
			}
			open := f.events.wait(t, event.ConnectionOpen, 1)[0]
			if tt.local {
				if open.Source.Addr().String() != "127.0.0.1" || field(open, "balancer") != nil {
					t.Errorf("%+v", open)
				}
			} else if open.Source.String() != tt.source || open.Local.Port() != 22 || field(open, "balancer") != "127.0.0.1" {
				t.Errorf("%+v", open)
			}
			if got := field(f.events.wait(t, event.ClientVersion, 1)[0], "client_version"); got != "SSH-2.0-behind" {
				t.Errorf("the client's line is %q", got)
			}
		})
	}
}

// Lists and limits are about whom the balancer speaks for.
func TestAdmissionBehindABalancer(t *testing.T) {
	f := balanced(t)
	c := f.tcp()
	_, _ = io.WriteString(c, "PROXY TCP4 192.0.2.66 198.51.100.1 1 22\r\n")
	if got := readAll(c); got != "" {
		t.Errorf("got %q", got)
	}
	deny := f.events.wait(t, event.ConnectionDeny, 1)[0]
	if deny.Source.Addr().String() != "192.0.2.66" || !cmp.Equal(fields(deny, "reason", "balancer"), []any{"deny list", "127.0.0.1"}) {
		t.Errorf("%+v", deny)
	}
}

// Whoever is no balancer and sends such a line is a client that speaks no SSH.
func TestProxyLineOfAClient(t *testing.T) {
	f := listen(t, nil)
	c := f.tcp()
	_, _ = io.WriteString(c, "PROXY TCP4 192.0.2.7 198.51.100.1 4660 22\r\nSSH-2.0-x\r\n")
	if got := readAll(c); got != ourLine+"Invalid SSH identification string.\r\n" {
		t.Errorf("got %q", got)
	}
	if open := f.events.wait(t, event.ConnectionOpen, 1)[0]; open.Source.Addr().String() != "127.0.0.1" {
		t.Errorf("%+v", open)
	}
}

// A header is read, and nothing behind it; what is none is an error and no crash.
func FuzzProxyHeader(f *testing.F) {
	for _, tt := range headers {
		f.Add([]byte(tt.header))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		const behind = "SSH-2.0-behind\r\n"
		all := append(append([]byte(nil), data...), behind...)
		r := bufio.NewReaderSize(bytes.NewReader(all), maxHeader)
		source, local, err := readHeader(r)
		if source.IsValid() != local.IsValid() || err != nil && source.IsValid() {
			t.Errorf("%s, %s, %v", source, local, err)
		}
		if err != nil {
			return
		}
		if rest, err := io.ReadAll(r); err != nil || !bytes.HasSuffix(all, rest) {
			t.Errorf("%q left of %q, %v", rest, all, err)
		}
	})
}
