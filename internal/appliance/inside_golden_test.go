//go:build appliance

package appliance

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"sort"
	"strings"
	"testing"
)

// The list of known differences. Each block is
//
//	scenarios: reason
//	@ section
//	-a line that sshd shows
//	+a line that SandTrap shows
//
// and blocks are separated by an empty line. TEST_UPDATE=1 writes what there is
// now, with the reasons that are known; new blocks say unexplained.
const unexplained = "UNEXPLAINED"

// differences collects which scenarios show which difference. A difference is a
// section and the lines that were removed and added in one place.
type differences struct {
	path      string              // of the list
	scenarios []string            // that were played
	found     map[string][]string // difference to scenarios
}

func (d *differences) compare(scenario string, reference, product view) {
	if d.found == nil {
		d.found = map[string][]string{}
	}
	d.scenarios = append(d.scenarios, scenario)
	sections := append(reference.sections(), product.sections()...)
	sort.Strings(sections)
	for _, section := range slices.Compact(sections) {
		for _, hunk := range hunks(reference[section], product[section]) {
			key := "@ " + section + "\n" + strings.Join(hunk, "\n")
			if !slices.Contains(d.found[key], scenario) {
				d.found[key] = append(d.found[key], scenario)
			}
		}
	}
}

// hunks are the places where b differs from a: the lines gone, the lines come.
func hunks(a, b []string) [][]string {
	common := longest(a, b)
	var all [][]string
	var hunk []string
	i, j := 0, 0
	for i < len(a) || j < len(b) {
		switch {
		case i < len(a) && j < len(b) && a[i] == b[j]:
			if hunk != nil {
				all, hunk = append(all, hunk), nil
			}
			i, j = i+1, j+1
		case j == len(b) || i < len(a) && common[i+1][j] >= common[i][j+1]:
			hunk = append(hunk, "-"+a[i])
			i++
		default:
			hunk = append(hunk, "+"+b[j])
			j++
		}
	}
	if hunk != nil {
		all = append(all, hunk)
	}
	return all
}

// longest gives the length of the longest common subsequence of a[i:] and b[j:].
func longest(a, b []string) [][]int {
	table := make([][]int, len(a)+1)
	for i := range table {
		table[i] = make([]int, len(b)+1)
	}
	for i := len(a) - 1; i >= 0; i-- {
		for j := len(b) - 1; j >= 0; j-- {
			if a[i] == b[j] {
				table[i][j] = table[i+1][j+1] + 1
			} else {
				table[i][j] = max(table[i+1][j], table[i][j+1])
			}
		}
	}
	return table
}

// known is one block of the list.
type known struct {
	scenarios []string
	reason    string
}

func (d *differences) known(t *testing.T) map[string]known {
	t.Helper()
	text, err := os.ReadFile(d.path)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]known{}
	for _, block := range strings.Split(strings.TrimSpace(string(text)), "\n\n") {
		if block == "" {
			continue // the list is empty
		}
		head, key, _ := strings.Cut(block, "\n")
		scenarios, reason, ok := strings.Cut(head, ": ")
		if !ok || !strings.HasPrefix(key, "@ ") {
			t.Fatalf("%s: not a block:\n%s", d.path, block)
		}
		if _, twice := all[key]; twice {
			t.Errorf("%s: twice:\n%s", d.path, block)
		}
		all[key] = known{strings.Fields(scenarios), reason}
	}
	return all
}

// check fails for differences that are not in the list, and for those in the list
// that are no longer there.
func (d *differences) check(t *testing.T) {
	t.Helper()
	list := d.known(t)
	if os.Getenv("TEST_UPDATE") != "" {
		d.write(t, list)
		return
	}
	for _, key := range slices.Sorted(maps.Keys(d.found)) {
		entry := list[key]
		for _, scenario := range d.found[key] {
			if !slices.Contains(entry.scenarios, scenario) || entry.reason == unexplained {
				t.Errorf("%s: a difference that is not explained:\n%s", scenario, key)
			}
		}
	}
	for _, key := range slices.Sorted(maps.Keys(list)) {
		for _, scenario := range list[key].scenarios {
			if slices.Contains(d.scenarios, scenario) && !slices.Contains(d.found[key], scenario) {
				t.Errorf("%s: no longer a difference, take it off the list:\n%s", scenario, key)
			}
		}
	}
}

// write updates the list. Scenarios that were not played keep what they have.
func (d *differences) write(t *testing.T, list map[string]known) {
	t.Helper()
	for key, entry := range list {
		for _, scenario := range entry.scenarios {
			if !slices.Contains(d.scenarios, scenario) {
				d.found[key] = append(d.found[key], scenario)
			}
		}
	}
	var b strings.Builder
	for _, key := range slices.Sorted(maps.Keys(d.found)) {
		reason := list[key].reason
		if reason == "" {
			reason = unexplained
			t.Logf("new difference in %s:\n%s", strings.Join(d.found[key], " "), key)
		}
		sort.Strings(d.found[key])
		fmt.Fprintf(&b, "%s: %s\n%s\n\n", strings.Join(d.found[key], " "), reason, key)
	}
	if err := os.WriteFile(d.path, []byte(strings.TrimSuffix(b.String(), "\n")), 0o644); err != nil {
		t.Fatal(err)
	}
}
