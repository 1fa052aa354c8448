package main

import (
	"context"
	"time"

	"github.com/sandtrap/sandtrap/internal/config"
	"github.com/sandtrap/sandtrap/internal/evidence"
	"github.com/sandtrap/sandtrap/internal/pool"
	"github.com/sandtrap/sandtrap/internal/session"
	"github.com/sandtrap/sandtrap/internal/target"
)

// poolConfig is what the configuration says about targets.
func poolConfig(c config.Config) pool.Config {
	return pool.Config{
		Target: target.Target{
			Name: c.Target.Name, Image: c.Target.Image, Hostname: c.Target.Hostname,
			LoginAs: target.Policy(string(c.Target.LoginAs)), Account: c.Target.Account,
			Memory: int64(c.Target.Memory), Disk: int64(c.Target.Disk), Pids: c.Target.PIDs, CPUs: c.Target.CPUs,
		},
		Min: c.Pool.Min, Max: c.Pool.Max, Burst: c.Pool.Burst, MaxLeases: c.Pool.MaxLeases, MaxAge: c.Pool.MaxAge,
		LeaseTimeout: c.Pool.LeaseTimeout, BestEffort: c.Limits.Enforcement == config.EnforcementBestEffort,
		Sticky: pool.Sticky(c.Pool.Sticky), StickyWindow: c.Pool.StickyWindow,
		Retain: c.Pool.Retain, RetainAge: c.Pool.RetainAge, RetainBytes: int64(c.Pool.RetainBytes),
	}
}

// containersOf reads from the evidence which session each kept container belongs
// to, as far as containers may still be there, and who may come back to one.
func containersOf(ctx context.Context, store *evidence.Store, c config.Pool) (map[string]string, []pool.Returning, error) {
	owners := map[string]string{}
	var returning []pool.Returning
	now := time.Now()
	err := store.Each(ctx, time.Time{}, func(s evidence.Session) bool {
		id := s.Target.Container
		if _, newer := owners[id]; id == "" || newer {
			return len(owners) < maxOwners
		}
		owners[id] = s.ID
		if s.End != nil && now.Sub(*s.End) < c.StickyWindow {
			returning = append(returning, pool.Returning{
				Source: s.Source.IP, Credential: session.Credential(s.Login), Session: s.ID, Container: id, Ended: *s.End,
			})
		}
		return len(owners) < maxOwners
	})
	return owners, returning, err
}

// maxOwners is more containers than Podman can have (its locks bound them).
const maxOwners = 4096
