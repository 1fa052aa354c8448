package session

import (
	"errors"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sandtrap/sandtrap/internal/event"
	"github.com/sandtrap/sandtrap/internal/record"
	"github.com/sandtrap/sandtrap/internal/sshd"
)

// flood is a program that writes until it cannot.
func flood(_ *fakeStream, stdout, _ func([]byte) error) error {
	for {
		if err := stdout([]byte(strings.Repeat("x", 1000))); err != nil {
			return err
		}
	}
}

// All channels of a session have one limit; then no other begins.
func TestSessionBudget(t *testing.T) {
	st := setUp(t)
	st.service.MaxSessionBytes = 20_000
	s := st.open(st.login())
	k := st.forward(s, spam)
	st.write(k, strings.Repeat("x", 9000))
	st.runs(newStream(0, flood))
	r := st.start(s, sshd.Program{Kind: sshd.Shell})
	if err := r.Serve(st.Context(), (&client{}).stream()); !errors.Is(err, record.ErrBudget) {
		t.Errorf("Serve: %v", err)
	}
	if _, err := k.Write([]byte(strings.Repeat("x", 1000))); err == nil || err.Error() != "size limit of the session" {
		t.Errorf("the forward goes on: %v", err)
	}
	k.Close("size limit of the session")
	for more := spam; !s.budget.Spent(); { // what is left is less than a chunk
		more.Number++
		st.forward(s, more).Close("")
	}
	if _, err := s.Start(st.Context(), sshd.Program{Channel: 1, Kind: sshd.Shell}); !errors.Is(err, record.ErrBudget) {
		t.Errorf("another program: %v", err)
	}
	if _, err := s.Forward(st.Context(), spam); !errors.Is(err, record.ErrBudget) {
		t.Errorf("another forward: %v", err)
	}
	s.Close("over")
	if got := st.events.of(event.RecordingStop); len(got) != 1 || got[0]["setting"] != "recording.max_session_bytes" || got[0]["limit_bytes"] != int64(20_000) {
		t.Errorf("events %v", got)
	}
	saved := st.saved()
	if got := saved.Channels[0]; got.EndReason != "size limit of the session" || !got.Recording.Truncated {
		t.Errorf("channel %+v", got)
	}
	if len(st.events.of(event.SessionFail)) != 0 {
		t.Errorf("failures %v", st.events.of(event.SessionFail))
	}
}

// With too little space nothing begins, without an event for each, and what runs ends.
func TestTooLittleSpace(t *testing.T) {
	st := setUp(t)
	var free atomic.Int64
	free.Store(1 << 30)
	st.service.Space = record.NewSpace(1<<20, func() (int64, error) { return free.Load(), nil }, func(bool, int64, error) {})
	s := st.open(st.login())
	st.runs(newStream(0, func(_ *fakeStream, stdout, _ func([]byte) error) error {
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for {
			<-tick.C
			if err := stdout([]byte("x")); err != nil {
				return err
			}
		}
	}))
	r := st.start(s, sshd.Program{Kind: sshd.Shell})
	free.Store(1<<20 - 1) // which is seen within a second
	hold, let := io.Pipe()
	if err := r.Serve(st.Context(), (&client{stdin: hold}).stream()); !errors.Is(err, record.ErrSpace) {
		t.Errorf("Serve: %v", err)
	}
	let.Close()
	for range 3 {
		if _, err := s.Start(st.Context(), sshd.Program{Channel: 1, Kind: sshd.Shell}); !errors.Is(err, sshd.ErrReported) || !errors.Is(err, record.ErrSpace) {
			t.Errorf("another program: %v", err)
		}
		if _, err := s.Forward(st.Context(), spam); !errors.Is(err, sshd.ErrReported) {
			t.Errorf("a forward: %v", err)
		}
	}
	s.Close("over")
	if got := st.events.of(event.RecordingStop); len(got) != 1 || got[0]["setting"] != "recording.min_free" || got[0]["limit_bytes"] != int64(1<<20) {
		t.Errorf("events %v", got)
	}
	if got := st.events.of(event.SessionFail); len(got) != 0 {
		t.Errorf("failures %v", got)
	}
}
