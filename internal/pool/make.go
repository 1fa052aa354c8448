package pool

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/sandtrap/sandtrap/internal/event"
	"github.com/sandtrap/sandtrap/internal/frame"
	"github.com/sandtrap/sandtrap/internal/hint"
	"github.com/sandtrap/sandtrap/internal/podman"
	"github.com/sandtrap/sandtrap/internal/target"
)

const (
	firstPause   = 200 * time.Millisecond
	longestPause = 10 * time.Second
	// helloTimeout is how long a session leader has to answer at all, beside others that
	// use all the processor they can get. It is less than handover.Server's Patience.
	helloTimeout = 30 * time.Second
)

// makeOne makes a target. After a failure the next waits, longer each time, so
// that a Podman in trouble is not made worse.
func (p *Pool) makeOne(ctx context.Context, s *stock) {
	began := time.Now()
	c, err := p.make(ctx, s)
	if err != nil && ctx.Err() == nil {
		p.fail(s, "make", "", err)
	}
	p.mu.Lock()
	s.making--
	if err != nil {
		if now := time.Now(); !now.Before(s.backoff) { // of several at once one counts
			s.backoff = now.Add(s.pause)
			s.pause = min(2*s.pause, longestPause)
			s.width, s.successes = max(1, s.width/2), 0
		}
		p.mu.Unlock()
		wake(p.fill)
		return
	}
	s.failure, s.pause = nil, firstPause
	if s.successes++; s.successes > 2*s.width && s.width < p.cfg.Burst {
		s.width, s.successes = s.width+1, 0
	}
	p.move(c, making, warm)
	c.judge()
	count, first := len(s.warm), !s.isReady
	s.isReady = true
	all := !slices.ContainsFunc(p.stocks, func(s *stock) bool { return !s.isReady })
	p.settle()
	p.mu.Unlock()
	wake(p.fill)
	p.events.Emit(event.PoolWarm, event.F("target", s.Name), event.F("container", c.id),
		event.F("image_digest", c.digest), event.F("duration_ms", time.Since(began).Milliseconds()), event.F("warm", count))
	if first {
		p.events.Emit(event.PoolReady, event.F("target", s.Name), event.F("warm", count))
	}
	if first && all {
		close(p.ready)
	}
}

// make creates and starts a container and connects to its leader. One that comes
// to nothing is the janitor's.
func (p *Pool) make(ctx context.Context, s *stock) (*container, error) {
	if err := p.reserve(); err != nil {
		return nil, err
	}
	p.mu.Lock()
	image := s.image
	p.mu.Unlock()
	c, err := p.boot(ctx, s, image)
	if errors.Is(err, podman.ErrNotFound) { // it was removed: there may be another one
		c, err = p.bootLatest(ctx, s)
	}
	if err != nil {
		return nil, err
	}
	if err = p.connect(ctx, c); err == nil {
		err = p.check(ctx, c)
	}
	if err != nil {
		p.discard(c, making, "not usable")
		return nil, err
	}
	return c, nil
}

// bootLatest boots a container of the image as it is at this moment.
func (p *Pool) bootLatest(ctx context.Context, s *stock) (*container, error) {
	image, err := p.lookUp(ctx, s)
	if errors.Is(err, podman.ErrNotFound) {
		return nil, p.noImage(s)
	}
	if err != nil {
		return nil, err
	}
	return p.boot(ctx, s, image)
}

// lookUpAll is lookUp for all targets. It returns the first error and the target it is
// about, and the first target without one.
func (p *Pool) lookUpAll(ctx context.Context) (about *stock, err error) {
	for _, s := range p.stocks {
		if _, failed := p.lookUp(ctx, s); failed != nil && err == nil {
			about, err = s, failed
		}
	}
	return cmp.Or(about, p.stocks[0]), err
}

