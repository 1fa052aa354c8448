package balance

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// groups are those of containers, as files.
type groups struct {
	t    *testing.T
	b    *Balancer
	log  strings.Builder
	now  time.Time
	used map[string]time.Duration
}

func newGroups(t *testing.T) *groups {
	g := &groups{t: t, now: time.Unix(1000, 0), used: map[string]time.Duration{}}
	g.b = &Balancer{Group: t.TempDir(), Log: &g.log}
	return g
}

func id(n int) string { return fmt.Sprintf("%064x", n) }

func (g *groups) write(name, file, text string) {
	g.t.Helper()
	path := filepath.Join(g.b.Group, name, file)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		g.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		g.t.Fatal(err)
	}
}

// add makes a group with a weight.
func (g *groups) add(name, weight string) {
	g.write(name, "cpu.weight", weight+"\n")
	g.runs(name, 0, 0)
}

// runs has a group use so much, and wait for so many percent of the time.
func (g *groups) runs(name string, used time.Duration, waits float64) {
	g.used[name] += used
	g.write(name, "cpu.stat", fmt.Sprintf("usage_usec %d\nuser_usec 1\nsystem_usec 1\n", g.used[name].Microseconds()))
	g.write(name, "cpu.pressure", fmt.Sprintf("some avg10=%.2f avg60=0.00 avg300=0.00 total=1\nfull avg10=99.00 avg60=0.00 avg300=0.00 total=1\n", waits))
}

// weighs looks at all, two seconds later, and at the weight of one.
func (g *groups) weighs(name, want string) {
	g.t.Helper()
	g.now = g.now.Add(every)
	if err := g.b.look(g.now); err != nil {
		g.t.Fatal(err)
	}
	got, err := os.ReadFile(filepath.Join(g.b.Group, name, "cpu.weight"))
	if err != nil || strings.TrimSpace(string(got)) != want {
		g.t.Errorf("%.12s weighs %q, want %s, %v", name, got, want, err)
	}
}

func TestGreedyGoesBehind(t *testing.T) {
	g := newGroups(t)
	hog, quiet := id(1), id(2)
	g.add(hog, "50")
	g.add(quiet, "100")
	g.weighs(hog, "50")
	g.runs(hog, 2*time.Second, 0) // all of a processor, but not for long
	g.weighs(hog, "50")
	g.runs(hog, 4*time.Second, 0)
	g.runs(quiet, 400*time.Millisecond, 0)
	g.weighs(hog, "1")
	g.weighs(quiet, "100")
	g.runs(hog, 0, 3)
	g.weighs(hog, "50")
	g.runs(hog, 600*time.Millisecond, 0)
	g.weighs(hog, "1")
	if got := strings.Count(g.log.String(), "goes behind others"); got != 1 || !strings.Contains(g.log.String(), "container 000000000000 goes behind others: it has used 6s") {
		t.Errorf("said %q", &g.log)
	}
}

// Of fifty none uses much, since all of them would.
func TestHungryGoesBehind(t *testing.T) {
	g := newGroups(t)
	hog, late := id(1), id(2)
	g.add(hog, "100")
	g.runs(hog, 5*time.Second, 90)
	g.add(late, "100") // is being made, and waits as well
	g.runs(late, 100*time.Millisecond, 90)
	g.weighs(hog, "100")
	g.weighs(hog, "1")
	g.weighs(late, "100")
	g.runs(hog, time.Millisecond, 90) // it has little, and would use more
	g.weighs(hog, "1")
	g.runs(hog, time.Millisecond, 39)
	g.weighs(hog, "100")
	// Where the kernel does not tell, only use counts.
	if err := os.Remove(filepath.Join(g.b.Group, hog, "cpu.pressure")); err != nil {
		t.Fatal(err)
	}
	g.weighs(hog, "100")
}

func TestOnlyContainers(t *testing.T) {
	g := newGroups(t)
	g.add("api", "10000")
	g.runs("api", time.Hour, 90)
	g.weighs("api", "10000")
	g.runs("api", time.Hour, 90)
	g.weighs("api", "10000")
	if len(g.b.groups) != 0 {
		t.Errorf("remembers %v", g.b.groups)
	}
}

// What comes and goes, or is not what it should be, is no error and leaves nothing behind.
func TestGroupsThatGo(t *testing.T) {
	g := newGroups(t)
	gone, odd, plain := id(1), id(2), id(3)
	g.add(gone, "100")
	g.add(odd, "100")
	g.add(plain, "100")
	g.weighs(plain, "100")
	if len(g.b.groups) != 3 {
		t.Errorf("knows %d", len(g.b.groups))
	}
	if err := os.RemoveAll(filepath.Join(g.b.Group, gone)); err != nil {
		t.Fatal(err)
	}
	g.write(odd, "cpu.stat", "usage_usec many\n")
	g.weighs(plain, "100")
	if len(g.b.groups) != 1 {
		t.Errorf("knows %d", len(g.b.groups))
	}
	g.write(odd, "cpu.stat", "nothing of it\n")
	g.write(id(4), "cpu.stat", "usage_usec 1\n") // no weights: the controller is not there
	g.weighs(plain, "100")
	if len(g.b.groups) != 1 {
		t.Errorf("knows %d", len(g.b.groups))
	}
	if err := os.RemoveAll(g.b.Group); err != nil {
		t.Fatal(err)
	}
	if err := g.b.look(g.now); !os.IsNotExist(err) || g.b.groups != nil {
		t.Errorf("without the group above: %v", err)
	}
}

func TestRun(t *testing.T) {
	g := newGroups(t)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		g.b.Run(ctx)
		close(done)
	}()
	cancel()
	<-done
}
