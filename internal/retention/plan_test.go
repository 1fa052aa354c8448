package retention

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

var now = time.Date(2026, 3, 31, 12, 0, 0, 0, time.UTC)

// days makes an item of an age in days and a size; a name in capitals is held.
func item(name string, days int, bytes int64) Item {
	return Item{Name: name, Time: now.Add(-time.Duration(days) * 24 * time.Hour), Bytes: bytes, Held: strings.ToUpper(name) == name}
}

func TestPlan(t *testing.T) {
	for _, tt := range []struct {
		name   string
		bounds Bounds
		want   string
	}{
		{"no bounds", Bounds{}, ""},
		{"age", Bounds{Age: 48 * time.Hour}, "d:age c:age"},
		{"count", Bounds{Count: 3}, "d:count c:count"},
		{"bytes", Bounds{Bytes: 35}, "d:bytes c:bytes"},
		{"size exactly", Bounds{Bytes: 50}, ""},
		{"age makes room", Bounds{Age: 72 * time.Hour, Count: 4}, "d:age"},
		{"held ones count", Bounds{Count: 1}, "d:count c:count b:count a:count"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			items := []Item{item("b", 2, 10), item("d", 4, 10), item("E", 5, 10), item("a", 1, 10), item("c", 3, 10)}
			var got []string
			for _, r := range Plan(items, tt.bounds, now) {
				got = append(got, fmt.Sprintf("%s:%s", r.Name, r.Reason))
			}
			if s := strings.Join(got, " "); s != tt.want {
				t.Errorf("got %q, want %q", s, tt.want)
			}
		})
	}
}

// Whatever there is: nothing held goes, what stays is within the bounds unless only
// held items are left, and nothing went that need not.
func TestPlanProperties(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		items := make([]Item, random.IntN(30))
		for i := range items {
			items[i] = Item{Name: fmt.Sprint(i), Time: now.Add(-time.Duration(random.IntN(100)) * time.Hour), Bytes: random.Int64N(100), Held: random.IntN(4) == 0}
		}
		b := Bounds{Age: time.Duration(random.IntN(120)) * time.Hour, Bytes: random.Int64N(1500), Count: random.IntN(20)}
		plan := Plan(items, b, now)
		gone := make(map[string]bool)
		for _, r := range plan {
			if r.Held || gone[r.Name] {
				t.Fatalf("%+v is removed", r)
			}
			gone[r.Name] = true
		}
		count, bytes, free := 0, int64(0), 0
		var newest *Removal
		if n := len(plan); n > 0 {
			newest = &plan[n-1]
		}
		for _, i := range items {
			if gone[i.Name] {
				continue
			}
			count, bytes = count+1, bytes+i.Bytes
			if !i.Held {
				free++
				if b.Age > 0 && now.Sub(i.Time) > b.Age {
					t.Fatalf("%+v is too old and stays", i)
				}
				if newest != nil && i.Time.Before(newest.Time) {
					t.Fatalf("%+v stays, %+v went", i, newest)
				}
			}
		}
		if free > 0 && (b.Count > 0 && count > b.Count || b.Bytes > 0 && bytes > b.Bytes) {
			t.Fatalf("bounds %+v are not kept: %d items, %d bytes", b, count, bytes)
		}
		if newest != nil && newest.Reason == Bytes && bytes+newest.Bytes <= b.Bytes || newest != nil && newest.Reason == Count && count+1 <= b.Count {
			t.Fatalf("%+v need not have gone", newest)
		}
	}
}
