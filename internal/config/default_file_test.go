package config

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const shipped = "../../packaging/config/"

// commented matches a key that is commented out; prose has a space after the
// number sign.
var commented = regexp.MustCompile(`^(\s*)#([a-z0-9_]+:.*)$`)

// TestFullFile proves that the commented file shows every key, each with its
// true default, and nothing else.
func TestFullFile(t *testing.T) {
	data, err := os.ReadFile(shipped + "sandtrap.full.yaml")
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(data), "\n")
	for i, line := range lines {
		lines[i] = commented.ReplaceAllString(line, "$1$2")
	}
	path := filepath.Join(t.TempDir(), "sandtrap.yaml")
	write(t, path, strings.Join(lines, "\n"))
	loaded, err := Load(LoadOptions{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(Default(), loaded.Config); diff != "" {
		t.Errorf("defaults shown are not the defaults (-true +shown):\n%s", diff)
	}
	for _, key := range Keys() {
		if loaded.Origins[key].Kind != FromFile {
			t.Errorf("%s is missing", key)
		}
	}
}

// TestShippedFilesChangeNothing loads both files as they are installed.
func TestShippedFilesChangeNothing(t *testing.T) {
	for _, name := range []string{"sandtrap.yaml", "sandtrap.full.yaml"} {
		t.Run(name, func(t *testing.T) {
			loaded, err := Load(LoadOptions{Path: shipped + name})
			if err != nil {
				t.Fatal(err)
			}
			if diff := Diff(Default(), loaded.Config); len(diff) > 0 {
				t.Errorf("changes %v", diff)
			}
		})
	}
}

// TestManual holds the man page to the keys, defaults and ranges of the code.
func TestManual(t *testing.T) {
	page, err := os.ReadFile("../../man/sandtrap.yaml.5.md")
	if err != nil {
		t.Fatal(err)
	}
	loaded, err := Load(LoadOptions{defaultPath: filepath.Join(t.TempDir(), "none.yaml")})
	if err != nil {
		t.Fatal(err)
	}
	settings, err := loaded.Settings()
	if err != nil {
		t.Fatal(err)
	}
	entries := manualEntries(string(page))
	unquote := strings.NewReplacer(`"`, "", "'", "", "`", "")
	for _, setting := range settings {
		entry, ok := entries[setting.Key]
		if !ok {
			t.Errorf("%s is not described", setting.Key)
			continue
		}
		delete(entries, setting.Key)
		flat := strings.Join(strings.Fields(unquote.Replace(entry)), " ")
		if want := "Default " + unquote.Replace(setting.text) + "."; !strings.Contains(flat, want) {
			t.Errorf("%s: entry does not say %q:\n%s", setting.Key, want, flat)
		}
		if b, ok := ranges[setting.Key]; ok && !strings.Contains(flat, b.low+" to "+b.high) {
			t.Errorf("%s: entry does not say %q", setting.Key, b.low+" to "+b.high)
		}
	}
	for key := range entries {
		t.Errorf("%s is described but does not exist", key)
	}
}

// manualEntries splits the page at its "**key**" lines.
func manualEntries(page string) map[string]string {
	entries := map[string]string{}
	heading := regexp.MustCompile(`(?m)^\*\*([a-z0-9_]+(?:\.[a-z0-9_]+)*)\*\* \(`)
	found := heading.FindAllStringSubmatchIndex(page, -1)
	for i, at := range found {
		end := len(page)
		if i+1 < len(found) {
			end = found[i+1][0]
		}
		entries[page[at[2]:at[3]]] = page[at[1]:end]
	}
	return entries
}
