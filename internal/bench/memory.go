package main

import (
	"context"
	"os"
	"slices"
	"sync"
	"time"
)

// readyFew and readyMany are the sizes of the pool whose difference in memory
// gives that of a ready target. liveHeld is how many sessions are held open to
// see what one takes.
const (
	readyFew  = 4
	readyMany = 24
	liveHeld  = 40
)

// footprint is what everything of SandTrap takes at one moment, in bytes.
type footprint struct {
	programs int64 // RssAnon of conmon and all processes of the containers
	services int64 // RssAnon of sandtrap and of Podman's service
	everyone int64 // RssAnon of all that runs but this program
	frontEnd process
	held     int64 // the kernel's, for the whole machine
	cache    int64
}

// measureMemory compares pools and sessions of different number. The kernel's
// share is that of the whole machine, so others on it disturb: the medians of
// several looks, several times.
func (b *bench) measureMemory(ctx context.Context) error {
	for range b.size.memoryRounds {
		few, err := b.footprintOf(ctx, settings{ready: readyFew})
		if err != nil {
			return err
		}
		b.samples.add(restMemory, sandtrap, megabytes(few.frontEnd.anonymous, 1))
		b.samples.add(restWhole, sandtrap, megabytes(few.frontEnd.resident, 1))
		many, err := b.footprintOf(ctx, settings{ready: readyMany})
		if err != nil {
			return err
		}
		ready := many.less(few)
		const made = readyMany - readyFew
		b.samples.add(readyMemory, sandtrap, megabytes(ready.programs+ready.held, made))
		b.samples.add(readyPrograms, sandtrap, megabytes(ready.programs, made))
		b.samples.add(readyKernel, sandtrap, megabytes(ready.held, made))
		b.samples.add(readyCaches, sandtrap, megabytes(ready.cache, made))
		if err := b.measureHeld(ctx, many); err != nil {
			return err
		}
		if err := b.service.waitReady(ctx, readyMany); err != nil {
			return err
		}
		for _, s := range b.servers[1:] {
			if err := s.measureHeld(ctx, b.samples); err != nil {
				return err
			}
		}
	}
	return nil
}

// measureHeld opens sessions and keeps them at their prompts. What the machine has
// less is theirs.
func (s *server) measureHeld(ctx context.Context, to *samples) error {
	idle, err := look(ctx)
	if err != nil {
		return err
	}
	connections := s.openShells(liveHeld, 2)
	defer closeAll(connections)
	if err := comeToRest(ctx); err != nil {
		return err
	}
	busy, err := look(ctx)
	if err != nil {
		return err
	}
	more := busy.less(idle)
	to.add(liveMemory, s.name, megabytes(more.everyone+more.held, len(connections)))
	return nil
}

// measureHeld opens sessions and keeps them at their prompts. The pool fills up
// again beside them, so all that is more is theirs.
func (b *bench) measureHeld(ctx context.Context, idle footprint) error {
	s := b.servers[0]
	connections := s.openShells(liveHeld, 2)
	defer closeAll(connections)
	if err := b.service.waitReady(ctx, readyMany+len(connections)); err != nil {
		return err
	}
	busy, err := look(ctx)
	if err != nil {
		return err
	}
	more := busy.less(idle)
	n := len(connections)
	b.samples.add(liveMemory, sandtrap, megabytes(more.programs+more.services+more.held, n))
	b.samples.add(livePrograms, sandtrap, megabytes(more.programs, n))
	b.samples.add(liveKernel, sandtrap, megabytes(more.held, n))
	b.samples.add(liveCaches, sandtrap, megabytes(more.cache, n))
	b.samples.add(liveServices, sandtrap, megabytes(more.services, n))
	return nil
}

// openShells opens n connections with a shell at its prompt, some at a time, and
// returns those that came up.
func (s *server) openShells(n, clients int) []*connection {
	var mu sync.Mutex
	var open []*connection
	forEach(n, clients, func() {
		c, err := s.connect()
		if err == nil {
			if _, err = c.shell(); err != nil {
				c.Close()
			}
		}
		if err != nil {
			s.fail("hold a shell", err)
			return
		}
		mu.Lock()
		defer mu.Unlock()
		open = append(open, c)
	})
	return open
}

// forEach calls f n times, from as many goroutines as there are clients.
func forEach(n, clients int, f func()) {
	turns := make(chan struct{}, n)
	for range n {
		turns <- struct{}{}
	}
	close(turns)
	var wg sync.WaitGroup
	for range clients {
		wg.Go(func() {
			for range turns {
				f()
			}
		})
	}
	wg.Wait()
}

func closeAll(connections []*connection) {
	for _, c := range connections {
		c.Close()
	}
}

func (b *bench) footprintOf(ctx context.Context, s settings) (footprint, error) {
	if err := b.service.configure(ctx, s); err != nil {
		return footprint{}, err
	}
	return look(ctx)
}

// look takes a footprint; the kernel's numbers are the medians of two seconds.
func look(ctx context.Context) (footprint, error) {
	var f footprint
	var held, cache []float64
	for range 20 {
		h, c, err := kernelMemory()
		if err != nil {
			return f, err
		}
		held, cache = append(held, float64(h)), append(cache, float64(c))
		if err := pause(ctx, 100*time.Millisecond); err != nil {
			return f, err
		}
	}
	f.held, f.cache = int64(summarise(held).median), int64(summarise(cache).median)
	all, err := processes()
	if err != nil {
		return f, err
	}
	for pid, p := range all {
		if pid != os.Getpid() {
			f.everyone += p.anonymous
		}
	}
	front, err := mainPID(ctx, unit)
	if err != nil {
		return f, err
	}
	api, err := mainPID(ctx, podmanAPI)
	if err != nil {
		return f, err
	}
	owner, err := podmanAccount(ctx)
	if err != nil {
		return f, err
	}
	_, members := targets(all, owner)
	for p := range slices.Values(members) {
		f.programs += p.anonymous
	}
	f.frontEnd = all[front]
	f.services = all[front].anonymous + all[api].anonymous
	if worker := apiProcess(all, api); worker.pid != api {
		f.services += worker.anonymous
	}
	return f, nil
}

func (f footprint) less(o footprint) footprint {
	return footprint{
		programs: f.programs - o.programs, services: f.services - o.services, everyone: f.everyone - o.everyone,
		held: f.held - o.held, cache: f.cache - o.cache,
	}
}

// megabytes is the share of one of n, in units of 10^6 bytes.
func megabytes(bytes int64, n int) float64 { return float64(bytes) / 1e6 / float64(max(n, 1)) }
