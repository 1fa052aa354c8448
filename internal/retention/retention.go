package retention

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/sandtrap/sandtrap/internal/evidence"
)

// Policy is what the owner keeps. Containers are the pool's.
type Policy struct {
	Sessions  Bounds // with their recordings
	Artifacts Bounds
}

// Remover removes evidence so that nobody takes it for lost.
type Remover struct {
	// Sessions calls done with what came of each.
	Sessions func(ctx context.Context, sessions []Removal, done func(Removal, error)) error
	Artifact func(sha256, reason string) error
}

// Result is what goes, or would, and what there is.
type Result struct {
	Sessions  []Removal `json:"sessions"`
	Artifacts []Removal `json:"artifacts"`
	// What there was before, and how much of it may not be removed: sessions that go on,
	// what is pinned and what that has brought.
	AllSessions  Total `json:"all_sessions"`
	AllArtifacts Total `json:"all_artifacts"`
}

// Total sums items up.
type Total struct {
	Count int   `json:"count"`
	Bytes int64 `json:"bytes"`
	Held  int   `json:"held"`
}

func total(items []Item) (t Total) {
	for _, i := range items {
		t.Count++
		t.Bytes += i.Bytes
		if i.Held {
			t.Held++
		}
	}
	return t
}

// Preview returns what Run would do.
func Preview(ctx context.Context, store *evidence.Store, p Policy, now time.Time) (Result, error) {
	var r Result
	usages, err := store.Usages(ctx)
	if err != nil {
		return r, err
	}
	held := make(map[string]bool)
	sessions := make([]Item, 0, len(usages))
	for _, u := range usages {
		sessions = append(sessions, Item{Name: u.ID, Time: u.Start, Bytes: u.Bytes, Held: u.Open || u.Pinned})
		if u.Pinned {
			hashes, err := store.ArtifactsOf(u.Dir)
			if err != nil {
				return r, err // what is pinned must not lose what it has brought
			}
			for _, hash := range hashes {
				held[hash] = true
			}
		}
	}
	found, err := store.ArtifactUsages(ctx)
	if err != nil {
		return r, err
	}
	artifacts := make([]Item, 0, len(found))
	for _, a := range found {
		artifacts = append(artifacts, Item{Name: a.SHA256, Time: a.Brought, Bytes: a.Bytes, Held: held[a.SHA256]})
	}
	r.AllSessions, r.AllArtifacts = total(sessions), total(artifacts)
	r.Sessions, r.Artifacts = Plan(sessions, p.Sessions, now), Plan(artifacts, p.Artifacts, now)
	return r, nil
}

// Run removes what is beyond the bounds. The result has what was removed; the error says
// what could not be, which the next run tries again.
func Run(ctx context.Context, store *evidence.Store, remover Remover, p Policy, now time.Time) (Result, error) {
	r, err := Preview(ctx, store, p, now)
	if err != nil {
		return Result{}, fmt.Errorf("plan what to remove: %w", err)
	}
	var sessions, artifacts outcome
	err = remover.Sessions(ctx, r.Sessions, sessions.note)
	for _, one := range r.Artifacts {
		if ctx.Err() != nil {
			break
		}
		if again, lost := store.Brought(one.Name); lost != nil || again.After(one.Time) {
			continue // it is gone, or was brought again
		}
		artifacts.note(one, remover.Artifact(one.Name, string(one.Reason)))
	}
	r.Sessions, r.Artifacts = sessions.removed, artifacts.removed
	return r, errors.Join(err, sessions.failure("sessions"), artifacts.failure("artifacts"), ctx.Err())
}

// outcome is what came of removals.
type outcome struct {
	removed []Removal
	failed  int
	first   error
}

func (o *outcome) note(one Removal, err error) {
	switch {
	case err == nil:
		o.removed = append(o.removed, one)
	case !errors.Is(err, fs.ErrNotExist): // else somebody was faster
		o.failed++
		o.first = cmp.Or(o.first, err)
	}
}

// failure tells what could not be removed by one example.
func (o *outcome) failure(what string) error {
	if o.failed == 0 {
		return nil
	}
	return fmt.Errorf("%d %s could not be removed, such as: %w", o.failed, what, o.first)
}
