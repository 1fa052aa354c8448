package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/sandtrap/sandtrap/internal/evidence"
	"github.com/sandtrap/sandtrap/internal/index"
	"github.com/sandtrap/sandtrap/internal/term"
)

// tableFlags are those of verbs that print a table or JSON.
type tableFlags struct {
	format string // table or json
	lines  int    // 0 for all
}

// add adds them; about is what the number of lines is of.
func (o *tableFlags) add(flags *pflag.FlagSet, lines int, about string) {
	flags.StringVar(&o.format, "format", formatTable, "table or json")
	flags.IntVarP(&o.lines, "lines", "n", lines, about)
}

// check returns an error of usage.
func (o *tableFlags) check() error {
	if o.lines < 0 {
		return usageError{fmt.Errorf("%d is not a number of lines", o.lines)}
	}
	return checkFormat(o.format, formatTable, formatJSON)
}

// timeFlags are a span of time: durations or times, empty for no bound.
type timeFlags struct{ since, until string }

// bounds are what the flags ask for. The error is one of usage.
func (o *timeFlags) bounds(now time.Time) (since, until time.Time, err error) {
	since, err = parseSince(o.since, now)
	until, err2 := parseSince(o.until, now)
	if err = errors.Join(err, err2); err != nil {
		err = usageError{err}
	}
	return since, until, err
}

// filterOptions are the flags that choose sessions.
type filterOptions struct {
	timeFlags
	sources     []string
	user        textFlag
	password    textFlag
	key         string
	command     string
	artifact    string
	target      string
	minDuration time.Duration
	maxDuration time.Duration
	live        bool
}

// textFlag is a text that may be empty, and is not the same as none.
type textFlag struct{ value *string }

// String implements pflag.Value.
func (f *textFlag) String() string {
	if f.value == nil {
		return ""
	}
	return *f.value
}

// Type implements pflag.Value.
func (f *textFlag) Type() string { return "string" }

// Set implements pflag.Value.
func (f *textFlag) Set(s string) error {
	f.value = &s
	return nil
}

const timeWords = "90m, 7d, today, yesterday, 2026-03-31, \"2026-03-31 12:00\" or RFC 3339"

func (o *filterOptions) addFlags(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&o.since, "since", "", "only sessions since `TIME`: "+timeWords)
	flags.StringVar(&o.until, "until", "", "only sessions that started before `TIME`")
	flags.StringArrayVar(&o.sources, "source", nil, "only sessions from `ADDRESS`, or from a network like 192.0.2.0/24; may be repeated")
	flags.Var(&o.user, "user", "only sessions in which user `NAME` was tried")
	flags.Var(&o.password, "password", "only sessions in which `PASSWORD` was tried")
	flags.StringVar(&o.key, "key", "", "only sessions in which the key with `FINGERPRINT` was offered, SHA256:...")
	flags.StringVar(&o.command, "command", "", "only sessions with `TEXT` in a command or typed line")
	flags.StringVar(&o.artifact, "artifact", "", "only sessions that brought or left a file whose SHA-256 begins with `HASH`")
	flags.StringVar(&o.target, "target", "", "only sessions in the target `NAME`")
	flags.DurationVar(&o.minDuration, "min-duration", 0, "only sessions that took `DURATION` or longer, like 30s or 5m")
	flags.DurationVar(&o.maxDuration, "max-duration", 0, "only sessions that took no longer than `DURATION`")
	flags.BoolVar(&o.live, "live", false, "only sessions that go on")
}

// filter is what the flags ask for. The error is one of usage.
func (o *filterOptions) filter(now time.Time) (index.Filter, error) {
	f := index.Filter{
		User: o.user.value, Password: o.password.value, Key: o.key, Command: o.command, Artifact: strings.ToLower(o.artifact),
		Target: o.target, MinDuration: o.minDuration, MaxDuration: o.maxDuration, Live: o.live, Now: now,
	}
	var err error
	f.Since, f.Until, err = o.bounds(now)
	for _, s := range o.sources {
		network, bad := parseNetwork(s)
		err = errors.Join(err, bad)
		f.Source = append(f.Source, network)
	}
	switch {
	case err != nil:
	case strings.Trim(f.Artifact, "0123456789abcdef") != "" || len(f.Artifact) > 64:
		err = fmt.Errorf("%q is not the beginning of a SHA-256", o.artifact)
	case o.minDuration < 0 || o.maxDuration < 0:
		err = errors.New("a duration is below zero")
	}
	if err != nil {
		return f, usageError{err}
	}
	return f, nil
}

// parseNetwork reads an address or a network.
func parseNetwork(s string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(s); err == nil && a.Zone() == "" {
		a = a.Unmap()
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return p, fmt.Errorf("%q is not an address or network, want one like 192.0.2.7 or 2001:db8::/32", s)
	}
	return p.Masked(), nil
}

// query asks for sessions and names on diagnostics what could not be read.
func query(ctx context.Context, s *evidence.Store, f index.Filter, o index.Options, diagnostics io.Writer) ([]*index.Entry, error) {
	found, err := index.Query(ctx, s, f, o)
	if err != nil {
		return nil, err
	}
	tellProblems(found, diagnostics)
	return found.Entries, nil
}

// manyRead is how many sessions are read for want of an index before somebody is told.
const manyRead = 100

// tellProblems names on diagnostics what could not be read, and an index that was no
// help.
func tellProblems(found index.Result, diagnostics io.Writer) {
	for _, p := range found.Problems {
		fmt.Fprintf(diagnostics, "sandtrap: skip %s\n", term.Printable(p.Error()))
	}
	const remedy = "the service makes one when it starts, \"sandtrap index rebuild\" does now"
	switch absent := errors.Is(found.Index, fs.ErrNotExist); {
	case found.Index != nil && !absent:
		fmt.Fprintf(diagnostics, "sandtrap: index cannot be used: %s: read %d sessions; %s\n", term.Printable(found.Index.Error()), found.Read, remedy)
	case found.Read <= manyRead:
	case absent:
		fmt.Fprintf(diagnostics, "sandtrap: no index: read %d sessions; %s\n", found.Read, remedy)
	default:
		fmt.Fprintf(diagnostics, "sandtrap: %d sessions are not in the index yet and were read\n", found.Read)
	}
}
