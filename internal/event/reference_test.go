package event

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the files generated from the Catalog anew")

const (
	manualPage     = "../../man/sandtrap-events.7.md"
	messageCatalog = "../../packaging/catalog/sandtrap.catalog"
)

// TestGeneratedFiles keeps the manual page and the journal's message catalogue
// in step with the Catalog. After a change: go test ./internal/event -update
func TestGeneratedFiles(t *testing.T) {
	for path, want := range map[string]string{manualPage: manual(), messageCatalog: journalCatalog()} {
		if *update {
			if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		got, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, string(got)); diff != "" {
			t.Errorf("%s is not what the Catalog says; run go test ./internal/event -update\n%s", path, diff)
		}
	}
}

// TestEverythingIsExplained: a kind or field without a word about it, or a word
// about what is gone.
func TestEverythingIsExplained(t *testing.T) {
	kinds, fields := map[Kind]bool{}, map[string]bool{}
	for _, d := range Catalog {
		kinds[d.Kind] = true
		if about[d.Kind] == "" {
			t.Errorf("%s has no explanation", d.Kind)
		}
		for _, f := range d.Fields {
			fields[f] = true
			if meanings[f] == "" {
				t.Errorf("field %s of %s has no meaning", f, d.Kind)
			}
		}
	}
	for k := range about {
		if !kinds[k] {
			t.Errorf("%s is explained and not in the Catalog", k)
		}
	}
	for f := range meanings {
		if !fields[f] {
			t.Errorf("field %s has a meaning and no event", f)
		}
	}
}

// TestCatalogueShowsNothingHostile: journalctl -x puts values into the text as
// they are, so only our own may be in it.
func TestCatalogueShowsNothingHostile(t *testing.T) {
	for k, shown := range inJournal {
		d := Define(k)
		if d == nil {
			t.Errorf("%s is not in the Catalog", k)
			continue
		}
		for _, f := range shown {
			if !d.has(f) {
				t.Errorf("%s has no field %s", k, f)
			}
			if strings.HasPrefix(meanings[f], hostile) {
				t.Errorf("%s shows %s, which attackers write", k, f)
			}
		}
	}
}

// ofService reports whether a kind is about the service itself and carries no
// identity.
func ofService(k Kind) bool {
	return strings.HasPrefix(string(k), "server.") || strings.HasPrefix(string(k), "pool.") || strings.HasPrefix(string(k), "control.") ||
		k == SessionRecover || k == TargetReturn || k == TargetStop
}

// hasRecording reports whether sandtrap show has something to tell about the
// event's session by the time it is read.
func hasRecording(k Kind) bool {
	first, _, _ := strings.Cut(string(k), ".")
	return slices.Contains([]string{"session", "shell", "exec", "subsystem", "program", "recording", "transfer"}, first) && !ofService(k)
}

// journalCatalog renders the message catalogue; see journalctl(1), option -x.
func journalCatalog() string {
	var b strings.Builder
	b.WriteString("# Message catalogue of the journal, generated from internal/event. Do not edit.\n")
	for _, d := range Catalog {
		fmt.Fprintf(&b, "\n-- %s\nSubject: %s\nDefined-By: SandTrap\nSupport: https://github.com/sandtrap/sandtrap/issues\nDocumentation: man:sandtrap-events(7)\n\n",
			d.MessageID, d.Text)
		b.WriteString(plain(about[d.Kind]) + "\n")
		if !ofService(d.Kind) {
			b.WriteString("\nSource: @SANDTRAP_SRC_IP@ port @SANDTRAP_SRC_PORT@\nSession: @SANDTRAP_SESSION@\n")
		} else if len(inJournal[d.Kind]) > 0 {
			b.WriteString("\n")
		}
		for _, f := range inJournal[d.Kind] {
			fmt.Fprintf(&b, "%s: @SANDTRAP_%s@\n", strings.ToUpper(f[:1])+strings.ReplaceAll(f[1:], "_", " "), strings.ToUpper(f))
		}
		if hasRecording(d.Kind) {
			b.WriteString("\nFor what was recorded: sandtrap show @SANDTRAP_SESSION@\n")
		}
	}
	return b.String()
}

// plain takes the emphasis of the manual page out of a text.
func plain(text string) string { return strings.NewReplacer("*", "", `\`, "").Replace(text) }

// manual renders sandtrap-events(7).
func manual() string {
	var b strings.Builder
	b.WriteString(manualHead)
	b.WriteString("# EVENTS\n\nIn the order in which a session meets them.\n")
	for _, d := range Catalog {
		fmt.Fprintf(&b, "\n## %s\n\n%s. %s\n\nSeverity %s, MESSAGE_ID %s.\n", d.Kind, d.Text, about[d.Kind], d.Severity, d.MessageID)
		if len(d.Fields) > 0 {
			fmt.Fprintf(&b, "Fields: %s.\n", manualNames(d.Fields))
		}
	}
	b.WriteString("\n# FIELDS\n\nThe fields that are not common to all. Those marked hostile hold what a client\nsent, byte for byte.\n")
	for _, f := range fieldNames() {
		fmt.Fprintf(&b, "\n**%s**\n: %s\n", manualName(f), meanings[f])
	}
	b.WriteString("\n# COWRIE\n\n" + aboutCowrie)
	for _, m := range Cowrie {
		if m.ID == "" {
			continue
		}
		fmt.Fprintf(&b, "\n**%s**\n: *%s*", m.ID, m.Kind)
		if m.Only != "" {
			fmt.Fprintf(&b, " with %s", manualName(strings.ReplaceAll(m.Only, " ", ", ")))
		}
		for i, f := range m.Fields {
			fmt.Fprintf(&b, "%s %s from %s", []string{",", ":"}[min(1, max(0, 1-i))], manualName(f.Theirs), manualName(f.Ours))
		}
		b.WriteString(".\n")
	}
	b.WriteString(manualFoot)
	return b.String()
}

func manualNames(fields []string) string {
	names := make([]string, len(fields))
	for i, f := range fields {
		names[i] = "**" + manualName(f) + "**"
	}
	return strings.Join(names, ", ")
}

// manualName keeps Markdown from taking underscores for emphasis.
func manualName(field string) string { return strings.ReplaceAll(field, "_", `\_`) }

func fieldNames() []string {
	var names []string
	for f := range meanings {
		names = append(names, f)
	}
	slices.Sort(names)
	return names
}
