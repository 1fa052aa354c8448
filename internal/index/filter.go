package index

import (
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/sandtrap/sandtrap/internal/evidence"
)

// Filter chooses sessions: those for which everything holds that it asks for. The zero
// Filter chooses all. Texts are compared byte by byte.
type Filter struct {
	Since, Until time.Time      // of the start; Until itself is outside
	Source       []netip.Prefix // any of them
	User         *string        // of any attempt, accepted or not
	Password     *string        // likewise
	Key          string         // fingerprint of a key that was offered
	Command      string         // part of a command or of a line that was typed
	Artifact     string         // beginning of the SHA-256 of a file, lower case
	Target       string
	MinDuration  time.Duration
	MaxDuration  time.Duration // 0 for no bound
	Live         bool          // only those that go on

	Now time.Time // to which sessions last that go on
}

// Matches reports whether the filter chooses a session. It is the only judge, with the
// index and without.
func (f *Filter) Matches(e *Entry) bool { return f.matchesBasics(e) && f.matchesLists(e) }

// matchesBasics judges by all but the lists of an entry.
func (f *Filter) matchesBasics(e *Entry) bool {
	switch {
	case !f.Since.IsZero() && e.Start.Before(f.Since),
		!f.Until.IsZero() && !e.Start.Before(f.Until),
		f.Live && e.State != evidence.StateOpen,
		f.Target != "" && e.Target != f.Target,
		f.MinDuration > 0 && e.Duration(f.Now) < f.MinDuration,
		f.MaxDuration > 0 && e.Duration(f.Now) > f.MaxDuration:
		return false
	}
	return len(f.Source) == 0 || from(e.Source, f.Source)
}

// matchesLists judges by the lists of an entry.
func (f *Filter) matchesLists(e *Entry) bool {
	return (f.User == nil || slices.Contains(e.Users, *f.User)) &&
		(f.Password == nil || slices.Contains(e.Passwords, *f.Password)) &&
		(f.Key == "" || slices.Contains(e.Keys, f.Key)) &&
		(f.Command == "" || slices.ContainsFunc(e.Commands, func(c string) bool { return strings.Contains(c, f.Command) })) &&
		(f.Artifact == "" || slices.ContainsFunc(e.Files, func(file File) bool { return strings.HasPrefix(file.SHA256, f.Artifact) }))
}

// asksForLists reports whether matchesLists looks at anything.
func (f *Filter) asksForLists() bool {
	return f.User != nil || f.Password != nil || f.Key != "" || f.Command != "" || f.Artifact != ""
}

// from reports whether an address lies in one of some networks. One in IPv6 that stands
// for IPv4 counts as the latter.
func from(source string, networks []netip.Prefix) bool {
	a, err := netip.ParseAddr(source)
	if err != nil {
		return false
	}
	a = a.Unmap().WithZone("")
	return slices.ContainsFunc(networks, func(p netip.Prefix) bool { return p.Contains(a) })
}
