package index

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/sandtrap/sandtrap/internal/evidence"
)

// keeperOf is a keeper that rests for nobody.
func keeperOf(store *evidence.Store) *Keeper {
	k := NewKeeper(store, quiet())
	k.rest = func(context.Context, time.Duration) { runtime.Gosched() }
	return k
}

// start runs a keeper; stop ends it and waits.
func start(store *evidence.Store) (k *Keeper, stop func()) {
	k = keeperOf(store)
	store.OnChange(k.Changed)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); k.Run(ctx) }()
	return k, func() { cancel(); <-done }
}

// eventually asks until the index needs nothing from the sessions.
func eventually(t *testing.T, store *evidence.Store) Result {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; runtime.Gosched() {
		q, err := Query(context.Background(), store, Filter{}, Options{})
		ok(t, err)
		if q.Index == nil && q.Read == 0 {
			return q
		}
		if time.Now().After(deadline) {
			t.Fatalf("%v, %d sessions are not in the index", q.Index, q.Read)
		}
	}
}

// TestKeeper: sessions enter the index at start, when they end, when they change
// again, and when the service stops; while others ask.
func TestKeeper(t *testing.T) {
	defer goleak.VerifyNone(t)
	r := rand.New(rand.NewPCG(9, 10))
	store := openStore(t, t.TempDir())
	fill(t, store, r, 20)
	_, stop := start(store)
	if n := len(eventually(t, store).Entries); n != 20 {
		t.Errorf("%d sessions at the start", n)
	}
	var readers sync.WaitGroup
	done := make(chan struct{})
	for range 2 {
		readers.Go(func() {
			r := rand.New(rand.NewPCG(11, 12))
			for {
				select {
				case <-done:
					return
				default:
				}
				q, err := Query(context.Background(), store, randomFilter(r), Options{})
				if err != nil || q.Index != nil {
					t.Errorf("beside the keeper: %v, %v", err, q.Index)
					return
				}
			}
		})
	}
	for i := range 50 {
		s := randomSession(r, 100+i)
		d, err := store.Create(s.ID, s.Start)
		ok(t, err)
		live := s
		live.State, live.End = evidence.StateOpen, nil
		ok(t, d.Save(live))
		save(t, d, s, "")
	}
	eventually(t, store)
	close(done)
	readers.Wait()
	s := randomSession(r, 500)
	s.State = evidence.StateClosed
	put(t, store, s, "")
	stop()
	q := requireSame(t, store, Filter{}, Options{})
	if q.Read != 0 || len(q.Entries) != 71 {
		t.Errorf("after the stop: %d sessions, %d not in the index", len(q.Entries), q.Read)
	}
}

// TestReplaced: who rebuilds or removes the index beside the service takes nothing away.
func TestReplaced(t *testing.T) {
	r := rand.New(rand.NewPCG(13, 14))
	store := openStore(t, t.TempDir())
	fill(t, store, r, 10)
	k := keeperOf(store)
	store.OnChange(k.Changed)
	ok(t, k.update(context.Background(), true))
	file := filepath.Join(store.Path(), directory, fileName)
	for i, replace := range []func(){
		func() { _, _, err := Rebuild(context.Background(), store, nil); ok(t, err) },
		func() { ok(t, os.Remove(file)) },
		func() { ok(t, os.RemoveAll(filepath.Dir(file))) },
		func() { ok(t, os.Truncate(file, 30)) },
	} {
		before := randomSession(r, 100+2*i)
		before.State = evidence.StateClosed
		put(t, store, before, "") // pending while somebody replaces the file
		replace()
		ok(t, k.update(context.Background(), true))
		if q := requireSame(t, store, Filter{}, Options{}); q.Index != nil || q.Read != 0 {
			t.Errorf("case %d: %v, %d read", i, q.Index, q.Read)
		}
	}
	k.close()
}

// TestMoreThanPending: a flood is remembered as one.
func TestMoreThanPending(t *testing.T) {
	store := openStore(t, t.TempDir())
	k := keeperOf(store)
	ok(t, k.update(context.Background(), true))
	for i := range maxPending + 10 {
		k.Changed(fmt.Sprint(i))
	}
	if len(k.pending) != maxPending || !k.behind {
		t.Errorf("%d pending, behind %v", len(k.pending), k.behind)
	}
	fill(t, store, rand.New(rand.NewPCG(1, 1)), 10)
	ok(t, k.update(context.Background(), true))
	if q := requireSame(t, store, Filter{}, Options{}); q.Read != 0 {
		t.Errorf("%d not in the index", q.Read)
	}
	k.close()
}

