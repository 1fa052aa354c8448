package admission

import (
	"encoding/binary"
	"net/netip"
	"runtime"
	"testing"
	"time"
)

// nth is the nth source of a family.
func nth(n int, v6 bool) netip.Prefix {
	if v6 {
		var b [16]byte
		b[0] = 0x20
		binary.BigEndian.PutUint32(b[4:], uint32(n))
		return netip.PrefixFrom(netip.AddrFrom16(b), 64)
	}
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], uint32(n))
	return netip.PrefixFrom(netip.AddrFrom4(b), 32)
}

const (
	million = 1_000_000
	start   = time.Minute
)

// A million sources push out nobody whose penalty lasts longer than theirs, and the
// tables do not grow.
func TestAMillionSourcesWashNothingOut(t *testing.T) {
	p := sshdPenalties
	for _, v6 := range []bool{false, true} {
		m := NewMemory(4096)
		victim := nth(7, v6)
		for range 20 { // 100 seconds
			m.penalise(victim, p, AuthFailed, start)
		}
		for i := range million {
			source := nth(1000+i, v6)
			for range 4 { // 20 seconds
				m.penalise(source, p, AuthFailed, start)
			}
			m.take(source, Rate{60, time.Minute}, start)
		}
		if !m.penalised(victim, start) {
			t.Errorf("v6 %v: washed out", v6)
		}
		if n := m.Len(start); n > 4096 || n < 4000 || m.forgotten < million-4096 {
			t.Errorf("v6 %v: %d remembered, %d forgotten", v6, n, m.forgotten)
		}
		if m.penalised(victim, start+100*time.Second) || m.Len(start+time.Hour) != 0 {
			t.Errorf("v6 %v: penalties do not pass", v6)
		}
		other := nth(8, !v6) // its table is empty
		for range 4 {        // no longer than the others
			m.penalise(other, p, AuthFailed, start)
		}
		if !m.penalised(other, start) {
			t.Errorf("v6 %v: the other family has no room", v6)
		}
	}
}

// What washes a penalty out are longer ones only, and then as many as the table holds.
func TestTheSoonestIsForgotten(t *testing.T) {
	m := NewMemory(ways) // one set
	p := sshdPenalties
	short := nth(0, false)
	for range 4 {
		m.penalise(short, p, AuthFailed, start)
	}
	for i := 1; i < ways; i++ {
		m.penalise(nth(i, false), p, Crash, start)
	}
	if !m.penalised(short, start) || m.forgotten != 0 {
		t.Fatal("forgotten while there was room")
	}
	m.penalise(nth(100, false), p, AuthFailed, start) // shorter than all: it is the one
	if !m.penalised(short, start) || m.forgotten != 1 || m.find(nth(100, false), start) != nil {
		t.Error("a shorter one pushed it out")
	}
	m.penalise(nth(101, false), p, Crash, start)
	if m.penalised(short, start) || !m.penalised(nth(101, false), start) || m.forgotten != 2 {
		t.Error("the longer one was not kept")
	}
	for i := range ways { // all is over: room again
		m.penalise(nth(200+i, false), p, NoAuth, start+time.Hour)
	}
	if m.forgotten != 2 || m.Len(start+time.Hour) != ways {
		t.Errorf("%d forgotten, %d kept", m.forgotten, m.Len(start+time.Hour))
	}
}

// BenchmarkMillionSources tells what is allocated for a million sources that fail.
func BenchmarkMillionSources(b *testing.B) {
	l := open()
	l.Penalties, l.PerSourceRate = sshdPenalties, Rate{60, time.Minute}
	for b.Loop() {
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		g := New(l, 65536, began)
		for i := range million {
			if p, reason := g.Admit(nth(i, i%2 == 0).Addr(), began.Add(time.Duration(i)*time.Microsecond)); reason == Admitted {
				p.Close(AuthFailed, began)
			}
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		b.ReportMetric(float64(int64(after.HeapAlloc)-int64(before.HeapAlloc))/million, "B/source")
		b.ReportMetric(float64(int64(after.HeapAlloc)-int64(before.HeapAlloc))/(1<<20), "MiB")
		runtime.KeepAlive(g)
	}
}

func BenchmarkAdmit(b *testing.B) {
	l := open()
	l.Penalties, l.PerSourceRate = sshdPenalties, Rate{60, time.Minute}
	g := New(l, 65536, began)
	i := 0
	for b.Loop() {
		i++
		if p, reason := g.Admit(nth(i, false).Addr(), began.Add(time.Duration(i)*time.Microsecond)); reason == Admitted {
			p.Close(AuthFailed, began)
		}
	}
}

// Len is for how many sources there is something to remember.
func (m *Memory) Len(now time.Duration) int {
	n := 0
	for _, table := range [][]set{m.v4, m.v6} {
		for i := range table {
			for j := range table[i] {
				if table[i][j].until() > now {
					n++
				}
			}
		}
	}
	return n
}
