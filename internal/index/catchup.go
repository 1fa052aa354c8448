package index

import (
	"context"
	"time"

	"github.com/oklog/ulid/v2"
)

const (
	// roomToGrow is what an index may grow, in bytes, before it is looked at whether it
	// holds much that is out of date.
	roomToGrow = 16 << 20
	// restEvery is after how many sessions the keeper rests as long as they took.
	restEvery = 64
)

// catchUp brings the index in line with the sessions that are there: adds what it
// lacks, or builds it anew if it is damaged, of another version or half out of date.
func (k *Keeper) catchUp(ctx context.Context) error {
	places, err := k.look()
	fresh := err == nil
	if !fresh {
		k.log.Info("building the index of sessions", "reason", err)
	}
	rest := k.resting(ctx)
	var lacking []string
	var live int64
	if fresh {
		err = k.store.Directories(ctx, noTime, noTime, nil, func(dir string) bool {
			rest(0)
			id, err := ulid.ParseStrict(idOf(dir))
			if err != nil {
				return true
			}
			if p, ok := places[id]; ok && p.stamp == currentStamp(k.store, dir) {
				live += frameBytes + int64(p.size)
			} else {
				lacking = append(lacking, dir)
			}
			return true
		})
		if err != nil {
			return err
		}
		fresh = live >= k.size/2 || k.size < k.room
	}
	if fresh {
		k.compact = 2*k.size + k.room
		return k.append(ctx, lacking)
	}
	b := builder{store: k.store, old: k.file, places: places, step: rest}
	if _, err := b.build(ctx); err != nil {
		return err
	}
	k.report(b.problems)
	if err := k.open(); err != nil {
		return err
	}
	k.compact = 2*k.size + k.room
	return nil
}

// look reads the index and tells where the records of each session are.
func (k *Keeper) look() (map[ulid.ULID]place, error) {
	places := make(map[ulid.ULID]place)
	if err := k.open(); err != nil {
		return nil, err
	}
	var e Entry
	_, err := scan(k.file, func(record []byte, at int64) error {
		text := string(record)
		if err := decodeEntry(text, &e); err != nil {
			return err
		}
		places[idIn(text)] = place{stamp: e.stamp, at: at, size: int32(len(record))}
		return nil
	})
	return places, err
}

// resting returns what to call after each session, so that the keeper takes half of a
// processor at most.
func (k *Keeper) resting(ctx context.Context) func(int) {
	n, began := 0, time.Now()
	return func(int) {
		if n++; n%restEvery == 0 {
			k.rest(ctx, time.Since(began))
			began = time.Now()
		}
	}
}
