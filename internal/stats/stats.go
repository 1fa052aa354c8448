package stats

import (
	"context"
	"time"

	"github.com/sandtrap/sandtrap/internal/evidence"
	"github.com/sandtrap/sandtrap/internal/index"
)

// Stats are the sums of a time. What is counted from events counts everybody who
// connected; a session is one who logged in.
type Stats struct {
	Since, Until time.Time // as asked for; zero is no bound

	First       time.Time // the oldest event that was counted; zero if there is none
	Connections int64
	Attempts    int64 // to log in, a key once
	Logins      int64
	Omitted     int64 // attempts beyond events.max_repeats or events.max_text, counted and not looked at
	Skipped     int64 // lines of event files that are no events

	Sources, Clients, HASSHs *Top // of connections
	Users, Passwords, Keys   *Top // of attempts

	Sessions int64
	Targets  *Top // of sessions
	Commands *Top // in how many sessions each was run or typed
}

// Options say what Collect counts.
type Options struct {
	Since, Until time.Time // Until itself is outside
	Now          time.Time
	counters     int // of each Top; 0 is maxCounters
}

// Collect counts what events and sessions of a store tell of a time.
func Collect(ctx context.Context, store *evidence.Store, o Options) (*Stats, index.Result, error) {
	most := o.counters
	if most == 0 {
		most = maxCounters
	}
	s := &Stats{Since: o.Since, Until: o.Until}
	for _, t := range []**Top{&s.Sources, &s.Clients, &s.HASSHs, &s.Users, &s.Passwords, &s.Keys, &s.Targets, &s.Commands} {
		*t = newTop(most)
	}
	if err := s.readEvents(ctx, store.Path()); err != nil {
		return nil, index.Result{}, err
	}
	found, err := index.Each(ctx, store, index.Filter{Since: o.Since, Until: o.Until, Now: o.Now}, s.addSession)
	return s, found, err
}

func (s *Stats) addSession(e *index.Entry) {
	s.Sessions++
	if e.Target != "" {
		s.Targets.Add(e.Target)
	}
	for _, c := range e.Commands {
		s.Commands.Add(c)
	}
}
