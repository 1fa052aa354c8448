// Package balance has targets that use all the processor they can get go behind those that
// do not: behind a login, a shell at its prompt and a target that is being made. Each has a
// group of its own below that of sandtrap-podman.service, and with equal weights fifty fork
// bombs would leave a fifty-first target a fiftieth part.
package balance

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"regexp"
	"strconv"
	"strings"
	"time"
)

const (
	// every is how often groups are looked at.
	every = 2 * time.Second
	// free is the processor time that each group may use first: to be made, and for what
	// most sessions do in all.
	free = 5 * time.Second
	// greedy is the part of one processor above which a group takes all it can get.
	greedy = 0.25
	// pressed is the part of the time, in percent of the last ten seconds, for which a
	// group's processes wait for a processor, above which it would take more than it gets.
	pressed = 40
	// behind is the weight of such a group, see cpu.weight in cgroup-v2.rst.
	behind = 1

	maxFile   = 4 << 10 // bytes of a file of the kernel's
	maxGroups = 4096    // of which as many are looked at
)

// Balancer changes the weights of containers' groups.
type Balancer struct {
	Group string    // the directory of the group above them
	Log   io.Writer // one line for each group that goes behind for the first time

	groups map[string]*group
	last   time.Time
}

type group struct {
	used   time.Duration // of a processor, when it was looked at last
	weight int           // its own
	behind bool
	told   bool
}

// Run looks at the groups until ctx ends.
func (b *Balancer) Run(ctx context.Context) {
	ticks := time.NewTicker(every)
	defer ticks.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-ticks.C:
			if err := b.look(now); err != nil && !errors.Is(err, fs.ErrNotExist) {
				fmt.Fprintf(b.Log, "%v\n", err)
			}
		}
	}
}

// container is how Podman names the group of one: by its id.
var container = regexp.MustCompile(`^[0-9a-f]{64}$`)

// look decides about each group. Where the kernel counts or weighs nothing, nothing is
// done.
func (b *Balancer) look(now time.Time) error {
	root, err := os.OpenRoot(b.Group)
	if err != nil {
		b.groups = nil
		return err
	}
	defer root.Close()
	dir, err := root.Open(".")
	if err != nil {
		return err
	}
	defer dir.Close()
	names, err := dir.Readdirnames(maxGroups)
	if err != nil && err != io.EOF {
		return fmt.Errorf("list groups: %w", err)
	}
	elapsed := now.Sub(b.last)
	b.last = now
	seen := make(map[string]*group, len(names))
	for _, name := range names {
		if !container.MatchString(name) {
			continue
		}
		g := b.groups[name]
		if g, err := b.judge(root, name, g, elapsed); err == nil { // else it has just gone, or is not whole
			seen[name] = g
		}
	}
	b.groups = seen
	return nil
}

// judge gives a group the weight that it deserves; g is what is known of it, or nil.
func (b *Balancer) judge(root *os.Root, name string, g *group, elapsed time.Duration) (*group, error) {
	used, err := usage(root, name)
	if err != nil {
		return nil, err
	}
	if g == nil {
		weight, err := number(root, name, "cpu.weight")
		if err != nil {
			return nil, err
		}
		return &group{used: used, weight: int(weight)}, nil
	}
	part := float64(used-g.used) / float64(max(elapsed, 1))
	g.used = used
	if greed := used >= free && (part >= greedy || pressure(root, name) >= pressed); greed != g.behind {
		weight := g.weight
		if greed {
			weight = min(behind, g.weight)
		}
		if err := set(root, name, weight); err != nil {
			return nil, err
		}
		g.behind = greed
	}
	if g.behind && !g.told {
		g.told = true
		fmt.Fprintf(b.Log, "container %.12s goes behind others: it has used %s of a processor and would use more\n", name, used.Round(time.Millisecond))
	}
	return g, nil
}

// usage is the processor time that a group has used.
func usage(root *os.Root, name string) (time.Duration, error) {
	text, err := read(root, name, "cpu.stat")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(text) {
		if value, ok := strings.CutPrefix(line, "usage_usec "); ok {
			n, err := strconv.ParseInt(strings.TrimSpace(value), 10, 64)
			return time.Duration(n) * time.Microsecond, err
		}
	}
	return 0, errors.New("cpu.stat has no usage_usec")
}

// pressure is the part of the last ten seconds, in percent, in which some process of a
// group waited for a processor; 0 where the kernel does not tell.
func pressure(root *os.Root, name string) float64 {
	text, err := read(root, name, "cpu.pressure")
	if err != nil {
		return 0
	}
	_, after, _ := strings.Cut(text, "some avg10=")
	value, _, _ := strings.Cut(after, " ")
	percent, err := strconv.ParseFloat(value, 64)
	if err != nil {
		return 0
	}
	return percent
}

func number(root *os.Root, name, file string) (int64, error) {
	text, err := read(root, name, file)
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(strings.TrimSpace(text), 10, 32)
}

func read(root *os.Root, name, file string) (string, error) {
	f, err := root.Open(path.Join(name, file))
	if err != nil {
		return "", err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxFile))
	return string(b), err
}

func set(root *os.Root, name string, weight int) error {
	f, err := root.OpenFile(path.Join(name, "cpu.weight"), os.O_WRONLY|os.O_TRUNC, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(strconv.Itoa(weight))
	return errors.Join(err, f.Close())
}
