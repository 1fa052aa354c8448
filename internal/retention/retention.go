package retention

import (
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
type Remover interface {
	Remove(session, reason string) error
	RemoveArtifact(sha256, reason string) error
}

// Result is what goes, or would, and what there is.
type Result struct {
	Sessions  []Removal `json:"sessions"`
	Artifacts []Removal `json:"artifacts"`
	// What there was before, and how much of it may not be removed: sessions that go on,
	// what is pinned and what that has brought.
	AllSessions, AllArtifacts Total
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

// Run removes what is beyond the bounds. The result has what was removed; the error
// joins what could not be, and is tried by the next run.
func Run(ctx context.Context, store *evidence.Store, remover Remover, p Policy, now time.Time) (Result, error) {
	r, err := Preview(ctx, store, p, now)
	if err != nil {
		return Result{}, fmt.Errorf("plan what to remove: %w", err)
	}
	var errs [2]error
	r.Sessions, errs[0] = remove(ctx, r.Sessions, func(i Item, why string) error { return remover.Remove(i.Name, why) })
	r.Artifacts, errs[1] = remove(ctx, r.Artifacts, func(i Item, why string) error {
		if again, err := store.Brought(i.Name); err != nil || again.After(i.Time) {
			return errors.Join(err, errAgain)
		}
		return remover.RemoveArtifact(i.Name, why)
	})
	return r, errors.Join(errs[:]...)
}

// errAgain means that an artifact was brought again meanwhile, so that it stays.
var errAgain = fmt.Errorf("brought again: %w", fs.ErrNotExist)

// remove returns what was removed of plan.
func remove(ctx context.Context, plan []Removal, do func(Item, string) error) (done []Removal, err error) {
	done = []Removal{}
	for _, r := range plan {
		if ctx.Err() != nil {
			return done, errors.Join(err, ctx.Err())
		}
		switch failed := do(r.Item, string(r.Reason)); {
		case failed == nil:
			done = append(done, r)
		case !errors.Is(failed, fs.ErrNotExist): // somebody else was faster
			err = errors.Join(err, failed)
		}
	}
	return done, err
}
