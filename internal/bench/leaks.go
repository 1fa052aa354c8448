package main

import (
	"context"
	"sync/atomic"
	"time"
)

// settling is how long what a session leaves may take to go, at most: the monitor
// of an exec stays for exit_command_delay, ten seconds.
const settling = 15 * time.Second

// measureLeaks counts what SandTrap has open, serves many sessions, and counts
// again. The same process serves them all.
func (b *bench) measureLeaks(ctx context.Context) error {
	if err := b.service.restart(ctx); err != nil {
		return err
	}
	if err := b.service.configure(ctx, settings{ready: 16}); err != nil {
		return err
	}
	// A few sessions first: buffers and connections to Podman come into being.
	b.serve(b.size.sessions / 20)
	if err := b.count(ctx, before); err != nil {
		return err
	}
	begin := time.Now()
	b.serve(b.size.sessions)
	progress("leaks: %d sessions in %d s", b.size.sessions, int(time.Since(begin).Seconds()))
	return b.count(ctx, after)
}

// serve opens sessions, four at a time: most run a command, every tenth goes to
// a shell's prompt and hangs up.
func (b *bench) serve(sessions int) {
	s := b.servers[0]
	var number atomic.Int64
	forEach(sessions, 4, func() {
		c, err := s.connect()
		if err != nil {
			s.fail("serve", err)
			return
		}
		defer c.Close()
		if number.Add(1)%10 == 0 {
			_, err = c.shell()
		} else {
			_, _, err = c.run("true")
		}
		if err != nil {
			s.fail("serve", err)
		}
	})
}

// count looks at what is there once the machine has settled.
func (b *bench) count(ctx context.Context, subject string) error {
	if err := b.service.waitReady(ctx, 16); err != nil {
		return err
	}
	if err := settle(ctx); err != nil {
		return err
	}
	live, err := running(ctx)
	if err != nil {
		return err
	}
	kept, err := stopped(ctx)
	if err != nil {
		return err
	}
	b.samples.add(leftRunning, subject, float64(live))
	b.samples.add(leftStopped, subject, float64(kept))
	return b.countProcesses(ctx, subject)
}

// settle waits until there are no more monitors than containers.
func settle(ctx context.Context) error {
	owner, err := podmanAccount(ctx)
	if err != nil {
		return err
	}
	for begin := time.Now(); time.Since(begin) < settling; {
		if err := pause(ctx, 2*time.Second); err != nil {
			return err
		}
		all, err := processes()
		if err != nil {
			return err
		}
		live, err := running(ctx)
		if err != nil {
			return err
		}
		if conmons, _ := targets(all, owner); conmons <= live {
			break
		}
	}
	return nil
}

func (b *bench) countProcesses(ctx context.Context, subject string) error {
	all, err := processes()
	if err != nil {
		return err
	}
	api, err := mainPID(ctx, podmanAPI)
	if err != nil {
		return err
	}
	owner, err := podmanAccount(ctx)
	if err != nil {
		return err
	}
	conmons, _ := targets(all, owner)
	b.samples.add(leftConmons, subject, float64(conmons))
	front, err := mainPID(ctx, unit)
	if err != nil {
		return err
	}
	api = apiProcess(all, api).pid
	for _, of := range []struct {
		pid                  int
		files, tasks, memory *figure
	}{
		{front, leftDescriptors, leftThreads, leftMemory},
		{api, leftPodmanFDs, leftPodmanTasks, leftPodmanMB},
	} {
		open, err := descriptors(of.pid)
		if err != nil {
			return err
		}
		b.samples.add(of.files, subject, float64(open))
		b.samples.add(of.tasks, subject, float64(all[of.pid].threads))
		b.samples.add(of.memory, subject, megabytes(all[of.pid].anonymous, 1))
	}
	return nil
}
