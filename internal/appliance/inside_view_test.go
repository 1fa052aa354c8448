//go:build appliance

package appliance

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"sort"
	"strconv"
	"strings"
)

// view is what a probe showed, by section, without what cannot be equal.
type view map[string][]string

// readView takes the output of a probe apart. What a terminal showed before and
// after it are sections of their own.
func readView(text, source string) view {
	text = strings.ReplaceAll(text, "\r\n", "\n")
	v := view{}
	section := "greeting"
	for _, line := range strings.Split(text, "\n") {
		if name, ok := strings.CutPrefix(line, "== "); ok {
			section = name
			v[section] = []string{}
			continue
		}
		v[section] = append(v[section], line)
	}
	names := processNames(v["ps"])
	clean := view{}
	for section, lines := range v {
		n := normal{section: section, source: source, names: names}
		name := section
		if pid, ok := strings.CutPrefix(section, "process "); ok {
			name = "process " + n.name(pid)
		}
		for _, line := range lines {
			if line = n.line(line); line != "" {
				clean[name] = append(clean[name], line)
			}
		}
		switch {
		case strings.HasPrefix(name, "process sshd"):
			clean[name] = withoutNumbers(clean[name])
		case name == "process bash":
			clean[name] = slices.DeleteFunc(clean[name], probing.MatchString)
		}
	}
	return clean
}

// probing matches the ends of a pipe that the shell closes while the probe looks: the
// probe's own, of either end.
var probing = regexp.MustCompile(`^fd [3-9] l(-w|r-)x\S* pipe:\[N\]$`)

var descriptor = regexp.MustCompile(`^fd ([3-9]|[1-9][0-9]+) `)

// withoutNumbers says once of what kinds the descriptors of a process are, but for
// the first three: the rest have the numbers that happened to be free.
func withoutNumbers(lines []string) []string {
	var kept, kinds []string
	for _, line := range lines {
		if descriptor.MatchString(line) {
			kinds = append(kinds, descriptor.ReplaceAllString(line, "fd N "))
		} else {
			kept = append(kept, line)
		}
	}
	sort.Strings(kinds)
	return append(kept, slices.Compact(kinds)...)
}

// processNames gives every process of a list of ps a name that does not depend on
// its number: program and place.
func processNames(ps []string) map[string]string {
	names := map[string]string{"0": "0", "1": "1", "-1": "-1"}
	count := map[string]int{}
	for _, line := range ps {
		f := strings.Fields(line)
		for len(f) > 11 && (f[10] == `\_` || f[10] == "|") {
			f = append(f[:10], f[11:]...)
		}
		if len(f) < 11 || names[f[0]] != "" {
			continue
		}
		program := strings.Trim(path.Base(f[10]), "-:")
		if program == "sshd" {
			program = sshdRole(strings.Join(f[11:], " "))
		}
		if count[program]++; count[program] > 1 {
			program = fmt.Sprintf("%s#%d", program, count[program])
		}
		names[f[0]] = program
	}
	return names
}

// sshdRole is what a process of sshd does, by its title.
func sshdRole(title string) string {
	switch {
	case strings.Contains(title, "[listener]"):
		return "sshd-listener"
	case strings.Contains(title, "[priv"):
		return "sshd-priv"
	}
	return "sshd-session"
}

// normal takes out of a line what differs from one login to the next.
type normal struct {
	section, source string
	names           map[string]string
}

func (n normal) name(pid string) string {
	if name := n.names[pid]; name != "" {
		return name
	}
	return "gone"
}

var (
	number    = regexp.MustCompile(`\b[0-9]+\b`)
	blanks    = regexp.MustCompile(`[ \t]+`)
	shellPids = regexp.MustCompile(`^pid ([0-9]+) parent ([0-9]+)`)
	running   = regexp.MustCompile(`^((\S+ ){7})R`) // who runs at this moment is chance
)

