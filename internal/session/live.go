package session

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/sandtrap/sandtrap/internal/evidence"
	"github.com/sandtrap/sandtrap/internal/record"
)

// ErrNotLive means that no session, or no channel of one, goes on under a name.
var ErrNotLive = errors.New("no such live session or channel")

// Terminated is the reason of a session's end that an operator asked for.
const Terminated = "terminated by operator"

// maxLiveText is how much of a client's text Live has, in bytes.
const maxLiveText = 4096

// Live is a session that goes on.
type Live struct {
	ID       string
	Start    time.Time
	Source   evidence.Endpoint
	User     evidence.Text
	Method   string
	Target   evidence.Target // empty as long as none was needed
	Channels []LiveChannel   // on which a program runs
	Ended    int             // channels that have ended
	Forwards int             // that have ended
}

// LiveChannel is a channel on which a program runs.
type LiveChannel struct {
	ID       int
	Kind     string
	Command  evidence.Text
	Terminal evidence.Text
	Size     record.Size // that the client asked for at the beginning
	Start    time.Time
}

// live are the sessions that go on. The zero value has none.
type live struct {
	mu       sync.Mutex // guards sessions; who logs in waits for it
	sessions map[string]*Session
}

func (l *live) add(s *Session) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.sessions == nil {
		l.sessions = map[string]*Session{}
	}
	l.sessions[s.login.ID] = s
}

// remove says that the evidence of a session is closed.
func (l *live) remove(s *Session) {
	l.mu.Lock()
	delete(l.sessions, s.login.ID)
	l.mu.Unlock()
	close(s.closed)
}

func (l *live) find(id string) (*Session, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if s := l.sessions[id]; s != nil {
		return s, nil
	}
	return nil, fmt.Errorf("session %q: %w", id, ErrNotLive)
}

// Live returns the sessions that go on, the oldest first.
func (s *Service) Live() []Live {
	s.live.mu.Lock()
	sessions := slices.Collect(maps.Values(s.live.sessions))
	s.live.mu.Unlock()
	all := make([]Live, 0, len(sessions))
	for _, one := range sessions {
		all = append(all, one.describe())
	}
	slices.SortFunc(all, func(a, b Live) int { return cmp.Compare(a.ID, b.ID) })
	return all
}

func (s *Session) describe() Live {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := &s.record
	d := Live{
		ID: s.login.ID, Start: r.Start, Source: r.Source, User: clip(r.Login.User), Method: r.Login.Method, Target: r.Target,
		Channels: []LiveChannel{}, Ended: len(r.Channels), Forwards: len(r.Forwards),
	}
	for _, c := range s.programs {
		p := c.program
		d.Channels = append(d.Channels, LiveChannel{
			ID: p.Channel, Kind: p.Kind, Command: clip(evidence.Text(p.Command)), Terminal: clip(evidence.Text(p.Term)), Size: cells(p.Size), Start: c.began.UTC(),
		})
	}
	slices.SortFunc(d.Channels, func(a, b LiveChannel) int { return cmp.Compare(a.ID, b.ID) })
	return d
}

func clip(t evidence.Text) evidence.Text { return t[:min(len(t), maxLiveText)] }

// Terminate ends a session as if its connection had been lost, and waits until its
// evidence is closed. If ctx ends first its error is returned, and the session ends
// all the same.
func (s *Service) Terminate(ctx context.Context, id string) error {
	one, err := s.live.find(id)
	if err != nil {
		return err
	}
	one.login.End(Terminated)
	select {
	case <-one.closed:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Recording is one that goes on.
type Recording struct {
	Dir  *os.Root    // of the session; it may be closed when the session has ended
	Name string      // file name of the raw log
	Over func() bool // reports whether nothing is recorded any more
}

// Recording returns that of a channel on which a program runs.
func (s *Service) Recording(id string, channel int) (Recording, error) {
	one, err := s.live.find(id)
	if err != nil {
		return Recording{}, err
	}
	one.mu.Lock()
	defer one.mu.Unlock()
	r := one.programs[channel]
	if r == nil {
		return Recording{}, fmt.Errorf("channel %d of session %s: %w", channel, id, ErrNotLive)
	}
	return Recording{Dir: one.dir.Root(), Name: r.recorder.Summary().Raw, Over: func() bool {
		one.mu.Lock()
		defer one.mu.Unlock()
		return one.programs[channel] != r
	}}, nil
}

// enter makes a program one that runs.
func (s *Session) enter(r *running) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.programs == nil {
		s.programs = map[int]*running{}
	}
	s.programs[r.program.Channel] = r
}

// leave is the end of enter, or changes nothing.
func (s *Session) leave(r *running) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.programs[r.program.Channel] == r {
		delete(s.programs, r.program.Channel)
	}
}
