package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sandtrap/sandtrap/internal/evidence"
	"github.com/sandtrap/sandtrap/internal/term"
)

const (
	// maxCompletions is how many sessions a shell is offered, the newest first.
	maxCompletions = 50
	// maxLooked is how many are looked at for them.
	maxLooked = 200_000
)

// completeIDs lets the shell complete the ids of sessions for every verb whose usage has
// ID, or ID... for several.
func completeIDs(c *cobra.Command, g *globals) {
	if _, arguments, _ := strings.Cut(c.Use, " "); strings.Contains(arguments, "ID") && c.ValidArgsFunction == nil {
		most := 1
		if strings.Contains(arguments, "ID...") {
			most = 0
		}
		c.ValidArgsFunction = completeSessions(g, most)
	}
	for _, sub := range c.Commands() {
		completeIDs(sub, g)
	}
}

// completeSessions completes ids of sessions, each with who it was, in arguments up to
// a number; 0 is no bound.
func completeSessions(g *globals, most int) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, toComplete string) ([]cobra.Completion, cobra.ShellCompDirective) {
		const directive = cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveKeepOrder
		if most > 0 && len(args) >= most {
			return nil, directive
		}
		var found []cobra.Completion
		err := withStore(&globals{configPath: g.configPath, err: io.Discard}, func(s *evidence.Store) error {
			looked, prefix := 0, strings.ToUpper(toComplete)
			return s.Directories(cmd.Context(), time.Time{}, time.Time{}, nil, func(dir string) bool {
				id := dir[strings.LastIndexByte(dir, '/')+1:]
				if strings.HasPrefix(id, prefix) {
					// As it was typed, or the shell drops it.
					found = append(found, cobra.CompletionWithDesc(toComplete+id[len(prefix):], sessionWords(s, dir)))
				}
				looked++
				return len(found) < maxCompletions && looked < maxLooked
			})
		})
		if err != nil {
			return nil, cobra.ShellCompDirectiveError
		}
		return found, directive
	}
}

// sessionWords describes a session in a few harmless words.
func sessionWords(s *evidence.Store, dir string) string {
	session, err := s.Load(dir)
	if err != nil {
		return "cannot be read"
	}
	return fmt.Sprintf("%s %s %s", session.Start.Local().Format("2006-01-02 15:04"), term.Clip(session.Source.IP, 40), term.Clip(string(session.Login.User), 20))
}
