package main

import (
	"math"
	"slices"
)

// summary is what the table tells of the samples of one figure and subject.
type summary struct {
	n                   int
	median, p95, p99    float64
	worst               float64 // the largest
	lowerQuart, upQuart float64
}

// summarise computes the summary of values, which it leaves as they are. That of
// no values is all NaN.
func summarise(values []float64) summary {
	sorted := slices.Sorted(slices.Values(values))
	return summary{
		n: len(sorted), median: quantile(sorted, 0.5), p95: quantile(sorted, 0.95), p99: quantile(sorted, 0.99),
		worst: quantile(sorted, 1), lowerQuart: quantile(sorted, 0.25), upQuart: quantile(sorted, 0.75),
	}
}

// quantile returns the value below which the share q of sorted lies, between two
// values by linear interpolation (type 7 of Hyndman and Fan, 1996).
func quantile(sorted []float64, q float64) float64 {
	if len(sorted) == 0 {
		return math.NaN()
	}
	at := q * float64(len(sorted)-1)
	below := int(math.Floor(at))
	above := min(below+1, len(sorted)-1)
	return sorted[below] + (at-float64(below))*(sorted[above]-sorted[below])
}

// spread is the interquartile range: how far apart the middle half lies.
func (s summary) spread() float64 { return s.upQuart - s.lowerQuart }

// judge compares the samples of a figure with one of its targets. The value is
// NaN, and the target not met, when there are no samples to compare.
func judge(t target, own, other summary) (value float64, met bool) {
	switch t.kind {
	case ratioAtMost, ratioAtLeast:
		value = own.median / other.median
	case growthAtMost:
		value = own.median - other.median
	case medianAtMost:
		value = own.median
	case worstAtMost:
		value = own.worst
	case tailAtMost:
		value = own.p99 / own.median
	}
	if t.kind == ratioAtLeast {
		return value, value >= t.limit
	}
	return value, value <= t.limit
}
