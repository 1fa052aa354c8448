package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sandtrap/sandtrap/internal/control"
	"github.com/sandtrap/sandtrap/internal/term"
)

func newStatus(g *globals) *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Tell what goes on in the running service",
		Long: `Tell what goes on in the running service: its targets, its room, what is wrong if
anything is, and the sessions that are live.

` + liveExit,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return withService(g, func(c *control.Client) error {
				return runStatus(cmd.Context(), c, format, time.Now(), g.out)
			})
		},
	}
	cmd.Flags().StringVar(&format, "format", formatText, "text or json")
	return cmd
}

func runStatus(ctx context.Context, c *control.Client, format string, now time.Time, out io.Writer) error {
	if err := checkFormat(format, formatText, formatJSON); err != nil {
		return err
	}
	status, err := c.Status(ctx)
	if err != nil {
		return err
	}
	sessions, err := c.Sessions(ctx)
	if err != nil {
		return err
	}
	if format == formatJSON {
		return writeIndented(out, struct {
			control.Status
			Live []control.Session `json:"live"`
		}{status, sessions})
	}
	if _, err := io.WriteString(out, describeStatus(status, now)); err != nil || len(sessions) == 0 {
		return err
	}
	fmt.Fprintln(out)
	return liveTable(sessions, now).Print(out)
}

// describeStatus is a line for each thing, and one for each that is wrong.
func describeStatus(s control.Status, now time.Time) string {
	var b strings.Builder
	line := func(name, format string, args ...any) {
		fmt.Fprintf(&b, "%-12s %s\n", name, term.Printable(fmt.Sprintf(format, args...)))
	}
	doing := "serving"
	if s.Draining {
		doing = "draining"
	}
	line("State", "%s since %s (%s), version %s, pid %d", doing, s.Start.In(now.Location()).Format(time.DateTime), lasted(s.Start, nil, now), s.Version, s.PID)
	line("Connections", "%d open, %d sessions with %d programs", s.Connections, s.Sessions, s.Channels)
	refused := uint64(0)
	for _, n := range s.Admission.Refused {
		refused += n
	}
	line("Admission", "%d not logged in, %d admitted, %d refused, %d in the tarpit", s.Admission.Startups, s.Admission.Admitted, refused, s.Admission.Tarpit)
	name := "Targets"
	for _, t := range s.Pool.Targets {
		line(name, "%s: %d of %d warm, %d leased, %d stopping, %d kept", t.Name, t.Warm, t.Goal, t.Leased, t.Stopping, t.Retained)
		name = ""
	}
	free := "unknown space"
	if s.Recording.Free >= 0 {
		free = gibibytes(s.Recording.Free)
	}
	line("Recording", "%s free, %s must be", free, gibibytes(s.Recording.MinFree))
	line("Events", "%d written, %d omitted, %d lost", s.Events.Written, s.Events.Omitted, s.Events.Lost)
	line("Process", "%d MiB, %d goroutines, %d open files", s.Process.Resident>>20, s.Process.Goroutines, s.Process.Files)
	for _, wrong := range wrongs(s) {
		line("Problem", "%s", wrong)
	}
	return b.String()
}

// wrongs are what an operator should do something about.
func wrongs(s control.Status) []string {
	var all []string
	add := func(is bool, text string) {
		if is {
			all = append(all, text)
		}
	}
	for _, t := range s.Pool.Targets {
		add(t.Failure != "", fmt.Sprintf("cannot make targets of %s: %s", t.Name, t.Failure))
	}
	add(s.Pool.Drained, "the pool is drained: sandtrap pool refill")
	add(s.Pool.Waiting > 0, fmt.Sprintf("%d sessions wait for a target", s.Pool.Waiting))
	add(s.Pool.Unlimited, "targets run WITHOUT limits")
	add(s.Recording.Low, "no program starts: less than recording.min_free is free")
	add(s.Events.Error != "", "no session is let in, events are being lost: "+s.Events.Error)
	add(s.ReloadError != "", "configuration not reloaded: "+s.ReloadError)
	return all
}

func gibibytes(n int64) string { return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30)) }

func liveTable(sessions []control.Session, now time.Time) *term.Table {
	t := term.NewTable(term.Column{Heading: "ID"}, term.Column{Heading: "START"}, term.Column{Heading: "DURATION"},
		term.Column{Heading: "SOURCE"}, term.Column{Heading: "USER", Width: 20}, term.Column{Heading: "PROGRAMS", Width: 44})
	for _, s := range sessions {
		t.Add(s.ID, s.Start.In(now.Location()).Format(time.DateTime), lasted(s.Start, nil, now), s.Source.IP, string(s.User), programs(s.Channels))
	}
	return t
}

// programs says in a few words what runs.
func programs(channels []control.Channel) string {
	var words []string
	for _, c := range channels {
		word := fmt.Sprintf("%d %s", c.ID, c.Kind)
		if c.Command != "" {
			word += ": " + string(c.Command)
		}
		words = append(words, word)
	}
	if len(words) == 0 {
		return "-"
	}
	return strings.Join(words, ", ")
}
