package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// load takes text as the main file.
func load(t *testing.T, text string) *Loaded {
	t.Helper()
	path := filepath.Join(t.TempDir(), "sandtrap.yaml")
	write(t, path, text)
	loaded, err := Load(LoadOptions{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	return loaded
}

// TestOneTarget is the one of the section, where targets is empty.
func TestOneTarget(t *testing.T) {
	for _, text := range []string{
		"target: {name: mine, image: 'x:1', cpus: 2}\npool: {min: 2, max: 3}\n",
		"target: {name: mine, image: 'x:1', cpus: 2}\npool: {min: 2, max: 3}\ntargets: []\n",
	} {
		want := []TargetEntry{{
			Name: "mine", Image: "x:1", Hostname: "srv01", LoginAs: LoginExisting, Account: "root",
			Memory: 256 * MiB, PIDs: 128, CPUs: 2, Weight: 1, Min: 2, Max: 3,
		}}
		if diff := cmp.Diff(want, load(t, text).Config.AllTargets()); diff != "" {
			t.Errorf("targets of %q (-want +got):\n%s", text, diff)
		}
	}
}

const severalTargets = `target: {hostname: srv07, memory: 128MiB}
pool: {min: 3}
targets:
  - name: debian
    weight: 3
  - {name: web, image: "web:2", hostname: web01, login_as: create, account: admin, memory: 512MiB, pids: 64, cpus: 0.5, min: 2, max: 8}
`

// TestTargetsAreFilledIn with what section target says, but not with its name and image.
func TestTargetsAreFilledIn(t *testing.T) {
	c := load(t, severalTargets).Config
	want := []TargetEntry{
		{
			Name: "debian", Image: "localhost/sandtrap-target-debian:latest", Hostname: "srv07", LoginAs: LoginExisting, Account: "root",
			Memory: 128 * MiB, PIDs: 128, CPUs: 1, Weight: 3, Min: 3, Max: 16,
		},
		{
			Name: "web", Image: "web:2", Hostname: "web01", LoginAs: LoginCreate, Account: "admin",
			Memory: 512 * MiB, PIDs: 64, CPUs: 0.5, Weight: 1, Min: 2, Max: 8,
		},
	}
	if diff := cmp.Diff(want, c.AllTargets()); diff != "" {
		t.Errorf("targets (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(TargetEntry{Name: "debian", Weight: 3}, c.Targets[0]); diff != "" {
		t.Errorf("as it is written (-want +got):\n%s", diff)
	}
}

// TestTargetsAreReadBack from what is shown of them, which has no more than was written.
func TestTargetsAreReadBack(t *testing.T) {
	c := load(t, severalTargets).Config
	var text bytes.Buffer
	if err := c.WriteYAML(&text); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(text.String(), "targets: [{name: debian, weight: 3}, {name: web,") {
		t.Errorf("shown:\n%s", text.String())
	}
	if diff := cmp.Diff(c, load(t, text.String()).Config); diff != "" {
		t.Errorf("written and read (-want +got):\n%s", diff)
	}
	asJSON, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(c, load(t, string(asJSON)).Config); diff != "" {
		t.Errorf("written as JSON and read (-want +got):\n%s", diff)
	}
}

// TestTargetProblems: each element is held to the rules of the keys that it takes the
// place of. A zero that is written is no default.
func TestTargetProblems(t *testing.T) {
	at := func(message string) string { return "sandtrap.yaml:2: targets[0]" + message }
	for _, test := range []struct{ name, element, want string }{
		{"no section", "debian", at(`: "debian" is not a section with keys of its own`)},
		{"no name", "{weight: 2}", at(": has no name")},
		{"nothing", "{}", at(": has no name")},
		{"empty name", "{name: ''}", at(`.name: "" is not 1 to 32 of a-z, 0-9 and -`)},
		{"name", "{name: Debian}", at(`.name: "Debian" is not 1 to 32 of a-z, 0-9 and -`)},
		{"image", "{name: a, image: ''}", at(`.image: "" is not the name of an image`)},
		{"hostname", "{name: a, hostname: srv_01}", at(`.hostname: "srv_01" is not a host name of one label (letters, digits and - inside, at most 63)`)},
		{"account", "{name: a, account: ''}", at(`.account: "" is not the name of an account`)},
		{"login_as", "{name: a, login_as: ''}", at(`.login_as: "" is not one of existing, create, fallback`)},
		{"no memory", "{name: a, memory: 0}", at(".memory: 0 is out of range (16MiB to 1024GiB)")},
		{"no pids", "{name: a, pids: 0}", at(".pids: 0 is out of range (16 to 4194304)")},
		{"no cpus", "{name: a, cpus: 0.0}", at(".cpus: 0 is out of range (0.01 to 1024)")},
		{"no weight", "{name: a, weight: 0}", at(".weight: 0 is out of range (1 to 1000)")},
		{"weight", "{name: a, weight: 1001}", at(".weight: 1001 is out of range (1 to 1000)")},
		{"no min", "{name: a, min: 0}", at(".min: 0 is out of range (1 to 1000)")},
		{"no max", "{name: a, max: 0}", at(".max: 0 is out of range (1 to 1000)")},
		{"min above max", "{name: a, min: 3, max: 2}", at(".min: 3 is more than max, which is 2")},
		{"min above the pool's", "{name: a, min: 17}", at(".min: 17 is more than pool.max, which is 16")},
		{"max below the pool's", "{name: a, max: 3}", at(".max: 3 is less than pool.min, which is 4")},
		{"misspelt", "{name: a, wieght: 3}", at(".wieght: unknown key (did you mean targets[0].weight?)")},
		{"of a section", "{name: a, retain: 3}", at(".retain: unknown key")},
		{"same name", "{name: a}, {name: b}, {name: a}", `sandtrap.yaml:2: targets[2].name: "a" is the name of targets[0] too`},
		{"many", strings.Repeat("{name: a},", 17), "sandtrap.yaml:2: targets: has 17 elements, at most 16 are taken"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if diff := cmp.Diff([]string{test.want}, problems(t, "targets:\n  ["+test.element+"]\n", nil, nil)); diff != "" {
				t.Errorf("problems (-want +got):\n%s", diff)
			}
		})
	}
}

// TestOverruledNames: with targets, nothing has the name and the image of the section.
func TestOverruledNames(t *testing.T) {
	const both = "target:\n  name: debian\n  image: x\ntargets: [{name: a}]\n"
	want := []string{
		"sandtrap.yaml:2: target.name: is set, but targets is: name them there",
		"sandtrap.yaml:3: target.image: is set, but targets is: name them there",
	}
	if diff := cmp.Diff(want, problems(t, both, nil, nil)); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
	want = []string{"SANDTRAP_TARGET__NAME: target.name: is set, but targets is: name them there"}
	if diff := cmp.Diff(want, problems(t, "targets: [{name: a}]\n", []string{"SANDTRAP_TARGET__NAME=b"}, nil)); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
	want = []string{"SANDTRAP_TARGETS: targets: can be set in a file only"}
	if diff := cmp.Diff(want, problems(t, "", []string{"SANDTRAP_TARGETS=a,b"}, nil)); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
}

// TestRefusedListIsForgotten: of a list that is not taken, no element counts as one of
// the list that stays in its place.
func TestRefusedListIsForgotten(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "sandtrap.yaml")
	write(t, path, "targets: [{name: a}]\n")
	write(t, filepath.Join(dir, "conf.d/x.yaml"), "targets: [{name: a, memory: 512MiB, wieght: 2}]\n")
	_, err := Load(LoadOptions{Path: path})
	want := filepath.Join(dir, "conf.d/x.yaml") + ":1: targets[0].wieght: unknown key (did you mean targets[0].weight?)"
	if err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

// TestTargetsInTheManual has every key of an element, and its bounds where no other key
// has them.
func TestTargetsInTheManual(t *testing.T) {
	page, err := os.ReadFile("../../man/sandtrap.yaml.5.md")
	if err != nil {
		t.Fatal(err)
	}
	entry := manualEntries(string(page))["targets"]
	for _, k := range keys(byPath["targets"].typ.Elem(), "", nil) {
		if !strings.Contains(entry, "**"+k.path+"**") {
			t.Errorf("%s is not described", k.path)
		}
	}
	if b := ranges["targets[].weight"]; !strings.Contains(entry, b.low+" to "+b.high) {
		t.Errorf("entry does not say %q", b.low+" to "+b.high)
	}
	if most := fmt.Sprintf("most %d", maxTargets); !strings.Contains(strings.Join(strings.Fields(entry), " "), most) {
		t.Errorf("entry does not say %q", most)
	}
}
