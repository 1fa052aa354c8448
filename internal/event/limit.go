package event

import (
	"fmt"
	"slices"
	"strings"
	"sync"
)

// Limits bound what one client can cause. The bounds are for each kind, so that a
// flood of one hides nothing of another.
type Limits struct {
	Repeats int   // events of one kind; 0 for no bound
	Text    int64 // bytes of text in those of one kind, but for the last; 0 for no bound
}

// repeats are the kinds that clients can cause at will. Of all others a connection
// has a few.
var repeats = map[Kind]bool{
	ConnectionDeny: true, AuthAttempt: true, HoneytokenUse: true, SessionFail: true, ChannelOpen: true, ChannelDeny: true, ChannelTimeout: true, ChannelRequest: true, GlobalRequest: true,
	ForwardRequest: true, ForwardListen: true, ForwardClose: true, ShellStart: true, ExecStart: true, SubsystemStart: true, CommandInput: true, ProgramExit: true,
	RecordingStop: true, TransferFile: true, TransferChange: true, TransferGap: true, ChannelClose: true,
}

// tally counts what a client causes.
type tally struct {
	most Limits

	mu    sync.Mutex // guards counts
	kinds map[Kind]*count
}

type count struct {
	events, omitted int
	text            int64
}

// Limit returns an emitter with the same identity that leaves out, and counts, what is
// beyond the limits. Settle tells of it.
func (e *Emitter) Limit(most Limits) *Emitter {
	return &Emitter{hub: e.hub, identity: e.identity, tally: &tally{most: most, kinds: map[Kind]*count{}}}
}

// As returns an emitter with another identity that counts with this one.
func (e *Emitter) As(id Identity) *Emitter {
	return &Emitter{hub: e.hub, identity: id, tally: e.tally}
}

// Settle emits what was left out since the last time, if anything was.
func (e *Emitter) Settle() {
	if e.tally == nil {
		return
	}
	if omitted, kinds := e.tally.settle(); omitted > 0 {
		e.Emit(EventsOmit, F("omitted", omitted), F("kinds", kinds))
	}
}

// takes reports whether an event goes out. Without a tally all do.
func (t *tally) takes(kind Kind, values []Field) bool {
	if t == nil || !repeats[kind] {
		return true
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	c := t.kinds[kind]
	if c == nil {
		c = &count{}
		t.kinds[kind] = c
	}
	if t.most.Repeats > 0 && c.events >= t.most.Repeats || t.most.Text > 0 && c.text >= t.most.Text {
		c.omitted++
		return false
	}
	c.events++
	for _, v := range values {
		if s, ok := v.Value.(string); ok {
			c.text += int64(len(s))
		}
	}
	return true
}

func (t *tally) settle() (omitted int, kinds string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	var parts []string
	for kind, c := range t.kinds {
		if c.omitted > 0 {
			omitted += c.omitted
			parts = append(parts, fmt.Sprintf("%s=%d", kind, c.omitted))
			c.omitted = 0
		}
	}
	slices.Sort(parts)
	return omitted, strings.Join(parts, " ")
}
