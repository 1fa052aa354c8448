package main

import (
	"math"
	"slices"
	"testing"
)

func TestSummarise(t *testing.T) {
	// 1 to 101 in some other order: quantiles fall on values.
	var values []float64
	for i := range 101 {
		values = append(values, float64(1+(i*37)%101))
	}
	given := slices.Clone(values)
	got := summarise(values)
	want := summary{n: 101, median: 51, p95: 96, p99: 100, worst: 101, lowerQuart: 26, upQuart: 76}
	if got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if got.spread() != 50 {
		t.Errorf("spread %v, want 50", got.spread())
	}
	if !slices.Equal(values, given) {
		t.Error("the samples were changed")
	}
}

func TestQuantileInterpolates(t *testing.T) {
	for _, c := range []struct {
		sorted []float64
		q      float64
		want   float64
	}{
		{[]float64{7}, 0.5, 7},
		{[]float64{7}, 0.99, 7},
		{[]float64{1, 2}, 0.5, 1.5},
		{[]float64{1, 2, 3, 4}, 0.5, 2.5},
		{[]float64{0, 10}, 0.95, 9.5},
		{[]float64{0, 10}, 1, 10},
	} {
		if got := quantile(c.sorted, c.q); math.Abs(got-c.want) > 1e-9 {
			t.Errorf("quantile(%v, %v) = %v, want %v", c.sorted, c.q, got, c.want)
		}
	}
	if got := quantile(nil, 0.5); !math.IsNaN(got) {
		t.Errorf("the median of nothing is %v", got)
	}
}

func TestJudge(t *testing.T) {
	own := summary{n: 10, median: 4, p99: 18, worst: 20}
	other := summary{n: 10, median: 10}
	for _, c := range []struct {
		name  string
		t     target
		value float64
		met   bool
	}{
		{"ratio met", target{ratioAtMost, host, 0.4}, 0.4, true},
		{"ratio missed", target{ratioAtMost, host, 0.35}, 0.4, false},
		{"throughput met", target{ratioAtLeast, host, 0.4}, 0.4, true},
		{"throughput missed", target{ratioAtLeast, host, 0.5}, 0.4, false},
		{"growth met", target{growthAtMost, before, 0}, -6, true},
		{"median met", target{medianAtMost, "", 4}, 4, true},
		{"median missed", target{medianAtMost, "", 3.9}, 4, false},
		{"worst missed", target{worstAtMost, "", 19}, 20, false},
		{"tail met", target{tailAtMost, "", 5}, 4.5, true},
		{"tail missed", target{tailAtMost, "", 4}, 4.5, false},
	} {
		if value, met := judge(c.t, own, other); value != c.value || met != c.met {
			t.Errorf("%s: got %v, %v, want %v, %v", c.name, value, met, c.value, c.met)
		}
	}
}

// A target whose figure was not measured must not count as met.
func TestJudgeNothing(t *testing.T) {
	nothing, some := summarise(nil), summary{n: 1, median: 1, p99: 1, worst: 1}
	for kind := ratioAtMost; kind <= tailAtMost; kind++ {
		if _, met := judge(target{kind: kind, limit: 1e9}, nothing, some); met {
			t.Errorf("kind %d is met without samples", kind)
		}
	}
	if _, met := judge(target{kind: ratioAtMost, limit: 1e9}, some, nothing); met {
		t.Error("a ratio is met without the other's samples")
	}
}
