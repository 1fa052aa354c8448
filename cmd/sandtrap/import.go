package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sandtrap/sandtrap/internal/config"
	"github.com/sandtrap/sandtrap/internal/userdb"
)

func newConfigImport(g *globals) *cobra.Command {
	return &cobra.Command{
		Use:   "import-cowrie-userdb FILE",
		Short: "Print the rules that say what Cowrie's userdb.txt says",
		Long: `Read FILE as Cowrie reads its userdb.txt and print a section auth with the same
rules, for a file in conf.d. What was passed over is said on standard error.

Exit status is 0 if all is well, 1 if a line cannot be carried over, 2 for wrong
usage.`,
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error { return runConfigImport(args[0], g.out, g.err) },
	}
}

func runConfigImport(path string, out, diagnostics io.Writer) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	content, err := io.ReadAll(io.LimitReader(f, userdb.MaxBytes+1))
	if err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	found, remarks, err := userdb.Parse(content)
	for _, r := range remarks {
		fmt.Fprintf(diagnostics, "%s:%d: %s\n", path, r.Line, r.Text)
	}
	switch {
	case err != nil:
		return fmt.Errorf("%s: %w", path, err)
	case len(found) == 0:
		return errors.New(path + " says nothing: with it Cowrie lets nobody in; set auth.mode to deny-all")
	}
	rules, comments := make([]config.Rule, len(found)), make([]string, len(found))
	for i, r := range found {
		rules[i] = config.Rule{Action: config.RuleAction(r.Action), Users: r.Users, Passwords: r.Passwords, Methods: methods(r)}
		comments[i] = "line " + numbers(r.Lines)
	}
	return config.WriteRules(out, rules, comments)
}

// methods are those of a rule where they are not what it has by default: a line of
// Cowrie's is about passwords only.
func methods(r userdb.Rule) []string {
	if r.Action == "deny" && len(r.Passwords) == 0 {
		return r.Methods
	}
	return nil
}

func numbers(lines []int) string {
	var words []string
	for _, n := range lines {
		words = append(words, strconv.Itoa(n))
	}
	return strings.Join(words, ", ")
}
