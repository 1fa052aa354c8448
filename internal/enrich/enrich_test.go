package enrich

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/sandtrap/sandtrap/internal/testmmdb"
)

var (
	countries = testmmdb.Database(map[string]map[string]any{
		"192.0.2.0/24":    {"country": map[string]any{"iso_code": "NL", "names": map[string]any{"en": "Netherlands"}}, "registered_country": map[string]any{"iso_code": "US"}},
		"198.51.100.0/24": {"registered_country": map[string]any{"iso_code": "DE"}},
		"2001:db8::/32":   {"country": map[string]any{"iso_code": "JP"}},
		"203.0.113.0/24":  {"country": map[string]any{"iso_code": "\x1b[31m"}, "registered_country": "none"},
	})
	systems = testmmdb.Database(map[string]map[string]any{
		"192.0.2.0/25":  {"autonomous_system_number": uint32(64500), "autonomous_system_organization": "Example B.V."},
		"2001:db8::/48": {"autonomous_system_number": uint32(64501), "autonomous_system_organization": strings.Repeat("é", 300)},
	})
	lite = testmmdb.Database(map[string]map[string]any{
		"192.0.2.0/24":    {"country": "Netherlands", "country_code": "BE", "asn": "AS64502", "as_name": "Other"},
		"198.51.100.0/25": {"country": "FR", "asn": "64503", "as_name": "Third"},
	})
)

func write(t *testing.T, path string, data []byte) string {
	t.Helper()
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestLookup(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "a-country.mmdb"), countries)
	write(t, filepath.Join(dir, "asn.mmdb"), systems)
	write(t, filepath.Join(dir, "README"), []byte("no database"))
	other := write(t, filepath.Join(t.TempDir(), "lite"), lite)
	lists := []List{
		{"scanners", write(t, filepath.Join(dir, "scanners"), []byte("192.0.2.7\n2001:db8::/64 ; somebody\n"))},
		{"none", filepath.Join(dir, "not there")},
		{"all", write(t, filepath.Join(dir, "all"), []byte("0.0.0.0/0\n"))},
	}
	d, err := Open([]string{filepath.Join(dir, "absent"), dir, other}, lists)
	if err != nil {
		t.Fatal(err)
	}
	long := strings.Repeat("é", 128)
	for addr, want := range map[string]Source{
		"192.0.2.7":          {"NL", 64500, "Example B.V.", []string{"scanners", "all"}},
		"::ffff:192.0.2.7":   {"NL", 64500, "Example B.V.", []string{"scanners", "all"}},
		"192.0.2.200":        {"NL", 64502, "Other", []string{"all"}},
		"198.51.100.1":       {"DE", 0, "Third", []string{"all"}},
		"203.0.113.1":        {"", 0, "", []string{"all"}},
		"2001:db8::1":        {"JP", 64501, long, []string{"scanners"}},
		"2001:db8:1::1":      {"JP", 0, "", nil},
		"2001:db9::1":        {},
		"fe80::1%eth0":       {},
		"2001:db8:0:1::%lo0": {"JP", 64501, long, nil},
	} {
		got := d.Lookup(netip.MustParseAddr(addr))
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", addr, diff)
		}
		if got.Known() != !cmp.Equal(got, Source{}) {
			t.Errorf("%s: known %v", addr, got.Known())
		}
	}
	if got := d.Lookup(netip.Addr{}); got.Known() {
		t.Errorf("%+v", got)
	}
}

func TestNothingIsNoError(t *testing.T) {
	d, err := Open([]string{"/usr/share/none", t.TempDir()}, []List{{"a", "/none/a"}})
	if err != nil || d.Lookup(netip.MustParseAddr("192.0.2.7")).Known() {
		t.Error(err)
	}
	var none *Database
	if none.Lookup(netip.MustParseAddr("192.0.2.7")).Known() {
		t.Error("nothing knows something")
	}
}

// What is there and of no use is told, and takes nothing from the rest.
func TestUselessFiles(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "a.mmdb"), []byte("not a database"))
	write(t, filepath.Join(dir, "b.mmdb"), nil)
	write(t, filepath.Join(dir, "c.mmdb"), countries[:len(countries)/2])
	write(t, filepath.Join(dir, "d.mmdb"), countries)
	if err := syscall.Mkfifo(filepath.Join(dir, "e.mmdb"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(write(t, filepath.Join(dir, "f.mmdb"), nil), maxBytes+1); err != nil {
		t.Fatal(err)
	}
	bad := write(t, filepath.Join(dir, "bad"), []byte("1.2.3.4\nwhat\n"))
	d, err := Open([]string{dir}, []List{{"bad", bad}, {"dir", dir}})
	for _, want := range []string{"a.mmdb", "b.mmdb", "c.mmdb", "e.mmdb: it is not a regular file", "f.mmdb: its 268435457 bytes", "bad: line 2", "not a regular file"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v lacks %s", err, want)
		}
	}
	if got := d.Lookup(netip.MustParseAddr("192.0.2.7")); got.Country != "NL" {
		t.Errorf("%+v", got)
	}
	for i := range maxFiles + 1 {
		write(t, filepath.Join(dir, "g"+string(rune('a'+i))+".mmdb"), systems)
	}
	if _, err := Open([]string{dir}, nil); err == nil || !strings.Contains(err.Error(), "more than 16 databases") {
		t.Errorf("%v", err)
	}
}

// A file may be anything: what comes out is bounded and no crash.
func FuzzDatabase(f *testing.F) {
	for _, seed := range [][]byte{countries, systems, lite, []byte("\xAB\xCD\xEFMaxMind.com"), bytes.Repeat([]byte{0x20}, 300)} {
		f.Add(seed, uint32(0xc0000207))
	}
	f.Fuzz(func(t *testing.T, data []byte, address uint32) {
		r, err := parse(data)
		if err != nil {
			return
		}
		var four [4]byte
		binary.BigEndian.PutUint32(four[:], address)
		for _, a := range []netip.Addr{netip.AddrFrom4(four), netip.MustParseAddr("2001:db8::1")} {
			var s Source
			s.look(r, a)
			if len(s.Organisation) > maxOrganisation || !utf8.ValidString(s.Organisation) || len(s.Country) != 0 && len(s.Country) != 2 {
				t.Errorf("%+v", s)
			}
		}
	})
}
