package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/sandtrap/sandtrap/internal/event"
	"github.com/sandtrap/sandtrap/internal/evidence"
	"github.com/sandtrap/sandtrap/internal/hint"
	"github.com/sandtrap/sandtrap/internal/seal"
)

// sealGrace is how long a service that stops goes on sealing what has just ended. The
// rest is sealed at the next start.
const sealGrace = 5 * time.Second

// claimState makes the state directory and keeps a second service out of it.
func claimState(dir string) (*evidence.Lock, error) {
	if err := os.MkdirAll(filepath.Join(dir, event.Dir), 0o750); err != nil {
		return nil, stateHint(fmt.Errorf("make event directory: %w", err))
	}
	lock, err := evidence.LockState(dir)
	if errors.Is(err, evidence.ErrInUse) {
		return nil, hint.Wrap(err, "is sandtrap.service running? give another service a state_dir of its own, see sandtrap.yaml(5)")
	}
	return lock, stateHint(err)
}

// startSealing seals what has ended, and what an earlier service has left, until stop
// is called.
func (s *service) startSealing(store *evidence.Store) (sealer *seal.Sealer, stop func(), err error) {
	dir := filepath.Join(s.cfg.StateDir, "sealkey")
	key, made, err := seal.LoadKey(os.Getenv("CREDENTIALS_DIRECTORY"), dir)
	if err != nil {
		return nil, nil, err
	}
	if made {
		s.log.Info("made a key that seals evidence", "directory", dir)
	}
	sealer, err = seal.NewSealer(seal.Config{Store: store, Key: key, Version: version, Events: s.events, Log: s.log.Named("seal")})
	if err != nil {
		return nil, nil, stateHint(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	draining, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		sealer.Run(ctx, draining)
	}()
	return sealer, func() {
		close(draining)
		late := time.AfterFunc(sealGrace, cancel)
		<-done
		late.Stop()
		cancel()
		if err := sealer.Close(); err != nil {
			s.log.Warn("cannot close the chain of seals", "error", err)
		}
	}, nil
}
