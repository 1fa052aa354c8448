package pool

import (
	"context"
	"sort"
	"time"

	"github.com/sandtrap/sandtrap/internal/podman"
	"github.com/sandtrap/sandtrap/internal/target"
)

// retryEvery is the pause between attempts to stop what could not be stopped.
const retryEvery = 5 * time.Second

// janitor finishes what Podman refused before and keeps the number of stopped
// containers within bounds. One goroutine does it, so that it yields to sessions.
func (p *Pool) janitor(ctx context.Context) {
	for {
		p.retryPending(ctx)
		p.retain(ctx)
		if p.unfinished() {
			wait(ctx, retryEvery) // what was just refused does not deserve an earlier round
		} else {
			select {
			case <-ctx.Done():
			case <-p.sweep:
			}
		}
		if ctx.Err() != nil {
			return
		}
	}
}

func (p *Pool) unfinished() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.pending) > 0
}

func (p *Pool) wakeJanitor() {
	select {
	case p.sweep <- struct{}{}:
	default: // a round is due anyway
	}
}

// retryPending tries again what was refused. A pending container is a session's,
// to be stopped and kept, or it is waste; what retention could not remove is
// retain's again.
func (p *Pool) retryPending(ctx context.Context) {
	p.mu.Lock()
	waiting := p.pending
	p.pending = map[string]struct{}{}
	p.mu.Unlock()
	if len(waiting) == 0 {
		return
	}
	list, err := p.podman.List(ctx, target.Label)
	if err != nil {
		p.mu.Lock()
		for id := range waiting {
			p.pending[id] = struct{}{}
		}
		p.mu.Unlock()
		return
	}
	for _, c := range list {
		if _, ok := waiting[c.ID]; !ok {
			continue
		}
		if !isSession(c.Name) {
			p.remove(ctx, c.ID, "left over")
		} else if c.Running {
			p.stop(ctx, c.ID, c.Name)
		}
	}
}

// retain removes the oldest stopped containers beyond the configured number.
func (p *Pool) retain(ctx context.Context) {
	list, err := p.podman.List(ctx, target.Label)
	if err != nil {
		return // the next release asks for another round
	}
	var kept []podman.Container
	for _, c := range list {
		if isSession(c.Name) && !c.Running {
			kept = append(kept, c)
		}
	}
	sort.Slice(kept, func(i, j int) bool { return kept[i].Name < kept[j].Name }) // ULIDs sort by time
	for len(kept) > p.cfg.Retain && ctx.Err() == nil {
		p.remove(ctx, kept[0].ID, "retention")
		kept = kept[1:]
	}
}

// emptyTimeout bounds the removal of unused targets when the service stops; what
// is left then is removed by the next start.
const emptyTimeout = 10 * time.Second

// empty removes the targets that nobody leased.
func (p *Pool) empty() {
	ctx, cancel := context.WithTimeout(context.Background(), emptyTimeout)
	defer cancel()
	for {
		select {
		case t := <-p.warm:
			p.remove(ctx, t.id, "service stops")
		default:
			return
		}
	}
}
