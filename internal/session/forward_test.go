package session

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sandtrap/sandtrap/internal/event"
	"github.com/sandtrap/sandtrap/internal/evidence"
	"github.com/sandtrap/sandtrap/internal/record"
	"github.com/sandtrap/sandtrap/internal/sshd"
)

func (st *stage) forward(s *Session, w sshd.Forward) *deadEnd {
	st.Helper()
	k, err := s.Forward(st.Context(), w)
	if err != nil {
		st.Fatal(err)
	}
	return k.(*deadEnd)
}

func (st *stage) write(k *deadEnd, text string) {
	st.Helper()
	if n, err := k.Write([]byte(text)); n != len(text) || err != nil {
		st.Fatalf("write: %d, %v", n, err)
	}
}

var spam = sshd.Forward{Number: 0, Kind: sshd.DirectTCPIP, Host: "mail.example.com", Port: 25, Originator: "192.0.2.7", OriginatorPort: 40001}

// A session of forwards is recorded, and takes no target.
func TestForward(t *testing.T) {
	st := setUp(t)
	s := st.open(st.login())
	k := st.forward(s, spam)
	st.write(k, "EHLO spam\r\n")
	raw := st.recordedFile(s, "forward-0.raw", record.KindInput)
	if raw != "EHLO spam\r\n" { // before the forward goes on
		t.Errorf("recorded %q", raw)
	}
	k.Close("client closed")
	if _, err := k.Write([]byte("more")); err == nil {
		t.Error("written after the end")
	}
	s.Close("client disconnected")
	saved := st.saved()
	if len(saved.Forwards) != 1 || len(saved.Channels) != 0 || saved.Target != (evidence.Target{}) {
		t.Fatalf("session %+v", saved)
	}
	f := saved.Forwards[0]
	if f.Start.IsZero() || f.End == nil || f.End.Before(f.Start) || f.Recording.End.IsZero() || f.Recording.RawBytes == 0 {
		t.Errorf("forward %+v", f)
	}
	got := []any{f.ID, f.Kind, f.Destination, f.DestinationPort, f.Originator, f.OriginatorPort, f.EndReason, f.Recording.Raw, f.Recording.Cast, f.Recording.InputBytes}
	want := []any{0, sshd.DirectTCPIP, evidence.Text("mail.example.com"), uint32(25), evidence.Text("192.0.2.7"), uint32(40001), "client closed", "forward-0.raw", "", int64(11)}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("forward (-want +got):\n%s", diff)
	}
	st.podman.mu.Lock()
	if len(st.podman.logins) > 0 {
		t.Errorf("logins %v", st.podman.logins)
	}
	st.podman.mu.Unlock()
	e := st.events.of(event.ForwardClose)
	if len(e) != 1 || e[0]["forward"] != 0 || e[0]["input_bytes"] != int64(11) || e[0]["recording"] != "forward-0.raw" || e[0]["reason"] != "client closed" {
		t.Errorf("events %v", e)
	}
	if c := st.events.of(event.SessionClose); c[0]["input_bytes"] != int64(11) || c[0]["channels"] != 0 {
		t.Errorf("session.close has %v", c[0])
	}
}

func TestForwardLimit(t *testing.T) {
	st := setUp(t)
	st.service.ForwardMaxBytes = 1000
	s := st.open(st.login())
	k := st.forward(s, spam)
	written := 0
	var err error
	for err == nil {
		if _, err = k.Write([]byte("0123456789")); err == nil {
			written += 10
		}
	}
	if err.Error() != "size limit" {
		t.Errorf("ended by %v", err)
	}
	k.Close(err.Error())
	s.Close("")
	f := st.saved().Forwards[0]
	// The marker of the end goes beyond.
	if !f.Recording.Truncated || f.Recording.InputBytes != int64(written) || written < 200 || f.Recording.RawBytes > 1100 {
		t.Errorf("%d bytes, %+v", written, f.Recording)
	}
	if failed := st.events.of(event.SessionFail); len(failed) > 0 {
		t.Errorf("events %v", failed)
	}
}

