package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/sandtrap/sandtrap/internal/control"
	"github.com/sandtrap/sandtrap/internal/record"
	"github.com/sandtrap/sandtrap/internal/term"
)

// watchOptions are the flags and the argument of watch.
type watchOptions struct {
	id        string // empty for the newest
	channel   int    // -1 for one after the other, the newest first
	fromStart bool
}

func newWatch(g *globals) *cobra.Command {
	var o watchOptions
	cmd := &cobra.Command{
		Use:   "watch [ID]",
		Short: "Watch a live session",
		Long: `Show what the attacker of a live session sees, while it goes on, without an ID that
of the newest. Only harmless control sequences reach the terminal, as in "sandtrap
replay". Nobody in the session can tell that it is watched, and watching never slows
it. It ends with the session, or with the channel that was asked for.

Exit status is 0 if all is well, 1 for an error, 2 for wrong usage, 4 if there is
no such live session or channel, 5 if the service does not run, 130 if interrupted.`,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: completeLive(g),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				o.id = args[0]
			}
			return withService(g, func(c *control.Client) error {
				return runWatch(cmd.Context(), c, o, g.out, g.err)
			})
		},
	}
	cmd.Flags().IntVar(&o.channel, "channel", -1, "watch channel `N` only (default all, one after the other)")
	cmd.Flags().BoolVar(&o.fromStart, "from-start", false, "show first what was before, at once")
	return cmd
}

// watchPause is the time between two looks for a channel of a session without one.
const watchPause = 250 * time.Millisecond

func runWatch(ctx context.Context, c *control.Client, o watchOptions, out, diagnostics io.Writer) error {
	sessions, err := c.Sessions(ctx)
	if err != nil {
		return err
	}
	session, err := chooseLive(sessions, o.id)
	if err != nil {
		return err
	}
	fmt.Fprintf(diagnostics, "sandtrap: watching session %s of %s from %s\n", session.ID, term.Clip(string(session.User), 32), session.Source.IP)
	if o.channel >= 0 {
		return watchChannel(ctx, c, session.ID, o.channel, o.fromStart, out)
	}
	seen := map[int]bool{}
	for {
		channel, live, err := nextChannel(ctx, c, session.ID, seen)
		switch {
		case err != nil:
			return err
		case !live:
			fmt.Fprintln(diagnostics, "sandtrap: the session has ended")
			return nil
		case channel < 0:
			if err := pause(ctx, watchPause); err != nil {
				return err
			}
			continue
		}
		// What began while we looked on is shown from its start.
		err = watchChannel(ctx, c, session.ID, channel, o.fromStart || len(seen) > 0, out)
		if err != nil && !errors.Is(err, control.ErrNotFound) { // it has just ended
			return err
		}
		seen[channel] = true
		fmt.Fprintf(diagnostics, "sandtrap: channel %d has ended\n", channel)
	}
}

// nextChannel returns the newest channel of a session that was not seen yet, -1 where
// there is none now.
func nextChannel(ctx context.Context, c *control.Client, id string, seen map[int]bool) (channel int, live bool, err error) {
	sessions, err := c.Sessions(ctx)
	if err != nil {
		return 0, false, err
	}
	channel = -1
	for _, s := range sessions {
		if s.ID != id {
			continue
		}
		live = true
		for _, one := range s.Channels { // by number
			if !seen[one.ID] {
				channel = one.ID
			}
		}
	}
	return channel, live, nil
}

// watchChannel shows one channel until it ends. The terminal is put back in order.
func watchChannel(ctx context.Context, c *control.Client, id string, channel int, fromStart bool, out io.Writer) (err error) {
	body, err := c.Recording(ctx, id, channel, fromStart)
	if err != nil {
		return err
	}
	defer body.Close()
	r, err := record.NewReader(body)
	if err != nil {
		return fmt.Errorf("watch channel %d: %w", channel, err)
	}
	filter := term.NewFilter(out)
	defer func() { err = errors.Join(err, filter.Restore()) }()
	for {
		f, err := r.Next()
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			return fmt.Errorf("watch channel %d: the stream was cut: %w", channel, err)
		}
		if f.Kind != record.KindOutput && f.Kind != record.KindStderr {
			continue
		}
		if _, err := filter.Write(f.Data); err != nil {
			return fmt.Errorf("write to terminal: %w", err)
		}
	}
}

// pause waits, or returns the error of a context that ends first.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
