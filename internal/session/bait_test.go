package session

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sandtrap/sandtrap/internal/evidence"
	"github.com/sandtrap/sandtrap/internal/history"
	"github.com/sandtrap/sandtrap/internal/pool"
	"github.com/sandtrap/sandtrap/internal/sshd"
)

// TestBait: each session's bait is made once, goes into its target, and is in its
// record.
func TestBait(t *testing.T) {
	st := setUp(t)
	made := 0
	st.service.Bait = func(session string) (history.Bait, error) {
		if made++; session != testID {
			t.Errorf("a bait for %s", session)
		}
		return history.Bait{Password: "hunter2hunter2", Site: 7}, nil
	}
	s := st.open(st.login())
	s.Prepare(st.Context(), false)
	s.leasing.Lock()
	s.bait() // as for a lease that was not had at once
	s.leasing.Unlock()
	st.runs(newStream(0, func(*fakeStream, func([]byte) error, func([]byte) error) error { return nil }))
	r := st.start(s, sshd.Program{Kind: sshd.Shell})
	if err := r.Serve(st.Context(), (&client{stdin: strings.NewReader("")}).stream()); err != nil {
		t.Error(err)
	}
	s.Close("client disconnected")
	want := script(history.Bait{Password: "hunter2hunter2", Site: 7})
	login := st.podman.logins[len(st.podman.logins)-1]
	if made != 1 || login.BaitName != want.Name || login.Bait != want.Content || !strings.Contains(want.Content, "'hunter2hunter2'") {
		t.Errorf("%d baits were made, login %+v", made, login)
	}
	if diff := cmp.Diff(&evidence.Bait{Path: "/root/" + want.Name, Password: "hunter2hunter2"}, st.saved().Target.Bait); diff != "" {
		t.Errorf("record (-want +got):\n%s", diff)
	}
}

func TestNoBait(t *testing.T) {
	for name, bait := range map[string]func(string) (history.Bait, error){
		"off":    func(string) (history.Bait, error) { return history.Bait{}, nil },
		"failed": func(string) (history.Bait, error) { return history.Bait{Password: "x"}, errors.New("disk full") },
		"none":   nil,
	} {
		t.Run(name, func(t *testing.T) {
			st := setUp(t)
			st.service.Bait = bait
			s := st.open(st.login())
			st.runs(newStream(0, func(*fakeStream, func([]byte) error, func([]byte) error) error { return nil }))
			r := st.start(s, sshd.Program{Kind: sshd.Shell})
			if err := r.Serve(st.Context(), (&client{stdin: strings.NewReader("")}).stream()); err != nil {
				t.Error(err)
			}
			s.Close("client disconnected")
			if login := st.podman.logins[0]; login.BaitName != "" || login.Bait != "" || st.saved().Target.Bait != nil {
				t.Errorf("login %+v, record %+v", login, st.saved().Target.Bait)
			}
		})
	}
}

// TestScript: nothing in it tells what it is, and sites do not look alike.
func TestScript(t *testing.T) {
	if script(history.Bait{}) != (pool.Bait{}) {
		t.Error("a script without a password")
	}
	seen := map[string]bool{}
	for i := range uint64(50) {
		b := script(history.Bait{Password: "p", Site: i * 0x9e3779b97f4a7c15})
		seen[b.Name+b.Content] = true
		if strings.Contains(strings.ToLower(b.Name+b.Content), "trap") || strings.Contains(b.Content, "bait") || strings.ContainsAny(b.Name, "/ ") || len(b.Content) > 1024 {
			t.Errorf("%s:\n%s", b.Name, b.Content)
		}
	}
	if len(seen) < 45 {
		t.Errorf("%d of 50 sites differ", len(seen))
	}
}