// TestCompact: records that are out of date do not pile up.
func TestCompact(t *testing.T) {
	store := openStore(t, t.TempDir())
	r := rand.New(rand.NewPCG(1, 1))
	s := randomSession(r, 1)
	s.State, s.End = evidence.StateClosed, &march
	s.ClientVersion = evidence.Text(strings.Repeat("x", 1000))
	d, err := store.Create(s.ID, s.Start)
	ok(t, err)
	ok(t, d.Save(s))
	k := keeperOf(store)
	k.room = 20_000
	ok(t, k.update(context.Background(), true))
	small := k.size
	for most := int64(0); most < 4*k.room; most += small {
		k.Changed(d.Path())
		ok(t, k.update(context.Background(), true))
		if k.size > k.room+4*small {
			t.Fatalf("grew to %d bytes with one session of %d", k.size, small)
		}
	}
	k.close()
	d.Close()
}

// TestFull: a disk without space costs nothing but time, and the index is whole when
// there is space again.
func TestFull(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root to mount a small file system")
	}
	r := rand.New(rand.NewPCG(2, 1))
	store := openStore(t, t.TempDir())
	dir := filepath.Join(store.Path(), directory)
	ok(t, os.Mkdir(dir, 0o750))
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=8k"); err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() { ok(t, syscall.Unmount(dir, syscall.MNT_DETACH)) })
	fill(t, store, r, 10)
	k := keeperOf(store)
	store.OnChange(k.Changed)
	ok(t, k.update(context.Background(), true))
	failed := false
	for i := 0; i < 100 && !failed; i++ {
		put(t, store, randomSession(r, 100+i), "")
		failed = k.update(context.Background(), true) != nil
	}
	if !failed {
		t.Fatal("100 sessions fit into 8 KiB")
	}
	if q := requireSame(t, store, Filter{}, Options{}); q.Index != nil {
		t.Errorf("on a full disk: %v", q.Index)
	}
	ok(t, syscall.Mount("tmpfs", dir, "tmpfs", syscall.MS_REMOUNT, "size=1m"))
	ok(t, k.update(context.Background(), true))
	if q := requireSame(t, store, Filter{}, Options{}); q.Read != 0 {
		t.Errorf("with space again: %d not in the index", q.Read)
	}
	k.close()
}

// TestKilled: a service that is killed at any moment leaves an index that answers
// right, and the next one goes on with it.
func TestKilled(t *testing.T) {
	if state := os.Getenv("INDEX_TEST_STATE"); state != "" {
		childThatWrites(state)
		return
	}
	if testing.Short() {
		t.Skip("starts processes")
	}
	r := rand.New(rand.NewPCG(4, 2))
	store := openStore(t, t.TempDir())
	fill(t, store, r, 10)
	for range 5 {
		child := exec.Command(os.Args[0], "-test.run=^TestKilled$")
		child.Env = append(os.Environ(), "INDEX_TEST_STATE="+store.Path())
		out, err := child.StdoutPipe()
		ok(t, err)
		ok(t, child.Start())
		_, err = out.Read(make([]byte, 1)) // it is at work
		ok(t, err)
		for range r.IntN(2000) {
			runtime.Gosched()
		}
		ok(t, child.Process.Kill())
		_ = child.Wait()
		if q := requireSame(t, store, Filter{}, Options{}); q.Index != nil {
			t.Errorf("after the kill: %v", q.Index)
		}
	}
	k := keeperOf(store)
	ok(t, k.update(context.Background(), true))
	k.close()
	if q := requireSame(t, store, Filter{}, Options{}); q.Read != 0 {
		t.Errorf("%d not in the index", q.Read)
	}
}

// childThatWrites ends sessions and rebuilds the index without end.
func childThatWrites(state string) {
	store, err := evidence.Open(state)
	if err != nil {
		panic(err)
	}
	k := keeperOf(store)
	store.OnChange(k.Changed)
	r := rand.New(rand.NewPCG(uint64(os.Getpid()), 2))
	for i := 0; ; i++ {
		if err := k.update(context.Background(), true); err != nil {
			panic(err)
		}
		s := randomSession(r, os.Getpid()<<16+i)
		d, err := store.Create(s.ID, s.Start)
		if err != nil {
			panic(err)
		}
		if err := d.Save(s); err != nil {
			panic(err)
		}
		d.Close()
		if i%7 == 0 {
			if _, _, err := Rebuild(context.Background(), store, nil); err != nil {
				panic(err)
			}
		}
		if i == 3 {
			fmt.Println()
		}
		if i > 5000 {
			return // nobody has killed it
		}
	}
}
