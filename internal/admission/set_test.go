package admission

import (
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// A set has an address if and only if one of its prefixes does.
func TestSetIsTheUnion(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		var prefixes []netip.Prefix
		for range random.IntN(40) {
			a := netip.AddrFrom4([4]byte{10, 0, byte(random.IntN(2)), byte(random.IntN(256))})
			bits := 22 + random.IntN(11)
			if random.IntN(2) == 0 {
				a, bits = netip.AddrFrom16([16]byte{0x20, 1, 15: byte(random.IntN(256))}), 118+random.IntN(11)
			}
			prefixes = append(prefixes, netip.PrefixFrom(a, bits))
		}
		s := NewSet(prefixes)
		for i := range 1024 {
			for _, a := range []netip.Addr{netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), netip.AddrFrom16([16]byte{0x20, 1, 14: byte(i >> 8), 15: byte(i)})} {
				want := false
				for _, p := range prefixes {
					want = want || p.Contains(a)
				}
				if got := s.Has(a); got != want {
					t.Fatalf("%v: %s: %v", prefixes, a, got)
				}
			}
		}
	}
}

func TestSetEnds(t *testing.T) {
	s := list(t, "0.0.0.0/0", "255.255.255.255", "::/0", "0.0.0.1")
	if s.Len() != 2 || !s.Has(addr("255.255.255.255")) || !s.Has(addr("::")) || !s.Has(addr("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff")) {
		t.Errorf("%v", s)
	}
	if s := list(t, "192.0.2.0/25", "192.0.2.128/25"); s.Len() != 1 {
		t.Errorf("%v", s)
	}
	if (Set{}).Has(addr("::")) || (Set{}).Has(netip.Addr{}) || list(t, "::/0").Has(addr("1.2.3.4")) {
		t.Error("empty, and yet it has something")
	}
}

func TestParsePrefix(t *testing.T) {
	for text, want := range map[string]string{
		"192.0.2.1": "192.0.2.1/32", "192.0.2.1/24": "192.0.2.0/24", "2001:db8::1": "2001:db8::1/128", "::ffff:192.0.2.0/120": "192.0.2.0/24",
		"::ffff:192.0.2.1": "192.0.2.1/32", "::ffff:0.0.0.0/95": "", "fe80::1%eth0": "", "192.0.2": "", "": "", "x/8": "", "192.0.2.1/33": "", "192.0.2.1/-1": "",
	} {
		got, err := ParsePrefix(text)
		if (err != nil) != (want == "") || err == nil && got.String() != want {
			t.Errorf("%q: %s, %v", text, got, err)
		}
	}
}

func TestReadPrefixes(t *testing.T) {
	list, err := ReadPrefixes(strings.NewReader("# comment\n\n192.0.2.0/24 ; SBL1\r\n 2001:db8::/32\tsomebody\n;x\n198.51.100.7#y"))
	if err != nil || len(list) != 3 || list[2].String() != "198.51.100.7/32" {
		t.Errorf("%v, %v", list, err)
	}
	for text, want := range map[string]string{
		"192.0.2.1\nhost.example\n":     `line 2: "host.example" is not an address`,
		strings.Repeat("1", 100):        `line 1: "` + strings.Repeat("1", 60) + `" is not`,
		"\n" + strings.Repeat("x", 1e4): "line 2: longer than 4096 bytes",
	} {
		if _, err := ReadPrefixes(strings.NewReader(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
	if _, err := ReadPrefixes(strings.NewReader(strings.Repeat("1.2.3.4\n", maxListPrefixes+1))); err == nil {
		t.Error("a list without an end")
	}
}

func TestReadPrefixFile(t *testing.T) {
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	if err := os.WriteFile(path("good"), []byte("192.0.2.1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if list, err := ReadPrefixFile(path("good")); err != nil || len(list) != 1 {
		t.Errorf("%v, %v", list, err)
	}
	if err := os.WriteFile(path("bad"), []byte("?"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(path("fifo"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path("large"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path("large"), maxListBytes+1); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"bad": "bad: line 1", "fifo": "regular file", "large": "larger than", "none": "no such file", ".": "regular file"} {
		if _, err := ReadPrefixFile(path(name)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzReadPrefixes(f *testing.F) {
	f.Add("192.0.2.0/24 ; x\n2001:db8::/32\n")
	f.Add("::ffff:1.2.3.4/100\n1.2.3.4/0")
	f.Fuzz(func(t *testing.T, text string) {
		list, err := ReadPrefixes(strings.NewReader(text))
		if err != nil {
			return
		}
		s := NewSet(list)
		for _, p := range list {
			if !s.Has(p.Addr()) {
				t.Errorf("%s is missing", p)
			}
		}
	})
}
