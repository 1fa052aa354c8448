package main

import (
	"context"
	"time"

	"github.com/sandtrap/sandtrap/internal/config"
	"github.com/sandtrap/sandtrap/internal/control"
	"github.com/sandtrap/sandtrap/internal/retention"
	"github.com/sandtrap/sandtrap/internal/seal"
)

// policyOf are the bounds of a configuration.
func policyOf(c config.Retention) retention.Policy {
	return retention.Policy{
		Sessions:  retention.Bounds{Age: c.SessionsAge, Bytes: int64(c.SessionsBytes), Count: c.SessionsCount},
		Artifacts: retention.Bounds{Age: c.ArtifactsAge, Bytes: int64(c.ArtifactsBytes), Count: c.ArtifactsCount},
	}
}

func (s *service) setRetention(c config.Retention) {
	p := policyOf(c)
	s.retention.Store(&p)
}

// collect removes what is beyond its bounds. One that comes while another goes on waits.
func (s *service) collect(ctx context.Context) control.Collected {
	s.collecting.Lock()
	defer s.collecting.Unlock()
	r, err := retention.Run(ctx, s.store, remover(s.sealer), *s.retention.Load(), time.Now())
	s.log.Info("removed old evidence", "sessions", len(r.Sessions), "artifacts", len(r.Artifacts))
	c := control.Collected{Result: r}
	if err != nil {
		s.log.Error("cannot remove old evidence", "error", err)
		c.Error = err.Error()
	}
	return c
}

// remover removes evidence with entries in the chain of seals.
func remover(sealer *seal.Sealer) retention.Remover {
	return retention.Remover{
		Artifact: sealer.RemoveArtifact,
		Sessions: func(ctx context.Context, plan []retention.Removal, done func(retention.Removal, error)) error {
			next := 0
			removals := make([]seal.Removal, len(plan))
			for i, r := range plan {
				removals[i] = seal.Removal{Session: r.Name, Reason: string(r.Reason)}
			}
			return sealer.RemoveAll(ctx, removals, func(_ seal.Removal, err error) {
				done(plan[next], err)
				next++
			})
		},
	}
}