// lookUp asks what a target's image is now, of which makers make it from then on.
// Warm ones of an older image are stale.
func (p *Pool) lookUp(ctx context.Context, s *stock) (podman.Image, error) {
	image, err := p.podman.Image(ctx, s.Image)
	if err != nil {
		return image, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	s.image = image
	for _, c := range s.warm {
		c.judge()
	}
	return image, nil
}

// judge finds a warm target stale whose image is not the latest. Pool.mu is held.
func (c *container) judge() {
	if c.digest != c.of.image.Digest {
		c.stale = "image changed"
	}
}

// noImage is the error of an image that Podman does not have.
func (p *Pool) noImage(s *stock) error {
	return hint.Wrap(fmt.Errorf("target %s: image %s does not exist", s.Name, s.Image),
		fmt.Sprintf("build it: systemctl start sandtrap-target-%s-build.service", s.Name))
}

// boot creates and starts a container, without limits only where the
// configuration allows that and the host leaves no choice.
func (p *Pool) boot(ctx context.Context, s *stock, image podman.Image) (*container, error) {
	p.mu.Lock()
	unlimited := p.unlimited
	p.mu.Unlock()
	c, err := p.createAndStart(ctx, s, image, unlimited)
	if err != nil && lacksQuotas(err) {
		return nil, hint.Wrap(err, "see systemctl status sandtrap-store.service, and limits.enforcement in sandtrap.yaml(5)")
	}
	if err == nil || unlimited || !lacksControllers(err) {
		return c, err
	}
	if !p.cfg.BestEffort {
		return nil, hint.Wrap(err, "limits cannot be enforced: this host delegates no cgroup v2 controllers; see limits.enforcement in sandtrap.yaml(5)")
	}
	c, retryErr := p.createAndStart(ctx, s, image, true)
	if retryErr != nil {
		return nil, fmt.Errorf("%w; without limits: %w", err, retryErr)
	}
	p.mu.Lock()
	known := p.unlimited // another maker was first
	p.unlimited = true
	p.mu.Unlock()
	if !known {
		p.log.Warn("serving WITHOUT limits on memory, tasks and CPU: this host cannot enforce them and limits.enforcement is best-effort", "error", err)
	}
	return c, nil
}

// lacksControllers reports whether a container failed because its limits have
// nowhere to go. The OCI runtime says so only in words.
func lacksControllers(err error) bool {
	text := err.Error()
	for _, word := range []string{"cgroup", "controller", "memory.max", "memory.swap.max", "pids.max", "cpu.max"} {
		if strings.Contains(text, word) {
			return true
		}
	}
	return false
}

// confined fails for a container that started although its limits do not hold.
func (p *Pool) confined(ctx context.Context, id string) error {
	ok, err := p.podman.Confined(ctx, id)
	if err == nil && !ok {
		err = fmt.Errorf("start container %.12s: it has no cgroup of its own, and so no limits", id)
	}
	return err
}

// lacksQuotas reports whether a container was not started because nothing bounds what
// it writes, see package quota. Through Podman's API that comes as words, too.
func lacksQuotas(err error) bool { return strings.Contains(err.Error(), "bound the disk space") }

func (p *Pool) createAndStart(ctx context.Context, s *stock, image podman.Image, unlimited bool) (*container, error) {
	name := "warm-" + ulid.Make().String()
	id, err := p.podman.Create(ctx, s.Spec(name, image, unlimited))
	if err != nil {
		return nil, err
	}
	now := time.Now()
	c := &container{id: id, of: s, name: name, digest: image.Digest, program: image.Labels[target.LeaderLabel], made: now, seen: now}
	p.mu.Lock()
	p.adopt(c, making)
	p.took()
	p.mu.Unlock()
	if err = p.podman.Start(ctx, id); err == nil && !unlimited {
		err = p.confined(ctx, id)
	}
	if err != nil {
		p.discard(c, making, "did not start")
		return nil, err
	}
	return c, nil
}

// connect makes the container's leader answer, or explains why it does not.
func (p *Pool) connect(ctx context.Context, c *container) error {
	hello, cancel := context.WithTimeout(ctx, helloTimeout)
	defer cancel()
	p.mu.Lock()
	touched := c.session != ""
	p.mu.Unlock()
	leader, err := p.podman.Connect(hello, Connection{
		Container: c.id, Program: c.program, Fallback: c.of.Account, Image: c.digest, Touched: touched,
	})
	if err == nil {
		p.mu.Lock()
		c.leader, c.seen = leader, time.Now()
		p.mu.Unlock()
		return nil
	}
	return p.explain(ctx, c, err)
}

// explain makes one clear line of the reason why nobody answers in a container.
func (p *Pool) explain(ctx context.Context, c *container, err error) error {
	t := c.of
	if running, lookErr := p.podman.Running(ctx, c.id); lookErr == nil && !running {
		return hint.Wrap(fmt.Errorf("the main process of image %s ends at once: %w", t.Image, err),
			"run it by hand to see why: podman --url unix:///run/sandtrap-pods/podman.sock run --rm "+t.Image)
	}
	rebuild := fmt.Sprintf("rebuild it: systemctl restart sandtrap-target-%s-build.service", t.Name)
	switch {
	case c.program == "":
	case errors.Is(err, frame.ErrMalformed):
		return hint.Wrap(fmt.Errorf("the session leader in image %s speaks another language: %w", t.Image, err),
			"it may be of another version of SandTrap; "+rebuild)
	case errors.Is(err, context.DeadlineExceeded):
		return hint.Wrap(fmt.Errorf("the session leader in image %s does not answer: %w", t.Image, err),
			fmt.Sprintf("the image's command must start with %s, which its label %s names; %s", c.program, target.LeaderLabel, rebuild))
	}
	return fmt.Errorf("connect to a container of image %s: %w", t.Image, err)
}

// check finds out what would otherwise fail at every login: that the image lacks
// the account. The accounts of an image are read once; the file of a target that
// nobody has touched yet is the image's.
func (p *Pool) check(ctx context.Context, c *container) error {
	p.mu.Lock()
	known := c.of.checked == c.digest
	p.mu.Unlock()
	if known {
		return nil
	}
	passwd, err := p.podman.Passwd(ctx, c.id)
	if err != nil {
		p.log.Debug("accounts of the image not checked", "error", err) // the logins will tell
		return nil
	}
	if _, err := target.ParseAccounts(passwd, c.of.Account); err != nil {
		return fmt.Errorf("target %s: %w", c.of.Name, err)
	}
	p.mu.Lock()
	c.of.checked = c.digest
	p.mu.Unlock()
	return nil
}
