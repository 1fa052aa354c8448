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
		Targets: supplies(c), Disk: int64(c.Target.Disk), Burst: c.Pool.Burst, MaxLeases: c.Pool.MaxLeases, MaxAge: c.Pool.MaxAge,
		LeaseTimeout: c.Pool.LeaseTimeout, BestEffort: c.Limits.Enforcement == config.EnforcementBestEffort,
		Sticky: pool.Sticky(c.Pool.Sticky), StickyWindow: c.Pool.StickyWindow,
		Retain: c.Pool.Retain, RetainAge: c.Pool.RetainAge, RetainBytes: int64(c.Pool.RetainBytes),
	}
}

func supplies(c config.Config) []pool.Supply {
	var all []pool.Supply
	for _, t := range c.AllTargets() {
		all = append(all, pool.Supply{
			Target: target.Target{
				Name: t.Name, Image: t.Image, Hostname: t.Hostname, LoginAs: target.Policy(string(t.LoginAs)), Account: t.Account,
				Memory: int64(t.Memory), Pids: t.PIDs, CPUs: t.CPUs,
			},
			Weight: t.Weight, Min: t.Min, Max: t.Max,
		})
	}
	return all
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
