package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sandtrap/sandtrap/internal/config"
	"github.com/sandtrap/sandtrap/internal/event"
	"github.com/sandtrap/sandtrap/internal/evidence"
	"github.com/sandtrap/sandtrap/internal/term"
)

// sessionArgument is the help text about naming a session.
const sessionArgument = `ID is a session's id or at least the first four characters of it, in any case;
-1 is the latest session, -2 the one before, and so on.`

// shownAttempts is how many attempts the text form of show lists.
const shownAttempts = 20

// showOptions are the flags and the argument of show.
type showOptions struct {
	format string // text or json
	id     string
	now    time.Time // with the zone that times are shown in

	transcript, files, events bool   // instead of all that is known
	eventsDir                 string // where event files are
}

func newShow(g *globals) *cobra.Command {
	var (
		o    showOptions
		back sessionsBack
	)
	cmd := &cobra.Command{
		Use:   "show ID",
		Short: "Show what is known about a session",
		Long: `Show who came, how they logged in, where they landed, what was recorded and, in
the order of time, what they did. Live sessions can be shown, and the service need
not run.

` + sessionArgument + `

Exit status is 0 if all is well, 1 for an error, 2 for wrong usage, 4 if there
is no such session.`,
		Args: back.args,
		RunE: func(cmd *cobra.Command, args []string) error {
			o.id, o.now = back.id(args), time.Now()
			loaded, err := config.Load(config.LoadOptions{Path: g.configPath, Environ: os.Environ()})
			if err != nil {
				return explain(err, g.err)
			}
			o.eventsDir = filepath.Join(loaded.Config.StateDir, event.Dir)
			return withStore(g, func(s *evidence.Store) error {
				return runShow(cmd.Context(), s, o, g.out, g.err)
			})
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&o.format, "format", formatText, "text or json")
	flags.BoolVar(&o.transcript, "transcript", false, "show what the terminals showed, as plain text, with the times of commands")
	flags.BoolVar(&o.files, "files", false, "show which files came and went, and which the target had at the end")
	flags.BoolVar(&o.events, "events", false, "show the session's events")
	back.addFlags(cmd)
	return cmd
}

func runShow(ctx context.Context, s *evidence.Store, o showOptions, out, diagnostics io.Writer) error {
	if err := checkFormat(o.format, formatText, formatJSON); err != nil {
		return err
	}
	if o.transcript && o.files || o.transcript && o.events || o.files && o.events {
		return usageError{errors.New("--transcript, --files and --events do not go together")}
	}
	session, dir, err := findSession(s, o.id, diagnostics)
	if err != nil {
		return err
	}
	switch {
	case o.transcript:
		return showTranscript(session, dir, o, out, diagnostics)
	case o.files:
		return showFiles(session, dir, o, out, diagnostics)
	case o.events:
		return showEvents(ctx, session, o, out, diagnostics)
	case o.format == formatJSON:
		return writeIndented(out, struct {
			evidence.Session
			Directory string `json:"directory"`
		}{session, dir})
	}
	_, err = io.WriteString(out, describe(session, dir, o.now))
	return err
}

// findSession finds a session and completes a live one from its directory.
// Recordings that cannot be read are named on diagnostics.
func findSession(s *evidence.Store, id string, diagnostics io.Writer) (evidence.Session, string, error) {
	session, dir, err := s.Find(id)
	if err != nil || session.State != evidence.StateOpen {
		return session, dir, err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return session, dir, fmt.Errorf("open session %s: %w", session.ID, err)
	}
	defer root.Close()
	if err := evidence.AddRecordings(root, &session); err != nil {
		fmt.Fprintf(diagnostics, "sandtrap: %s\n", term.Printable(err.Error()))
	}
	return session, dir, nil
}

// describe is the text form of a session.
func describe(s evidence.Session, dir string, now time.Time) string {
	var b strings.Builder
	line := func(name, format string, a ...any) {
		fmt.Fprintf(&b, "%-12s"+format+"\n", append([]any{name}, a...)...)
	}
	zone := now.Location()
	line("Session", "%s", s.ID)
	state := term.Safe(string(s.State))
	if s.EndReason != "" {
		state += " (" + term.Safe(s.EndReason) + ")"
	}
	line("State", "%s", state)
	line("Start", "%s", s.Start.In(zone).Format("2006-01-02 15:04:05 MST"))
	if s.End != nil {
		line("End", "%s", s.End.In(zone).Format("2006-01-02 15:04:05 MST"))
	}
	line("Duration", "%s", lasted(s.Start, s.End, now))
	line("Source", "%s", endpoint(s.Source))
	if s.Origin != nil {
		line("Origin", "%s", originWords(*s.Origin))
	}
	line("Local", "%s", endpoint(s.Local))
	line("Client", "%q", s.ClientVersion)
	if s.HASSH != "" {
		line("HASSH", "%s", term.Safe(s.HASSH))
	}
	line("Login", "%s", loginWords(s.Login))
	line("Attempts", "%d", len(s.Attempts)+s.AttemptsOmitted)
	describeAttempts(&b, s, zone)
	if t := s.Target; t.Container != "" {
		line("Target", "%s, account %s", term.Safe(t.Name), term.Safe(t.Account))
		line("Container", "%s %s", term.Safe(t.Container), term.Safe(t.ContainerName))
		if t.PreviousSession != "" {
			line("", "before that of session %s", term.Safe(t.PreviousSession))
		}
		line("Image", "%s", term.Safe(t.Image))
		line("", "%s", term.Safe(t.ImageDigest))
	}
	line("Directory", "%s", term.Safe(dir))
	line("Channels", "%d", len(s.Channels))
	for _, c := range s.Channels {
		describeChannel(&b, c)
	}
	if len(s.Forwards) > 0 {
		line("Forwards", "%d", len(s.Forwards))
		describeForwards(&b, s.Forwards)
	}
	describeTimeline(&b, s, zone)
	return b.String()
}

func endpoint(e evidence.Endpoint) string {
	return fmt.Sprintf("%s port %d", term.Safe(e.IP), e.Port)
}

// originWords is what was known of the source.
func originWords(o evidence.Origin) string {
	var words []string
	if o.Country != "" {
		words = append(words, term.Safe(o.Country))
	}
	if o.ASN != 0 {
		words = append(words, fmt.Sprintf("AS%d", o.ASN))
	}
	if o.Organisation != "" {
		words = append(words, fmt.Sprintf("%q", o.Organisation))
	}
	if len(o.Lists) > 0 {
		words = append(words, "listed in "+term.Safe(strings.Join(o.Lists, " ")))
	}
	return strings.Join(words, ", ")
}

// loginWords names user, method and secret, the hostile ones quoted.
func loginWords(l evidence.Login) string {
	words := fmt.Sprintf("%q %s", l.User, term.Safe(l.Method))
	switch {
	case l.Fingerprint != "":
		words += " " + term.Safe(l.Fingerprint)
	case l.Password != "":
		words += fmt.Sprintf(" %q", l.Password)
	}
	return words
}

func describeAttempts(b *strings.Builder, s evidence.Session, zone *time.Location) {
	for i, a := range s.Attempts {
		if i == shownAttempts {
			fmt.Fprintf(b, "  and %d more\n", len(s.Attempts)-i+s.AttemptsOmitted)
			return
		}
		b.WriteString("  ")
		if !a.Time.IsZero() {
			b.WriteString(a.Time.In(zone).Format(time.TimeOnly) + " ")
		}
		b.WriteString(loginWords(a.Login()))
		if a.Accepted {
			b.WriteString(" accepted")
		}
		if a.Honeytoken != "" {
			b.WriteString(", honeytoken " + term.Safe(a.Honeytoken))
		}
		if a.BaitSession != "" {
			b.WriteString(" of session " + term.Safe(a.BaitSession))
		}
		b.WriteByte('\n')
	}
	if s.AttemptsOmitted > 0 {
		fmt.Fprintf(b, "  and %d more\n", s.AttemptsOmitted)
	}
}

func describeChannel(b *strings.Builder, c evidence.Channel) {
	fmt.Fprintf(b, "  %s", channelHeading(c))
	r := c.Recording
	if r.ExitSignal != "" {
		fmt.Fprintf(b, ", ended by signal %s", term.Safe(r.ExitSignal))
	} else if r.ExitStatus != nil {
		fmt.Fprintf(b, ", exit status %d", *r.ExitStatus)
	}
	if r.Truncated {
		b.WriteString(", recording reached its size limit")
	}
	b.WriteByte('\n')
	if r.Raw == "" {
		return
	}
	fmt.Fprintf(b, "    input %s, output %s, errors %s\n", byteWords(r.InputBytes), byteWords(r.OutputBytes), byteWords(r.StderrBytes))
	fmt.Fprintf(b, "    %s %s, %s %s\n", term.Safe(r.Raw), byteWords(r.RawBytes), term.Safe(r.Cast), byteWords(r.CastBytes))
	describeTransfers(b, c)
}

// shownForwards is how many forwards the text form of show lists.
const shownForwards = 50

func describeForwards(b *strings.Builder, forwards []evidence.Forward) {
	for i, f := range forwards {
		if i == shownForwards {
			fmt.Fprintf(b, "  and %d more\n", len(forwards)-i)
			return
		}
		fmt.Fprintf(b, "  %d %s %q port %d, from %q port %d", f.ID, term.Safe(f.Kind), f.Destination, f.DestinationPort, f.Originator, f.OriginatorPort)
		if f.EndReason != "" {
			fmt.Fprintf(b, ", ended by %s", term.Safe(f.EndReason))
		}
		fmt.Fprintf(b, "\n    input %s, %s %s\n", byteWords(f.Recording.InputBytes), term.Safe(f.Recording.Raw), byteWords(f.Recording.RawBytes))
	}
}

// byteWords tells a size to about three digits.
func byteWords(n int64) string {
	if n < 1<<10 {
		return fmt.Sprintf("%d B", n)
	}
	f, unit := float64(n)/(1<<10), 0
	for f >= 1<<10 && unit < 3 {
		f, unit = f/(1<<10), unit+1
	}
	return fmt.Sprintf("%.1f %ciB", f, "KMGT"[unit])
}

// sessionsBack lets "-1" stand for a session, although it looks like a flag:
// every digit is one, and together they make the number.
type sessionsBack struct{ digits string }

// String implements pflag.Value.
func (b *sessionsBack) String() string { return b.digits }

// Type implements pflag.Value.
func (b *sessionsBack) Type() string { return "digit" }

// Set implements pflag.Value; it is called once a digit, from left to right.
func (b *sessionsBack) Set(digit string) error {
	if len(digit) != 1 || strings.Trim(digit, "0123456789") != "" || len(b.digits) > 8 {
		return errors.New("not a number of sessions")
	}
	b.digits += digit
	return nil
}

func (b *sessionsBack) addFlags(cmd *cobra.Command) {
	for _, digit := range strings.Split("0123456789", "") {
		flag := cmd.Flags().VarPF(b, "back-"+digit, digit, "")
		flag.NoOptDefVal, flag.Hidden, flag.DefValue = digit, true, ""
	}
}

// args wants one name of a session, of either form.
func (b *sessionsBack) args(_ *cobra.Command, args []string) error {
	n := len(args)
	if b.digits != "" {
		n++
	}
	if n != 1 {
		return fmt.Errorf("want one session id, got %d", n)
	}
	return nil
}

func (b *sessionsBack) id(args []string) string {
	if b.digits != "" {
		return "-" + b.digits
	}
	return args[0]
}
