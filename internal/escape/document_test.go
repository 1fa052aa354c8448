//go:build !appliance && !vm

package escape

import (
	"flag"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the tables of the document anew")

const (
	document = "../../docs/escape-attempts.md"
	marker   = "<!-- The rest is written by go test ./internal/escape -update -->\n"
)

// TestRowsAreWhole looks at the table itself.
func TestRowsAreWhole(t *testing.T) {
	seen := map[string]bool{}
	for _, g := range table {
		for _, r := range g.rows {
			switch {
			case seen[r.name], strings.ContainsAny(r.name, "|\n"):
				t.Errorf("%q is there twice, or no name", r.name)
			case r.want == "" || r.try == nil:
				t.Errorf("%q is not whole", r.name)
			case !slices.Contains(aspects, r.outside):
				t.Errorf("%q: nothing is called %q outside", r.name, r.outside)
			}
			seen[r.name] = true
		}
	}
}

// TestDocument compares docs/escape-attempts.md with the rows.
func TestDocument(t *testing.T) {
	if runtime.GOARCH != "amd64" {
		t.Skip("rows of x86-64 are in the document")
	}
	text, err := os.ReadFile(document)
	if err != nil {
		t.Fatal(err)
	}
	head, rest, found := strings.Cut(string(text), marker)
	if !found {
		t.Fatalf("%s has no line %s", document, marker)
	}
	want := tables()
	if rest == want {
		return
	}
	if !*update {
		t.Fatalf("%s is not what the rows say: go test ./internal/escape -update", document)
	}
	if err := os.WriteFile(document, []byte(head+marker+want), 0o644); err != nil {
		t.Fatal(err)
	}
}

// tables is what the document says of each row.
func tables() string {
	var all strings.Builder
	rows, shown := 0, 0
	for _, g := range table {
		fmt.Fprintf(&all, "\n## %s\n\n| attempt | answer to root | to an ordinary account | outside | seen to succeed elsewhere |\n|---|---|---|---|---|\n", g.title)
		for _, r := range g.rows {
			elsewhere := "yes"
			switch {
			case r.unshown != "":
				elsewhere = "no: " + r.unshown
			case strings.Contains(r.want, noCalls):
				elsewhere = "where the kernel runs 32-bit programs"
			default:
				shown++
			}
			rows++
			fmt.Fprintf(&all, "| %s | %s | %s | %s | %s |\n", r.name, words(r.want), words(r.wanted("debian")), r.outside, elsewhere)
		}
	}
	fmt.Fprintf(&all, "\n## Sessions turned against the rest\n\nAs root, each in a session of its own.\n\n| what is done | what is looked at besides |\n|---|---|\n")
	for _, s := range scenarios {
		fmt.Fprintf(&all, "| %s | %s |\n", s.name, s.then)
	}
	return fmt.Sprintf("\n%d attempts, each made as root and as an ordinary account, and %d sessions. %d of the\nattempts are to be seen to succeed outside of a target.\n", rows, len(scenarios), shown) + all.String()
}

func words(want string) string { return strings.ReplaceAll(want, "|", " or ") }
