package auth

import (
	"encoding/base64"
	"errors"
	"fmt"
	"regexp"
	"regexp/syntax"
	"strings"
)

// Bounds of patterns. They bound the time that one attempt can take.
const (
	// MaxText is the longest login name, password or pattern, in bytes. Nothing longer
	// matches a pattern.
	MaxText = 1024
	// maxProgram bounds what one regular expression compiles to, in instructions. RE2
	// takes time in proportion to that and to the text.
	maxProgram = 2000
	// MaxPrograms bounds those of all rules together.
	MaxPrograms = 100_000
)

// Pattern matches login names or passwords. It is written as plain text, which
// matches itself, or with one of the prefixes exact:, glob:, regexp: and base64:.
type Pattern struct {
	exact string
	re    *regexp.Regexp // nil for an exact one
	text  string         // as it was written
	size  int            // instructions
}

// ParsePattern reads a pattern.
func ParsePattern(text string) (Pattern, error) {
	if len(text) > MaxText {
		return Pattern{}, fmt.Errorf("is longer than %d bytes", MaxText)
	}
	form, rest, ok := strings.Cut(text, ":")
	if !ok {
		form = ""
	}
	switch form {
	case "exact":
		return Pattern{exact: rest, text: text}, nil
	case "base64":
		b, err := base64.StdEncoding.DecodeString(rest)
		if err != nil {
			return Pattern{}, errors.New("is not base64 behind its prefix")
		}
		return Pattern{exact: string(b), text: text}, nil
	case "glob":
		return compile(text, globExpression(rest))
	case "regexp":
		return compile(text, rest)
	}
	return Pattern{exact: text, text: text}, nil
}

func compile(text, expression string) (Pattern, error) {
	parsed, err := syntax.Parse(expression, syntax.Perl)
	if err != nil {
		var why *syntax.Error
		if errors.As(err, &why) {
			return Pattern{}, fmt.Errorf("is no regular expression: %s: %q", why.Code, why.Expr)
		}
		return Pattern{}, fmt.Errorf("is no regular expression: %w", err)
	}
	program, err := syntax.Compile(parsed.Simplify())
	if err != nil {
		return Pattern{}, fmt.Errorf("is no regular expression: %w", err)
	}
	if len(program.Inst) > maxProgram {
		return Pattern{}, errors.New("is too large a regular expression: it repeats too much")
	}
	re, err := regexp.Compile(expression)
	if err != nil {
		return Pattern{}, fmt.Errorf("is no regular expression: %w", err)
	}
	return Pattern{re: re, text: text, size: len(program.Inst)}, nil
}

// globExpression is a glob as a regular expression: * stands for any text, ? for one
// character, and a backslash takes the meaning of what follows.
func globExpression(glob string) string {
	var b strings.Builder
	b.WriteString(`(?s)\A`)
	escaped := false
	for _, r := range glob {
		switch {
		case escaped:
			b.WriteString(regexp.QuoteMeta(string(r)))
			escaped = false
		case r == '\\':
			escaped = true
		case r == '*':
			b.WriteString(`.*`)
		case r == '?':
			b.WriteString(`.`)
		default:
			b.WriteString(regexp.QuoteMeta(string(r)))
		}
	}
	if escaped {
		b.WriteString(`\\`)
	}
	b.WriteString(`\z`)
	return b.String()
}

// Match reports whether the pattern matches the whole of a text, a regular expression
// any part of it.
func (p Pattern) Match(text string) bool {
	if p.re == nil {
		return p.exact == text
	}
	return len(text) <= MaxText && p.re.MatchString(text)
}

// Plain reports whether the pattern matches one text only.
func (p Pattern) Plain() bool { return p.re == nil }

// patterns is a list of them; without any it matches everything.
type patterns struct {
	any   bool
	exact map[string]bool
	more  []Pattern
	texts map[string]bool // of more, as they were written
}

func parsePatterns(texts []string) (patterns, error) {
	p := patterns{any: len(texts) == 0, exact: map[string]bool{}, texts: map[string]bool{}}
	for _, text := range texts {
		one, err := ParsePattern(text)
		if err != nil {
			return patterns{}, fmt.Errorf("%q %w", text, err)
		}
		if one.re == nil {
			p.exact[one.exact] = true
			continue
		}
		p.more = append(p.more, one)
		p.texts[text] = true
		p.any = p.any || text == "glob:*"
	}
	return p, nil
}

func (p *patterns) match(text string) bool {
	if p.any || p.exact[text] {
		return true
	}
	for _, one := range p.more {
		if one.Match(text) {
			return true
		}
	}
	return false
}

// covers reports whether p surely matches all that other matches.
func (p *patterns) covers(other *patterns) bool {
	if p.any || other.any {
		return p.any
	}
	for text := range other.exact {
		if !p.match(text) {
			return false
		}
	}
	for text := range other.texts {
		if !p.texts[text] {
			return false
		}
	}
	return true
}

// common returns a text that both spell out.
func (p *patterns) common(other *patterns) (string, bool) {
	few, many := p.exact, other.exact
	if len(many) < len(few) {
		few, many = many, few
	}
	best, found := "", false
	for text := range few {
		if many[text] && (!found || text < best) {
			best, found = text, true
		}
	}
	return best, found
}
