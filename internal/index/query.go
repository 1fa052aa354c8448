package index

import (
	"context"
	"errors"
	"os"
	"slices"
	"unsafe"

	"github.com/oklog/ulid/v2"

	"github.com/sandtrap/sandtrap/internal/evidence"
)

// Options say how Query answers.
type Options struct {
	Limit   int  // only the newest so many; 0 for all
	Lists   bool // the entries are to have their lists, too
	NoIndex bool // read the sessions themselves
}

// Result is what Query found.
type Result struct {
	Entries  []*Entry           // the newest last
	Problems []evidence.Problem // what could not be read, or not all of it
	Read     int                // how many sessions were read for want of an entry, beside those that go on
	Index    error              // why the index could not be used, or only the beginning of it
}

// Query finds the sessions that a filter chooses. What the index does not know, or no
// longer, is read from the sessions themselves: its state makes a difference in time
// and no other. The error is one of the store as a whole, or the context's.
func Query(ctx context.Context, store *evidence.Store, f Filter, o Options) (Result, error) {
	q := query{store: store, filter: f, lists: o.Lists || f.asksForLists()}
	directories := q.directories
	if o.Limit <= 0 {
		directories = q.collected(ctx) // all are wanted: while the index is read
	}
	if !o.NoIndex {
		defer q.close()
		q.result.Index = q.readIndex(ctx)
	}
	err := directories(ctx, func(dir string) bool {
		q.session(dir)
		return o.Limit <= 0 || len(q.result.Entries) < o.Limit
	})
	slices.Reverse(q.result.Entries)
	return q.result, err
}

// directories visits the sessions that may be meant, the newest first.
func (q *query) directories(ctx context.Context, visit func(dir string) bool) error {
	return q.store.Directories(ctx, q.filter.Since, q.filter.Until, q.problem, visit)
}

// collected begins to collect them, and returns what visits them when they are all
// there.
func (q *query) collected(ctx context.Context) func(context.Context, func(string) bool) error {
	var (
		dirs []string
		err  error
	)
	done := make(chan struct{})
	go func() {
		defer close(done)
		err = q.directories(ctx, func(dir string) bool {
			dirs = append(dirs, dir)
			return true
		})
	}()
	return func(_ context.Context, visit func(string) bool) error {
		<-done
		for i := 0; i < len(dirs) && visit(dirs[i]); i++ {
			if ctx.Err() != nil {
				return ctx.Err()
			}
		}
		return err
	}
}

type query struct {
	store  *evidence.Store
	filter Filter
	lists  bool // are needed
	result Result

	file   *os.File            // the index, nil when there is none
	window window              // on it
	known  map[ulid.ULID]known // all that are in the index
	// doubted says that the end of the index is lost, and newer records with it.
	doubted bool
}

type known struct {
	stamp uint64
	at    int64 // where the record begins in the index, or notChosen
}

const notChosen = -1

func (q *query) problem(p evidence.Problem) {
	q.result.Problems = append(q.result.Problems, p)
}

// readIndex chooses from the index. After an error what was read before counts, once it
// is compared with the sessions' files: a newer record may be lost.
func (q *query) readIndex(ctx context.Context) error {
	f, err := openFile(q.store.Path())
	if err != nil {
		return err
	}
	q.file, q.window.file, q.known = f, f, make(map[ulid.ULID]known, guess(f))
	var e Entry
	n := 0
	_, err = scan(f, func(record []byte, at int64) error {
		if n++; n%1024 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		wanted, err := q.wants(borrow(record), &e)
		if err != nil {
			return err
		}
		if !wanted {
			at = notChosen
		}
		q.known[idIn(borrow(record))] = known{e.stamp, at}
		return nil
	})
	q.doubted = err != nil
	if errors.Is(err, errTorn) {
		return nil // it is being written: no reason to tell anybody
	}
	return err
}

// guess tells about how many sessions an index of a size has.
func guess(f *os.File) int {
	st, err := f.Stat()
	if err != nil {
		return 0
	}
	const usual = 500 // bytes a session
	return int(min(st.Size()/usual, 1<<20))
}

// borrow makes a text of a record without copying it: it is good until the record
// changes. A hundred thousand copies would take longer than all the rest.
func borrow(record []byte) string { return unsafe.String(unsafe.SliceData(record), len(record)) }

// wants reports whether the filter chooses a record, as far as its lists are in it.
func (q *query) wants(record string, e *Entry) (bool, error) {
	lists, err := decodeBasics(record, e)
	if err != nil || !q.filter.matchesBasics(e) {
		return false, err
	}
	if q.filter.asksForLists() {
		files, err := decodeTexts(lists, e)
		if err == nil && q.filter.Artifact != "" { // files take as long as all the rest
			err = decodeFiles(files, e)
		}
		if err != nil {
			return false, err
		}
	}
	return e.partial || q.filter.matchesLists(e), nil
}

func (q *query) close() {
	if q.file != nil {
		q.file.Close()
	}
}

// session decides on a session that is there.
func (q *query) session(dir string) {
	id, err := ulid.ParseStrict(idOf(dir))
	if err != nil {
		return // it is one, see evidence.Store
	}
	k, ok := q.known[id]
	if ok && q.doubted {
		ok = k.stamp == currentStamp(q.store, dir)
	}
	if ok && k.at == notChosen {
		return
	}
	if ok {
		if e := q.entry(k.at); e != nil {
			e.ID, e.Dir = id.String(), dir
			q.result.Entries = append(q.result.Entries, e)
			return
		}
	}
	if e := q.read(dir); e != nil {
		q.result.Entries = append(q.result.Entries, e)
	}
}

// entry makes an entry of the record at a place, unless it is not the one that was there
// or has no lists where they are needed.
func (q *query) entry(at int64) *Entry {
	bytes, err := q.window.record(at)
	if err != nil {
		return nil
	}
	record, e := string(bytes), new(Entry)
	rest, err := decodeBasics(record, e)
	if err != nil || e.partial && q.lists {
		return nil
	}
	if q.lists && decodeLists(rest, e) != nil {
		return nil
	}
	return e
}

// read returns the entry of a session from its files, if the filter chooses it.
func (q *query) read(dir string) *Entry {
	e, err := read(q.store, dir)
	if err != nil {
		q.problem(evidence.Problem{Path: dir, Err: err})
	}
	if e.ID == "" {
		return nil
	}
	if e.State != evidence.StateOpen {
		q.result.Read++
	}
	if !q.filter.Matches(&e) {
		return nil
	}
	return &e
}
