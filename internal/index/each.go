package index

import (
	"context"
	"errors"
	"os"

	"github.com/oklog/ulid/v2"

	"github.com/sandtrap/sandtrap/internal/evidence"
)

// Each visits the sessions that a filter chooses, whole and in no order, and keeps none:
// an entry and its lists are
// the visitor's until it returns, its texts for ever. It finds what Query finds; the result has
// no entries.
func Each(ctx context.Context, store *evidence.Store, f Filter, visit func(*Entry)) (Result, error) {
	e := each{ctx: ctx, query: query{store: store, filter: f, lists: true}, last: map[ulid.ULID]last{}, visit: visit}
	file, err := openFile(store.Path())
	if err == nil {
		defer file.Close()
		err = e.look(file)
	}
	e.doubted = err != nil
	if !errors.Is(err, errTorn) {
		e.result.Index = err
	}
	if err := store.Directories(ctx, f.Since, f.Until, e.problem, e.directory); err != nil {
		return e.result, err
	}
	if file == nil {
		return e.result, ctx.Err()
	}
	return e.result, errors.Join(e.records(file), ctx.Err())
}

// last is the record of a session that counts.
type last struct {
	stamp uint64
	at    int64
	there bool // the session is, and the record tells of it as it is
}

type each struct {
	query
	ctx   context.Context
	last  map[ulid.ULID]last
	visit func(*Entry)
}

// look finds the record of each session that counts. Of one without lists none does.
func (e *each) look(file *os.File) error {
	_, err := scan(file, func(record []byte, at int64) error {
		text := borrow(record)
		var basics Entry
		if _, err := decodeBasics(text, &basics); err != nil {
			return err
		}
		if basics.partial {
			delete(e.last, idIn(text))
		} else {
			e.last[idIn(text)] = last{stamp: basics.stamp, at: at}
		}
		return nil
	})
	return err
}

// directory notes that a session is there, or reads it.
func (e *each) directory(dir string) bool {
	id, err := ulid.ParseStrict(idOf(dir))
	if err != nil {
		return true
	}
	l, ok := e.last[id]
	if ok && (!e.doubted || l.stamp == currentStamp(e.store, dir)) {
		l.there = true
		e.last[id] = l
		return true
	}
	if found := e.read(dir); found != nil {
		e.visit(found)
	}
	return true
}

// records visits what counts in the index.
func (e *each) records(file *os.File) error {
	if _, err := file.Seek(0, 0); err != nil {
		return err
	}
	var entry Entry
	n := 0
	_, err := scan(file, func(record []byte, at int64) error {
		if n++; n%1024 == 0 && e.ctx.Err() != nil {
			return e.ctx.Err()
		}
		if l, ok := e.last[idIn(borrow(record))]; !ok || !l.there || l.at != at {
			return nil
		}
		text := string(record) // visitors may keep texts
		if err := decodeEntry(text, &entry); err != nil {
			return err
		}
		if entry.ID = idIn(text).String(); e.filter.Matches(&entry) {
			e.visit(&entry)
		}
		return nil
	})
	if e.doubted {
		return nil // it ends where it ended before
	}
	if errors.Is(err, errTorn) {
		return nil // what has come meanwhile
	}
	return err
}
