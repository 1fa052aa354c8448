// Package userdb reads Cowrie's userdb.txt and says the same in rules. Lines of that
// file go in; rules, with remarks about what could not be carried over, come out.
//
// Cowrie looks at the fields user and password of "user:x:password" and takes the first
// line that matches. A star matches everything, "/…/" and "/…/i" are Python's regular
// expressions on any part, and "!" before the password refuses. It was read in the
// source of Cowrie, src/cowrie/core/auth.py, of August 2026.
package userdb

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/sandtrap/sandtrap/internal/auth"
)

// Rule is a rule with the lines that it stands for.
type Rule struct {
	auth.Rule
	Lines []int
}

// Remark is something about a line that whoever imports it should know.
type Remark struct {
	Line int
	Text string
}

// entry is what one line says.
type entry struct {
	line           int
	user, password field
	deny           bool
}

// field is one side of an entry as Cowrie compares it.
type field struct {
	text       string
	expression bool
	fold       bool // without regard to case
}

const (
	// MaxBytes is the largest file that is read.
	MaxBytes = 4 << 20
	// maxLine is the longest line that is read, in bytes.
	maxLine = 2*auth.MaxText + 64
	// maxEntries is how many lines are read that say something.
	maxEntries = 5000
)

// Parse reads a file. What Cowrie itself would not start with, or a rule cannot say, is
// an error that names the line.
func Parse(content []byte) ([]Rule, []Remark, error) {
	if len(content) > MaxBytes {
		return nil, nil, fmt.Errorf("the file is larger than %d bytes", MaxBytes)
	}
	p := parser{places: map[[2]field]int{}}
	for i, line := range splitLines(string(content)) {
		if err := p.line(i+1, line); err != nil {
			return nil, nil, fmt.Errorf("line %d: %w", i+1, err)
		}
	}
	rules, err := p.rules()
	return rules, p.remarks, err
}

// splitLines splits as Python's str.splitlines does, as far as that is ASCII.
func splitLines(text string) []string {
	var lines []string
	for text != "" {
		i := strings.IndexAny(text, "\n\r\v\f\x1c\x1d\x1e")
		if i < 0 {
			return append(lines, text)
		}
		lines = append(lines, text[:i])
		if strings.HasPrefix(text[i:], "\r\n") {
			i++
		}
		text = text[i+1:]
	}
	return lines
}

type parser struct {
	entries []entry
	places  map[[2]field]int // in entries
	remarks []Remark
}

func (p *parser) remark(line int, format string, a ...any) {
	p.remarks = append(p.remarks, Remark{line, fmt.Sprintf(format, a...)})
}

// line takes one line. A line with the same user and password as one before changes
// that one's answer and keeps its place, as in Cowrie.
func (p *parser) line(number int, line string) error {
	if len(line) > maxLine {
		return fmt.Errorf("is longer than %d bytes", maxLine)
	}
	if strings.HasPrefix(line, "#") {
		return nil
	}
	if strings.ContainsFunc(line, func(r rune) bool { return r > '~' && r != 0x7f }) {
		return fmt.Errorf("is not ASCII, with which Cowrie does not start")
	}
	parts := strings.Split(line, ":")
	if len(parts) < 3 {
		if strings.TrimSpace(line) != "" {
			p.remark(number, "has fewer than three fields: Cowrie passes it over")
		}
		return nil
	}
	if len(parts) > 3 {
		p.remark(number, "what comes after the third colon is passed over, as by Cowrie")
	}
	password, deny := strings.CutPrefix(strings.Trim(parts[2], " \t\n\v\f\r\x1c\x1d\x1e\x1f"), "!")
	if password == "" && !deny {
		return fmt.Errorf("has an empty password, with which Cowrie does not start")
	}
	e := entry{line: number, user: readField(parts[0]), password: readField(password), deny: deny}
	for _, f := range []field{e.user, e.password} {
		if err := f.check(); err != nil {
			return err
		}
		if !f.expression && strings.HasPrefix(f.text, "/") {
			p.remark(number, "%q is plain text to Cowrie, for it has a colon or no second slash", f.text)
		}
	}
	key := [2]field{e.user, e.password}
	if at, again := p.places[key]; again {
		if p.entries[at].deny != e.deny {
			p.remark(number, "says otherwise than line %d about the same, and counts in its place", p.entries[at].line)
		}
		p.entries[at].deny = e.deny
		return nil
	}
	if len(p.entries) == maxEntries {
		return fmt.Errorf("is beyond the %d that are read", maxEntries)
	}
	p.places[key] = len(p.entries)
	p.entries = append(p.entries, e)
	return nil
}

var slashed = regexp.MustCompile(`\A/(.+)/(i)?\z`)

func readField(text string) field {
	if m := slashed.FindStringSubmatch(text); m != nil {
		return field{m[1], true, m[2] != ""}
	}
	return field{text: text}
}

// differs finds what Python and RE2 take for different things without an error of
// either.
var differs = regexp.MustCompile(`\{,|\[:|\\[pPQEzCZ0-9]|\(\?[^:Pims]`)

// check reports what cannot be said in a rule.
func (f field) check() error {
	if found := differs.FindString(strings.ReplaceAll(f.text, `\\`, "__")); f.expression && found != "" {
		return fmt.Errorf("the regular expression has %q, which means something else in RE2 or nothing: write the rule by hand", found)
	}
	_, err := auth.ParsePattern(f.pattern())
	return err
}

// pattern is the field as rules have it.
func (f field) pattern() string {
	switch {
	case f.expression && f.fold:
		return "regexp:(?i)" + f.text
	case f.expression:
		return "regexp:" + f.text
	}
	return f.text // it has no colon, so that it is no other form of a pattern
}

// any reports whether the field matches everything.
func (f field) any() bool { return !f.expression && f.text == "*" }

// rules are the entries, neighbours with the same user and answer in one rule. Those
// that an earlier one leaves nothing to decide about are left out.
func (p *parser) rules() ([]Rule, error) {
	all := make([]auth.Rule, len(p.entries))
	for i, e := range p.entries {
		all[i] = e.rule()
	}
	made, err := auth.NewRules(all, auth.Secret{})
	if err != nil {
		return nil, err
	}
	unreached := map[int]bool{}
	for _, c := range made.Conflicts() {
		if c.Unreachable {
			unreached[c.Rule] = true
			p.remark(p.entries[c.Rule].line, "is never reached: line %d takes all that it would", p.entries[c.Earlier].line)
		}
	}
	var rules []Rule
	for i, e := range p.entries {
		if !unreached[i] {
			rules = merge(rules, Rule{all[i], []int{e.line}})
		}
	}
	return rules, nil
}

func (e entry) rule() auth.Rule {
	r := auth.Rule{Action: auth.Allow, Methods: []string{auth.Password, auth.KeyboardInteractive}}
	if e.deny {
		r.Action = auth.Deny
	}
	if !e.user.any() {
		r.Users = []string{e.user.pattern()}
	}
	if !e.password.any() {
		r.Passwords = []string{e.password.pattern()}
	}
	return r
}

// merge appends a rule, to the last one where that has the same user and answer and
// both have passwords.
func merge(rules []Rule, one Rule) []Rule {
	if n := len(rules); n > 0 {
		last := &rules[n-1]
		sameUser := strings.Join(last.Users, "\x00") == strings.Join(one.Users, "\x00")
		if sameUser && last.Action == one.Action && len(last.Passwords) > 0 && len(one.Passwords) > 0 {
			last.Passwords = append(last.Passwords, one.Passwords...)
			last.Lines = append(last.Lines, one.Lines...)
			return rules
		}
	}
	return append(rules, one)
}
