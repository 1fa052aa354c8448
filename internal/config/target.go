package config

import (
	"cmp"
	"fmt"
	"reflect"
)

// Target is the system an attacker lands in, or what all of them have that does not say
// otherwise.
type Target struct {
	Name     string  `koanf:"name"`
	Image    string  `koanf:"image"`
	Hostname string  `koanf:"hostname"` // one RFC 1123 label
	LoginAs  LoginAs `koanf:"login_as"` // how a login name becomes an account
	Account  string  `koanf:"account"`  // the fallback of LoginAs
	Memory   Bytes   `koanf:"memory"`
	Disk     Bytes   `koanf:"disk"` // that it may write
	PIDs     int64   `koanf:"pids"`
	CPUs     float64 `koanf:"cpus"` // whole processors' worth of time
}

// LoginAs is the value of target.login_as.
type LoginAs string

// The account of a login: that of its name or else the fallback, that of its name
// or else one made for it, always the fallback.
const (
	LoginExisting LoginAs = "existing"
	LoginCreate   LoginAs = "create"
	LoginFallback LoginAs = "fallback"
)

// TargetEntry is an element of targets. What it leaves out is zero, and as in section
// target. What a target may write is one bound for all of them: the file system's, for
// every project.
type TargetEntry struct {
	Name     string  `koanf:"name"`
	Image    string  `koanf:"image"` // where left out, it goes by the name
	Hostname string  `koanf:"hostname"`
	LoginAs  LoginAs `koanf:"login_as"`
	Account  string  `koanf:"account"`
	Memory   Bytes   `koanf:"memory"`
	PIDs     int64   `koanf:"pids"`
	CPUs     float64 `koanf:"cpus"`
	Weight   int     `koanf:"weight"` // its share of the sources
	Min      int     `koanf:"min"`    // of it, as Pool.Min
	Max      int     `koanf:"max"`    // of it, as Pool.Max
}

// maxTargets bounds targets, in elements.
const maxTargets = 16

// AllTargets returns the targets that attackers land in, with everything filled in: the
// elements of targets, or the one of section target.
func (c Config) AllTargets() []TargetEntry {
	if len(c.Targets) == 0 {
		one := c.Target.entry()
		one.Weight, one.Min, one.Max = 1, c.Pool.Min, c.Pool.Max
		return []TargetEntry{one}
	}
	all := make([]TargetEntry, len(c.Targets))
	for i, t := range c.Targets {
		all[i] = t.filled(c.Target, c.Pool)
	}
	return all
}

// TargetImage is the image of a target that names none, which the unit of its name builds.
func TargetImage(name string) string { return "localhost/sandtrap-target-" + name + ":latest" }

// entry is a target as an element of targets has it.
func (t Target) entry() TargetEntry {
	return TargetEntry{
		Name: t.Name, Image: t.Image, Hostname: t.Hostname, LoginAs: t.LoginAs, Account: t.Account,
		Memory: t.Memory, PIDs: t.PIDs, CPUs: t.CPUs,
	}
}

// filled is a target with what it leaves out.
func (t TargetEntry) filled(section Target, pool Pool) TargetEntry {
	return TargetEntry{
		Name:     t.Name,
		Image:    cmp.Or(t.Image, TargetImage(t.Name)),
		Hostname: cmp.Or(t.Hostname, section.Hostname),
		LoginAs:  cmp.Or(t.LoginAs, section.LoginAs),
		Account:  cmp.Or(t.Account, section.Account),
		Memory:   cmp.Or(t.Memory, section.Memory),
		PIDs:     cmp.Or(t.PIDs, section.PIDs),
		CPUs:     cmp.Or(t.CPUs, section.CPUs),
		Weight:   cmp.Or(t.Weight, 1),
		Min:      cmp.Or(t.Min, pool.Min),
		Max:      cmp.Or(t.Max, pool.Max),
	}
}

