package evidence

import (
	"errors"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sandtrap/sandtrap/internal/record"
)

// crash makes an open session with recordings that were never closed.
func crash(t *testing.T, s *Store, n byte, save func(*Session), recordings ...record.Options) string {
	t.Helper()
	id := newID(noon, n)
	d, err := s.Create(id, noon)
	must(t, err)
	defer d.Close()
	for _, o := range recordings {
		o.Dir, o.Start = d.Root(), noon
		r, err := record.Create(o)
		must(t, err)
		must(t, r.Output([]byte("$ ")))
	}
	if save != nil {
		session := Session{State: StateOpen, Start: noon}
		save(&session)
		must(t, d.Save(session))
	}
	return id
}

func TestRecover(t *testing.T) {
	s, now := newStore(t), noon.Add(time.Hour)
	closed := add(t, s, noon, 1, StateClosed)
	known := crash(t, s, 2, func(s *Session) {
		s.Channels = []Channel{
			{ID: 0, Kind: "subsystem", Command: "sftp"}, // saved before its recording was known
			{ID: 1, Kind: "exec", Recording: record.Summary{Raw: "channel-1.raw", Cast: "channel-1.cast"}},
			{ID: 2, Kind: "shell"}, // never got a recording
		}
	}, record.Options{Name: "channel-0"}, record.Options{Name: "channel-1", Command: "id"},
		record.Options{Name: "channel-3", Terminal: "xterm", Size: record.Size{Columns: 9, Rows: 9}})
	unsaved := crash(t, s, 3, nil, record.Options{Name: "channel-7", Command: "w\xff"})

	got, err := s.Recover(now)
	must(t, err)
	if diff := cmp.Diff([]string{known, unsaved}, ids(got)); diff != "" {
		t.Fatalf("recovered (-want +got):\n%s", diff)
	}
	for _, session := range got {
		stored, _, err := s.Find(session.ID)
		must(t, err)
		if stored.State != StateRecovered || stored.EndReason != EndCrash || !stored.Start.Equal(noon) || stored.End == nil || stored.End.After(now) {
			t.Errorf("stored %+v", stored)
		}
		for _, c := range stored.Channels {
			if c.End == nil || c.End.After(now) || c.Recording.Raw != "" && c.Recording.OutputBytes != 2 {
				t.Errorf("channel %+v", c)
			}
		}
	}
	kinds := func(s Session) (all []string) {
		for _, c := range s.Channels {
			all = append(all, string(rune('0'+c.ID))+" "+c.Kind+" "+string(c.Command)+" "+c.Recording.Raw)
		}
		return all
	}
	if diff := cmp.Diff([]string{"0 subsystem sftp channel-0.raw", "1 exec  channel-1.raw", "2 shell  ", "3 shell  channel-3.raw"}, kinds(got[0])); diff != "" {
		t.Errorf("channels (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"7 exec w\xff channel-7.raw"}, kinds(got[1])); diff != "" {
		t.Errorf("channels (-want +got):\n%s", diff)
	}
	if again, err := s.Recover(now); err != nil || len(again) != 0 {
		t.Errorf("second Recover = %v, %v", ids(again), err)
	}
	if untouched, _, err := s.Find(closed); err != nil || untouched.State != StateClosed {
		t.Errorf("closed session became %q, %v", untouched.State, err)
	}
}

// Forwards are told from their recordings alone, as far as these can be read.
func TestRecoverForwards(t *testing.T) {
	s, now := newStore(t), noon.Add(time.Hour)
	asked := Forward{Kind: "direct-tcpip", Destination: "example.com", DestinationPort: 80, Originator: "x\xff", OriginatorPort: 1}
	id := crash(t, s, 1, func(s *Session) {
		s.Forwards = []Forward{{ID: 1, Kind: "known", EndReason: "client closed", End: &noon, Recording: record.Summary{Raw: "forward-1.raw"}}}
	}, record.Options{Name: "forward-0", Forward: asked.Asked()}, record.Options{Name: "forward-1", Forward: "x"},
		record.Options{Name: "forward-2", Forward: "a\x00b"}, record.Options{Name: "forward-odd", Forward: "a\x00b\x00-1\x00c\x0099999999999"})
	got, err := s.Recover(now)
	must(t, err)
	var words []string
	for _, f := range got[0].Forwards {
		if f.End == nil || f.Start.After(now) || f.Recording.Cast != "" {
			t.Errorf("forward %+v", f)
		}
		words = append(words, fmt.Sprintf("%d %s %s %d %q %d %s %s", f.ID, f.Kind, f.Destination, f.DestinationPort, f.Originator, f.OriginatorPort, f.EndReason, f.Recording.Raw))
	}
	want := []string{
		`0 direct-tcpip example.com 80 "x\xff" 1 crash forward-0.raw`, `1 known  0 "" 0 client closed forward-1.raw`,
		`2   0 "" 0 crash forward-2.raw`, `3 a b 0 "c" 4294967295 crash forward-odd.raw`,
	}
	if diff := cmp.Diff(want, words); diff != "" || got[0].ID != id || len(got[0].Channels) != 0 {
		t.Errorf("forwards (-want +got):\n%s", diff)
	}
}

func TestRecoverGoesOnPastDamage(t *testing.T) {
	s := newStore(t)
	damaged := crash(t, s, 1, func(*Session) {}, record.Options{Name: "channel-0"})
	whole := crash(t, s, 2, func(*Session) {})
	unreadable := add(t, s, noon, 3, StateOpen)
	day := "sessions/2026/03/31"
	must(t, s.root.WriteFile(filepath.Join(day, unreadable, sessionFile), []byte("{"), 0o600))
	raw := filepath.Join(day, damaged, "channel-0.raw")
	b, err := s.root.ReadFile(raw)
	must(t, err)
	b[len(b)-1]++
	must(t, s.root.WriteFile(raw, b, 0o600))

	got, err := s.Recover(noon.Add(time.Hour))
	if !errors.Is(err, record.ErrCorrupt) {
		t.Errorf("Recover: %v", err)
	}
	if diff := cmp.Diff([]string{damaged, whole}, ids(got)); diff != "" {
		t.Errorf("recovered (-want +got):\n%s", diff)
	}
	// Nothing was written in the whole one after it started, by the clock of
	// this test.
	if end := got[1].End; end.After(noon.Add(time.Hour)) {
		t.Errorf("end %v", end)
	}
}

func TestAddRecordingsToALiveSession(t *testing.T) {
	s := newStore(t)
	id := newID(noon, 1)
	d, err := s.Create(id, noon)
	must(t, err)
	defer d.Close()
	session := Session{ID: id, State: StateOpen, Start: noon}
	for _, name := range []string{"channel-1", "channel-0"} {
		r, err := record.Create(record.Options{Dir: d.Root(), Name: name, Start: noon, Command: name})
		must(t, err)
		must(t, r.Output([]byte("$ ")))
		if name == "channel-1" {
			sum, err := r.Close()
			must(t, err)
			session.Channels = []Channel{{ID: 1, Kind: "subsystem", Recording: sum}}
		}
	}
	must(t, d.Root().WriteFile("channel-2.raw", []byte("not a raw log, but long enough"), 0o600))
	if err := AddRecordings(d.Root(), &session); !errors.Is(err, record.ErrFormat) {
		t.Errorf("AddRecordings: %v", err)
	}
	if len(session.Channels) != 3 || session.Channels[0].Command != "channel-0" || session.Channels[0].Recording.OutputBytes != 2 || session.Channels[1].Kind != "subsystem" {
		t.Errorf("channels %+v", session.Channels)
	}
}

func TestAttemptLogin(t *testing.T) {
	a := Attempt{Time: noon, User: "root", Method: "publickey", PublicKey: "ssh-ed25519 AAAA", Fingerprint: "SHA256:x", Accepted: true}
	if want := (Login{User: "root", Method: "publickey", PublicKey: "ssh-ed25519 AAAA", Fingerprint: "SHA256:x"}); a.Login() != want {
		t.Errorf("Login = %+v", a.Login())
	}
}
