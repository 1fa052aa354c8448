package session

import (
	"time"

	"github.com/sandtrap/sandtrap/internal/event"
	"github.com/sandtrap/sandtrap/internal/record"
)

// syncDelay keeps the disk quiet until the attacker has their prompt.
const syncDelay = 250 * time.Millisecond

// sync brings what was saved to the disk while the session goes on. Close does so
// at its end.
func (s *Session) sync() {
	if !s.syncing.CompareAndSwap(false, true) {
		return // it will be done with what was saved before
	}
	s.waiting.Go(func() {
		select {
		case <-s.closing:
			return
		case <-time.After(syncDelay):
		}
		s.syncing.Store(false)
		if err := s.dir.Sync(); err != nil {
			s.service.Log.Warn("cannot bring a session's record to the disk", "session", s.login.ID, "error", err)
		}
	})
}

// putAway brings a recording that has ended to the disk, and does more for what is
// beside it, when the disk may be busy again.
func (s *Session) putAway(r *record.Recorder, more func()) {
	s.waiting.Go(func() {
		select {
		case <-s.closing:
		case <-time.After(syncDelay):
		}
		if sum, err := r.Close(); err != nil {
			s.recordingFailed(sum, err)
		}
		more()
	})
}

// recordingFailed reports what a recording lacks. A session can have thousands.
func (s *Session) recordingFailed(r record.Summary, err error) {
	log := s.service.Log.Error
	if s.failures.Add(1) > maxFailures {
		log = s.service.Log.Debug
	}
	log("cannot record a channel", "session", s.login.ID, "recording", r.Raw, "error", err)
	s.events.Emit(event.SessionFail, event.F("stage", "record"), event.F("error", err.Error()))
}