// The names a target may carry: our own for it, an RFC 1123 label, an account
// as useradd(8) takes it, and anything one word long that Podman can look up.
var (
	targetName  = newSyntax(`^[a-z0-9-]+$`, 32)
	hostLabel   = newSyntax(`^[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?$`, 63)
	accountName = newSyntax(`^[a-z_][a-z0-9_-]*$`, 32)
	imageName   = newSyntax(`^[!-~]+$`, 512)
)

// names holds the names of a target against their syntax, those that are given.
func (c *checker) names(at string, t TargetEntry, given func(path string) bool) {
	for _, rule := range []struct {
		path, value string
		syntax      syntax
		want        string
	}{
		{at + ".name", t.Name, targetName, "1 to 32 of a-z, 0-9 and -"},
		{at + ".image", t.Image, imageName, "the name of an image"},
		{at + ".hostname", t.Hostname, hostLabel, "a host name of one label (letters, digits and - inside, at most 63)"},
		{at + ".account", t.Account, accountName, "the name of an account"},
	} {
		if given(rule.path) && !rule.syntax.matches(rule.value) {
			c.blame(rule.path, "%q is not %s", clip(rule.value), rule.want)
		}
	}
}

func (c *checker) target(t Target) {
	c.names("target", t.entry(), func(string) bool { return true })
}

// given reports whether a value is written anywhere: of an element a zero that is there
// is wrong, one that is not there means something else.
func (c *checker) given(path string) bool {
	_, ok := c.origins[path]
	return ok
}

// targets checks the elements of targets, each for itself.
func (c *checker) targets(config Config) {
	targets := config.Targets
	if len(targets) > maxTargets {
		c.blame("targets", "has %d elements, at most %d are taken", len(targets), maxTargets)
		return
	}
	first := map[string]int{}
	for i, t := range targets {
		at := fmt.Sprintf("targets[%d]", i)
		if !c.given(at + ".name") {
			c.blame(at, "has no name")
		} else if same, twice := first[t.Name]; twice {
			c.blame(at+".name", "%q is the name of targets[%d] too", clip(t.Name), same)
		} else {
			first[t.Name] = i
		}
		c.names(at, t, c.given)
		c.elementMagnitudes(at, t)
	}
}

// elementRange returns the bounds of a key of an element: those of the key that it takes
// the place of.
func elementRange(key string) (bounds, bool) {
	for _, section := range []string{"target.", "pool.", "targets[]."} {
		if b, ok := ranges[section+key]; ok {
			return b, true
		}
	}
	return bounds{}, false
}

// elementMagnitudes holds the numbers and sizes of an element against their bounds.
func (c *checker) elementMagnitudes(at string, t TargetEntry) {
	value := reflect.ValueOf(t)
	for _, k := range keys(value.Type(), at, nil) {
		if b, ok := elementRange(lastName(k.path)); ok && c.given(k.path) {
			c.magnitude(k.path, value.FieldByIndex(k.index), b)
		}
	}
}

// targetsTogether checks what targets and other keys say together.
func (c *checker) targetsTogether(config Config) {
	if len(config.Targets) == 0 {
		return
	}
	for _, path := range []string{"target.name", "target.image"} {
		if c.origins[path].Kind != FromDefault {
			c.blame(path, "is set, but targets is: name them there")
		}
	}
	for i, t := range config.AllTargets() {
		if t.Min <= t.Max {
			continue
		}
		low, high := fmt.Sprintf("targets[%d].min", i), fmt.Sprintf("targets[%d].max", i)
		switch {
		case c.given(low) && c.given(high):
			c.blame(low, "%d is more than max, which is %d", t.Min, t.Max)
		case c.given(low):
			c.blame(low, "%d is more than pool.max, which is %d", t.Min, t.Max)
		case c.given(high):
			c.blame(high, "%d is less than pool.min, which is %d", t.Max, t.Min)
		}
	}
}
