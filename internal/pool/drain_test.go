package pool

import (
	"errors"
	"testing"
	"time"
)

// Drain takes the warm targets away, those that are being made too, and no other; and
// Refill brings them back.
func TestDrain(t *testing.T) {
	inBubble(t, newFake(), nil, func(b *bubble) {
		l := b.lease(sessionID(0))
		b.fake.delay("create", time.Second)
		b.rest(500 * time.Millisecond) // one is being made in the place of the leased one
		b.pool.Drain()
		b.rest(time.Minute)
		b.expect(Status{Goal: 3, Leased: 1, Drained: true})
		if got := b.fake.ids(); len(got) != 1 {
			b.Errorf("containers %q are left", got)
		}
		if _, err := b.take(b.Context(), claim(sessionID(1))); !errors.Is(err, ErrEmpty) {
			b.Errorf("a lease while it is drained: %v", err)
		}
		b.over(l)
		b.rest(time.Minute)
		b.expect(Status{Goal: 3, Retained: 1, Drained: true})
		b.pool.Refill()
		b.rest(time.Minute)
		b.expect(Status{Warm: 3, Goal: 3, Retained: 1})
	})
}

// Refill does not wait for the end of the pause after failures.
func TestRefillTriesAtOnce(t *testing.T) {
	inBubble(t, newFake(), nil, func(b *bubble) {
		b.fake.set("create", errDown)
		b.lease(sessionID(0))
		b.rest(time.Minute) // the pause is as long as it gets
		b.fake.set("create", nil)
		b.pool.Refill()
		b.rest(time.Second)
		b.expect(Status{Warm: 3, Goal: 3, Leased: 1})
	})
}
