package evidence

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/sandtrap/sandtrap/internal/record"
)

// noTime is the zero time: no bound.
var noTime time.Time

// Recover ends the sessions a crash left open, and must run before the first
// new one. Each gets the state StateRecovered and the time of the last thing that
// was recorded, but none after now; recordings that session.json does not know
// yet are added to it, and unfinished artifacts are removed. It returns the recovered sessions, oldest first; the
// error joins those of sessions that could not be recovered.
func (s *Store) Recover(now time.Time) ([]Session, error) {
	var (
		open []string
		errs []error
	)
	if err := s.removeTemps(); err != nil {
		errs = append(errs, err)
	}
	err := s.walk(context.Background(), noTime, noTime, nil, func(dir string) bool {
		if s.Sealed(dir) {
			return true
		}
		session, err := s.load(dir)
		switch {
		case errors.Is(err, os.ErrNotExist), err == nil && session.State == StateOpen:
			open = append(open, dir)
		case err != nil:
			errs = append(errs, fmt.Errorf("recover %s: %w", path.Base(dir), err))
		}
		return true
	})
	if err != nil {
		return nil, fmt.Errorf("recover sessions: %w", err)
	}
	var recovered []Session
	for i := len(open) - 1; i >= 0; i-- {
		session, err := s.recover(open[i], now)
		if err != nil {
			errs = append(errs, fmt.Errorf("recover %s: %w", path.Base(open[i]), err))
		}
		if session.ID != "" {
			recovered = append(recovered, session)
		}
	}
	return recovered, errors.Join(errs...)
}

// recover ends one session. Damage to a recording is reported, but does not
// keep the session open; the session returned is empty if it could not be saved.
func (s *Store) recover(dir string, now time.Time) (Session, error) {
	d, err := s.openDir(dir)
	if err != nil {
		return Session{}, err
	}
	defer d.Close()
	session, err := load(d.root, d.id)
	if errors.Is(err, os.ErrNotExist) {
		// The crash came before the first Save: all that is known is the id.
		id, _ := ulid.ParseStrict(d.id)
		session, err = Session{Version: Version, ID: d.id, State: StateOpen, Start: id.Timestamp().UTC()}, nil
	}
	if err != nil {
		return Session{}, err
	}
	end, damage := recoverChannels(d.root, &session, now)
	session.State, session.End, session.EndReason = StateRecovered, &end, EndCrash
	if err := errors.Join(d.Save(session), d.Sync()); err != nil {
		return Session{}, errors.Join(damage, err)
	}
	return session, damage
}

// recoverChannels brings the channels in line with the recordings on disk and
// returns when the last of them was written to.
func recoverChannels(root *os.Root, session *Session, now time.Time) (end time.Time, damage error) {
	end = session.Start
	if st, err := root.Lstat(sessionFile); err == nil && st.ModTime().After(end) {
		end = st.ModTime()
	}
	damage = matchRecordings(root, session, record.Recover)
	for i := range session.Channels {
		c := &session.Channels[i]
		if c.Recording.End.After(end) {
			end = c.Recording.End
		}
		if c.End == nil && !c.Recording.End.IsZero() {
			at := earlier(c.Recording.End, now)
			c.End = &at
		}
	}
	for i := range session.Channels {
		if c := &session.Channels[i]; c.End == nil {
			at := earlier(end, now)
			c.End = &at
		}
	}
	for i := range session.Forwards {
		if f := &session.Forwards[i]; f.End == nil {
			if f.Recording.End.After(end) {
				end = f.Recording.End
			}
			at := earlier(f.Recording.End, now)
			if f.Recording.End.IsZero() {
				at = earlier(end, now)
			}
			f.End, f.EndReason = &at, EndCrash
		}
	}
	return earlier(end, now), damage
}

// Sealed reports whether a session, by the path of its directory, has got its last file.
func (s *Store) Sealed(dir string) bool {
	_, err := s.root.Lstat(path.Join(dir, SealFile))
	return err == nil
}

func earlier(a, b time.Time) time.Time {
	if a.After(b) {
		return b.UTC()
	}
	return a.UTC()
}
