package main

import (
	"io"
	"os"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// TestManualNamesEverything: every verb, alias and flag is in sandtrap(1).
func TestManualNamesEverything(t *testing.T) {
	raw, err := os.ReadFile("../../man/sandtrap.1.md")
	if err != nil {
		t.Fatal(err)
	}
	page := string(raw)
	root := newRoot(&globals{out: io.Discard, err: io.Discard})
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	var walk func(c *cobra.Command)
	walk = func(c *cobra.Command) {
		name := strings.TrimPrefix(c.CommandPath(), root.Name()+" ")
		if c.Runnable() && c != root && !c.HasSubCommands() && !strings.HasPrefix(name, "completion ") {
			requireBold(t, page, c.CommandPath(), c.Aliases...)
		}
		c.InitDefaultHelpFlag()
		c.LocalFlags().VisitAll(func(f *pflag.Flag) {
			if f.Hidden {
				return
			}
			requireBold(t, page, "--"+f.Name)
			if f.Shorthand != "" {
				requireBold(t, page, "-"+f.Shorthand)
			}
		})
		for _, sub := range c.Commands() {
			walk(sub)
		}
	}
	walk(root)
}

// requireBold looks for words as the page sets what is typed as it stands.
func requireBold(t *testing.T, page, word string, more ...string) {
	t.Helper()
	for _, w := range append(more, word) {
		if !strings.Contains(page, "**"+w+"**") {
			t.Errorf("sandtrap(1) does not name %q", w)
		}
	}
}