var replacements = []struct {
	find *regexp.Regexp
	with string
}{
	{regexp.MustCompile(`\b(pipe|socket):\[[0-9]+\]`), "$1:[N]"},
	{regexp.MustCompile(`\b[0-9]{4}-[0-9]{2}-[0-9]{2}([T ][0-9:.]+(\+[0-9:]+)?)?`), "TIME"},
	{regexp.MustCompile(`\b((Mon|Tue|Wed|Thu|Fri|Sat|Sun) )?(Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) +[0-9]{1,2}( +[0-9:]+)?( \+[0-9]{4})?( 20[0-9]{2})?\b`), "TIME"},
	{regexp.MustCompile(`\b[0-9]{2}:[0-9]{2}(:[0-9]{2})?\b`), "TIME"},
	{regexp.MustCompile(`\b[0-9]+\.[0-9]{2}s\b`), "SECONDS"},
	// w(1) cannot tell for a process that has just ended.
	{regexp.MustCompile(`(SECONDS|\?) (SECONDS|\?) w -h$`), "SECONDS SECONDS w -h"},
	{regexp.MustCompile(`SOURCE [0-9]+ 22(22|03)?\b`), "SOURCE PORT 22"},
	{regexp.MustCompile(`SOURCE [0-9]+ 127.0.0.1 22(22|03)?\b`), "SOURCE PORT 127.0.0.1 22"},
	{regexp.MustCompile(`\bport [0-9]+\b`), "port PORT"},
	{regexp.MustCompile(`^total [0-9]+$`), ""},
	{regexp.MustCompile(`^([-dlpsbc]\S{9}) [0-9]+ `), "$1 "},                           // links of directories depend on the file system
	{regexp.MustCompile(`^(-rw-r--r-- root root) [0-9]+ (TIME \S+\.pid)$`), "$1 N $2"}, // as large as the number
	{regexp.MustCompile(`^(Linux srv01) .*`), "$1 KERNEL"},
	{regexp.MustCompile(`^/tmp/TestInsideView\S* .*`), ""}, // sockets of the client
	{regexp.MustCompile(`^Seccomp_filters: ([2-9]|[1-9][0-9]+)$`), "Seccomp_filters: several"},
	{regexp.MustCompile(`^Threads: ([2-9]|[1-9][0-9]+)$`), "Threads: several"},
	{regexp.MustCompile(`^(Max open files [0-9]+) .*`), "$1"}, // the hard limit is the machine's
	{regexp.MustCompile(`_EXECUTION_STRING=.*`), "_EXECUTION_STRING=..."},
}

func (n normal) line(line string) string {
	line = strings.TrimSpace(blanks.ReplaceAllString(strings.ReplaceAll(line, n.source, "SOURCE"), " "))
	switch {
	case n.section == "ps" && line != "" && line[0] != 'P':
		line = running.ReplaceAllString(n.columns(line, 5), "${1}S")
	case n.section == "shell" && shellPids.MatchString(line):
		line = shellPids.ReplaceAllStringFunc(line, n.pids)
	case n.section == "logins" || n.section == "log":
		line = n.logins(line)
	case strings.HasPrefix(line, "SigIgn: "):
		line = ignored(line)
	}
	for _, r := range replacements {
		line = r.find.ReplaceAllString(line, r.with)
	}
	return line
}

// ignored leaves out the signals 32 and 33, which belong to the C library: whoever
// ignores them has that from how these tests were started.
func ignored(line string) string {
	mask, err := strconv.ParseUint(strings.TrimPrefix(line, "SigIgn: "), 16, 64)
	if err != nil {
		return line
	}
	return fmt.Sprintf("SigIgn: %016x", mask&^(1<<31|1<<32))
}

// columns names the processes in the first columns of a line of ps.
func (n normal) columns(line string, columns int) string {
	f := strings.SplitN(line, " ", columns+1)
	for i := range min(columns, len(f)) {
		f[i] = n.name(f[i])
	}
	return strings.Join(f, " ")
}

func (n normal) pids(text string) string {
	return number.ReplaceAllStringFunc(text, n.name)
}

var (
	loginPid = regexp.MustCompile(` ([0-9]+)( id=\S*| \(SOURCE\))`)
	logPid   = regexp.MustCompile(`\[[0-9]+\]`)
)

// logins names processes in the lines of who -a and of the log.
func (n normal) logins(line string) string {
	line = loginPid.ReplaceAllStringFunc(line, n.pids)
	return logPid.ReplaceAllStringFunc(line, n.pids)
}

func (v view) sections() []string {
	var names []string
	for name := range v {
		names = append(names, name)
	}
	sort.Strings(names)
	return names
}
