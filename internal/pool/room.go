package pool

import (
	"errors"

	"github.com/sandtrap/sandtrap/internal/hint"
	"github.com/sandtrap/sandtrap/internal/podman"
)

// room is what Podman has left for containers to come. What it does not tell sets no
// bound.
type room struct {
	locks, space           int64 // free locks, and bytes of the store that nobody may still take
	locksKnown, spaceKnown bool
}

// spareLocks are Podman's locks that nothing of ours should take.
const spareLocks = 16

// reckon takes over what Podman has just told. Each target that runs may fill its
// share of the store, whatever it has done so far. Pool.mu is held.
func (p *Pool) reckon(left podman.Left) {
	p.locks, p.locksKnown = left.Locks, left.LocksKnown
	live := p.count[making] + p.count[warm] + p.inUse()
	p.space = left.Space - int64(live)*p.cfg.Disk
	p.spaceKnown = left.SpaceKnown && !p.unlimited && p.cfg.Disk > 0
}

// took notes that there is one more container. Pool.mu is held.
func (p *Pool) took() {
	p.locks--
	p.dirty = p.dirty || p.short()
}

// gaveBack notes that a container and what it had written are gone. Pool.mu is held.
func (p *Pool) gaveBack(bytes int64) {
	p.locks++
	p.space += bytes
}

// shortOfLocks reports whether Podman could run out of locks. Pool.mu is held.
func (p *Pool) shortOfLocks() bool {
	most := p.cfg.MaxLeases + spareLocks
	for _, s := range p.stocks {
		most += s.Max
	}
	return p.locksKnown && p.locks < int64(most)
}

// shortOfSpace reports whether the store would not hold another target beside the
// next one. Pool.mu is held.
func (p *Pool) shortOfSpace() bool { return p.spaceKnown && p.space < 2*p.cfg.Disk }

// short reports whether old containers must make room. Pool.mu is held.
func (p *Pool) short() bool { return p.shortOfLocks() || p.shortOfSpace() }

// reserve takes a target's share of the store, or fails where that would not hold
// it if all that run wrote what they may: a store that is really full breaks Podman
// for all. What comes of it shows when Podman is asked again.
func (p *Pool) reserve() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.spaceKnown || p.space >= p.cfg.Disk {
		p.space -= p.cfg.Disk
		return nil
	}
	p.dirty = true
	wake(p.sweep)
	return hint.Wrap(errors.New("the store of containers has no room for another target"),
		"enlarge podman.store_size, or lower target.disk, pool.max_leases or pool.retain")
}
