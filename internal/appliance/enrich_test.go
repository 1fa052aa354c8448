//go:build appliance

package appliance

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sandtrap/sandtrap/internal/evidence"
	"github.com/sandtrap/sandtrap/internal/testmmdb"
)

// What databases and lists know of a source is found from within the sandbox of the
// service, told in its event, kept in its session's record and shown; a reload reads the
// files again, and one that is damaged takes nothing from the others.
func TestWhatIsKnownOfSources(t *testing.T) {
	const dir, list = "/usr/share/GeoIP", "/etc/sandtrap/scanners.list"
	made := os.Mkdir(dir, 0o755) == nil
	country, system := filepath.Join(dir, "test-country.mmdb"), filepath.Join(dir, "test-asn.mmdb")
	t.Cleanup(func() {
		for _, path := range []string{country, system, list} {
			_ = os.Remove(path)
		}
		if made {
			_ = os.Remove(dir)
		}
		must(t, "systemctl", "reload", "sandtrap.service")
	})
	write := func(path string, data []byte) {
		t.Helper()
		if err := os.WriteFile(path, data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	countries := func(code string) []byte {
		return testmmdb.Database(map[string]map[string]any{"127.0.0.0/8": {"country": map[string]any{"iso_code": code}}})
	}
	write(country, countries("NL"))
	write(system, testmmdb.Database(map[string]map[string]any{
		"127.0.0.0/8": {"autonomous_system_number": uint32(64500), "autonomous_system_organization": "Example\x1b B.V."},
	}))
	write(list, []byte("127.0.0.0/8 # all that a test comes from\n"))
	configure(t, "enrich: {lists: [scanners="+list+"]}\n")
	expectOrigin(t, evidence.Origin{Country: "NL", ASN: 64500, Organisation: "Example\x1b B.V.", Lists: []string{"scanners"}},
		`NL, AS64500, "Example\x1b B.V.", listed in scanners`)

	reload := func() { must(t, "systemctl", "reload", "sandtrap.service") }
	write(country, countries("JP"))
	write(list, []byte("192.0.2.0/24\n"))
	reload()
	expectOrigin(t, evidence.Origin{Country: "JP", ASN: 64500, Organisation: "Example\x1b B.V."}, `JP, AS64500, "Example\x1b B.V."`)

	write(country, countries("JP")[:100])
	reload()
	expectOrigin(t, evidence.Origin{ASN: 64500, Organisation: "Example\x1b B.V."}, `AS64500, "Example\x1b B.V."`)
	log := must(t, "journalctl", "--no-pager", "-u", "sandtrap.service", "--lines=50")
	if !strings.Contains(log, "of no use") || !strings.Contains(log, country) {
		t.Errorf("the journal does not tell of a damaged database:\n%s", log)
	}
}

// expectOrigin logs in from a source that was not there before and compares what is told
// of it in the three places.
func expectOrigin(t *testing.T, want evidence.Origin, shown string) {
	t.Helper()
	source := freshSource()
	if r := sshAs(t, source, "root", password, "echo in"); r.stdout != "in\n" {
		t.Fatalf("%+v", r)
	}
	s := lastSession(t)
	if s.Source.IP != source || s.Origin == nil || !cmp.Equal(*s.Origin, want) {
		t.Errorf("session.json of %s has %s and %+v, want %+v", source, s.Source.IP, s.Origin, want)
	}
	if out := must(t, "sandtrap", "show", s.ID); !slices.Contains(strings.Split(out, "\n"), "Origin      "+shown) {
		t.Errorf("show does not tell %s:\n%s", shown, out)
	}
	var told evidence.Origin
	if err := eventually(func() (err error) { told, err = originInEvents(source); return err }); err != nil {
		t.Fatal(err)
	}
	if !cmp.Equal(told, want) {
		t.Errorf("connection.open tells %+v, want %+v", told, want)
	}
}

// originInEvents is what the event files tell of a source when it was served.
func originInEvents(source string) (evidence.Origin, error) {
	paths, err := filepath.Glob(filepath.Join(stateDir, "events", "events-*.jsonl"))
	if err != nil {
		return evidence.Origin{}, err
	}
	for _, path := range paths {
		f, err := os.Open(path)
		if err != nil {
			return evidence.Origin{}, err
		}
		defer f.Close()
		lines := bufio.NewScanner(f)
		lines.Buffer(nil, 16<<20)
		for lines.Scan() {
			var e struct {
				Event, Country, Organisation, Lists string
				ASN                                 uint32
				IP                                  string `json:"src_ip"`
			}
			if !strings.Contains(lines.Text(), source) {
				continue
			}
			if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
				return evidence.Origin{}, err
			}
			if e.Event == "connection.open" && e.IP == source {
				o := evidence.Origin{Country: e.Country, ASN: e.ASN, Organisation: evidence.Text(e.Organisation)}
				if e.Lists != "" {
					o.Lists = strings.Fields(e.Lists)
				}
				return o, nil
			}
		}
		if err := lines.Err(); err != nil {
			return evidence.Origin{}, err
		}
	}
	return evidence.Origin{}, fmt.Errorf("no connection.open of %s", source)
}
