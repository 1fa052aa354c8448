package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sandtrap/sandtrap/internal/config"
	"github.com/sandtrap/sandtrap/internal/control"
	"github.com/sandtrap/sandtrap/internal/hint"
)

// withService asks the running service of the configuration.
func withService(g *globals, ask func(*control.Client) error) error {
	loaded, err := config.Load(config.LoadOptions{Path: g.configPath, Environ: os.Environ()})
	if err != nil {
		return operatorsOnly(explain(err, g.err))
	}
	return ask(control.NewClient(loaded.Config.Control.Socket))
}

// operatorsOnly says who may do what this process may not.
func operatorsOnly(err error) error {
	if errors.Is(err, fs.ErrPermission) && hint.Of(err) == "" {
		return hint.Wrap(err, "it is for root and for members of the group sandtrap")
	}
	return err
}

// liveExit is the help text about exit codes of verbs that ask the running service.
const liveExit = `Exit status is 0 if all is well, 1 for an error, 2 for wrong usage, 5 if the
service does not run, 130 if interrupted.`

// minLivePrefix is how much of an id names a live session.
const minLivePrefix = 4

// chooseLive finds a live session by its id or the beginning of it; without one it is
// the newest.
func chooseLive(sessions []control.Session, name string) (control.Session, error) {
	if name == "" {
		if len(sessions) == 0 {
			return control.Session{}, notFoundError{"no session is live"}
		}
		return sessions[len(sessions)-1], nil
	}
	if len(name) < minLivePrefix {
		return control.Session{}, usageError{fmt.Errorf("at least %d characters of the session id are needed", minLivePrefix)}
	}
	var found []control.Session
	for _, s := range sessions {
		if strings.HasPrefix(s.ID, strings.ToUpper(name)) {
			found = append(found, s)
		}
	}
	switch len(found) {
	case 0:
		return control.Session{}, notFoundError{fmt.Sprintf("no live session %q", name)}
	case 1:
		return found[0], nil
	}
	return control.Session{}, fmt.Errorf("%d live sessions begin with %q", len(found), name)
}

// completeTimeout bounds how long the shell waits for what fits.
const completeTimeout = 2 * time.Second

// completeLive completes ids of live sessions.
func completeLive(g *globals) cobra.CompletionFunc {
	return func(cmd *cobra.Command, _ []string, typed string) ([]string, cobra.ShellCompDirective) {
		ctx, cancel := context.WithTimeout(cmd.Context(), completeTimeout)
		defer cancel()
		var ids []string
		_ = withService(g, func(c *control.Client) error { // who completes sees no errors
			sessions, err := c.Sessions(ctx)
			for _, s := range sessions {
				if strings.HasPrefix(s.ID, strings.ToUpper(typed)) {
					ids = append(ids, s.ID+"\t"+s.Source.IP)
				}
			}
			return err
		})
		return ids, cobra.ShellCompDirectiveNoFileComp
	}
}

// checkFormat wants one of the formats.
func checkFormat(format string, formats ...string) error {
	for _, f := range formats {
		if format == f {
			return nil
		}
	}
	return usageError{fmt.Errorf("%q is not a format, want %s", format, strings.Join(formats, " or "))}
}
