package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/sandtrap/sandtrap/internal/event"
	"github.com/sandtrap/sandtrap/internal/evidence"
	"github.com/sandtrap/sandtrap/internal/term"
)

// aroundSession is how long before and after a session its events are looked for: clocks
// are set.
const aroundSession = 24 * time.Hour

// showEvents writes the events of a session.
func showEvents(ctx context.Context, s evidence.Session, o showOptions, out, diagnostics io.Writer) error {
	log, err := event.OpenLog(o.eventsDir)
	if err != nil {
		return err
	}
	defer log.Close()
	buffered := bufio.NewWriterSize(out, 64<<10)
	list := jsonList{w: buffered}
	enough, done := context.WithCancel(ctx)
	defer done()
	told := map[string]bool{}
	err = log.Read(enough, event.ReadOptions{
		Since: s.Start.Add(-aroundSession), Last: -1,
		Match: func(r *event.Record) bool {
			// One that a crash has left open was recovered who knows when.
			if s.State == evidence.StateClosed && s.End != nil && r.Time.After(s.End.Add(aroundSession)) {
				done()
				return false
			}
			return r.Session == s.ID || r.Field("recovered_session") == s.ID
		},
		Skip: func(file string, err error) {
			if line := fmt.Sprintf("sandtrap: skip lines of %s: %v", file, err); !told[line] {
				told[line] = true
				fmt.Fprintln(diagnostics, term.Printable(line))
			}
		},
	}, func(r *event.Record) error {
		if o.format != formatJSON {
			_, err := fmt.Fprintln(buffered, r.Text(o.now.Location()))
			return err
		}
		var line bytes.Buffer
		if err := json.Compact(&line, r.Line); err != nil {
			return fmt.Errorf("read event: %w", err)
		}
		return list.add(json.RawMessage(line.Bytes()))
	})
	if errors.Is(err, context.Canceled) && ctx.Err() == nil {
		err = nil
	}
	if err == nil && o.format == formatJSON {
		err = list.end()
	}
	return errors.Join(err, buffered.Flush())
}
