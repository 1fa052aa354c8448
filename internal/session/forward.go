package session

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/sandtrap/sandtrap/internal/event"
	"github.com/sandtrap/sandtrap/internal/evidence"
	"github.com/sandtrap/sandtrap/internal/record"
	"github.com/sandtrap/sandtrap/internal/sshd"
)

// maxOriginator is how much is kept of what a client calls the origin of a forward,
// in bytes: an address. The event has more.
const maxOriginator = 64

// deadEnd records what a client sends into a forward. It implements sshd.Sink.
type deadEnd struct {
	session  *Session
	forward  evidence.Forward
	recorder *record.Recorder
	began    time.Time
}

// Forward begins the recording of a forward. It needs no target.
func (s *Session) Forward(_ context.Context, w sshd.Forward) (sshd.Sink, error) {
	if err := s.mayRecord(); err != nil {
		return nil, err
	}
	now := time.Now()
	k := &deadEnd{session: s, began: now, forward: evidence.Forward{
		ID: w.Number, Kind: w.Kind, Destination: evidence.Text(w.Host), DestinationPort: w.Port,
		Originator: evidence.Text(w.Originator[:min(len(w.Originator), maxOriginator)]), OriginatorPort: w.OriginatorPort, Start: now.UTC(),
	}}
	recorder, err := record.Create(record.Options{
		Dir: s.dir.Root(), Name: evidence.ForwardPrefix + strconv.Itoa(w.Number), Start: now,
		Forward: k.forward.Asked(), MaxBytes: s.service.ForwardMaxBytes, Budget: s.budget, Space: s.service.Space,
	})
	if err != nil {
		return nil, fmt.Errorf("start recording: %w", err)
	}
	k.recorder = recorder
	s.sync()
	return k, nil
}

// Write implements sshd.Sink.
func (k *deadEnd) Write(p []byte) (int, error) {
	if err := k.recorder.Input(p); err != nil {
		return 0, errors.New(notRecorded(err))
	}
	return len(p), nil
}

// Close implements sshd.Sink. The record is written with the next program or at the
// end of the session: until then the recording has what is needed.
func (k *deadEnd) Close(reason string) {
	s, f := k.session, &k.forward
	if reason != sshd.ClientClosed {
		_ = k.recorder.Cut(endedHere + reason) // where recording has failed End says so
	}
	sum, err := k.recorder.End()
	if err != nil {
		s.recordingFailed(sum, err)
	}
	s.putAway(k.recorder, func() {})
	end := time.Now().UTC()
	f.End, f.EndReason, f.Recording = &end, reason, sum
	s.mu.Lock()
	s.record.Forwards = append(s.record.Forwards, *f)
	s.mu.Unlock()
	s.events.Emit(event.ForwardClose, event.F("forward", f.ID), event.F("forward_type", f.Kind),
		event.F("destination", string(f.Destination)), event.F("destination_port", f.DestinationPort),
		event.F("duration_ms", time.Since(k.began).Milliseconds()), event.F("input_bytes", sum.InputBytes),
		event.F("recording", sum.Raw), event.F("reason", reason))
}
