package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/sandtrap/sandtrap/internal/evidence"
	"github.com/sandtrap/sandtrap/internal/record"
	"github.com/sandtrap/sandtrap/internal/term"
)

// replayOptions are the flags and the argument of replay.
type replayOptions struct {
	id        string
	channel   int // -1 for the first
	speed     float64
	idleLimit time.Duration
	raw       bool
	input     bool
	keys      *os.File // a terminal that steers the replay; nil for none
}

func newReplay(g *globals) *cobra.Command {
	var (
		o    replayOptions
		back sessionsBack
	)
	cmd := &cobra.Command{
		Use:   "replay ID",
		Short: "Play a session in the terminal",
		Long: `Play what the attacker saw, at the pace it was recorded, from the lossless log.
Only harmless control sequences reach the terminal; titles, clipboard access,
queries and the like are left out. A live session is played as far as it got.

In a terminal, space halts and goes on, the arrow keys go back and forth by five
seconds, [ and ] to the last and the next marker, such as a command, . shows the
next output and halts, and q ends the replay.

` + sessionArgument + `

Exit status is 0 if all is well, 1 for an error, 2 for wrong usage, 4 if there
is no such session or channel, 130 if interrupted.`,
		Args: back.args,
		RunE: func(cmd *cobra.Command, args []string) error {
			o.id = back.id(args)
			if g.out == os.Stdout && isTerminal(os.Stdin) && isTerminal(os.Stdout) {
				o.keys = os.Stdin
			}
			return withStore(g, func(s *evidence.Store) error {
				return runReplay(cmd.Context(), s, o, g.out, g.err)
			})
		},
	}
	flags := cmd.Flags()
	flags.IntVar(&o.channel, "channel", -1, "play channel `N` (default the first)")
	flags.Float64Var(&o.speed, "speed", 1, "play `F` times as fast; 0 plays without waiting")
	flags.DurationVar(&o.idleLimit, "idle-limit", 0, "shorten pauses to at most `D` of recorded time; 0 keeps them")
	flags.BoolVar(&o.raw, "raw", false, "pass every byte on unfiltered; hostile output can take over a terminal")
	flags.BoolVar(&o.input, "input", false, "show what the client sent instead, control characters as escapes")
	back.addFlags(cmd)
	return cmd
}

func runReplay(ctx context.Context, s *evidence.Store, o replayOptions, out, diagnostics io.Writer) error {
	if o.speed < 0 || o.speed != o.speed { // NaN
		return usageError{fmt.Errorf("%v is not a speed", o.speed)}
	}
	if o.idleLimit < 0 {
		return usageError{fmt.Errorf("%v is not a pause", o.idleLimit)}
	}
	session, dir, err := findSession(s, o.id, diagnostics)
	if err != nil {
		return err
	}
	channel, err := chooseChannel(session, o.channel)
	if err != nil {
		return err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return fmt.Errorf("open session %s: %w", session.ID, err)
	}
	defer root.Close()
	open := func() (*record.Reader, io.Closer, error) { return record.Open(root, channel.Recording.Raw) }
	truncated, err := play(ctx, open, o, out, diagnostics)
	switch {
	case truncated:
		fmt.Fprintln(diagnostics, "sandtrap: the recording reached its size limit here")
	case errors.Is(err, io.ErrUnexpectedEOF) && session.State == evidence.StateClosed:
		return fmt.Errorf("replay channel %d: the recording's end is missing", channel.ID)
	case errors.Is(err, io.ErrUnexpectedEOF):
		// Live, or cut off by the crash: this is all there is.
		err = nil
	}
	if err != nil {
		return fmt.Errorf("replay channel %d: %w", channel.ID, err)
	}
	if session.State == evidence.StateOpen {
		fmt.Fprintln(diagnostics, "sandtrap: the session is still open")
	}
	return nil
}

// notFoundError is about something other than a session that was not found.
type notFoundError struct{ text string }

func (e notFoundError) Error() string { return e.text }
func (e notFoundError) Unwrap() error { return evidence.ErrNotFound }

// chooseChannel returns the channel with the given id, or for -1 the first, if
// it was recorded.
func chooseChannel(s evidence.Session, id int) (evidence.Channel, error) {
	for _, c := range s.Channels {
		if c.Recording.Raw != "" && (id == c.ID || id == -1) {
			return c, nil
		}
	}
	if id == -1 {
		return evidence.Channel{}, notFoundError{fmt.Sprintf("session %s has no recording", s.ID)}
	}
	return evidence.Channel{}, notFoundError{fmt.Sprintf("session %s has no recording of channel %d", s.ID, id)}
}

// play shows one recording. The terminal is put back in order however it ends.
func play(ctx context.Context, open func() (*record.Reader, io.Closer, error), o replayOptions, out, diagnostics io.Writer) (truncated bool, err error) {
	screen := &redraw{w: out}
	var (
		w      io.Writer = screen
		filter *term.Filter
	)
	if !o.raw && !o.input {
		filter = term.NewFilter(screen)
		defer func() { err = errors.Join(err, filter.Restore()) }()
		w = filter
	}
	po := record.PlayOptions{Speed: o.speed, IdleLimit: o.idleLimit, Show: func(f record.Frame) bool {
		truncated = truncated || f.Kind == record.KindTruncated
		if o.input {
			return f.Kind == record.KindInput
		}
		return f.Kind == record.KindOutput || f.Kind == record.KindStderr
	}}
	po.Damaged = func(err error) { fmt.Fprintf(diagnostics, "sandtrap: left out: %s\n", term.Printable(err.Error())) }
	sink := func(f record.Frame) error {
		data := f.Data
		if o.input && !o.raw {
			data = keystrokes(data)
		}
		if _, err := w.Write(data); err != nil {
			return fmt.Errorf("write to terminal: %w", err)
		}
		return nil
	}
	if o.keys != nil && o.speed > 0 {
		keys, err := openKeyboard(o.keys)
		if err != nil {
			return false, err
		}
		if keys != nil {
			p := &player{open: open, keys: keys, options: po, sink: sink, filter: filter, screen: screen}
			err = p.Play(ctx)
			return truncated, errors.Join(err, keys.Close())
		}
	}
	reader, closer, err := open()
	if err != nil {
		return false, err
	}
	defer closer.Close()
	err = record.Play(ctx, reader, po, sink)
	return truncated, err
}

// keystrokes makes input readable: as Safe does, with a line break after every
// carriage return and line feed.
func keystrokes(p []byte) []byte {
	var b []byte
	for len(p) > 0 {
		n := bytes.IndexAny(p, "\r\n") + 1
		if n == 0 {
			return append(b, term.Safe(string(p))...)
		}
		b = append(append(b, term.Safe(string(p[:n]))...), '\n')
		p = p[n:]
	}
	return b
}
