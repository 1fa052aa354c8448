package retention

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sandtrap/sandtrap/internal/evidence"
)

// sessions are the ids of the sessions of a test, the oldest first.
var sessions = []string{"01KN1W7MG00000000000000001", "01KN1W7MG10000000000000002", "01KN1W7MG20000000000000003"}

// hash is the name of an artifact.
func hash(c string) string { return strings.Repeat(c, 64) }

// fill makes a store of three sessions, of which the oldest is pinned and has brought a,
// and the artifacts a, b and c.
func fill(t *testing.T) (store *evidence.Store, state string) {
	t.Helper()
	state = t.TempDir()
	store, err := evidence.Open(state)
	must(t, err)
	t.Cleanup(func() { store.Close() })
	for i, id := range sessions {
		d, err := store.Create(id, now)
		must(t, err)
		s := evidence.Session{State: evidence.StateClosed, Start: now}
		if i == 0 {
			s.Channels = []evidence.Channel{{Transfers: []evidence.Transfer{{Artifact: hash("a")}}}}
		}
		must(t, d.Save(s))
		must(t, d.Close())
	}
	_, err = store.Pin(sessions[0])
	must(t, err)
	for i, c := range []string{"a", "b", "c"} {
		a, err := store.NewArtifact()
		must(t, err)
		_, err = a.Write([]byte("12345"))
		must(t, err)
		must(t, a.Commit(hash(c), 5))
		at := now.Add(time.Duration(i) * time.Hour)
		must(t, os.Chtimes(filepath.Join(state, evidence.ArtifactPath(hash(c))), at, at))
	}
	return store, state
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// names are what is in a plan.
func names(plan []Removal) (all []string) {
	for _, r := range plan {
		all = append(all, r.Name)
	}
	return all
}

func TestPreviewHoldsWhatIsPinned(t *testing.T) {
	store, _ := fill(t)
	r, err := Preview(t.Context(), store, Policy{Sessions: Bounds{Count: 1}, Artifacts: Bounds{Bytes: 1}}, now)
	must(t, err)
	if got := names(r.Sessions); !slices.Equal(got, sessions[1:]) {
		t.Errorf("sessions %q", got)
	}
	if got := names(r.Artifacts); !slices.Equal(got, []string{hash("b"), hash("c")}) {
		t.Errorf("artifacts %q", got)
	}
	if r.AllSessions.Count != 3 || r.AllSessions.Held != 1 || r.AllArtifacts != (Total{Count: 3, Bytes: 15, Held: 1}) {
		t.Errorf("%+v, %+v", r.AllSessions, r.AllArtifacts)
	}
}

// TestRun: what fails is told and stays in nobody's list, what somebody else has removed
// is no failure, and what is brought again meanwhile stays.
func TestRun(t *testing.T) {
	store, state := fill(t)
	must(t, os.Remove(filepath.Join(state, "sessions/2026/03/31", sessions[0], evidence.PinFile)))
	broken := errors.New("no ink")
	var asked []string
	remover := Remover{
		Sessions: func(_ context.Context, plan []Removal, done func(Removal, error)) error {
			for i, r := range plan {
				done(r, []error{broken, nil, fs.ErrNotExist}[i])
			}
			later := now.Add(10 * time.Hour)
			return os.Chtimes(filepath.Join(state, evidence.ArtifactPath(hash("b"))), later, later) // brought again
		},
		Artifact: func(sha256, reason string) error {
			asked = append(asked, sha256+" "+reason)
			return nil
		},
	}
	r, err := Run(t.Context(), store, remover, Policy{Sessions: Bounds{Bytes: 1}, Artifacts: Bounds{Count: 1}}, now)
	if !errors.Is(err, broken) || !strings.Contains(err.Error(), "1 sessions could not be removed") {
		t.Errorf("error %v", err)
	}
	if got := names(r.Sessions); !slices.Equal(got, sessions[1:2]) {
		t.Errorf("sessions %q", got)
	}
	if want := []string{hash("a") + " count"}; !slices.Equal(asked, want) || !slices.Equal(names(r.Artifacts), []string{hash("a")}) {
		t.Errorf("artifacts %q, %q", asked, names(r.Artifacts))
	}
}

func TestRunIsInterrupted(t *testing.T) {
	store, _ := fill(t)
	ctx, cancel := context.WithCancel(t.Context())
	remover := Remover{
		Sessions: func(context.Context, []Removal, func(Removal, error)) error { cancel(); return nil },
		Artifact: func(string, string) error { t.Error("an artifact was removed"); return nil },
	}
	if _, err := Run(ctx, store, remover, Policy{Artifacts: Bounds{Count: 1}}, now); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}