// A hundred at once, closed in another order than opened.
func TestManyForwards(t *testing.T) {
	const many = 100
	st := setUp(t)
	s := st.open(st.login())
	var wg sync.WaitGroup
	for i := range many {
		wg.Go(func() {
			w := spam
			w.Number, w.Port = i, uint32(i+1)
			k, err := s.Forward(st.Context(), w)
			if err != nil {
				t.Error(err)
				return
			}
			_, _ = fmt.Fprintf(k, "to %d", i)
			k.Close("client closed")
		})
	}
	wg.Wait()
	s.Close("")
	seen := map[int]bool{}
	for _, f := range st.saved().Forwards {
		seen[f.ID] = true
		if f.DestinationPort != uint32(f.ID+1) || f.Recording.InputBytes != int64(len(fmt.Sprintf("to %d", f.ID))) || f.Recording.Raw != fmt.Sprintf("forward-%d.raw", f.ID) {
			t.Errorf("forward %+v", f)
		}
	}
	if len(seen) != many {
		t.Errorf("%d forwards are recorded", len(seen))
	}
}

// As many as a connection can have, with the longest text, can be read back.
func TestLongestForwardsFit(t *testing.T) {
	st := setUp(t)
	s := st.open(st.login())
	w := sshd.Forward{Kind: sshd.DirectTCPIP, Host: strings.Repeat("<", 253), Port: 65535, Originator: strings.Repeat("\x01", 1000), OriginatorPort: 65535}
	k := st.forward(s, w)
	k.Close("client closed")
	s.mu.Lock()
	for range 999 {
		s.record.Forwards = append(s.record.Forwards, s.record.Forwards[0])
	}
	s.mu.Unlock()
	s.Close("")
	saved := st.saved()
	if len(saved.Forwards) != 1000 || saved.Forwards[999].Originator != evidence.Text(w.Originator[:maxOriginator]) {
		t.Errorf("%d forwards", len(saved.Forwards))
	}
}

func TestForwardIsRefused(t *testing.T) {
	st := setUp(t)
	s := st.open(st.login())
	st.events.fail(errors.New("disk full"))
	s.events.Emit(event.ChannelOpen)
	if _, err := s.Forward(st.Context(), spam); err == nil || !strings.Contains(err.Error(), "disk full") {
		t.Errorf("while events are lost: %v", err)
	}
	st.events.fail(nil)
	s.events.Emit(event.ChannelOpen)
	st.removeSession(s)
	if _, err := s.Forward(st.Context(), spam); err == nil {
		t.Error("recorded without a directory")
	}
	s.Close("")
}

// What a crash left of forwards is found again.
func TestForwardsAreRecovered(t *testing.T) {
	st := setUp(t)
	s := st.open(st.login())
	open, closed := spam, spam
	open.Number, open.Originator = 1, "\xff\n"
	first := st.forward(s, closed)
	st.write(first, "one")
	first.Close("client closed")
	second := st.forward(s, open)
	st.write(second, "two")
	live := st.saved()
	if err := evidence.AddRecordings(s.dir.Root(), &live); err != nil || len(live.Forwards) != 2 || live.Forwards[1].Recording.InputBytes != 3 {
		t.Errorf("live %+v, %v", live.Forwards, err)
	}
	recovered, err := st.service.Store.Recover(time.Now())
	if err != nil || len(recovered) != 1 {
		t.Fatalf("recovered %v, %v", recovered, err)
	}
	saved := st.saved()
	if len(saved.Forwards) != 2 || len(saved.Channels) != 0 {
		t.Fatalf("session %+v", saved)
	}
	for i, f := range saved.Forwards {
		want := evidence.Forward{
			ID: i, Kind: spam.Kind, Destination: "mail.example.com", DestinationPort: 25, Originator: "192.0.2.7", OriginatorPort: 40001,
			Start: f.Start, End: f.End, EndReason: evidence.EndCrash, Recording: f.Recording,
		}
		if i == 1 {
			want.Originator = "\xff\n"
		}
		if diff := cmp.Diff(want, f); diff != "" || f.Start.IsZero() || f.End == nil || f.Recording.InputBytes != 3 || f.Recording.Cast != "" {
			t.Errorf("forward %+v (-want +got):\n%s", f, diff)
		}
	}
	second.Close("")
	s.Close("")
}
