package event

import (
	"fmt"
	"strings"
	"testing"
)

// kept keeps events.
type kept struct{ list []*Event }

func (k *kept) Write(e *Event) error { k.list = append(k.list, e); return nil }
func (*kept) Close() error           { return nil }

func (k *kept) of(kind Kind) (n int, last *Event) {
	for _, e := range k.list {
		if e.Kind == kind {
			n, last = n+1, e
		}
	}
	return n, last
}

// Beyond the limits events are counted, each kind by itself, and told once.
func TestLimits(t *testing.T) {
	var out kept
	all := New(&out)
	e := all.Bind(Identity{Session: "S"}).Limit(Limits{Repeats: 10, Text: 1000})
	for i := range 25 {
		e.Emit(ChannelRequest, F("request", fmt.Sprint(i)))
	}
	for range 5 {
		e.Emit(TransferChange, F("path", strings.Repeat("x", 600)))
	}
	for range 20 {
		e.Emit(ConnectionOpen) // of which a connection has one
		all.Emit(SessionFail)  // not the client's
	}
	e.Emit(ExecStart, F("command", "id"))
	for kind, want := range map[Kind]int{ChannelRequest: 10, TransferChange: 2, ConnectionOpen: 20, SessionFail: 20, ExecStart: 1} {
		if n, _ := out.of(kind); n != want {
			t.Errorf("%d events %s, want %d", n, kind, want)
		}
	}
	e.Settle()
	e.Settle()
	n, told := out.of(EventsOmit)
	if n != 1 || told.Session != "S" || told.Values[0].Value != 18 || told.Values[1].Value != "channel.request=15 transfer.change=3" {
		t.Errorf("%d times, %+v", n, told)
	}
	if got := out.list[len(out.list)-1].Seq; got != uint64(len(out.list)) {
		t.Errorf("%d events, the last has number %d", len(out.list), got)
	}
	all.Settle()
	if err := all.Err(); err != nil {
		t.Error(err)
	}
}

// Kinds that are bounded exist.
func TestRepeatedKindsExist(t *testing.T) {
	for kind := range repeats {
		if Define(kind) == nil {
			t.Errorf("%s is no kind", kind)
		}
	}
}
