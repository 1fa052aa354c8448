package config

import (
	"fmt"
	"strconv"
	"strings"
)

// Problem is one thing wrong with the configuration, on one line.
type Problem struct {
	Origin  Origin // where the value at fault was set
	Key     string // such as "pool.min"; empty when the whole source is at fault
	Message string
}

// Error reads "/etc/sandtrap/sandtrap.yaml:12: pool.min: …".
func (p Problem) Error() string {
	var b strings.Builder
	b.WriteString(p.Origin.prefix())
	if p.Key != "" {
		b.WriteString(": ")
		b.WriteString(p.Key)
	}
	b.WriteString(": ")
	b.WriteString(p.Message)
	return b.String()
}

// Problems is everything found wrong in one Load, by source and line.
type Problems []Problem

// Error writes one line a problem.
func (p Problems) Error() string {
	lines := make([]string, len(p))
	for i, problem := range p {
		lines[i] = problem.Error()
	}
	return strings.Join(lines, "\n")
}

// Unwrap gives errors.As each Problem.
func (p Problems) Unwrap() []error {
	errs := make([]error, len(p))
	for i, problem := range p {
		errs[i] = problem
	}
	return errs
}

// Kind says which layer a value comes from.
type Kind string

// The layers, weakest first.
const (
	FromDefault     Kind = "default"
	FromPersona     Kind = "persona"
	FromFile        Kind = "file"
	FromEnvironment Kind = "environment"
	FromFlag        Kind = "flag"
)

// Origin is where a value comes from.
type Origin struct {
	Kind Kind   `json:"kind"`
	Name string `json:"name,omitempty"` // the file's path, the persona's or the variable's name
	Line int    `json:"line,omitempty"` // in the file, from 1; 0 elsewhere
}

// String is how `sandtrap config show --origin` words it.
func (o Origin) String() string {
	switch o.Kind {
	case FromFile:
		return o.prefix()
	case FromPersona:
		return "persona " + o.prefix()
	case FromEnvironment:
		return "environment " + o.Name
	case FromFlag:
		return "command line"
	default:
		return "default"
	}
}

// prefix is how an error line starts.
func (o Origin) prefix() string {
	switch {
	case (o.Kind == FromFile || o.Kind == FromPersona) && o.Line > 0:
		return o.Name + ":" + strconv.Itoa(o.Line)
	case o.Kind == FromFile, o.Kind == FromPersona, o.Kind == FromEnvironment:
		return o.Name
	case o.Kind == FromFlag:
		return "command line"
	default:
		return "default"
	}
}

// maxShown bounds how much of a foreign text an error line repeats.
const maxShown = 80

// clip shortens text for an error line.
func clip(text string) string {
	if len(text) <= maxShown {
		return text
	}
	return text[:maxShown] + "…"
}

var plainKey = newSyntax(`^[A-Za-z0-9_.\[\]-]+$`, 80)

// showKey keeps an odd key from breaking the line it is reported on.
func showKey(key string) string {
	if plainKey.matches(key) {
		return key
	}
	return fmt.Sprintf("%q", clip(key))
}
