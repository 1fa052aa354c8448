package session

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/sandtrap/sandtrap/internal/evidence"
	"github.com/sandtrap/sandtrap/internal/record"
	"github.com/sandtrap/sandtrap/internal/sshd"
)

// A session is live from its login until its evidence is closed.
func TestLive(t *testing.T) {
	st := setUp(t)
	if all := st.service.Live(); len(all) != 0 {
		t.Fatalf("live before any login: %+v", all)
	}
	s := st.open(st.login())
	st.runs(newStream(0, untilClosed))
	command := strings.Repeat("x", 2*maxLiveText)
	r := st.start(s, sshd.Program{Channel: 3, Kind: sshd.Exec, Command: command, Term: "xterm", Size: sshd.Size{Columns: 80, Rows: 24}})
	all := st.service.Live()
	if len(all) != 1 || len(all[0].Channels) != 1 {
		t.Fatalf("live %+v", all)
	}
	l, c := all[0], all[0].Channels[0]
	if l.ID != testID || string(l.User) != "root" || l.Target.Container == "" || l.Source.IP == "" || l.Start.IsZero() {
		t.Errorf("live %+v", l)
	}
	if c.ID != 3 || c.Kind != sshd.Exec || string(c.Command) != command[:maxLiveText] || c.Terminal != "xterm" || c.Size != (record.Size{Columns: 80, Rows: 24}) || c.Start.IsZero() {
		t.Errorf("channel %+v", c)
	}
	ctx, cancel := context.WithCancel(st.Context())
	cancel()
	_ = r.Serve(ctx, (&client{}).stream())
	if l := st.service.Live()[0]; len(l.Channels) != 0 || l.Ended != 1 {
		t.Errorf("after the channel %+v", l)
	}
	s.Close("over")
	if all := st.service.Live(); len(all) != 0 {
		t.Errorf("live after its end: %+v", all)
	}
}

// Terminate ends the connection, and has waited for the evidence.
func TestTerminate(t *testing.T) {
	st := setUp(t)
	login := st.login()
	ended := make(chan string, 1)
	login.End = func(reason string) { ended <- reason }
	s := st.open(login)
	go func() { s.Close(<-ended) }() // as the connection does
	if err := st.service.Terminate(st.Context(), testID); err != nil {
		t.Fatal(err)
	}
	if got := st.saved(); got.State != evidence.StateClosed || got.EndReason != Terminated {
		t.Errorf("session %s, %q", got.State, got.EndReason)
	}
	if err := st.service.Terminate(st.Context(), testID); !errors.Is(err, ErrNotLive) {
		t.Errorf("a session that has ended: %v", err)
	}
}

func TestTerminateDoesNotWaitForEver(t *testing.T) {
	st := setUp(t)
	login := st.login()
	login.End = func(string) {}
	s := st.open(login)
	ctx, cancel := context.WithCancel(st.Context())
	cancel()
	if err := st.service.Terminate(ctx, testID); !errors.Is(err, context.Canceled) {
		t.Errorf("waited: %v", err)
	}
	s.Close("over")
}

// The recording of a channel can be had as long as its program runs.
func TestLiveRecording(t *testing.T) {
	st := setUp(t)
	s := st.open(st.login())
	defer s.Close("over")
	for _, id := range []string{testID, "another"} {
		if _, err := st.service.Recording(id, 0); !errors.Is(err, ErrNotLive) {
			t.Errorf("%s: %v", id, err)
		}
	}
	st.runs(newStream(0, untilClosed))
	r := st.start(s, sshd.Program{Kind: sshd.Shell})
	rec, err := st.service.Recording(testID, 0)
	if err != nil || rec.Name != "channel-0.raw" || rec.Over() {
		t.Fatalf("recording %+v, %v", rec, err)
	}
	if _, err := rec.Dir.Stat(rec.Name); err != nil {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(st.Context())
	cancel()
	_ = r.Serve(ctx, (&client{}).stream())
	if !rec.Over() {
		t.Error("it goes on without its program")
	}
}
