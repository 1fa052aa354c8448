package leader

import (
	"bytes"
	"slices"
	"strings"
)

// The files that Debian has pam_env(8) read at a login, the account's own last.
var environmentFiles = [...]string{"/etc/environment", "/etc/default/locale"}

const userEnvironment = "/.pam_environment"

// Bounds of what is taken from them.
const (
	maxEnvironment = 64 << 10 // bytes of a file
	maxVariables   = 256
)

// readEnvironment is what pam_env(8) would set, as NAME=value.
func readEnvironment(root, home string) []string {
	var set []string
	for _, path := range append(environmentFiles[:], home+userEnvironment) {
		text, err := readFile(root+path, maxEnvironment)
		if err != nil {
			continue
		}
		for line := range lines(text) {
			if variable := parseVariable(line); variable != "" {
				set = assign(set, len(set), variable)
			}
		}
	}
	return set[:min(len(set), maxVariables)]
}

// parseVariable reads a line as pam_env(8) does: comments end it, "export" is
// nothing, and quotes around the value are left out.
func parseVariable(line []byte) string {
	line, _, _ = bytes.Cut(line, []byte{'#'})
	text := strings.TrimPrefix(strings.Trim(cString(string(line)), " \t\r"), "export ")
	name, value, ok := strings.Cut(text, "=")
	if !ok || name == "" || strings.TrimFunc(name, isNamePart) != "" {
		return ""
	}
	if value != "" && (value[0] == '"' || value[0] == '\'') {
		value = value[1:]
		if last := len(value) - 1; last >= 0 && (value[last] == '"' || value[last] == '\'') {
			value = value[:last]
		}
	}
	return name + "=" + value
}

func isNamePart(r rune) bool {
	return r == '_' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z'
}

// assign sets a variable where it stands, or in a place of its own.
func assign(env []string, at int, variable string) []string {
	name, _, _ := strings.Cut(variable, "=")
	i := slices.IndexFunc(env, func(e string) bool { return strings.HasPrefix(e, name+"=") })
	if i < 0 {
		return slices.Insert(env, at, variable)
	}
	env[i] = variable
	return env
}

// withEnvironment adds what pam_env(8) has set to the environment of a program, in the
// place that sshd gives it. sshd's own SSH_ variables come later.
func withEnvironment(env, set []string) []string {
	own := func(e string) bool { return strings.HasPrefix(e, "SSH_") }
	for _, variable := range set {
		if own(variable) {
			continue
		}
		at := slices.IndexFunc(env, own)
		if at < 0 {
			at = len(env)
		}
		env = assign(env, at, variable)
	}
	return env
}
