// Command bench measures an installed SandTrap beside real SSH servers on the
// same machine, in turns, and prints one table of the results with the targets
// that docs/performance.md explains. packaging/disposable/bench prepares a
// disposable system for it and runs it there as root; it is in no package.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"
)

// The servers that are compared.
const (
	sandtrap = "sandtrap"
	host     = "sshd-host" // OpenSSH as a service of the machine
	inside   = "sshd-ctr"  // OpenSSH in a container of the target's image
)

// bench is one run of all measurements.
type bench struct {
	servers []*server // those compared, SandTrap first
	service *service  // SandTrap's service, to configure and look at
	samples *samples
	size    size
}

// size is how much of everything is measured.
type size struct {
	rounds, bursts, bulkRounds, memoryRounds, fills int
	bulkBytes, ptyBytes                             int64
	sustain                                         time.Duration
	live, liveRounds, sessions                      int
	storms                                          int
	stormTime                                       time.Duration // of 100 clients; 500 have twice as long
	budget                                          time.Duration // of the rounds
}

var (
	whole = size{
		rounds: 100, bursts: 10, bulkRounds: 5, memoryRounds: 3, fills: 3,
		bulkBytes: 256 << 20, ptyBytes: 32 << 20, sustain: 30 * time.Second,
		live: 200, liveRounds: 100, sessions: 1000, storms: 1, stormTime: 45 * time.Second, budget: 300 * time.Second,
	}
	quick = size{
		rounds: 12, bursts: 3, bulkRounds: 2, memoryRounds: 1, fills: 1,
		bulkBytes: 64 << 20, ptyBytes: 8 << 20, sustain: 5 * time.Second,
		live: 40, liveRounds: 30, sessions: 100, storms: 1, stormTime: 24 * time.Second, budget: 60 * time.Second,
	}
)

// step is one measurement. Its doc comment tells what is measured and how.
type step struct {
	name string
	run  func(*bench, context.Context) error
}

var steps = []step{
	{"rounds", (*bench).measureRounds},
	{"burst", (*bench).measureBurst},
	{"bulk", (*bench).measureBulk},
	{"memory", (*bench).measureMemory},
	{"fill", (*bench).measureFill},
	{"sustain", (*bench).measureSustain},
	{"storm", (*bench).measureStorm},
	{"live", (*bench).measureLive},
	{"leaks", (*bench).measureLeaks},
}

func main() {
	small := flag.Bool("quick", false, "measure less of everything")
	only := flag.String("only", "", "run only the step of this name")
	out := flag.String("out", ".", "directory for results.txt and samples.jsonl")
	password := flag.String("password", "", "password of root at all servers")
	notes := flag.String("notes", "", "file with lines to print above the table")
	addresses := map[string]*string{
		sandtrap: flag.String("sandtrap", "127.0.0.1:2222", "address of SandTrap"),
		host:     flag.String("host", "127.0.0.1:2201", "address of "+host),
		inside:   flag.String("inside", "127.0.0.1:2202", "address of "+inside),
	}
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	b := &bench{size: whole, service: newService()}
	if *small {
		b.size = quick
	}
	for _, name := range []string{sandtrap, host, inside} {
		b.servers = append(b.servers, &server{name: name, address: *addresses[name], password: *password})
	}
	if err := b.run(ctx, *only, *out, *notes); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// run measures everything and writes what it has even when a step fails.
func (b *bench) run(ctx context.Context, only, dir, notes string) error {
	raw, err := os.Create(filepath.Join(dir, "samples.jsonl"))
	if err != nil {
		return err
	}
	defer raw.Close()
	b.samples = newSamples(raw)
	header := describe(notes)
	begin := time.Now()
	failed := b.runSteps(ctx, only)
	header = append(header, fmt.Sprintf("load average after: %s; measured in %d s", loadAverage(), int(time.Since(begin).Seconds())))
	b.countFailures()
	text := report(header, b.samples)
	fmt.Print(text)
	if err := os.WriteFile(filepath.Join(dir, "results.txt"), []byte(text), 0o644); err != nil {
		return err
	}
	if err := b.samples.err; err != nil {
		return fmt.Errorf("write samples: %w", err)
	}
	return failed
}

func (b *bench) runSteps(ctx context.Context, only string) error {
	for _, s := range steps {
		if only != "" && only != s.name {
			continue
		}
		begin := time.Now()
		progress("%s ...", s.name)
		if err := s.run(b, ctx); err != nil {
			return fmt.Errorf("measure %s: %w", s.name, err)
		}
		progress("%s: %d s", s.name, int(time.Since(begin).Seconds()))
	}
	return nil
}

// countFailures makes a figure of the sessions that did not go as they should.
func (b *bench) countFailures() {
	for _, s := range b.servers {
		b.samples.add(failures, s.name, float64(s.failed.Load()))
	}
}

func progress(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "  "+format+"\n", args...)
}

// pause waits, or ends early with the error of ctx.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
