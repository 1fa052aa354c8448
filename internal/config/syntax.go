package config

import "regexp"

// A syntax says what a name may consist of and how many bytes it may have. A count inside
// the expression would be unrolled, and compiling that took every start of the program,
// also for a short question, 20 ms.
type syntax struct {
	pattern *regexp.Regexp
	longest int
}

func newSyntax(pattern string, longest int) syntax {
	return syntax{pattern: regexp.MustCompile(pattern), longest: longest}
}

func (s syntax) matches(name string) bool {
	return len(name) <= s.longest && s.pattern.MatchString(name)
}
