package pool

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"math"
	"slices"
	"time"

	"github.com/sandtrap/sandtrap/internal/podman"
	"github.com/sandtrap/sandtrap/internal/target"
)

// Supply is one target, and how many of it the pool keeps.
type Supply struct {
	target.Target
	Weight   int // its share of sources, beside the weights of the others
	Min, Max int // warm ones at rest, and at most
}

// stock is what the pool has of one target. Pool.mu guards it.
type stock struct {
	Supply
	warm   []*container // those in this state
	making int          // makers at work

	goal      int       // warm ones to have
	unmoved   time.Time // since when the goal has had no reason to fall
	notBefore time.Time // when the refill that the leases ask for may begin
	emptySaid time.Time // when PoolEmpty was last reported

	width     int           // how many may be made at once: fewer after trouble, more after successes
	successes int           // since width changed
	isReady   bool          // one has been warm
	failure   error         // why the latest could not be made, nil after a success
	pause     time.Duration // after the next failure
	backoff   time.Time     // nothing is made before
	image     podman.Image  // when it was last looked up
	checked   string        // digest of the image whose accounts were found good
}

func newStock(s Supply, burst int) *stock {
	return &stock{Supply: s, goal: s.Min, pause: firstPause, width: burst}
}

// stockOf is that of a target by its name. Containers of a target that is not configured
// any more are kept, too: they have a stock of which nothing is ever made.
func (p *Pool) stockOf(name string) (s *stock, configured bool) {
	for _, s := range p.stocks {
		if s.Name == name {
			return s, true
		}
	}
	return newStock(Supply{Target: target.Target{Name: name}}, 0), false
}

// choose says in which target a source lands: always the same, so that one address looks
// like one machine, and each as often as its weight says. Where that one cannot be made
// and none is left, it is the source's next.
func (p *Pool) choose(source string) *stock {
	p.mu.Lock()
	defer p.mu.Unlock()
	able := slices.DeleteFunc(slices.Clone(p.stocks), func(s *stock) bool { return s.failure != nil && len(s.warm) == 0 })
	if len(able) == 0 {
		able = p.stocks
	}
	return slices.MinFunc(able, func(a, b *stock) int { return cmp.Compare(a.distance(source), b.distance(source)) })
}

// distance is how far a source is from a target: rendezvous hashing with weights. A hash
// that is spread evenly over (0, 1) becomes an exponentially distributed number whose
// rate is the weight, and of those each is the smallest with a chance that goes by its
// rate. Without state, it is the same after a restart, and a target that is added or
// removed moves no source but its own.
func (s *stock) distance(source string) float64 {
	sum := sha256.Sum256([]byte(s.Name + "\x00" + source))
	even := (float64(binary.BigEndian.Uint64(sum[:])>>11) + 0.5) / (1 << 53)
	return -math.Log(even) / float64(max(1, s.Weight))
}

// low reports whether less than half of the targets are there.
func (s *stock) low() bool { return 2*len(s.warm) < s.goal }

// making is how many makers are at work. Pool.mu is held.
func (p *Pool) making() int {
	n := 0
	for _, s := range p.stocks {
		n += s.making
	}
	return n
}

// TargetStatus is what the pool holds of one target.
type TargetStatus struct {
	Name string
	Status
}

// Targets reports the state of each target, in the order of Config.
func (p *Pool) Targets() []TargetStatus {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := make([]TargetStatus, len(p.stocks))
	for i, s := range p.stocks {
		all[i] = TargetStatus{s.Name, p.statusOf(s)}
	}
	return all
}

// statusOf is Status of one target. Pool.mu is held.
func (p *Pool) statusOf(s *stock) Status {
	var count [states]int
	for _, c := range p.all {
		if c.of == s {
			count[c.state]++
		}
	}
	return Status{
		Warm: len(s.warm), Goal: s.goal, Leased: count[leased], Draining: count[ending] + count[draining], Waiting: p.waitingFor(s),
		Retained: count[stopped] + count[captured], Unlimited: p.unlimited, Drained: p.drained, Failure: s.failure,
	}
}
