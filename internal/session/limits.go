package session

import (
	"errors"
	"fmt"

	"github.com/sandtrap/sandtrap/internal/event"
	"github.com/sandtrap/sandtrap/internal/record"
	"github.com/sandtrap/sandtrap/internal/sshd"
)

// maxFailures is how many failures to record a session may write into the log. The
// events have the others.
const maxFailures = 20

// errNoSpace refuses a recording while a storage.low counts.
var errNoSpace = fmt.Errorf("%w: %w", record.ErrSpace, sshd.ErrReported)

// mayRecord says why there can be no other recording, and so neither a program nor a
// forward.
func (s *Session) mayRecord() error {
	if err := s.events.Err(); err != nil {
		return fmt.Errorf("events are being lost: %w", err)
	}
	if s.service.Space.Low() {
		return errNoSpace
	}
	if s.budget.Spent() {
		return record.ErrBudget
	}
	return nil
}

// notRecorded is why something ended that could not be recorded, for the record.
func notRecorded(err error) string {
	switch {
	case errors.Is(err, record.ErrQuota):
		return "size limit"
	case errors.Is(err, record.ErrBudget):
		return "size limit of the session"
	case errors.Is(err, record.ErrSpace):
		return "too little space"
	default:
		return "recording failed"
	}
}

// truncated reports the limit that a channel has reached. It returns false for
// another reason.
func (s *Session) truncated(channel int, served error) bool {
	var setting string
	var limit int64
	switch {
	case errors.Is(served, record.ErrQuota):
		setting, limit = "recording.max_bytes", s.service.MaxBytes
	case errors.Is(served, record.ErrBudget):
		setting, limit = "recording.max_session_bytes", s.service.MaxSessionBytes
	case errors.Is(served, record.ErrSpace):
		setting, limit = "recording.min_free", s.service.Space.Least()
	default:
		return false
	}
	s.events.Emit(event.RecordingStop, event.F("channel", channel), event.F("limit_bytes", limit), event.F("setting", setting))
	return true
}
